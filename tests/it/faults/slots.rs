//! Faults of a deploy into a slot: one release always has the traffic, and it is whole and runs.

use std::time::Duration;

use shipit::deploy::outcome::RunOutcome;
use shipit::remote::local::LocalSession;

use crate::support::counting::{KillPoints, counting_shell, kill_before, was_killed};
use crate::support::effort::{effort, some, try_all};
use crate::support::fleet::Work;
use crate::support::link::LinkFault;
use crate::support::slots::SlotHost;

#[tokio::test]
async fn release_that_is_sick_in_its_slot_gets_no_traffic() {
    let host = SlotHost::new(LocalSession::new()).await;
    let report = host.world.deploy("sick").await;
    assert_eq!(report.verdict(), RunOutcome::NotDone, "{report:?}");
    host.is_consistent("sick");
    assert_eq!(host.moves(), ["1"]);
    assert_eq!(host.world.deploy("2").await.verdict(), RunOutcome::Done);
    host.is_consistent("2");
    assert_eq!(host.moves(), ["1", "2"]);
    let report = host.world.rollback().await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    host.is_consistent("rollback");
    assert_eq!(host.moves(), ["1", "2", "1"]);
}

#[tokio::test]
async fn release_that_is_unhealthy_behind_the_proxy_gives_the_traffic_back() {
    let host = SlotHost::new(LocalSession::new()).await;
    let report = host.world.deploy("late").await;
    assert_eq!(report.verdict(), RunOutcome::NotDone, "{report:?}");
    host.is_consistent("late");
    assert_eq!(host.moves(), ["1", "late", "1"]);
}

/// The old slot is kept warm: the way back starts nothing.
#[tokio::test]
async fn rollback_into_a_warm_slot_starts_nothing() {
    let mut host = SlotHost::new(LocalSession::new()).await;
    host.world.config.slots.as_mut().unwrap().keep_warm = Duration::from_mins(1);
    assert_eq!(host.world.deploy("2").await.verdict(), RunOutcome::Done);
    let blue = host.read("units/todo@blue.service");
    assert!(blue.starts_with("active 1 "), "{blue}");
    host.world.config.slots.as_mut().unwrap().keep_warm = Duration::ZERO;
    let report = host.world.rollback().await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    assert_eq!(host.read("units/todo@blue.service"), blue, "not started again");
    host.is_consistent("rollback");
    assert_eq!(host.moves(), ["1", "2", "1"]);
}

#[tokio::test]
async fn deploy_into_a_slot_that_loses_its_connection_is_honest() {
    let verbs = ["activate", "judge", "try", "switch", "commit", "bye"];
    let faults =
        verbs.iter().flat_map(|verb| [LinkFault::CutBefore(verb), LinkFault::CutAfter(verb)]);
    try_all(some(faults), |fault| async move {
        let host = SlotHost::new(LocalSession::new()).await;
        host.faults.lock().unwrap().insert("web1".to_owned(), fault);
        let case = format!("{fault:?}");
        let report = host.world.deploy("2").await;
        assert!(host.faults.lock().unwrap().is_empty(), "{case}: never met");
        host.is_unlocked(&case).await;
        host.is_consistent(&case);
        let live = if report.verdict() == RunOutcome::Done { "2" } else { "1" };
        assert_eq!(host.version(), live, "{case}: {report:?}");
        assert_eq!(host.world.deploy("3").await.verdict(), RunOutcome::Done, "{case}");
        host.is_consistent(&case);
    })
    .await;
}

#[tokio::test]
async fn agent_killed_after_any_statement_of_a_deploy_into_a_slot() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = SlotHost::new(counting_shell(dir.path())).await;
    let points = KillPoints::of(dir.path(), &mut host.world, Work::Deploy).await;
    try_all(points.some(effort(4, 6, usize::MAX)), |number| async move {
        let dir = tempfile::tempdir().unwrap();
        let host = SlotHost::new(counting_shell(dir.path())).await;
        kill_before(dir.path(), number);
        let report = host.world.deploy("2").await;
        was_killed(dir.path());
        let case = format!("killed before statement {number}: {report:?}");
        host.is_unlocked(&case).await;
        let served = host.serves(&case);
        assert!(["1", "2"].contains(&&*served), "{case}: {served}");
        let report = host.world.deploy("3").await;
        assert_eq!(report.verdict(), RunOutcome::Done, "{case}: {report:?}");
        assert_eq!(host.version(), "3", "{case}");
        host.is_consistent(&case);
    })
    .await;
}
