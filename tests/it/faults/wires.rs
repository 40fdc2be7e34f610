//! Connections that break: before an order arrives, after it was obeyed, in the middle of an
//! upload, for a while and for good.

use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::model::service::Service;
use shipit::remote::local::LocalSession;

use super::oracle::{Subject, Work, hook};
use super::{some, try_all};
use crate::features::wires::Wire;

/// Every order of a deploy that goes well, of a rollback and of a prune.
const DEPLOY: [&str; 13] = [
    "unpack", "check", "link", "env", "revision", "hook", "seal", "stage", "activate", "commit",
    "prune", "sweep", "bye",
];
const ROLLBACK: [&str; 4] = ["activate", "hook", "commit", "bye"];
const PRUNE: [&str; 3] = ["prune", "sweep", "bye"];

/// How the table names a fault.
fn fault(work: Work, wire: Wire) -> String {
    let work = format!("{work:?}").to_lowercase();
    match wire {
        Wire::CutBefore(verb) => format!("{work}: cut off before `{verb}` arrives"),
        Wire::CutAfter(verb) => format!("{work}: cut off after `{verb}` was obeyed"),
        Wire::CutForGood(verb) => format!("{work} to two: web2 is lost for good at `{verb}`"),
        Wire::CutGreeting => format!("{work}: cut off before the greeting arrives"),
        Wire::HalfUpload => format!("{work}: cut off in the middle of the upload"),
        Wire::Dead => format!("{work} to two: web2 does not answer"),
    }
}

async fn loses_its_connection(test: &str, work: Work, verbs: &[&'static str], more: &[Wire]) {
    let wires = verbs.iter().flat_map(|verb| [Wire::CutBefore(verb), Wire::CutAfter(verb)]);
    try_all(some(wires.chain(more.iter().copied())), |wire| async move {
        let subject = Subject::new(LocalSession::new()).await;
        subject.wire("web1", wire);
        let report = subject.work(work).await;
        let fault = fault(work, wire);
        assert!(subject.faults.lock().unwrap().is_empty(), "{fault}: never met");
        subject.is_in_the_table(test, &fault, &report);
        subject.is_honest(&fault, work, &report).await;
    })
    .await;
}

#[tokio::test]
async fn a_deploy_loses_its_connection() {
    let test = "faults::wires::a_deploy_loses_its_connection";
    let more = [Wire::HalfUpload, Wire::CutGreeting];
    loses_its_connection(test, Work::Deploy, &DEPLOY, &more).await;
}

#[tokio::test]
async fn a_deploy_that_shares_files_loses_its_connection() {
    let verbs = ["manifest", "unpack", "check", "seal", "sweep"];
    let wires = verbs.iter().flat_map(|verb| [Wire::CutBefore(verb), Wire::CutAfter(verb)]);
    try_all(some(wires.chain([Wire::HalfUpload])), |wire| async move {
        let subject = Subject::new(LocalSession::new()).await.sharing();
        subject.wire("web1", wire);
        let report = subject.work(Work::Deploy).await;
        let fault = fault(Work::Deploy, wire);
        assert!(subject.faults.lock().unwrap().is_empty(), "{fault}: never met");
        subject.is_honest(&fault, Work::Deploy, &report).await;
    })
    .await;
}

#[tokio::test]
async fn a_rollback_loses_its_connection() {
    let test = "faults::wires::a_rollback_loses_its_connection";
    loses_its_connection(test, Work::Rollback, &ROLLBACK, &[Wire::CutGreeting]).await;
}

#[tokio::test]
async fn a_prune_loses_its_connection() {
    let test = "faults::wires::a_prune_loses_its_connection";
    loses_its_connection(test, Work::Prune, &PRUNE, &[Wire::CutGreeting]).await;
}

#[tokio::test]
async fn a_revert_loses_its_connection() {
    let test = "faults::wires::a_revert_loses_its_connection";
    for wire in [Wire::CutBefore("revert"), Wire::CutAfter("revert")] {
        let mut subject = Subject::new(LocalSession::new()).await;
        subject.world.config.hooks.activated = hook("! grep -q 2 VERSION");
        subject.wire("web1", wire);
        let report = subject.world.deploy("2").await;
        let fault = fault(Work::Deploy, wire);
        assert!(matches!(report.hosts[0].1, HostResult::Reverted { .. }), "{report:?}");
        subject.is_in_the_table(test, &fault, &report);
        subject.is_honest(&fault, Work::Deploy, &report).await;
    }
}

/// One of two hosts goes and is not seen again until the next run.
#[tokio::test]
async fn a_host_is_lost_for_good() {
    let test = "faults::wires::a_host_is_lost_for_good";
    let verbs = ["check", "env", "hook", "seal", "stage", "activate", "commit"];
    try_all(some(verbs.map(Wire::CutForGood).into_iter().chain([Wire::Dead])), |wire| async move {
        let subject = Subject::fleet(LocalSession::new(), &["web1", "web2"]).await;
        subject.wire("web2", wire);
        let report = subject.work(Work::Deploy).await;
        let fault = fault(Work::Deploy, wire);
        claims_no_more_than_is_so(&fault, &subject, &report).await;
        subject.is_in_the_table(test, &fault, &report);
        subject.faults.lock().unwrap().clear();
        subject.goes_on(&fault).await;
    })
    .await;
}

/// What is said of a host is so; of one that nobody can look at, that it is unknown.
async fn claims_no_more_than_is_so(fault: &str, subject: &Subject, report: &Report) {
    subject.is_let_go(fault).await;
    for (host, result) in &report.hosts {
        let live = subject.site(host).live(fault);
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

/// The agent is killed by the restart it runs: nobody is left on the host to put anything back.
#[tokio::test]
async fn what_nobody_decided_is_settled_though_contact_is_lost_again() {
    for verb in ["resume", "revert"] {
        for wire in [Wire::CutBefore(verb), Wire::CutAfter(verb)] {
            let mut subject = Subject::new(LocalSession::new()).await;
            subject.world.config.service = Service::Command {
                restart: "cat VERSION >../../running; test -e ../../killed || { touch \
                          ../../killed; kill -9 $(cat ../../.shipit/run/*/agent); }"
                    .to_owned(),
                stop: None,
                log: None,
                limit: std::time::Duration::from_secs(10),
            };
            subject.wire("web1", wire);
            let report = subject.world.deploy("2").await;
            assert_ne!(report.verdict(), RunOutcome::Done, "{report:?}");
            subject.faults.lock().unwrap().clear();
            subject.is_let_go(verb).await;
            let next = subject.world.deploy("3").await;
            assert_eq!(next.verdict(), RunOutcome::Done, "{wire:?}: {next:?}");
            assert_eq!(subject.site("web1").read("current/VERSION"), "3\n");
        }
    }
}
