//! The seam: how commands reach a host. One implementation speaks SSH, one runs `sh` on this
//! machine, and tests put faults between.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A host at no greater distance is in the same building: its link carries more than one core packs
/// or a busy sshd passes on.
pub const BESIDE: Duration = Duration::from_millis(2);

/// For waits that a setting limits.
pub const BY_SETTING: &str = "`connect_timeout` in [ssh] says how long it may take";

/// What is said of a connection that the other side closed.
pub const HUNG_UP: &str = "the other side closed it";

/// A way to one host.
pub trait Session: Send + Sync {
    /// Starts `command` with the host's login shell; the words are quoted already.
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>>;

    /// Connects to `host:port` as seen from the host.
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>>;

    /// How long a word takes to the host and back; `None` where there is no way to speak of.
    fn round_trip(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(async { None })
    }

    /// How long a word took to the host and back when the connection was made, or longer where that
    /// is not known; zero where there is no way to speak of.
    fn distance(&self) -> Duration {
        Duration::ZERO
    }

    /// A further connection to the same host, as the same user.
    fn another(&self) -> BoxFuture<'_, Result<Arc<dyn Session>, SessionError>> {
        let reason = "there is only one way to this host".to_owned();
        Box::pin(async { Err(SessionError::ChannelRefused { reason }) })
    }

    /// Ends the session. What still runs on the host sees the end of its input.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Both directions of one byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// One running command.
pub struct Channel {
    /// Its standard input; shutting it down sends end of file. A write may hang when the other
    /// side is gone: never await one without also reading `output`.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it says, in order. The stream ends after `Exit`; one that ends without it means
    /// that the connection was lost and nobody knows how the command ended.
    pub output: mpsc::Receiver<Output>,
}

/// One piece of what a command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// How it ended.
    Exit(Exit),
}

/// How a shell ends that obeys SIGTERM.
const TERMINATED: u32 = 143;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(u32),
    /// By this signal, without `SIG`.
    Signal(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(TERMINATED) => {
                f.write_str("was told to end by somebody there (SIGTERM), as `shipit unlock` does")
            }
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(name) => write!(f, "was ended by SIG{name}"),
        }
    }
}

/// Why a host could not be reached, or was lost. `Display` is one line without its source and
/// without the host's name, which whoever reports it puts before.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No TCP connection (or no local shell).
    #[error("could not connect to {address}")]
    Unreachable {
        /// `host:port`, or the shell.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
        /// The `ssh` command that goes the same way; empty: there is none.
        by_hand: Box<str>,
    },
    /// Something took longer than it may.
    #[error("{what} took longer than {}s", after.as_secs())]
    Timeout {
        /// What we waited for.
        what: String,
        /// How long.
        after: Duration,
        /// What can be done about it.
        hint: Option<&'static str>,
    },
    /// The SSH conversation broke before it began.
    #[error("the SSH handshake with {address} failed: {reason}")]
    Handshake {
        /// `host:port`.
        address: String,
        /// What the library said.
        reason: String,
    },
    /// A host key that no file knows.
    #[error("the host key is not known")]
    HostKeyUnknown {
        /// As looked up: `name` or `[name]:port`.
        name: String,
        /// `ssh-ed25519`.
        kind: String,
        /// `SHA256:…`.
        fingerprint: Box<str>,
        /// The files that were read.
        files: Vec<PathBuf>,
        /// A key of another type that is on record: file and line.
        other: Option<Box<(PathBuf, usize)>>,
        /// The `ssh` command that writes it down.
        by_hand: Box<str>,
    },
    /// A host key that differs from the one on record.
    #[error("the host key is not the one on record")]
    HostKeyChanged {
        /// As looked up.
        name: String,
        /// `ssh-ed25519`.
        kind: String,
        /// `SHA256:…` of what the host showed.
        fingerprint: Box<str>,
        /// The file where the other one stands.
        file: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The `ssh` command that writes the new one down.
        by_hand: Box<str>,
    },
    /// A host key that differs from the one pinned in the config.
    #[error("the host key is not the one pinned in the config")]
    HostKeyNotPinned {
        /// As looked up.
        name: String,
        /// `ssh-ed25519`.
        kind: String,
        /// `SHA256:…` of what the host showed.
        fingerprint: Box<str>,
        /// `SHA256:…` of what it should have shown.
        pinned: String,
    },
    /// A host key that was revoked.
    #[error("the host key is revoked")]
    HostKeyRevoked {
        /// As looked up.
        name: String,
        /// `SHA256:…`.
        fingerprint: Box<str>,
        /// The file that says so.
        file: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// A host certificate that does not hold.
    #[error("the host certificate does not hold: {reason}")]
    HostCertificate {
        /// As looked up.
        name: String,
        /// `expired`, `not for this name`, …
        reason: String,
    },
    /// The server took none of our keys.
    #[error("no key was accepted for {user}@{address}")]
    Auth {
        /// The user we asked for.
        user: String,
        /// `host:port`.
        address: String,
        /// One line for each key that was tried or could not be used, and why.
        tried: Vec<String>,
        /// The `ssh` command that does the same.
        by_hand: Box<str>,
    },
    /// SSH settings that cannot be used.
    #[error("{setting} cannot be used: {reason}")]
    Setting {
        /// `IdentityFile ~/.ssh/id`, `ProxyJump x`, …
        setting: String,
        /// Why.
        reason: String,
    },
    /// A hop on the way failed.
    #[error("could not get through the jump host {hop}")]
    Jump {
        /// The hop.
        hop: String,
        /// Why.
        #[source]
        source: Box<SessionError>,
    },
    /// The server refused one more channel.
    #[error("the server refused a channel: {reason}")]
    ChannelRefused {
        /// What it said.
        reason: String,
    },
    /// The server forbids forwarding, or nothing listens there.
    #[error("the server would not connect to {address}: {reason}")]
    DialRefused {
        /// `host:port`.
        address: String,
        /// What it said.
        reason: String,
        /// Whether it is the server's policy, as opposed to a closed port.
        forbidden: bool,
    },
    /// The connection is gone.
    #[error("the connection was lost")]
    Lost {
        /// What is known of the reason.
        reason: String,
    },
}

impl SessionError {
    /// What else is known, a line each: where the other key stands, which keys were tried.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::HostKeyUnknown { name, kind, fingerprint, files, other, .. } => {
                let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                let mut lines = vec![
                    format!("{name} shows the {kind} key {fingerprint}"),
                    format!("it is not in {}", files.join(", ")),
                ];
                if let Some((file, line)) = other.as_deref() {
                    lines.push(format!("{} line {line} has a key of another type", file.display()));
                }
                lines
            }
            Self::HostKeyChanged { name, kind, fingerprint, file, line, .. } => vec![
                format!("{} line {line} has a different {kind} key for {name}", file.display()),
                format!("the host shows {fingerprint}"),
            ],
            Self::HostKeyNotPinned { kind, fingerprint, pinned, .. } => vec![
                format!("the host shows the {kind} key {fingerprint}"),
                format!("the config has {pinned}"),
            ],
            Self::HostKeyRevoked { fingerprint, file, line, .. } => {
                vec![format!("{} line {line} revokes {fingerprint}", file.display())]
            }
            Self::Auth { tried, .. } => tried.clone(),
            Self::Lost { reason } => vec![reason.clone()],
            Self::Jump { source, .. } => source.details(),
            _ => Vec::new(),
        }
    }

    /// One thing to type next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::HostKeyUnknown { by_hand, .. } => Some(format!(
                "compare the fingerprint with the host's own, then connect once by hand: \
                 `{by_hand} true`"
            )),
            Self::HostKeyChanged { name, file, by_hand, .. } => Some(format!(
                "if the host was rebuilt, run `ssh-keygen -R '{name}' -f '{}'` and connect once \
                 by hand: `{by_hand} true`",
                file.display()
            )),
            Self::HostKeyNotPinned { .. } => Some(
                "if the host was rebuilt, compare the fingerprint with the host's own, then change \
                 `fingerprint` in the config"
                    .to_owned(),
            ),
            Self::HostKeyRevoked { .. } => {
                Some("do not use this host before its owner has given it a new key".to_owned())
            }
            Self::HostCertificate { .. } => {
                Some("ask whoever runs the authority for a new host certificate".to_owned())
            }
            Self::Auth { by_hand, .. } => {
                Some(format!("`{by_hand} true` shows which key works"))
            }
            Self::DialRefused { forbidden: true, .. } => {
                Some("`AllowTcpForwarding local` in the host's sshd_config allows it".to_owned())
            }
            Self::DialRefused { .. } => Some("`ss -ltn` on the host shows what listens".to_owned()),
            Self::Timeout { hint, .. } => hint.map(str::to_owned),
            Self::Unreachable { by_hand, .. } if by_hand.is_empty() => None,
            Self::Unreachable { by_hand, .. } => {
                Some(format!("`{} true` shows how far it gets", by_hand.replacen("ssh", "ssh -v", 1)))
            }
            Self::Handshake { reason, .. } if reason == HUNG_UP => Some(
                "the server may refuse this address for a while, as sshd does after failed logins \
                 (PerSourcePenalties) and when too many connect (MaxStartups): wait a minute"
                    .to_owned(),
            ),
            Self::Setting { reason, .. } if reason.contains("No user exists for uid") => Some(
                "ssh wants this account to have a name: add it to /etc/passwd, or run as another \
                 user"
                    .to_owned(),
            ),
            Self::ChannelRefused { .. } => {
                Some("raise `MaxSessions` in the host's sshd_config".to_owned())
            }
            Self::Jump { source, .. } => source.hint(),
            Self::Handshake { .. } | Self::Setting { .. } | Self::Lost { .. } => None,
        }
    }
}
