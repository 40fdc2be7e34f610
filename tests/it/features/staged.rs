//! Stage now, activate later.

use std::fs;

use shipit::deploy::goal::Goal;
use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::model::ledger::Ledger;
use shipit::model::operations::operations;
use shipit::report::styles::Styles;
use shipit::report::{Verbosity, summary};

use crate::support::world::{World, hook, staged};

fn printed(report: &Report) -> String {
    summary::text(&Styles::plain(), report, Verbosity::Normal)
}

#[track_caller]
fn done(report: &Report) {
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
}

/// Returns what was done to which release, and the outcome.
fn told(world: &World) -> Vec<String> {
    let text = world.read(".shipit/ledger.jsonl");
    let ledger = Ledger::parse(text.lines());
    let words = operations(ledger.entries())
        .into_iter()
        .map(|it| format!("{} {} {}", it.kind.word(), &it.release[12..], it.outcome.word()));
    words.collect()
}

#[tokio::test]
async fn staged_release_changes_nothing_live_until_it_is_activated() {
    let world = World::new();
    done(&world.deploy("1").await);
    let report = world.stage("2").await;
    done(&report);
    let said = printed(&report);
    assert!(said.starts_with("20260821090002 is staged on web1; "), "{said}");
    assert!(said.ends_with("`shipit activate test` makes it live within 7 days\n"), "{said}");
    assert_eq!(
        (world.read("current/VERSION"), world.read("restarts")),
        ("1\n".into(), "1\n".into())
    );

    let again = world.stage("2").await;
    assert!(matches!(again.hosts[0].1, HostResult::Unchanged { .. }), "{again:?}");
    let said = printed(&again);
    assert!(said.starts_with("unchanged: 20260821090002 is staged on web1 already"), "{said}");

    let report = world.activate().await;
    done(&report);
    assert!(printed(&report).starts_with("20260821090002 is live on web1 (was 20260821090001)"));
    assert_eq!(
        (world.read("current/VERSION"), world.read("current/.env")),
        ("2\n".into(), "V=2\n".into())
    );
    assert_eq!(world.read("restarts"), "1\n2\n");
    done(&world.rollback().await);
    assert_eq!(world.read("current/VERSION"), "1\n");
    let expected = ["deploy 01 done", "stage 02 done", "activate 02 done", "rollback 01 done"];
    assert_eq!(told(&world), expected);
    let revisions = world.read("revisions.log");
    assert!(revisions.contains("todo (at rev-2) deployed as release 20260821090002 by ada"));
}

#[tokio::test]
async fn staged_release_that_fails_its_checks_is_reverted() {
    let world = World::new();
    done(&world.deploy("1").await);
    done(&world.run(&staged(&world.deploy_goal("2", "V=2\n", true))).await);
    let report = world.activate().await;
    assert!(matches!(report.hosts[0].1, HostResult::Reverted { .. }), "{report:?}");
    assert_eq!(world.read("current/VERSION"), "1\n");
    let again = world.activate().await;
    assert!(printed(&again).contains("error: no release is staged"), "{again:?}");
    let named = world.run(&Goal::Activate("20260821090002".parse().ok())).await;
    let said = printed(&named);
    assert!(said.contains("20260821090002 cannot be activated: its state is `reverted`"), "{said}");
}

#[tokio::test]
async fn activation_says_why_a_release_may_not_be_activated() {
    let world = World::new();
    done(&world.deploy("1").await);
    done(&world.stage("2").await);
    done(&world.deploy("3").await);
    let refused = async |id: &str| {
        let report = world.run(&Goal::Activate(id.parse().ok())).await;
        assert_eq!(report.verdict(), RunOutcome::NotDone);
        printed(&report)
    };
    let said = refused("20260821090002").await;
    assert!(said.contains("20260821090003, which was made later, is live"), "{said}");
    assert!(said.contains("hint:  `shipit stage test` stages its build anew"), "{said}");
    let said = refused("20260821090001").await;
    assert!(said.contains("its state is `good`"), "{said}");
    assert!(said.contains("`shipit rollback test --to 20260821090001` makes it live"), "{said}");
    assert!(refused("20260821090009").await.contains("it is not on this host"));

    done(&world.stage("4").await);
    let path = world.root().join(".shipit/ledger.jsonl");
    let ledger = fs::read_to_string(&path).unwrap();
    let (before, last) = ledger.split_at(ledger.rfind("\"expires\":\"20").unwrap() + 11);
    fs::write(&path, format!("{before}2001{}", &last[4..])).unwrap();
    let id = world.releases().pop().unwrap();
    assert!(refused(&id).await.contains("it expired at 2001-"));
    assert_eq!(world.read("current/VERSION"), "3\n");
    done(&world.prune(3).await);
    assert!(!world.releases().contains(&id), "what has expired is deleted");
}

#[tokio::test]
async fn release_that_local_staged_did_not_pass_is_not_activated() {
    let mut world = World::new();
    done(&world.deploy("1").await);
    world.config.hooks.local_staged = vec![hook("false")];
    assert_eq!(world.stage("2").await.verdict(), RunOutcome::NotDone);
    let report = world.activate().await;
    assert!(printed(&report).contains("error: no release is staged"), "{report:?}");
    let report = world.run(&Goal::Activate("20260821090002".parse().ok())).await;
    assert!(printed(&report).contains("no `shipit stage` that ended well made it"), "{report:?}");
    done(&world.prune(3).await);
    assert_eq!(world.releases().len(), 1);
}

#[tokio::test]
async fn local_hooks_know_whether_a_build_is_staged_or_activated() {
    let mut world = World::new();
    let note = |name: &str| {
        vec![hook(&format!("echo {name} $SHIPIT_COMMAND >>{}/ran", world.dir.path().display()))]
    };
    let hooks = [note("before"), note("hosts"), note("staged"), note("after"), note("failed")];
    let [before, on_hosts, local_staged, after, failed] = hooks;
    world.config.hooks.before = before;
    world.config.hooks.staged = on_hosts;
    world.config.hooks.local_staged = local_staged;
    world.config.hooks.after = after;
    world.config.hooks.failed = failed;
    let goal = staged(&world.deploy_goal("1", "V=1\n", false));
    done(&world.build_and_run(goal).await);
    done(&world.activate().await);
    assert_eq!(world.activate().await.verdict(), RunOutcome::NotDone);
    let ran = fs::read_to_string(world.dir.path().join("ran")).unwrap();
    assert_eq!(ran, "before stage\nhosts stage\nstaged stage\nafter activate\nfailed activate\n");
}

#[tokio::test]
async fn deploy_keeps_what_is_staged_and_a_dry_run_says_what_stage_does() {
    let world = World::new();
    done(&world.deploy("1").await);
    let plan = world.rehearsed(&staged(&world.deploy_goal("2", "V=2\n", false))).await;
    assert!(plan.contains(&"record that it waits to be activated".to_owned()), "{plan:?}");
    assert!(!plan.iter().any(|line| line.starts_with("flip")), "{plan:?}");
    done(&world.stage("2").await);
    done(&world.deploy("3").await);
    assert_eq!(world.releases().len(), 3);
    done(&world.stage("4").await);
    let plan = world.rehearsed(&Goal::Activate(None)).await;
    assert!(plan[0].starts_with("flip current to 2026"), "{plan:?}");
}
