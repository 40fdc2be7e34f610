//! The server of `shipit demo` with faults, and counts of what its clients did.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Error, Sig};
use shipit::ssh::embedded::{Embedded, Served, ServerOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone, Default)]
pub(crate) struct ServerFaults {
    /// At most this many sessions at once on one connection. A session counts until the end of its
    /// input.
    pub(crate) max_sessions: Option<usize>,
    /// Read nothing that is sent to a command: the window runs out.
    pub(crate) stop_reading: bool,
    /// Close channels without saying how the command ended.
    pub(crate) no_exit_status: bool,
    pub(crate) no_forwarding: bool,
    /// A text that is shown before the login.
    pub(crate) banner: Option<String>,
}

/// The number of times that clients did something.
#[derive(Default)]
struct Counters {
    connections: AtomicUsize,
    logins: AtomicUsize,
    execs: AtomicUsize,
}

/// A server with faults.
pub(crate) struct FaultyServer {
    server: Embedded,
    counters: Arc<Counters>,
}

impl Deref for FaultyServer {
    type Target = Embedded;

    fn deref(&self) -> &Embedded {
        &self.server
    }
}

impl DerefMut for FaultyServer {
    fn deref_mut(&mut self) -> &mut Embedded {
        &mut self.server
    }
}

impl FaultyServer {
    pub(crate) async fn start(options: ServerOptions, faults: ServerFaults) -> Self {
        let counters = Arc::new(Counters::default());
        let counting = Arc::clone(&counters);
        let handler = move |served| {
            counting.connections.fetch_add(1, Ordering::Relaxed);
            let most = faults.max_sessions.unwrap_or(Semaphore::MAX_PERMITS);
            FaultyHandler {
                served,
                faults: faults.clone(),
                counters: Arc::clone(&counting),
                seats: Arc::new(Semaphore::new(most)),
                taken: HashMap::new(),
            }
        };
        let server = Embedded::start_with(options, handler).await.unwrap();
        Self { server, counters }
    }

    /// Returns the number of TCP connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// Returns the number of logins so far.
    pub(crate) fn logins(&self) -> usize {
        self.counters.logins.load(Ordering::Relaxed)
    }

    /// Returns the number of commands started so far.
    pub(crate) fn execs(&self) -> usize {
        self.counters.execs.load(Ordering::Relaxed)
    }
}

/// The handler of one connection, which passes on what is no fault.
struct FaultyHandler {
    served: Served,
    faults: ServerFaults,
    counters: Arc<Counters>,
    seats: Arc<Semaphore>,
    taken: HashMap<ChannelId, OwnedSemaphorePermit>,
}

impl Handler for FaultyHandler {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        Ok(self.faults.banner.clone())
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Error> {
        let auth = self.served.auth_publickey(user, key).await?;
        if matches!(auth, Auth::Accept) {
            self.counters.logins.fetch_add(1, Ordering::Relaxed);
        }
        Ok(auth)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        self.taken.insert(channel.id(), seat);
        self.served.channel_open_session(channel, reply, session).await
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        from: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        if self.faults.no_forwarding {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        }
        let served = &mut self.served;
        served.channel_open_direct_tcpip(channel, host, port, from, from_port, reply, session).await
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.counters.execs.fetch_add(1, Ordering::Relaxed);
        if !self.faults.no_exit_status {
            return self.served.exec_request(id, command, session).await;
        }
        let command = String::from_utf8_lossy(command).into_owned();
        let output = Command::new("/bin/sh").arg("-c").arg(command).output().await?;
        session.channel_success(id)?;
        session.data(id, output.stdout)?;
        session.eof(id)?;
        session.close(id)
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        if self.faults.stop_reading {
            return Ok(());
        }
        self.served.data(id, data, session).await
    }

    fn adjust_window(&mut self, _: ChannelId, current: u32) -> u32 {
        if self.faults.stop_reading { 1 } else { current }
    }

    async fn channel_eof(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.taken.remove(&id);
        self.served.channel_eof(id, session).await
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        sig: Sig,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.served.signal(id, sig, session).await
    }

    async fn channel_close(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.taken.remove(&id);
        self.served.channel_close(id, session).await
    }
}

/// Listens on loopback in front of `server`. Carries connections until `limit` bytes have come from
/// the client, then cuts them.
pub(crate) async fn cut_after(limit: u64, server: SocketAddr) -> SocketAddr {
    listen(move |client| async move {
        let mut server = TcpStream::connect(server).await?;
        let ((read, mut write), (mut from, mut to)) = (client.into_split(), server.split());
        let mut limited = read.take(limit);
        tokio::select! {
            copied = tokio::io::copy(&mut limited, &mut to) => copied,
            copied = tokio::io::copy(&mut from, &mut write) => copied,
        }
    })
    .await
}

/// Listens on loopback. Sends `text` instead of SSH, and falls silent.
pub(crate) async fn garbage(text: Vec<u8>) -> SocketAddr {
    listen(move |mut client| {
        let text = text.clone();
        async move {
            client.write_all(&text).await?;
            tokio::io::copy(&mut client, &mut tokio::io::sink()).await
        }
    })
    .await
}

/// Listens on loopback. Handles each connection by `serve`.
async fn listen<F: Future<Output = io::Result<u64>> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client));
        }
    });
    address
}
