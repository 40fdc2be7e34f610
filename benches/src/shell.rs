//! Calls other programs.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Runs a program to its end; fails with what it said unless it succeeds.
pub(crate) fn call<A: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = A>,
) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    let output = command.output().with_context(|| format!("could not start {program}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a command whose words are separated by blanks.
pub(crate) fn words(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    call(words.next().unwrap_or_default(), words)
}

/// The first line that a program says about itself, wherever it says it.
pub(crate) fn version(line: &str) -> String {
    let output = Command::new("sh").args(["-c", &format!("({line}) 2>&1 | head -n1")]).output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
