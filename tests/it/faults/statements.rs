//! The agent dies after any of its statements: killed, with no trap run and nobody told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use shipit::deploy::outcome::Verdict;
use shipit::remote::local::LocalSession;

use super::oracle::Subject;
use super::{effort, try_all};

/// A login shell that hands the agent to a bash which counts its statements and, if there is a
/// number in `kill-at`, kills it when it is reached, once.
fn counting_shell(dir: &Path) -> LocalSession {
    let file = |name: &str, text: String| -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
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

#[tokio::test]
async fn the_agent_is_killed_after_a_statement() {
    let dir = tempfile::tempdir().unwrap();
    let subject = Subject::new(counting_shell(dir.path())).await;
    subject.world.deploy("2").await;
    let all = count(dir.path());
    assert!(all > 500, "{all} statements were counted");
    let step = effort(all / 6, all / 24, 1);
    try_all((1..all).step_by(step), |number| async move {
        let dir = tempfile::tempdir().unwrap();
        let subject = Subject::new(counting_shell(dir.path())).await;
        fs::write(dir.path().join("kill-at"), number.to_string()).unwrap();
        let report = subject.world.deploy("2").await;
        // A run that waits less has fewer statements.
        let reached = !dir.path().join("kill-at").exists();
        assert!(reached || report.verdict() == Verdict::Done, "{number}: {report:?}");
        subject.is_honest(&format!("killed after {number} of {all}"), &report).await;
    })
    .await;
}
