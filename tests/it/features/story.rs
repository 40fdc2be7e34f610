//! One host through its life.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use shipit::deploy::outcome::{HostResult, Verdict};

use super::world::World;

#[tokio::test]
async fn deploys_replaces_and_rolls_back_with_its_own_config() {
    let world = World::new();
    let first = world.deploy("1").await;
    assert_eq!(first.verdict(), Verdict::Done, "{first:?}");
    assert_eq!(world.live(), "releases/20260821090001");
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(world.read("current/.env"), "V=1\n");
    assert_eq!(world.read("current/REVISION"), "rev-1\n");
    let mode = |path: &str| fs::metadata(world.root().join(path)).unwrap().permissions().mode();
    assert_eq!(mode("current/.env") & 0o777, 0o600);
    assert_eq!(mode("current/bin/server") & 0o777, 0o555);
    assert_eq!(mode("current/VERSION") & 0o777, 0o444);
    assert_eq!(mode(".shipit") & 0o777, 0o700);

    assert_eq!(world.deploy("2").await.verdict(), Verdict::Done);
    assert_eq!(world.read("current/VERSION"), "2\n");
    let back = world.rollback().await;
    assert_eq!(back.verdict(), Verdict::Done, "{back:?}");
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(world.read("current/.env"), "V=1\n");
    assert_eq!(world.read("restarts"), "1\n2\n1\n");

    let nothing = world.rollback().await;
    assert_eq!(nothing.verdict(), Verdict::NotDone, "the release that was left is not chosen");
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(fs::read_dir(world.root().join(".shipit/run")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_restart_that_fails_is_taken_back() {
    let world = World::new();
    world.deploy("1").await;
    let bad = world.run(&world.deploy_goal("2", "V=2\n", true)).await;
    assert_eq!(bad.verdict(), Verdict::NotDone, "{bad:?}");
    assert!(
        matches!(&bad.hosts[0].1, HostResult::PutBack { live, .. } if live == "20260821090001")
    );
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(world.read("restarts"), "1\n1\n");
    let ledger = world.read(".shipit/ledger.jsonl");
    assert!(ledger.contains(r#""event":"reverted""#), "{ledger}");
    assert!(ledger.contains("restart failed"), "{ledger}");
}

#[tokio::test]
async fn a_first_deploy_that_fails_leaves_nothing_live() {
    let world = World::new();
    let bad = world.run(&world.deploy_goal("1", "", true)).await;
    assert_eq!(bad.verdict(), Verdict::NotDone, "{bad:?}");
    assert_eq!(world.live(), "nothing");
    assert_eq!(world.read("restarts"), "stopped\n");
}

#[tokio::test]
async fn the_same_again_is_unchanged() {
    let world = World::new();
    world.deploy("1").await;
    let again = world.deploy("1").await;
    assert!(matches!(again.hosts[0].1, HostResult::Unchanged { .. }), "{again:?}");
    assert_eq!(again.verdict(), Verdict::Done);
    let other = world.run(&world.deploy_goal("1", "V=other\n", false)).await;
    assert!(matches!(other.hosts[0].1, HostResult::Done(_)), "config alone is a new release");
}

#[tokio::test]
async fn prune_keeps_what_is_live_and_the_way_back() {
    let world = World::new();
    for version in ["1", "2", "3", "4"] {
        assert_eq!(world.deploy(version).await.verdict(), Verdict::Done);
    }
    assert_eq!(world.releases().len(), 3, "a deploy prunes to keep = 3");
    world.rollback().await;
    let pruned = world.prune(1).await;
    assert_eq!(pruned.verdict(), Verdict::Done, "{pruned:?}");
    assert_eq!(world.read("current/VERSION"), "3\n");
    let names = ["20260821090002", "20260821090003", "20260821090004"];
    assert_eq!(world.releases(), names, "way back, live, and the evidence of the rollback");
    assert_eq!(fs::read_dir(world.root().join(".shipit/trash")).unwrap().count(), 0);
}
