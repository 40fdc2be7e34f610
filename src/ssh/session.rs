//! A session over SSH: commands and tunnels over one connection, or two if the server allows only
//! one channel on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use russh::Error;
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
const LONGEST_FOR_DROPBEAR: usize = 8000;
/// The limit for opening a channel. A dead connection is noticed earlier.
pub(crate) const OPEN_LIMIT: Duration = Duration::from_secs(45);
/// sshd counts a session for a moment after its command has ended, so a refusal is tried again
/// after these pauses.
const PAUSES_MS: [u64; 4] = [0, 40, 100, 200];

/// One connection to a host, made by the built-in client or by OpenSSH.
pub(crate) trait Carrier: Send + Sync + Sized + 'static {
    /// Makes a further connection.
    fn further(
        connector: &Connector,
        wanted: &Hop,
    ) -> impl Future<Output = Result<Self, SessionError>> + Send;

    /// Starts a command. Fails with `ChannelRefused` if the server opens no channel now.
    fn run(&self, command: &str) -> impl Future<Output = Result<Channel, SessionError>> + Send;

    /// Connects to `host:port` as seen from the host.
    fn dial(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = Result<Box<dyn ByteStream>, SessionError>> + Send;

    fn round_trip(&self) -> impl Future<Output = Option<Duration>> + Send;

    fn distance(&self) -> Duration;

    fn is_alive(&self) -> impl Future<Output = bool> + Send;

    /// Returns whether this run has made it, and so can make more of them.
    fn is_own(&self) -> bool;

    fn is_dropbear(&self) -> bool;

    /// Returns the error of a connection that is gone.
    fn lost(&self) -> SessionError;

    fn end(&self) -> impl Future<Output = ()> + Send;
}

/// A host that is reached by SSH.
pub(crate) struct SshSession<C> {
    connector: Arc<Connector>,
    wanted: Hop,
    first: C,
    /// Made when the server allows no second channel on the first.
    second: Mutex<Option<Arc<C>>>,
    /// The first connection has refused a channel for good.
    crowded: AtomicBool,
}

/// Returns a command that reads `command` from its input and becomes it. `dd` reads no byte more,
/// because the rest is the input of `command`.
fn by_input(command: &str) -> String {
    let read = format!("eval \"$(dd bs=1 count={} 2>/dev/null)\"", command.len());
    format!("exec /bin/sh -c {}", word(&read))
}

/// Starts `command`. Asks again after `pauses`, since a server may still count old channels.
async fn run_patiently(
    carrier: &impl Carrier,
    command: &str,
    pauses: &[u64],
) -> Result<Channel, SessionError> {
    let mut refusal = None;
    for pause in pauses {
        sleep(Duration::from_millis(*pause)).await;
        match carrier.run(command).await {
            Err(error @ SessionError::ChannelRefused { .. }) => refusal = Some(error),
            other => return other,
        }
    }
    Err(refusal.unwrap_or_else(|| carrier.lost()))
}

impl<C: Carrier> SshSession<C> {
    pub(crate) fn new(connector: Arc<Connector>, wanted: Hop, first: C) -> Self {
        let (second, crowded) = (Mutex::default(), AtomicBool::new(false));
        Self { connector, wanted, first, second, crowded }
    }

    async fn start(&self, command: &str) -> Result<Channel, SessionError> {
        if command.len() > LONGEST_COMMAND {
            let reason = format!("a command of {} is too long", count(command.len(), "byte"));
            return Err(SessionError::ChannelRefused { reason });
        }
        if command.len() > LONGEST_FOR_DROPBEAR && self.first.is_dropbear() {
            let mut channel = self.run(&by_input(command)).await?;
            let sent = timeout(OPEN_LIMIT, channel.input.write_all(command.as_bytes())).await;
            sent.map_err(|_| late("sending a command"))?.map_err(|_| self.first.lost())?;
            return Ok(channel);
        }
        self.run(command).await
    }

    /// Starts `command` over the first connection, or over the second if the first refuses. A first
    /// connection that has refused for good is asked once more, without patience.
    async fn run(&self, command: &str) -> Result<Channel, SessionError> {
        let crowded = self.crowded.load(Ordering::Relaxed);
        let pauses = if crowded { &PAUSES_MS[..1] } else { &PAUSES_MS[..] };
        match run_patiently(&self.first, command, pauses).await {
            Err(SessionError::ChannelRefused { .. })
                if self.first.is_own() && !self.wanted.further =>
            {
                self.crowded.store(true, Ordering::Relaxed);
            }
            other => return other,
        }
        run_patiently(&*self.second().await?, command, &PAUSES_MS).await
    }

    async fn second(&self) -> Result<Arc<C>, SessionError> {
        let mut second = self.second.lock().await;
        if let Some(made) = second.as_ref()
            && made.is_alive().await
        {
            return Ok(made.clone());
        }
        let notice = "the server allows no second channel, so a second connection is made";
        self.connector.notice(&self.wanted, Weight::Detail, notice);
        let made = C::further(&self.connector, &self.wanted).await?;
        Ok(second.insert(Arc::new(made)).clone())
    }

    async fn connect_again(&self) -> Result<Arc<dyn Session>, SessionError> {
        if !self.first.is_own() {
            // The login may take a person, whom the user's master was made to spare.
            let reason = "the master of the user is the only way".to_owned();
            return Err(SessionError::ChannelRefused { reason });
        }
        let wanted = self.wanted.again();
        let first = C::further(&self.connector, &wanted).await?;
        Ok(Arc::new(Self::new(self.connector.clone(), wanted, first)))
    }
}

impl<C: Carrier> Session for SshSession<C> {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        Box::pin(self.start(command))
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
        Box::pin(self.first.dial(host, port))
    }

    fn round_trip(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(self.first.round_trip())
    }

    fn distance(&self) -> Duration {
        self.first.distance()
    }

    fn another(&self) -> BoxFuture<'_, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(self.connect_again())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(second) = self.second.lock().await.take() {
                second.end().await;
            }
            self.first.end().await;
        })
    }
}

impl Carrier for Connection {
    async fn further(connector: &Connector, wanted: &Hop) -> Result<Self, SessionError> {
        connector.open(wanted).await
    }

    async fn run(&self, command: &str) -> Result<Channel, SessionError> {
        let channel = match timeout(OPEN_LIMIT, self.handle.channel_open_session()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(Error::ChannelOpenFailure(failure))) => {
                let reason = text::plain(&format!("{failure:?}"));
                return Err(SessionError::ChannelRefused { reason });
            }
            Ok(Err(_)) => return Err(self.lost()),
            Err(_) => return Err(late("opening a channel")),
        };
        match channel.exec(true, command).await {
            Ok(()) => Ok(exec::start(channel, self.took <= BESIDE)),
            Err(error) => Err(SessionError::Lost { reason: library_text(&error) }),
        }
    }

    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, SessionError> {
        let channel = self.forward(host, port, OPEN_LIMIT, None).await?;
        Ok(Box::new(tunnel::start(channel)))
    }

    async fn round_trip(&self) -> Option<Duration> {
        let began = Instant::now();
        timeout(OPEN_LIMIT, self.handle.send_ping()).await.ok()?.ok()?;
        Some(began.elapsed())
    }

    fn distance(&self) -> Duration {
        self.took
    }

    async fn is_alive(&self) -> bool {
        !self.handle.is_closed()
    }

    fn is_own(&self) -> bool {
        true
    }

    fn is_dropbear(&self) -> bool {
        self.heard.get().program.contains("dropbear")
    }

    fn lost(&self) -> SessionError {
        SessionError::Lost { reason: self.heard.goodbye() }
    }

    async fn end(&self) {
        self.goodbye().await;
    }
}

pub(crate) fn late(what: &str) -> SessionError {
    SessionError::Timeout { what: what.to_owned(), after: OPEN_LIMIT, hint: None }
}
