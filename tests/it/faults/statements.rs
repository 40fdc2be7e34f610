//! The agent is killed after any of its statements: no trap runs and no message is sent.

use std::path::Path;

use shipit::deploy::outcome::RunOutcome;

use crate::support::counting::{KillPoints, counting_shell, kill_before, was_killed};
use crate::support::effort::{effort, try_all};
use crate::support::fleet::{TestFleet, Work};

async fn is_killed_after_a_statement(work: Work, cases: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = TestFleet::new(counting_shell(dir.path())).await;
    let points = KillPoints::of(dir.path(), &mut fleet.world, work).await;
    try_all(points.some(cases), |number| async move {
        let dir = tempfile::tempdir().unwrap();
        let fleet = TestFleet::new(counting_shell(dir.path())).await;
        kill_before(dir.path(), number);
        let report = fleet.work(work).await;
        let reached = was_killed(dir.path());
        let case = format!("{work:?}: killed before statement {number}");
        assert!(reached || report.verdict() == RunOutcome::Done, "{case}: {report:?}");
        fleet.is_honest(&case, work, &report).await;
    })
    .await;
}

#[tokio::test]
async fn agent_killed_after_any_statement_of_a_deploy() {
    is_killed_after_a_statement(Work::Deploy, effort(3, 4, usize::MAX)).await;
}

#[tokio::test]
async fn agent_killed_after_any_statement_of_a_deploy_with_a_unit_file() {
    let session = |dir: &Path| counting_shell(dir);
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = TestFleet::bringing_a_unit(&session(dir.path()), dir.path()).await;
    let points = KillPoints::of(dir.path(), &mut fleet.world, Work::Deploy).await;
    fleet.unit_is_true("no fault", dir.path()).await;
    try_all(points.some(effort(3, 4, usize::MAX)), |number| async move {
        let dir = tempfile::tempdir().unwrap();
        let fleet = TestFleet::bringing_a_unit(&session(dir.path()), dir.path()).await;
        kill_before(dir.path(), number);
        let report = fleet.work(Work::Deploy).await;
        was_killed(dir.path());
        let case = format!("killed before statement {number}");
        fleet.unit_is_true(&case, dir.path()).await;
        fleet.is_honest(&case, Work::Deploy, &report).await;
        fleet.unit_is_true(&case, dir.path()).await;
    })
    .await;
}

#[tokio::test]
async fn agent_killed_after_any_statement_of_a_deploy_of_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = TestFleet::with_an_image(&counting_shell(dir.path()), dir.path()).await;
    let points = KillPoints::of(dir.path(), &mut fleet.world, Work::Deploy).await;
    fleet.image_is_true("no fault", dir.path()).await;
    try_all(points.some(effort(2, 3, usize::MAX)), |number| async move {
        let dir = tempfile::tempdir().unwrap();
        let fleet = TestFleet::with_an_image(&counting_shell(dir.path()), dir.path()).await;
        kill_before(dir.path(), number);
        let report = fleet.work(Work::Deploy).await;
        was_killed(dir.path());
        let case = format!("killed before statement {number}");
        fleet.image_is_true(&case, dir.path()).await;
        fleet.is_honest(&case, Work::Deploy, &report).await;
        fleet.image_is_true(&case, dir.path()).await;
        fleet.tags_are_of_releases(&case, dir.path());
    })
    .await;
}

#[tokio::test]
async fn agent_killed_after_any_statement_of_a_rollback() {
    is_killed_after_a_statement(Work::Rollback, effort(1, 2, usize::MAX)).await;
}

#[tokio::test]
async fn agent_killed_after_any_statement_of_a_prune() {
    is_killed_after_a_statement(Work::Prune, effort(1, 2, usize::MAX)).await;
}
