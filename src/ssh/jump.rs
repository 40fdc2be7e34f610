//! Ways to a host that are not a plain TCP connection: other hosts, and programs.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, join};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::model::mutex::lock;
use crate::remote::session::{BY_SETTING, ByteStream, SessionError};
use crate::ssh::connect::{Connection, Connector, Hop};
use crate::ssh::expand::LocalEnv;
use crate::ssh::ssh_config::HostSettings;
use crate::ssh::target::SshTarget;
use crate::ssh::{text, tunnel};

/// More hops than this are a loop.
const MOST_HOPS: usize = 8;
/// The bytes that are kept of a program's standard error.
const STDERR_KEPT: usize = 4096;
/// A program that ends may still be writing why.
const STDERR_WAIT: Duration = Duration::from_millis(500);

/// The carrier of a connection; it lives as long as the connection does.
pub(crate) enum Transport {
    Direct,
    Jump(Box<Connection>),
    Command(Program),
}

/// A ProxyCommand at work.
pub(crate) struct Program {
    child: Child,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Reads its standard error to the end.
    keeping: JoinHandle<()>,
}

impl Transport {
    /// `reason`, and what the program had to say about it.
    pub(crate) async fn explain(self, reason: String) -> String {
        let Self::Command(mut program) = self else { return reason };
        let ending = async { tokio::join!(program.child.wait(), program.keeping) };
        let _ = timeout(STDERR_WAIT, ending).await;
        let kept = lock(&program.stderr).clone();
        let said = text::plain(&String::from_utf8_lossy(&kept));
        match said.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => format!("{reason}; ProxyCommand says: {}", line.trim()),
            None => reason,
        }
    }
}

/// The hops before the host. A host that is its own jump host, as `Host *` may make it, has none.
pub(crate) fn hops(settings: &HostSettings, wanted: &Hop) -> Vec<SshTarget> {
    if let Some(via) = &wanted.via {
        return via.clone();
    }
    let hops = settings.proxy_jump.clone();
    let own = |hop: &SshTarget| {
        hop.host.eq_ignore_ascii_case(&settings.alias)
            || hop.host.eq_ignore_ascii_case(&settings.hostname)
    };
    match hops.last() {
        Some(last) if own(last) && last.port.unwrap_or(22) == settings.port => Vec::new(),
        _ => hops,
    }
}

/// Connects to the last hop, through those before it, and on to the host from there.
pub(crate) async fn through(
    connector: &Connector,
    wanted: &Hop,
    hops: &[SshTarget],
    settings: &HostSettings,
) -> Result<(Box<dyn ByteStream>, Transport), SessionError> {
    let Some((last, before)) = hops.split_last() else {
        return Err(unusable(settings, "there is no hop in it"));
    };
    if wanted.depth >= MOST_HOPS {
        return Err(unusable(settings, "the hops go round in a circle"));
    }
    let hop = Hop {
        name: wanted.name.clone(),
        target: last.clone(),
        pin: None,
        via: (!before.is_empty()).then(|| before.to_vec()),
        depth: wanted.depth + 1,
        further: wanted.further,
    };
    let failed = |source| SessionError::Jump { hop: last.host.clone(), source: Box::new(source) };
    let connection = connector.open(&hop).await.map_err(failed)?;
    let stream = dial(&connection, settings).await.map_err(failed)?;
    Ok((stream, Transport::Jump(Box::new(connection))))
}

/// The inner connection reads its stream at all times, so it needs no buffer of its own.
async fn dial(
    connection: &Connection,
    settings: &HostSettings,
) -> Result<Box<dyn ByteStream>, SessionError> {
    let HostSettings { hostname, port, connect_timeout, .. } = settings;
    let opening = connection.handle.channel_open_direct_tcpip(
        hostname.as_str(),
        u32::from(*port),
        "127.0.0.1",
        0,
    );
    match timeout(*connect_timeout, opening).await {
        Ok(Ok(channel)) => Ok(Box::new(channel.into_stream())),
        Ok(Err(russh::Error::ChannelOpenFailure(failure))) => {
            Err(tunnel::refusal(&failure, hostname, *port))
        }
        Ok(Err(_)) => Err(connection.lost()),
        Err(_) => Err(SessionError::Timeout {
            what: format!("connecting to {}", settings.address()),
            after: *connect_timeout,
            hint: Some(BY_SETTING),
        }),
    }
}

/// Starts the program whose input and output are the connection.
pub(crate) fn by_command(
    command: &str,
    around: &LocalEnv,
) -> Result<(Box<dyn ByteStream>, Transport), SessionError> {
    let failed = |reason: String| SessionError::Setting {
        setting: format!("ProxyCommand {command}"),
        reason,
    };
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("exec {command}")])
        .current_dir(&around.cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed("it has no pipes".to_owned()));
    };
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = tokio::spawn(keep(stderr, kept.clone()));
    let stream = join(stdout, stdin);
    Ok((Box::new(stream), Transport::Command(Program { child, stderr: kept, keeping })))
}

/// Reads all, so that the program never waits for us; keeps the last of it.
async fn keep(mut stderr: ChildStderr, kept: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        let mut kept = lock(&kept);
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..surplus);
    }
}

fn unusable(settings: &HostSettings, reason: &str) -> SessionError {
    let setting = format!("ProxyJump of {}", settings.alias);
    SessionError::Setting { setting, reason: reason.to_owned() }
}
