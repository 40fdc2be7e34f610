//! One host through its life.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use std::time::{Duration, Instant};

use shipit::config::Hook;
use shipit::config::checks::{Check, CheckTiming, HealthProbe};
use shipit::deploy::cancel::Cancel;
use shipit::deploy::event::Event;
use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::model::ledger::Ledger;
use shipit::model::operations::operations;
use shipit::report::styles::Styles;
use shipit::report::{Verbosity, summary};

use crate::support::world::{World, hook};

#[tokio::test]
async fn rollback_brings_back_the_release_with_its_own_config() {
    let world = World::new();
    let first = world.deploy("1").await;
    assert_eq!(first.verdict(), RunOutcome::Done, "{first:?}");
    assert_eq!(world.live(), "releases/20260821090001");
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(world.read("current/.env"), "V=1\n");
    assert_eq!(world.read("current/REVISION"), "rev-1\n");
    let mode = |path: &str| fs::metadata(world.root().join(path)).unwrap().permissions().mode();
    assert_eq!(mode("current/.env") & 0o777, 0o600);
    assert_eq!(mode("current/bin/server") & 0o777, 0o555);
    assert_eq!(mode("current/VERSION") & 0o777, 0o444);
    assert_eq!(mode(".shipit") & 0o777, 0o700);

    assert_eq!(world.deploy("2").await.verdict(), RunOutcome::Done);
    assert_eq!(world.read("current/VERSION"), "2\n");
    let back = world.rollback().await;
    assert_eq!(back.verdict(), RunOutcome::Done, "{back:?}");
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(world.read("current/.env"), "V=1\n");
    assert_eq!(world.read("restarts"), "1\n2\n1\n");

    let nothing = world.rollback().await;
    assert_eq!(nothing.verdict(), RunOutcome::NotDone, "the release that was left is not chosen");
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(fs::read_dir(world.root().join(".shipit/run")).unwrap().count(), 0);
}

#[tokio::test]
async fn failed_restart_is_reverted() {
    let world = World::new();
    world.deploy("1").await;
    let bad = world.run(&world.deploy_goal("2", "V=2\n", true)).await;
    assert_eq!(bad.verdict(), RunOutcome::NotDone, "{bad:?}");
    assert!(
        matches!(&bad.hosts[0].1, HostResult::Reverted { live, .. } if live == "20260821090001")
    );
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(world.read("restarts"), "1\n1\n");
    let ledger = world.read(".shipit/ledger.jsonl");
    assert!(ledger.contains(r#""event":"reverted""#), "{ledger}");
    assert!(ledger.contains("restart failed"), "{ledger}");
}

#[tokio::test]
async fn failed_first_deploy_leaves_nothing_live() {
    let world = World::new();
    let bad = world.run(&world.deploy_goal("1", "", true)).await;
    assert_eq!(bad.verdict(), RunOutcome::NotDone, "{bad:?}");
    assert_eq!(world.live(), "nothing");
    assert_eq!(world.read("restarts"), "stopped\n");
}

#[tokio::test]
async fn same_artifact_again_is_unchanged() {
    let world = World::new();
    world.deploy("1").await;
    let again = world.deploy("1").await;
    assert!(matches!(again.hosts[0].1, HostResult::Unchanged { .. }), "{again:?}");
    assert_eq!(again.verdict(), RunOutcome::Done);
    let other = world.run(&world.deploy_goal("1", "V=other\n", false)).await;
    assert!(matches!(other.hosts[0].1, HostResult::Done(_)), "config alone is a new release");
}

#[tokio::test]
async fn prune_keeps_the_live_release_and_the_way_back() {
    let world = World::new();
    for version in ["1", "2", "3", "4"] {
        assert_eq!(world.deploy(version).await.verdict(), RunOutcome::Done);
    }
    assert_eq!(world.releases().len(), 3, "a deploy prunes to keep = 3");
    world.rollback().await;
    let pruned = world.prune(1).await;
    assert_eq!(pruned.verdict(), RunOutcome::Done, "{pruned:?}");
    assert_eq!(world.read("current/VERSION"), "3\n");
    let names = ["20260821090002", "20260821090003", "20260821090004"];
    assert_eq!(world.releases(), names, "way back, live, and the evidence of the rollback");
    assert_eq!(fs::read_dir(world.root().join(".shipit/trash")).unwrap().count(), 0);
}

/// A stage whose `activated` hook starts a worker of that version, and whose second version fails.
fn with_worker() -> World {
    let mut world = World::new();
    world.config.hooks.activated =
        vec![hook("cat VERSION >../../worker"), hook("! grep -q 2 VERSION")];
    world
}

fn told(report: &Report) -> String {
    summary::text(&Styles::plain(), report, Verbosity::Normal)
}

#[tokio::test]
async fn revert_runs_reverted_hooks_or_says_what_is_left() {
    let mut world = with_worker();
    world.deploy("1").await;
    let bad = told(&world.deploy("2").await);
    let left = "state: web1 is back on 20260821090001, but what its `activated` hooks did was not \
                reverted\n";
    assert!(bad.contains(left), "{bad}");
    assert_eq!(world.read("worker"), "2\n");

    let reverted = Hook {
        run: "cat VERSION >../../worker && echo $SHIPIT_HOST".to_owned(),
        once: true,
        ..hook("")
    };
    world.config.hooks.reverted = vec![reverted];
    let bad = told(&world.deploy("2").await);
    assert!(bad.contains("state: web1 is back on 20260821090001\n"), "{bad}");
    assert_eq!(world.read("worker"), "1\n");

    world.config.hooks.reverted[0].run = "exit 3".to_owned();
    let bad = world.deploy("2").await;
    assert_eq!(bad.verdict(), RunOutcome::NotDone);
    let failed = "is back on 20260821090001, but the reverted hook `exit 3` failed\n";
    assert!(told(&bad).contains(failed), "{bad:?}");
}

#[tokio::test]
async fn reverted_release_is_checked_too() {
    let mut world = World::new();
    world.deploy("1").await;
    let health = |command: &str| {
        let probe = HealthProbe::Command(command.to_owned());
        let second = Duration::from_millis(100);
        let pace =
            CheckTiming { interval: second, timeout: second * 9, total: second, successes: 1 };
        vec![Check { probe, pace, roles: Vec::new() }]
    };
    world.config.health.checks =
        health("grep -q 1 VERSION && [ $SHIPIT_RELEASE = 20260821090001 ]");
    let bad = told(&world.deploy("2").await);
    assert!(bad.contains("state: web1 is back on 20260821090001\n"), "{bad}");
    world.config.health.checks = health("exit 7");
    let bad = world.deploy("3").await;
    assert_eq!(bad.verdict(), RunOutcome::NotDone);
    let text = told(&bad);
    assert!(
        text.contains("is back on 20260821090001, but it does not pass the checks either: "),
        "{text}"
    );
}

#[tokio::test]
async fn failed_hook_and_step_durations_are_recorded() {
    let mut world = World::new();
    world.deploy("1").await;
    let hook = hook("sleep 2; exit 4");
    world.config.hooks.staged = vec![hook];
    world.events.lock().unwrap().clear();
    assert_eq!(world.deploy("2").await.verdict(), RunOutcome::NotDone);
    let ledger = world.read(".shipit/ledger.jsonl");
    let told = Ledger::parse(ledger.lines());
    let operation = operations(told.entries()).pop().unwrap();
    let seen = (
        operation.kind.word(),
        operation.release.as_str(),
        operation.outcome.word(),
        operation.reason.as_deref(),
    );
    assert_eq!(seen, ("deploy", "20260821090002", "failed", Some("staged failed")), "{ledger}");
    assert!(operation.took.unwrap().num_seconds() >= 2, "{operation:?}");
    let events = world.events.lock().unwrap();
    let took = events.iter().filter_map(|event| match event {
        Event::StepFinished { took, .. } => Some(*took),
        _ => None,
    });
    assert!(took.max().unwrap() < Duration::from_millis(1500), "{events:?}");
    assert!(
        matches!(
            events.iter().rfind(|event| !matches!(event, Event::Sent { .. })),
            Some(Event::StepFailed { step: "staged", .. })
        ),
        "{events:?}"
    );
}

#[tokio::test]
async fn interrupt_during_a_hook_names_the_hook() {
    let mut world = World::new();
    let begun = world.dir.path().join("begun");
    let run = format!("touch {}; sleep 3", begun.display());
    let hook = hook(&run);
    world.config.hooks.staged = vec![hook];
    let (ask, asked) = tokio::sync::watch::channel(0);
    let cancel = Cancel::new(asked);
    let goal = world.deploy_goal("1", "", false);
    let stopping = async {
        let end = Instant::now() + Duration::from_secs(20);
        while !begun.exists() {
            assert!(Instant::now() < end, "the hook was not run");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ask.send(1).unwrap();
    };
    let (report, ()) = tokio::join!(world.run_with(&goal, &cancel), stopping);
    assert_eq!(report.verdict(), RunOutcome::Interrupted);
    let events = world.events.lock().unwrap();
    let failed = events.iter().find_map(|event| match event {
        Event::StepFailed { step, .. } => Some(*step),
        _ => None,
    });
    assert_eq!(failed, Some("staged"), "{events:?}");
}

#[tokio::test]
async fn second_stop_during_revert_leaves_host_unknown() {
    let mut world = World::new();
    world.deploy("1").await;
    world.config.hooks.activated = vec![hook("false")];
    world.config.hooks.reverted = vec![hook("sleep 2")];
    let (ask, asked) = tokio::sync::watch::channel(0);
    let cancel = Cancel::new(asked);
    let goal = world.deploy_goal("2", "", false);
    let reverts = || {
        let events = world.events.lock().unwrap();
        events.iter().any(|event| matches!(event, Event::Reverting { .. }))
    };
    let stopping = async {
        while !reverts() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ask.send(2).unwrap();
    };
    let (report, ()) = tokio::join!(world.run_with(&goal, &cancel), stopping);
    assert!(matches!(report.hosts[0].1, HostResult::Unknown { .. }), "{report:?}");
    assert_eq!(report.verdict(), RunOutcome::NeedsAttention);
}

#[tokio::test]
async fn release_of_another_tool_of_this_second_is_passed_over() {
    let world = World::new();
    for id in ["20260821090001", "20260821090002"] {
        fs::create_dir_all(world.root().join("releases").join(id)).unwrap();
    }
    let report = world.deploy("1").await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    assert_eq!(world.live(), "releases/20260821090003");
}
