//! An SSH server in this process, on loopback, for `shipit demo` and for tests, which break it in
//! every way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Sig, server};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

use crate::remote::session::SessionError;
use crate::ssh::host_key::fingerprint;
use crate::ssh::text;

/// The most bytes of a command's output in one message.
const CHUNK: usize = 32 << 10;
/// The extended data that is standard error.
const STDERR: u32 = 1;

/// The faults that the server is to have.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// At most this many sessions at once on one connection.
    pub max_sessions: Option<usize>,
    /// Cut a connection after it has carried this many bytes towards the server.
    pub cut_after: Option<u64>,
    /// Read nothing that is sent to a command: the window runs out.
    pub stop_reading: bool,
    /// Close channels without saying how the command ended.
    pub no_exit_status: bool,
    pub no_forwarding: bool,
    /// Text that the server sends instead of SSH before it falls silent.
    pub garbage: Option<Vec<u8>>,
    /// Wait this long before a connection is served.
    pub delay: Duration,
    /// A text that is shown before the login.
    pub banner: Option<String>,
}

/// Settings of the server.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// The whole environment of commands.
    pub env: Vec<(String, String)>,
    /// The directory in which commands run; `None`: the current one.
    pub cwd: Option<PathBuf>,
    /// `None`: a port that is free.
    pub port: Option<u16>,
    pub faults: Faults,
}

/// A server that runs until this is dropped.
pub struct Embedded {
    pub address: SocketAddr,
    pub host_key: PublicKey,
    /// The only key that it lets in.
    pub client_key: PrivateKey,
    counters: Arc<Counters>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicUsize,
    logins: AtomicUsize,
    execs: AtomicUsize,
}

impl Embedded {
    /// Makes keys, listens on loopback, and serves.
    pub async fn start(options: ServerOptions) -> Result<Self, SessionError> {
        let failed = |source| SessionError::Unreachable {
            address: text::address("127.0.0.1", options.port.unwrap_or(0)),
            source,
            by_hand: Box::default(),
        };
        let port = options.port.unwrap_or(0);
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (host, client_key) = (new_key()?, new_key()?);
        let counters = Arc::new(Counters::default());
        let world = Arc::new(ServerState {
            config: Arc::new(config(host.clone())),
            allowed: client_key.public_key().clone(),
            counters: counters.clone(),
            options,
        });
        let accepting = tokio::spawn(accept(listener, world));
        let host_key = host.public_key().clone();
        Ok(Self { address, host_key, client_key, counters, accepting })
    }

    /// Returns the fingerprint of its host key: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.host_key)
    }

    /// Returns the line for a known_hosts file.
    pub fn known_hosts_line(&self) -> String {
        let key = self.host_key.to_openssh().unwrap_or_default();
        format!("[{}]:{} {key}\n", self.address.ip(), self.address.port())
    }

    /// Returns the client's private key, as a key file holds it.
    pub fn client_key_file(&self) -> String {
        self.client_key.to_openssh(LineEnding::LF).map(|key| key.to_string()).unwrap_or_default()
    }

    /// Returns the number of TCP connections so far.
    pub fn connections(&self) -> usize {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// Returns the number of logins so far.
    pub fn logins(&self) -> usize {
        self.counters.logins.load(Ordering::Relaxed)
    }

    /// Returns the number of commands started so far.
    pub fn execs(&self) -> usize {
        self.counters.execs.load(Ordering::Relaxed)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn new_key() -> Result<PrivateKey, SessionError> {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519);
    key.map_err(|error| SessionError::Setting {
        setting: "a new key".to_owned(),
        reason: error.to_string(),
    })
}

fn config(key: PrivateKey) -> server::Config {
    server::Config {
        keys: vec![key],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        nodelay: true,
        ..server::Config::default()
    }
}

/// State that all connections share.
struct ServerState {
    config: Arc<server::Config>,
    allowed: PublicKey,
    counters: Arc<Counters>,
    options: ServerOptions,
}

/// Accepts connections. They end with this task.
async fn accept(listener: TcpListener, world: Arc<ServerState>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        world.counters.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve(stream, world.clone()));
    }
}

async fn serve(mut stream: TcpStream, world: Arc<ServerState>) {
    let faults = &world.options.faults;
    tokio::time::sleep(faults.delay).await;
    if let Some(garbage) = &faults.garbage {
        let _ = stream.write_all(garbage).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        return;
    }
    let _ = stream.set_nodelay(true);
    let seats = faults.max_sessions.unwrap_or(Semaphore::MAX_PERMITS);
    let seats = Arc::new(Semaphore::new(seats));
    let connection = Served { world: world.clone(), open: HashMap::new(), seats };
    let Some(limit) = faults.cut_after else {
        if let Ok(session) = server::run_stream(world.config.clone(), stream, connection).await {
            let _ = session.await;
        }
        return;
    };
    let (near, mut far) = tokio::io::duplex(CHUNK);
    let session = server::run_stream(world.config.clone(), near, connection);
    tokio::select! {
        () = async { if let Ok(session) = session.await { let _ = session.await; } } => {}
        () = carry_at_most(limit, &mut stream, &mut far) => {}
    }
}

/// Copies both ways, until `limit` bytes have come from the client.
async fn carry_at_most(limit: u64, stream: &mut TcpStream, far: &mut tokio::io::DuplexStream) {
    let (read, mut write) = stream.split();
    let (mut from_server, mut to_server) = tokio::io::split(far);
    let mut limited = read.take(limit);
    tokio::select! {
        _ = tokio::io::copy(&mut limited, &mut to_server) => {}
        _ = tokio::io::copy(&mut from_server, &mut write) => {}
    }
}

/// A session channel, and the command that runs in it.
#[derive(Default)]
struct Open {
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    pid: Option<u32>,
    /// The channel and its permit, until a command takes them.
    idle: Option<(Channel<Msg>, OwnedSemaphorePermit)>,
    /// Sends the output of the command. It ends with the channel: a write to a closed channel whose
    /// window is full would wait for ever.
    telling: Option<AbortHandle>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(telling) = &self.telling {
            telling.abort();
        }
    }
}

/// One connection.
struct Served {
    world: Arc<ServerState>,
    open: HashMap<ChannelId, Open>,
    /// Sessions that the connection may still have at once.
    seats: Arc<Semaphore>,
}

impl Served {
    fn faults(&self) -> &Faults {
        &self.world.options.faults
    }

    fn spawn(&self, command: &str) -> std::io::Result<tokio::process::Child> {
        let options = &self.world.options;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).env_clear().envs(options.env.iter().cloned());
        if let Some(cwd) = &options.cwd {
            shell.current_dir(cwd);
        }
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        shell.stderr(Stdio::piped()).spawn()
    }
}

impl server::Handler for Served {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        Ok(self.faults().banner.clone())
    }

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        if key.public_key.key_data() != self.world.allowed.key_data() {
            return Ok(Auth::reject());
        }
        self.world.counters.logins.fetch_add(1, Ordering::Relaxed);
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let id = channel.id();
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        self.open.entry(id).or_default().idle = Some((channel, seat));
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "::1");
        let port = u16::try_from(port).ok().filter(|_| loopback && !self.faults().no_forwarding);
        let Some(port) = port else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        match TcpStream::connect((host, port)).await {
            Ok(mut stream) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut channel = channel.into_stream();
                    let _ = tokio::io::copy_bidirectional(&mut channel, &mut stream).await;
                });
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.world.counters.execs.fetch_add(1, Ordering::Relaxed);
        let silent = self.faults().no_exit_status;
        let spawned = self.spawn(&String::from_utf8_lossy(command));
        let open = self.open.get_mut(&id);
        let idle = open.and_then(|open| Some((open.idle.take()?, open)));
        let (Ok(mut child), Some(((channel, seat), open))) = (spawned, idle) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        open.input = Some(sender);
        open.pid = child.id();
        if let Some(stdin) = child.stdin.take() {
            tokio::spawn(feed(receiver, stdin));
        }
        let (_, write) = channel.split();
        let end = End { write, handle: session.handle(), silent };
        let telling = tokio::spawn(async move {
            end.tell(child).await;
            drop(seat);
        });
        open.telling = Some(telling.abort_handle());
        Ok(())
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let open = self.open.get(&id).filter(|_| !self.faults().stop_reading);
        if let Some(input) = open.and_then(|open| open.input.as_ref()) {
            let _ = input.send(data.to_vec());
        }
        Ok(())
    }

    /// Returns the new window; one that never opens again if we are to stop reading.
    fn adjust_window(&mut self, _: ChannelId, current: u32) -> u32 {
        if self.faults().stop_reading { 1 } else { current }
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        if let Some(open) = self.open.get_mut(&id) {
            open.input = None;
        }
        Ok(())
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let pid = self.open.get(&id).and_then(|open| open.pid);
        let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        if let (Some(pid), Sig::TERM) = (pid, signal) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::TERM);
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.open.remove(&id);
        Ok(())
    }
}

/// Feeds a command until the client has sent its end of file, or the command reads no more.
async fn feed(mut receiver: mpsc::UnboundedReceiver<Vec<u8>>, mut stdin: ChildStdin) {
    while let Some(data) = receiver.recv().await {
        if stdin.write_all(&data).await.is_err() {
            return;
        }
    }
}

/// The server's end of a command's channel.
struct End {
    write: ChannelWriteHalf<Msg>,
    handle: Handle,
    silent: bool,
}

impl End {
    /// Sends the output of the command and its exit status, in the order of sshd: the status when
    /// the command has ended, the end of file when nobody holds its output any more.
    async fn tell(&self, mut child: Child) {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let status = child.wait().await;
            if let (Ok(status), false) = (status, self.silent) {
                self.status(status).await;
            }
        };
        tokio::join!(self.carry(stdout, None), self.carry(stderr, Some(STDERR)), ended);
        let _ = self.write.eof().await;
        let _ = self.write.close().await;
    }

    async fn carry<R: AsyncRead + Unpin>(&self, from: Option<R>, ext: Option<u32>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let data = buffer[..count].to_vec();
            let sent = match ext {
                None => self.write.data_bytes(data).await,
                Some(ext) => self.write.extended_data_bytes(ext, data).await,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn status(&self, status: ExitStatus) {
        if let Some(code) = status.code() {
            let _ = self.write.exit_status(code.cast_unsigned()).await;
            return;
        }
        let signal = match status.signal() {
            Some(6) => Sig::ABRT,
            Some(9) => Sig::KILL,
            Some(11) => Sig::SEGV,
            Some(15) => Sig::TERM,
            other => Sig::Custom(other.unwrap_or_default().to_string()),
        };
        let (id, text) = (self.write.id(), String::new());
        let _ = self.handle.exit_signal_request(id, signal, false, text.clone(), text).await;
    }
}
