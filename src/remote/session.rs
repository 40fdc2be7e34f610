//! The seam: how commands reach a host. One implementation speaks SSH, one lets OpenSSH do it, one
//! runs `sh` on this machine, and tests put faults between.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Round trip up to which a host counts as near: there the link is faster than one core compresses.
pub const BESIDE: Duration = Duration::from_millis(2);

/// The hint where a setting limits a wait.
pub const BY_SETTING: &str = "`connect_timeout` in [ssh] says how long it may take";

/// The message for a connection that the other side closed.
pub const HUNG_UP: &str = "the other side closed it";

/// The variable with lines of known_hosts, which errors name in place of a file.
pub const KNOWN_HOSTS: &str = "SHIPIT_KNOWN_HOSTS";

/// A connection to one host.
pub trait Session: Send + Sync {
    /// Starts `command`, whose words are quoted already, with the host's login shell.
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>>;

    /// Connects to `host:port` as seen from the host.
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>>;

    /// Measures a round trip to the host. Returns `None` for this machine.
    fn round_trip(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(async { None })
    }

    /// Returns the round trip that was seen while connecting, an upper bound through jump hosts;
    /// zero for this machine.
    fn distance(&self) -> Duration {
        Duration::ZERO
    }

    /// Makes a further connection to the same host as the same user.
    fn another(&self) -> BoxFuture<'_, Result<Arc<dyn Session>, SessionError>> {
        let reason = "there is only one way to this host".to_owned();
        Box::pin(async { Err(SessionError::ChannelRefused { reason }) })
    }

    /// Ends the session. Commands that still run on the host read the end of their input.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Both directions of one byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// One running command.
pub struct Channel {
    /// Standard input; to shut it down sends end of file. A write may hang when the other side is
    /// gone, so read `output` while you await one.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Output in order. The stream ends after `Exit`. If it ends without one, the connection was
    /// lost and nobody knows how the command ended.
    pub output: mpsc::Receiver<Output>,
}

/// One piece of a command's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The end of the command.
    Exit(Exit),
}

/// The exit code of a shell that SIGTERM ended.
const TERMINATED: u32 = 143;

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(u32),
    /// By this signal, without `SIG`.
    Signal(String),
    /// By a signal, or without a word: OpenSSH does not tell.
    Untold,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(TERMINATED) => {
                f.write_str("was ended on the host by SIGTERM, as `shipit unlock` does")
            }
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(name) => write!(f, "was ended by SIG{name}"),
            Self::Untold => f.write_str("ended without an exit code, perhaps by a signal"),
        }
    }
}

/// The reason why a host could not be reached, or was lost. `Display` is one line without its
/// source and without the host's name, which the reporter puts first.
///
/// `address` is `host:port`, `kind` a type of keys such as `ssh-ed25519`, `fingerprint` that of the
/// key which the host showed: `SHA256:…`. `name` is the name in known_hosts, `name` or
/// `[name]:port`; `file` and `line`, from 1, are a place there. `by_hand` is the `ssh` command that
/// connects the same way, empty if there is none.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No TCP connection (or no local shell).
    #[error("could not connect to {address}")]
    Unreachable { address: String, source: io::Error, by_hand: Box<str> },
    /// Something exceeded its limit.
    #[error("{what} took longer than {}s", after.as_secs())]
    Timeout { what: String, after: Duration, hint: Option<&'static str> },
    #[error("the SSH handshake with {address} failed: {reason}")]
    Handshake { address: String, reason: String },
    #[error("the host key is not known")]
    HostKeyUnknown {
        name: String,
        kind: String,
        fingerprint: Box<str>,
        /// The files that were read.
        files: Vec<PathBuf>,
        /// File and line of a key of another type that is on record.
        other: Option<Box<(PathBuf, usize)>>,
        by_hand: Box<str>,
    },
    #[error("the host key is not the one on record")]
    HostKeyChanged {
        name: String,
        kind: String,
        fingerprint: Box<str>,
        /// The file with the key on record.
        file: PathBuf,
        line: usize,
        by_hand: Box<str>,
    },
    #[error("the host key is not the one pinned in the config")]
    HostKeyNotPinned {
        name: String,
        kind: String,
        fingerprint: Box<str>,
        /// `SHA256:…` of what it should have shown.
        pinned: String,
    },
    #[error("the host key is revoked")]
    HostKeyRevoked {
        name: String,
        fingerprint: Box<str>,
        /// The file that revokes it.
        file: PathBuf,
        /// `None`: the file is a list in binary form.
        line: Option<usize>,
    },
    #[error("the host certificate is not valid: {reason}")]
    HostCertificate {
        name: String,
        /// `expired`, `not for this name`, …
        reason: String,
    },
    #[error("no key was accepted for {user}@{address}")]
    Auth {
        user: String,
        address: String,
        /// One line for each key that was tried or could not be used, and why.
        tried: Vec<String>,
        by_hand: Box<str>,
    },
    #[error("{setting} cannot be used: {reason}")]
    Setting {
        /// `IdentityFile ~/.ssh/id`, `ProxyJump x`, …
        setting: String,
        reason: String,
    },
    /// The built-in client does not do it; OpenSSH may.
    #[error("{setting} cannot be used: {reason}")]
    Unsupported {
        /// `KnownHostsCommand /bin/keys`, …
        setting: String,
        reason: String,
    },
    #[error("could not connect through the jump host {hop}")]
    Jump { hop: String, source: Box<SessionError> },
    #[error("the server refused a channel: {reason}")]
    ChannelRefused { reason: String },
    /// The server forbids forwarding, or nothing listens there.
    #[error("the server would not connect to {address}: {reason}")]
    DialRefused {
        address: String,
        reason: String,
        /// Whether it is the server's policy, as opposed to a closed port.
        forbidden: bool,
    },
    /// sudo, doas or run0 refused.
    #[error("could not act as {user} on the host: {words}")]
    CannotAct {
        user: String,
        /// Its last words.
        words: String,
    },
    #[error("the connection was lost")]
    Lost {
        /// The reason, as far as it is known.
        reason: String,
    },
}

impl SessionError {
    /// Returns whether known hosts came as text, so that nothing done by hand adds to them.
    fn is_of_text(&self) -> bool {
        let is_text = |file: &PathBuf| file == Path::new(KNOWN_HOSTS);
        match self {
            Self::HostKeyUnknown { files, .. } => files.iter().any(is_text),
            Self::HostKeyChanged { file, .. } => is_text(file),
            _ => false,
        }
    }

    /// Returns the setting that only OpenSSH may follow, if that is the reason.
    pub fn unsupported(&self) -> Option<&str> {
        match self {
            Self::Unsupported { setting, .. } => Some(setting),
            Self::Jump { source, .. } => source.unsupported(),
            _ => None,
        }
    }

    /// Returns further details, one a line: where the other key is recorded, which keys were tried.
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
                let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
                vec![format!("{}{line} revokes {fingerprint}", file.display())]
            }
            Self::Auth { tried, .. } => tried.clone(),
            Self::Lost { reason } => vec![reason.clone()],
            Self::Jump { source, .. } => source.details(),
            _ => Vec::new(),
        }
    }

    /// Returns one thing to type next, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::HostKeyUnknown { .. } | Self::HostKeyChanged { .. } if self.is_of_text() => {
                Some(format!(
                    "compare the fingerprint with the host's own, then put the line that \
                     `ssh-keyscan` prints into {KNOWN_HOSTS}"
                ))
            }
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
            Self::Auth { by_hand, .. } => Some(format!("`{by_hand} true` shows which key works")),
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
            Self::Unsupported { .. } => Some(
                "`transport = \"openssh\"` in [ssh]: the program `ssh` may do it".to_owned(),
            ),
            Self::ChannelRefused { .. } => {
                Some("raise `MaxSessions` in the host's sshd_config".to_owned())
            }
            Self::Jump { source, .. } => source.hint(),
            Self::CannotAct { user, words } => Some(way_to_act(user, words)),
            Self::Handshake { .. } | Self::Setting { .. } | Self::Lost { .. } => None,
        }
    }
}

/// Returns what lets the login act as `user`, by the words of the refusal.
fn way_to_act(user: &str, words: &str) -> String {
    let says = |text: &str| words.contains(text);
    match () {
        () if says("have a tty") => {
            "on the host, in sudoers: `Defaults:LOGIN !requiretty`, where LOGIN logs in".to_owned()
        }
        () if says("unknown user") || says("Unknown user") => {
            format!("on the host: `sudo useradd --system --create-home {user}`")
        }
        () if says("not found") => {
            "install it on the host, or name another one: `command` in [sudo]".to_owned()
        }
        () if says("Interactive authentication required") => {
            "on the host, in a rule of polkit: `org.freedesktop.systemd1.manage-units` is YES for \
             the user that logs in"
                .to_owned()
        }
        () if words.starts_with("doas:") => format!(
            "on the host, in doas.conf: `permit nopass LOGIN as {user}`, where LOGIN logs in"
        ),
        () if says("password was wrong") => {
            "it is the password of the user that logs in".to_owned()
        }
        () => format!(
            "on the host: `echo 'LOGIN ALL=({user}) NOPASSWD: ALL' | sudo tee \
             /etc/sudoers.d/shipit`, where LOGIN logs in; or `password` in [sudo]"
        ),
    }
}
