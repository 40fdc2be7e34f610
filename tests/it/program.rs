//! Scripts that stand for a host's programs and shells.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes one that can be run. Another process writes it: had this one the file open, so would
/// whatever another thread starts meanwhile, and then running it fails with "text file busy".
pub(crate) fn program(path: &Path, text: &str) {
    let script = ["-c", "cat >\"$0\" && chmod 755 \"$0\""];
    let mut writer =
        Command::new("sh").args(script).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success(), "{}", path.display());
}
