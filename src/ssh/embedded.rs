//! An SSH server in this process, on loopback, for `shipit demo`. Tests put faults around its
//! handler.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Sig, server};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::remote::session::SessionError;
use crate::ssh::exec::STDERR;
use crate::ssh::target::unusable;
use crate::ssh::text;

/// The most bytes of a command's output in one message.
const CHUNK: usize = 32 << 10;

/// Settings of the server.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// The whole environment of commands.
    pub env: Vec<(String, String)>,
    /// The directory in which commands run; `None`: the current one.
    pub cwd: Option<PathBuf>,
}

/// A server that runs until this is dropped.
pub struct Embedded {
    pub address: SocketAddr,
    pub host_key: PublicKey,
    /// The only key that it lets in.
    pub client_key: PrivateKey,
    /// Accepts connections.
    _accepting: JoinSet<()>,
}

impl Embedded {
    /// Makes keys, listens on loopback, and serves.
    pub async fn start(options: ServerOptions) -> Result<Self, SessionError> {
        Self::start_with(options, |served| served).await
    }

    /// Like [`Self::start`], with the handler that `handler` makes for each connection.
    pub async fn start_with<H: server::Handler + Send + 'static>(
        options: ServerOptions,
        handler: impl Fn(Served) -> H + Send + 'static,
    ) -> Result<Self, SessionError> {
        let failed = |source| SessionError::Unreachable {
            address: text::address("127.0.0.1", 0),
            source,
            by_hand: Box::default(),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (host, client_key) = (new_key()?, new_key()?);
        let allowed = client_key.public_key().clone();
        let host_key = host.public_key().clone();
        let served = move || {
            let (allowed, options) = (allowed.clone(), options.clone());
            handler(Served { allowed, options, open: HashMap::new() })
        };
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::new(config(host)), served));
        Ok(Self { address, host_key, client_key, _accepting: accepting })
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
}

fn new_key() -> Result<PrivateKey, SessionError> {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519);
    key.map_err(|error| unusable("a new key", &error.to_string()))
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

/// Accepts connections. They end with this task.
async fn accept<H: server::Handler + Send + 'static>(
    listener: TcpListener,
    config: Arc<server::Config>,
    handler: impl Fn() -> H,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (config, handler) = (Arc::clone(&config), handler());
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(session) = server::run_stream(config, stream, handler).await {
                let _ = session.await;
            }
        });
    }
}

/// A session channel, and the command that runs in it.
#[derive(Default)]
struct Open {
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    pid: Option<u32>,
    /// The channel, until a command takes it.
    idle: Option<Channel<Msg>>,
    /// Sends the output of the command. It ends with the channel: a write to a closed channel whose
    /// window is full would wait for ever.
    telling: JoinSet<()>,
}

/// The handler of one connection.
pub struct Served {
    allowed: PublicKey,
    options: ServerOptions,
    open: HashMap<ChannelId, Open>,
}

impl Served {
    fn spawn(&self, command: &str) -> std::io::Result<tokio::process::Child> {
        let options = &self.options;
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

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let ours = key.public_key.key_data() == self.allowed.key_data();
        Ok(if ours { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let id = channel.id();
        self.open.entry(id).or_default().idle = Some(channel);
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
        let Some(port) = u16::try_from(port).ok().filter(|_| loopback) else {
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
        let spawned = self.spawn(&String::from_utf8_lossy(command));
        let open = self.open.get_mut(&id);
        let idle = open.and_then(|open| Some((open.idle.take()?, open)));
        let (Ok(mut child), Some((channel, open))) = (spawned, idle) else {
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
        let end = End { write, handle: session.handle() };
        open.telling.spawn(async move { end.tell(child).await });
        Ok(())
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Some(input) = self.open.get(&id).and_then(|open| open.input.as_ref()) {
            let _ = input.send(data.to_vec());
        }
        Ok(())
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
}

impl End {
    /// Sends the output of the command and its exit status, in the order of sshd: the status when
    /// the command has ended, the end of file when nobody holds its output any more.
    async fn tell(&self, mut child: Child) {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            if let Ok(status) = child.wait().await {
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
