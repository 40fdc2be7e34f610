//! The agent is killed after any of its statements: no trap runs and no message is sent.

use std::fs;
use std::path::Path;

use shipit::deploy::outcome::RunOutcome;

use crate::support::counting::{count, counting_shell};
use crate::support::effort::{effort, try_all};
use crate::support::fleet::{TestFleet, Work};

async fn is_killed_after_a_statement(work: Work, cases: usize) {
    let dir = tempfile::tempdir().unwrap();
    TestFleet::new(counting_shell(dir.path())).await.work(work).await;
    let all = count(dir.path());
    assert!(all > 0, "no statement was counted");
    try_all((1..all).step_by((all / cases).max(1)), |number| async move {
        let dir = tempfile::tempdir().unwrap();
        let fleet = TestFleet::new(counting_shell(dir.path())).await;
        fs::write(dir.path().join("kill-at"), number.to_string()).unwrap();
        let report = fleet.work(work).await;
        // A run that waits less has fewer statements.
        let reached = !dir.path().join("kill-at").exists();
        let case = format!("{work:?}: killed after {number} of {all}");
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
    let fleet = TestFleet::bringing_a_unit(&session(dir.path()), dir.path()).await;
    let report = fleet.work(Work::Deploy).await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    fleet.unit_is_true("no fault", dir.path()).await;
    let all = count(dir.path());
    let cases = effort(4, 8, usize::MAX);
    try_all((1..all).step_by((all / cases).max(1)), |number| async move {
        let dir = tempfile::tempdir().unwrap();
        let fleet = TestFleet::bringing_a_unit(&session(dir.path()), dir.path()).await;
        fs::write(dir.path().join("kill-at"), number.to_string()).unwrap();
        let report = fleet.work(Work::Deploy).await;
        let case = format!("killed after {number} of {all}");
        fleet.unit_is_true(&case, dir.path()).await;
        fleet.is_honest(&case, Work::Deploy, &report).await;
        fleet.unit_is_true(&case, dir.path()).await;
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
