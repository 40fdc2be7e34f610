//! A shell that counts the statements of the agent, and kills it after one of them.

use std::fs;
use std::path::{Path, PathBuf};

use shipit::remote::local::LocalSession;

use super::tools::program;

/// A login shell that hands the agent to a bash which counts its statements and, if there is a
/// number in `kill-at`, kills it when it is reached, once.
pub(crate) fn counting_shell(dir: &Path) -> LocalSession {
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

/// Returns the number of statements of the last conversation.
pub(crate) fn count(dir: &Path) -> usize {
    fs::read_to_string(dir.join("count")).unwrap().trim().parse().unwrap()
}
