//! The agent is killed after any of its statements: no trap runs and no message is sent.

use std::fs;
use std::path::{Path, PathBuf};

use shipit::deploy::outcome::RunOutcome;
use shipit::remote::local::LocalSession;

use crate::support::effort::{effort, try_all};
use crate::support::fleet::{TestFleet, Work};
use crate::support::tools::program;

/// A login shell that hands the agent to a bash which counts its statements and, if there is a
/// number in `kill-at`, kills it when it is reached, once.
fn counting_shell(dir: &Path) -> LocalSession {
    let file = |name: &str, text: String| -> PathBuf {
        let path = dir.join(name);
        program(&path, &text);
        path
    };
    let here = dir.display();
    let count = format!(
        "set -T\nstatements=0\n\
         trap 'statements=$((statements + 1)); if [ \"$BASHPID\" = $$ ]; then \
         echo $statements >{here}/count; if [ -e {here}/kill-at ] && \
         [ $statements -ge $(<{here}/kill-at) ]; then rm {here}/kill-at; kill -9 $$; fi; fi' DEBUG\n"
    );
    let env = file("count.sh", count);
    // Only the conversation is counted, not the channel of an upload.
    let login = file(
        "login",
        format!(
            "#!/bin/bash\ncase $2 in *\"'serve'\"*) export BASH_ENV={} ;; esac\n\
             command=${{2/#exec \\/bin\\/sh -c/exec bash -c}}\nexec bash -c \"unset BASH_ENV; \
             BASH_ENV=${{BASH_ENV-}} $command\"\n",
            env.display()
        ),
    );
    LocalSession::new().shell(login.to_str().unwrap())
}

fn count(dir: &Path) -> usize {
    fs::read_to_string(dir.join("count")).unwrap().trim().parse().unwrap()
}

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
