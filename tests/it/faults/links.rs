//! Connections that break: before an order arrives, after it was obeyed, in the middle of an
//! upload, for a while and for good.

use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::model::hook::HookPlace;
use shipit::remote::local::LocalSession;

use crate::support::effort::{some, try_all};
use crate::support::fault_table;
use crate::support::fleet::{TestFleet, Work, hook};
use crate::support::link::LinkFault;
use crate::support::services::command;

/// The requests of a successful deploy, of a rollback and of a prune.
const DEPLOY: [&str; 13] = [
    "unpack", "check", "link", "env", "revision", "hook", "seal", "stage", "activate", "commit",
    "prune", "sweep", "bye",
];
const ROLLBACK: [&str; 4] = ["activate", "hook", "commit", "bye"];
const PRUNE: [&str; 3] = ["prune", "sweep", "bye"];

/// Returns the name of a fault in the table.
fn row_of(work: Work, fault: LinkFault) -> String {
    let work = format!("{work:?}").to_lowercase();
    match fault {
        LinkFault::CutBefore(verb) => format!("{work}: cut off before `{verb}` arrives"),
        LinkFault::CutAfter(verb) => format!("{work}: cut off after `{verb}` was obeyed"),
        LinkFault::CutForGood(verb) => format!("{work} to two: web2 is lost for good at `{verb}`"),
        LinkFault::CutGreeting => format!("{work}: cut off before the greeting arrives"),
        LinkFault::HalfUpload => format!("{work}: cut off in the middle of the upload"),
        LinkFault::Dead => format!("{work} to two: web2 does not answer"),
    }
}

async fn loses_its_connection(test: &str, work: Work, verbs: &[&'static str], more: &[LinkFault]) {
    let faults =
        verbs.iter().flat_map(|verb| [LinkFault::CutBefore(verb), LinkFault::CutAfter(verb)]);
    try_all(some(faults.chain(more.iter().copied())), |fault| async move {
        let fleet = TestFleet::new(LocalSession::new()).await;
        fleet.break_link("web1", fault);
        let report = fleet.work(work).await;
        let row = row_of(work, fault);
        assert!(fleet.faults.lock().unwrap().is_empty(), "{row}: never met");
        fleet.matches_table(test, &row, &report);
        fleet.is_honest(&row, work, &report).await;
        fleet.host("web1").is_back_once(&row);
    })
    .await;
}

#[tokio::test]
async fn deploy_that_loses_its_connection_is_honest() {
    let test = "faults::links::deploy_that_loses_its_connection_is_honest";
    let more = [LinkFault::HalfUpload, LinkFault::CutGreeting];
    loses_its_connection(test, Work::Deploy, &DEPLOY, &more).await;
}

#[tokio::test]
async fn sharing_deploy_that_loses_its_connection_is_honest() {
    let verbs = ["manifest", "unpack", "check", "seal", "sweep"];
    let faults =
        verbs.iter().flat_map(|verb| [LinkFault::CutBefore(verb), LinkFault::CutAfter(verb)]);
    try_all(some(faults.chain([LinkFault::HalfUpload])), |fault| async move {
        let fleet = TestFleet::new(LocalSession::new()).await.sharing();
        fleet.break_link("web1", fault);
        let report = fleet.work(Work::Deploy).await;
        let row = row_of(Work::Deploy, fault);
        assert!(fleet.faults.lock().unwrap().is_empty(), "{row}: never met");
        fleet.is_honest(&row, Work::Deploy, &report).await;
    })
    .await;
}

#[tokio::test]
async fn deploy_with_a_unit_file_that_loses_its_connection_is_honest() {
    let verbs = ["units", "stage", "activate", "commit", "bye"];
    let faults =
        verbs.iter().flat_map(|verb| [LinkFault::CutBefore(verb), LinkFault::CutAfter(verb)]);
    try_all(some(faults), |fault| async move {
        let dir = tempfile::tempdir().unwrap();
        let fleet = TestFleet::bringing_a_unit(&LocalSession::new(), dir.path()).await;
        fleet.break_link("web1", fault);
        let report = fleet.work(Work::Deploy).await;
        let case = format!("with a unit file: {fault:?}");
        assert!(fleet.faults.lock().unwrap().is_empty(), "{case}: never met");
        fleet.unit_is_true(&case, dir.path()).await;
        fleet.is_honest(&case, Work::Deploy, &report).await;
        fleet.unit_is_true(&case, dir.path()).await;
    })
    .await;
}

#[tokio::test]
async fn rollback_that_loses_its_connection_is_honest() {
    let test = "faults::links::rollback_that_loses_its_connection_is_honest";
    loses_its_connection(test, Work::Rollback, &ROLLBACK, &[LinkFault::CutGreeting]).await;
}

#[tokio::test]
async fn prune_that_loses_its_connection_is_honest() {
    let test = "faults::links::prune_that_loses_its_connection_is_honest";
    loses_its_connection(test, Work::Prune, &PRUNE, &[LinkFault::CutGreeting]).await;
}

#[tokio::test]
async fn revert_that_loses_its_connection_is_honest() {
    let test = "faults::links::revert_that_loses_its_connection_is_honest";
    for fault in [LinkFault::CutBefore("revert"), LinkFault::CutAfter("revert")] {
        let mut fleet = TestFleet::new(LocalSession::new()).await;
        fleet.world.config.hooks.activated = hook("! grep -q 2 VERSION");
        fleet.break_link("web1", fault);
        let report = fleet.world.deploy("2").await;
        let row = row_of(Work::Deploy, fault);
        assert!(matches!(report.hosts[0].1, HostResult::Reverted { .. }), "{report:?}");
        fleet.matches_table(test, &row, &report);
        fleet.is_honest(&row, Work::Deploy, &report).await;
    }
}

/// One of two hosts is lost until the next run.
#[tokio::test]
async fn host_lost_for_good_is_reported_unknown() {
    let test = "faults::links::host_lost_for_good_is_reported_unknown";
    let verbs = ["check", "env", "hook", "seal", "stage", "activate", "commit"];
    try_all(
        some(verbs.map(LinkFault::CutForGood).into_iter().chain([LinkFault::Dead])),
        |fault| async move {
            let mut fleet = TestFleet::fleet(LocalSession::new(), &["web1", "web2"]).await;
            fleet.gives_up_soon();
            fleet.break_link("web2", fault);
            let report = fleet.work(Work::Deploy).await;
            let row = row_of(Work::Deploy, fault);
            claims_no_more_than_is_so(&row, &fleet, &report).await;
            fleet.matches_table(test, &row, &report);
            fleet.faults.lock().unwrap().clear();
            fleet.next_deploy_works(&row).await;
        },
    )
    .await;
}

/// The report is true of every host, and a host that nobody can look at is unknown.
async fn claims_no_more_than_is_so(fault: &str, fleet: &TestFleet, report: &Report) {
    fleet.lock_is_free(fault).await;
    for (host, result) in &report.hosts {
        let live = fleet.host(host).live(fault);
        match result {
            HostResult::Done(_) => assert_eq!(live, "2", "{fault}: {report:?}"),
            HostResult::Reverted { .. } | HostResult::Untouched { .. } => {
                assert_eq!(live, "1", "{fault}: {report:?}");
            }
            HostResult::Unknown { .. } => {
                assert_eq!(report.verdict(), RunOutcome::NeedsAttention, "{fault}: {report:?}");
            }
            other => panic!("{fault}: {other:?}"),
        }
    }
}

/// The restart kills the agent that runs it: no process is left on the host to revert.
#[tokio::test]
async fn undecided_release_is_recovered_after_a_second_cut() {
    for verb in ["resume", "revert"] {
        for fault in [LinkFault::CutBefore(verb), LinkFault::CutAfter(verb)] {
            let mut fleet = TestFleet::new(LocalSession::new()).await;
            fleet.world.config.services = vec![command(
                "cat VERSION >../../running; test -e ../../killed || { touch ../../killed; \
                 kill -9 $(cat ../../.shipit/run/*/agent); }",
            )];
            fleet.break_link("web1", fault);
            let report = fleet.world.deploy("2").await;
            assert_ne!(report.verdict(), RunOutcome::Done, "{report:?}");
            fleet.faults.lock().unwrap().clear();
            fleet.lock_is_free(verb).await;
            let next = fleet.world.deploy("3").await;
            assert_eq!(next.verdict(), RunOutcome::Done, "{fault:?}: {next:?}");
            assert_eq!(fleet.host("web1").read("current/VERSION"), "3\n");
        }
    }
}

/// The agent is killed by a hook, and contact is lost for good before the same run can finish what
/// was begun: the next run does it.
#[tokio::test]
async fn hooks_of_a_killed_agent_are_undone_by_the_next_run() {
    let test = "faults::links::hooks_of_a_killed_agent_are_undone_by_the_next_run";
    let kill = "kill -9 $(cat ../../.shipit/run/*/agent)";
    for (place, verb) in [
        (HookPlace::BeforeSwitch, "resume"),
        (HookPlace::Switched, "resume"),
        (HookPlace::Committed, "conclude"),
        (HookPlace::Reverted, "conclude"),
    ] {
        let mut fleet = TestFleet::new(LocalSession::new()).await;
        let name = place.word();
        let hooks = &mut fleet.world.config.hooks;
        if place == HookPlace::Reverted {
            hooks.switched = hook("exit 1");
        }
        let list = match place {
            HookPlace::BeforeSwitch => &mut hooks.before_switch,
            HookPlace::Switched => &mut hooks.switched,
            HookPlace::Committed => &mut hooks.committed,
            HookPlace::Reverted => &mut hooks.reverted,
        };
        let before = place == HookPlace::Committed || place == HookPlace::Reverted;
        list.insert(if before { 0 } else { list.len() }, hook(kill).remove(0));
        hooks.committed.push(hook("echo $SHIPIT_PREVIOUS_RELEASE >>../../previous").remove(0));
        fleet.break_link("web1", LinkFault::CutForGood(verb));
        let report = fleet.work(Work::Deploy).await;
        let row =
            format!("deploy: the host dies while `{name}` hooks run, and nobody connects again");
        assert_eq!(fleet.host("web1").read("balancer").lines().last(), Some("out"), "{row}");
        fault_table::agrees(
            test,
            &row,
            &report,
            &[fleet.host("web1").read("current/VERSION").trim().to_owned()],
        );

        fleet.faults.lock().unwrap().clear();
        let hooks = &mut fleet.world.config.hooks;
        for list in [&mut hooks.before_switch, &mut hooks.committed, &mut hooks.reverted] {
            list.retain(|hook| hook.run != kill);
        }
        hooks.switched.clear();
        fleet.next_deploy_works(&row).await;
        fleet.host("web1").is_back_once(&row);
        let previous = fleet.host("web1").read("previous");
        assert!(previous.starts_with("20260821090003\n"), "{row}: {previous}");
    }
}
