//! A session over SSH: commands and tunnels over one connection, or two if the server allows only
//! one channel on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use russh::Error;
use russh::client::Msg;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::model::words::count;
use crate::remote::quote::word;
use crate::remote::session::{BESIDE, ByteStream, Channel, Session, SessionError};
use crate::ssh::client::library_text;
use crate::ssh::connect::{Connector, Weight};
use crate::ssh::connection::{Connection, Hop};
use crate::ssh::{exec, text, tunnel};

/// sshd drops the whole connection when a command is much longer than an argument may be.
const LONGEST_COMMAND: usize = 120 << 10;
/// Dropbear drops the connection for a command of 9,000 bytes.
pub(crate) const LONGEST_FOR_DROPBEAR: usize = 8000;
/// The limit for opening a channel. A dead connection is noticed earlier.
pub(crate) const OPEN_LIMIT: Duration = Duration::from_secs(45);
/// sshd counts a session for a moment after its command has ended, so a refusal is tried again
/// after these pauses.
pub(crate) const PAUSES_MS: [u64; 4] = [0, 40, 100, 200];

/// A host that is reached by SSH.
pub struct SshSession {
    connector: Connector,
    wanted: Hop,
    first: Connection,
    /// Made when the server allows no second channel on the first.
    second: Mutex<Option<Arc<Connection>>>,
    /// The first connection has refused a channel for good.
    crowded: AtomicBool,
}

/// The reason why there is no channel.
enum NoChannel {
    Refused(String),
    Failed(SessionError),
}

impl Connection {
    /// Returns a channel. Asks again after `pauses`, since a server may still count old ones.
    async fn channel(&self, pauses: &[u64]) -> Result<russh::Channel<Msg>, NoChannel> {
        let mut reason = String::new();
        for pause in pauses {
            sleep(Duration::from_millis(*pause)).await;
            match timeout(OPEN_LIMIT, self.handle.channel_open_session()).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(Error::ChannelOpenFailure(failure))) => reason = format!("{failure:?}"),
                Ok(Err(_)) => return Err(NoChannel::Failed(self.lost())),
                Err(_) => return Err(NoChannel::Failed(late("opening a channel"))),
            }
        }
        Err(NoChannel::Refused(text::plain(&reason)))
    }
}

/// Returns a command that reads `command` from its input and becomes it. `dd` reads no byte more,
/// because the rest is the input of `command`.
pub(crate) fn by_input(command: &str) -> String {
    let read = format!("eval \"$(dd bs=1 count={} 2>/dev/null)\"", command.len());
    format!("exec /bin/sh -c {}", word(&read))
}

/// Fails if a server would drop the connection for the length of `command`.
pub(crate) fn check_length(command: &str) -> Result<(), SessionError> {
    if command.len() <= LONGEST_COMMAND {
        return Ok(());
    }
    let length = count(command.len(), "byte");
    Err(SessionError::ChannelRefused { reason: format!("a command of {length} is too long") })
}

impl SshSession {
    pub(crate) fn new(connector: Connector, wanted: Hop, first: Connection) -> Self {
        let crowded = AtomicBool::new(false);
        Self { connector, wanted, first, second: Mutex::new(None), crowded }
    }

    async fn start(&self, command: &str) -> Result<Channel, SessionError> {
        check_length(command)?;
        let dropbear = self.first.heard.get().program.contains("dropbear");
        if dropbear && command.len() > LONGEST_FOR_DROPBEAR {
            let mut channel = self.run(&by_input(command)).await?;
            let sent = timeout(OPEN_LIMIT, channel.input.write_all(command.as_bytes())).await;
            sent.map_err(|_| late("sending a command"))?.map_err(|_| self.first.lost())?;
            return Ok(channel);
        }
        self.run(command).await
    }

    async fn run(&self, command: &str) -> Result<Channel, SessionError> {
        let channel = self.channel().await?;
        match channel.exec(true, command).await {
            Ok(()) => Ok(exec::start(channel, self.distance() <= BESIDE)),
            Err(error) => Err(SessionError::Lost { reason: library_text(&error) }),
        }
    }

    /// Returns a channel of the first connection, or of the second if the first refuses. A first
    /// connection that has refused for good is asked once more, without patience.
    async fn channel(&self) -> Result<russh::Channel<Msg>, SessionError> {
        let crowded = self.crowded.load(Ordering::Relaxed);
        let pauses = if crowded { &PAUSES_MS[..1] } else { &PAUSES_MS[..] };
        match self.first.channel(pauses).await {
            Ok(channel) => return Ok(channel),
            Err(NoChannel::Failed(error)) => return Err(error),
            Err(NoChannel::Refused(reason)) if self.wanted.further => {
                return Err(SessionError::ChannelRefused { reason });
            }
            Err(NoChannel::Refused(_)) => self.crowded.store(true, Ordering::Relaxed),
        }
        let second = self.second().await?;
        second.channel(&PAUSES_MS).await.map_err(|none| match none {
            NoChannel::Refused(reason) => SessionError::ChannelRefused { reason },
            NoChannel::Failed(error) => error,
        })
    }

    async fn second(&self) -> Result<Arc<Connection>, SessionError> {
        let mut second = self.second.lock().await;
        if let Some(connection) = second.as_ref().filter(|one| !one.handle.is_closed()) {
            return Ok(connection.clone());
        }
        let notice = "the server allows no second channel, so a second connection is made";
        self.connector.notice(&self.wanted, Weight::Detail, notice);
        let connection = Arc::new(self.connector.open(&self.wanted).await?);
        Ok(second.insert(connection).clone())
    }

    async fn tunnel(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, SessionError> {
        let handle = &self.first.handle;
        let opening = handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0);
        match timeout(OPEN_LIMIT, opening).await {
            Ok(Ok(channel)) => Ok(Box::new(tunnel::start(channel))),
            Ok(Err(Error::ChannelOpenFailure(failure))) => {
                Err(tunnel::refusal(&failure, host, port))
            }
            Ok(Err(_)) => Err(self.first.lost()),
            Err(_) => Err(late(&format!("connecting to {}", text::address(host, port)))),
        }
    }

    async fn ping(&self) -> Option<Duration> {
        let began = Instant::now();
        timeout(OPEN_LIMIT, self.first.handle.send_ping()).await.ok()?.ok()?;
        Some(began.elapsed())
    }

    async fn connect_again(&self) -> Result<Arc<dyn Session>, SessionError> {
        let wanted = self.wanted.again();
        let first = self.connector.open(&wanted).await?;
        Ok(Arc::new(Self::new(self.connector.clone(), wanted, first)))
    }

    async fn end(&self) {
        if let Some(second) = self.second.lock().await.take() {
            second.goodbye().await;
        }
        self.first.goodbye().await;
    }
}

impl Session for SshSession {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        Box::pin(self.start(command))
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
        Box::pin(self.tunnel(host, port))
    }

    fn round_trip(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(self.ping())
    }

    fn distance(&self) -> Duration {
        self.first.took
    }

    fn another(&self) -> BoxFuture<'_, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(self.connect_again())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}

pub(crate) fn late(what: &str) -> SessionError {
    SessionError::Timeout { what: what.to_owned(), after: OPEN_LIMIT, hint: None }
}
