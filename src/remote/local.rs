//! A session with this machine: runs the same commands without SSH.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};

use bytes::BytesMut;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::quote::word;
use super::session::{ByteStream, Channel, Exit, Output, Session, SessionError};

/// Number of output pieces that may wait to be read.
const QUEUE: usize = 64;

/// Returns whether a command gets this variable of our environment, as from sshd and a login.
/// Secrets of a CI job are not among them.
fn is_passed(name: &str) -> bool {
    const PASSED: [&str; 10] = [
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PATH",
        "LANG",
        "TZ",
        "TMPDIR",
        "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
    ];
    PASSED.contains(&name) || name.starts_with("LC_")
}

/// Runs commands with a shell on this machine.
#[derive(Debug, Clone)]
pub struct LocalSession {
    shell: String,
    vars: BTreeMap<String, String>,
    /// Whether commands get `vars` only, and not the environment of this process.
    clean: bool,
}

impl Default for LocalSession {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalSession {
    /// Returns a session with `/bin/sh` and this process's environment.
    pub fn new() -> Self {
        Self { shell: "/bin/sh".to_owned(), vars: BTreeMap::new(), clean: false }
    }

    /// Returns a session with `/bin/sh` and the variables that a login would set.
    pub fn login(env: &BTreeMap<String, String>) -> Self {
        let passed = env.iter().filter(|(name, _)| is_passed(name));
        let vars = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { vars, clean: true, ..Self::new() }
    }

    /// Returns this session with another shell.
    #[must_use]
    pub fn shell(mut self, shell: &str) -> Self {
        shell.clone_into(&mut self.shell);
        self
    }

    /// Returns this session with one more environment variable.
    #[must_use]
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Returns a command that does for another session what `command` does for this one.
    pub fn written(&self, command: &str) -> String {
        let clean = if self.clean { "-i " } else { "" };
        let vars = self.vars.iter().map(|(name, value)| word(&format!("{name}={value}")) + " ");
        format!("exec env {clean}{}{} -c {}", vars.collect::<String>(), self.shell, word(command))
    }

    fn spawn(&self, command: &str) -> Result<Child, SessionError> {
        let mut shell = Command::new(&self.shell);
        if self.clean {
            shell.env_clear();
        }
        shell
            .arg("-c")
            .arg(command)
            .envs(&self.vars)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // As under sshd, a channel's processes are one group, which can be ended as one. Ctrl-C
            // at our terminal then reaches only us.
            .process_group(0)
            .spawn()
            .map_err(|source| SessionError::Unreachable {
                address: self.shell.clone(),
                source,
                by_hand: Box::default(),
            })
    }
}

impl Session for LocalSession {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        Box::pin(async move {
            let mut child = self.spawn(command)?;
            let gone = || SessionError::Lost { reason: "the shell has no pipes".to_owned() };
            let input = child.stdin.take().ok_or_else(gone)?;
            let stdout = child.stdout.take().ok_or_else(gone)?;
            let stderr = child.stderr.take().ok_or_else(gone)?;
            let (sender, output) = mpsc::channel(QUEUE);
            let out = tokio::spawn(pump(stdout, sender.clone(), Output::Stdout));
            let err = tokio::spawn(pump(stderr, sender.clone(), Output::Stderr));
            tokio::spawn(async move {
                let status = child.wait().await;
                let _ = tokio::join!(out, err);
                if let Ok(status) = status {
                    let _ = sender.send(Output::Exit(exit(status))).await;
                }
            });
            Ok(Channel { input: Box::pin(input), output })
        })
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
        Box::pin(async move {
            let refused = |error: std::io::Error| SessionError::DialRefused {
                address: format!("{host}:{port}"),
                reason: error.to_string(),
                forbidden: false,
            };
            let stream = TcpStream::connect((host, port)).await.map_err(refused)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::Sender<Output>,
    piece: fn(bytes::Bytes) -> Output,
) {
    let mut buffer = BytesMut::with_capacity(32 * 1024);
    while let Ok(read) = from.read_buf(&mut buffer).await {
        if read == 0 || to.send(piece(buffer.split().freeze())).await.is_err() {
            break;
        }
        buffer.reserve(32 * 1024);
    }
}

fn exit(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u32::try_from(code).unwrap_or(255)),
        (None, Some(signal)) => Exit::Signal(signal.to_string()),
        (None, None) => Exit::Code(255),
    }
}
