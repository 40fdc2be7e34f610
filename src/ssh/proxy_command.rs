//! A ProxyCommand: a program whose input and output are the connection.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, join};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::model::mutex::lock;
use crate::remote::session::{ByteStream, SessionError};
use crate::ssh::expand::LocalEnv;
use crate::ssh::target::unusable;
use crate::ssh::text;

/// The bytes that are kept of a program's standard error.
const STDERR_KEPT: usize = 4096;
/// A program that ends may still be writing why.
const STDERR_WAIT: Duration = Duration::from_millis(500);

/// A ProxyCommand that runs.
pub(crate) struct Program {
    child: Child,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Reads its standard error to the end.
    keeping: JoinHandle<()>,
}

impl Program {
    /// Starts the program. Returns the connection beside it.
    pub(crate) fn start(
        command: &str,
        around: &LocalEnv,
    ) -> Result<(Box<dyn ByteStream>, Self), SessionError> {
        let failed = |reason: &str| unusable(&format!("ProxyCommand {command}"), reason);
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("exec {command}")])
            .current_dir(&around.cwd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(failed("it has no pipes"));
        };
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeping = tokio::spawn(keep(stderr, kept.clone()));
        let stream = join(stdout, stdin);
        Ok((Box::new(stream), Self { child, stderr: kept, keeping }))
    }

    /// Returns `reason`, with the last line of the program's standard error.
    pub(crate) async fn explain(mut self, reason: String) -> String {
        let ending = async { tokio::join!(self.child.wait(), self.keeping) };
        let _ = timeout(STDERR_WAIT, ending).await;
        let kept = lock(&self.stderr).clone();
        let said = text::plain(&String::from_utf8_lossy(&kept));
        match said.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => format!("{reason}; ProxyCommand says: {}", line.trim()),
            None => reason,
        }
    }
}

/// Reads everything, so that the program never waits for us; keeps the end of it.
async fn keep(mut stderr: ChildStderr, kept: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        let mut kept = lock(&kept);
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..surplus);
    }
}
