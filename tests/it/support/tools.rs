//! Scripts and directories of programs that stand for what a host has.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shipit::remote::local::LocalSession;

/// Writes one that can be run. Another process writes it: had this one the file open, so would
/// whatever another thread starts meanwhile, and then running it fails with "text file busy".
pub(crate) fn program(path: &Path, text: &str) {
    let script = ["-c", "cat >\"$0\" && chmod 755 \"$0\""];
    let mut writer =
        Command::new("sh").args(script).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success(), "{}", path.display());
}

/// The session with these programs, in `dir`, before those of this machine.
pub(crate) fn with_tools(
    session: &LocalSession,
    dir: &Path,
    tools: &[(&str, &str)],
) -> LocalSession {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (name, text) in tools {
        program(&bin.join(name), text);
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    session.clone().var("PATH", &path)
}

/// The directories of this machine's tools, without some and with scripts for others.
pub(crate) fn tools(dir: &Path, without: &[&str], scripts: &[(&str, &str)]) -> PathBuf {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for from in ["/usr/bin", "/bin", "/usr/sbin"] {
        for entry in fs::read_dir(from).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let replaced = scripts.iter().any(|(script, _)| *script == name);
            if !without.contains(&name.as_str()) && !replaced {
                let _ = symlink(entry.path(), bin.join(name));
            }
        }
    }
    for (name, text) in scripts {
        program(&bin.join(name), &format!("#!/bin/sh\n{text}\n"));
    }
    bin
}

/// A directory with all programs of this machine but some.
pub(crate) fn tools_without(names: &[&str]) -> tempfile::TempDir {
    let tools = tempfile::tempdir().unwrap();
    for folder in ["/bin", "/usr/bin"] {
        for tool in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = tool.file_name();
            if !names.iter().any(|without| name == *without) {
                let _ = std::os::unix::fs::symlink(tool.path(), tools.path().join(name));
            }
        }
    }
    tools
}

pub(crate) fn only(tools: &Path) -> LocalSession {
    LocalSession::new().var("PATH", tools.to_str().unwrap())
}

/// Returns whether this machine has the tool. Fails without it if SHIPIT_TEST_ALL_SHELLS=1.
pub(crate) fn has(tool: &str) -> bool {
    let found = ["/bin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(tool).exists());
    assert!(found || std::env::var_os("SHIPIT_TEST_ALL_SHELLS").is_none(), "{tool} is missing");
    found
}
