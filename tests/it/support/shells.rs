//! The shells that a host may have.

use std::path::Path;
use std::process::{Command, Stdio};

use shipit::remote::local::LocalSession;

use super::tools::program;

pub(crate) const SHELLS: &[&str] = &["dash", "bash", "busybox sh", "mksh"];

/// The shells of this machine; with SHIPIT_TEST_ALL_SHELLS=1 none may be missing.
pub(crate) fn shells() -> Vec<&'static str> {
    let has = |shell: &&&str| {
        let program = shell.split(' ').next().unwrap();
        Command::new(program).args(["-c", "true"]).stderr(Stdio::null()).status().is_ok()
    };
    let found: Vec<_> = SHELLS.iter().filter(has).copied().collect();
    if std::env::var_os("SHIPIT_TEST_ALL_SHELLS").is_some() {
        assert_eq!(found, SHELLS, "a shell is not installed");
    }
    found
}

/// The local session, with `/bin/sh` of the agent's command replaced by `shell`; by a script in
/// `dir`.
pub(crate) fn session_of(shell: &str, dir: &Path) -> LocalSession {
    let wrapper = dir.join("login");
    let script = format!(
        "#!/bin/bash\ncommand=\"$2\"\nexec {shell} -c \"${{command/#exec \\/bin\\/sh -c/exec {shell} -c}}\"\n"
    );
    program(&wrapper, &script);
    LocalSession::new().shell(wrapper.to_str().unwrap())
}

/// Defines one test for each shell: a module of that name with the tests `dash`, `bash`, `busybox`
/// and `mksh`. The function gets the shell's command line.
macro_rules! under_every_shell {
    ($(#[$doc:meta])* async fn $name:ident($shell:ident: &str) $body:block) => {
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn under(number: usize) {
                let $shell = crate::support::shells::SHELLS[number];
                if crate::support::shells::shells().contains(&$shell) {
                    $body
                }
            }

            #[tokio::test]
            async fn dash() {
                under(0).await;
            }

            #[tokio::test]
            async fn bash() {
                under(1).await;
            }

            #[tokio::test]
            async fn busybox() {
                under(2).await;
            }

            #[tokio::test]
            async fn mksh() {
                under(3).await;
            }
        }
    };
}
pub(crate) use under_every_shell;
