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
