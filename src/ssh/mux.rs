//! The control socket of an OpenSSH master, as OpenSSH's `PROTOCOL.mux` describes it: commands and
//! tunnels over the connection that the master holds. `ssh -S` speaks the same, but tells neither
//! that a channel was refused, nor a command that failed from one that was cut off.

use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, Join, join};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::ssh::text;

/// The version of the protocol, since OpenSSH 5.4.
const VERSION: u32 = 4;
/// The kinds of messages, by number.
const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const ALIVE_CHECK: u32 = 0x1000_0004;
const TERMINATE: u32 = 0x1000_0005;
const NEW_STDIO_FORWARD: u32 = 0x1000_0008;
const DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT: u32 = 0x8000_0004;
const ALIVE: u32 = 0x8000_0005;
const OPENED: u32 = 0x8000_0006;
/// A message is at most this long; so is one of OpenSSH.
const LONGEST: u32 = 256 << 10;
/// No escape character is looked for.
const NO_ESCAPE: u32 = u32::MAX;
/// The limit for a master to say that it lives, or to end.
const QUICK_LIMIT: Duration = Duration::from_secs(2);

/// The same limit for those who cannot wait.
const AT_ONCE: Duration = Duration::from_millis(200);

/// The reason why a master opened no channel.
#[derive(Debug)]
pub(crate) enum NoMuxChannel {
    /// It says so, and lives.
    Refused(String),
    Gone,
}

impl From<io::Error> for NoMuxChannel {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// The socket at which a master listens.
#[derive(Debug, Clone)]
pub(crate) struct ControlSocket(pub(crate) PathBuf);

/// A running command. It ends on the host when this is dropped.
pub(crate) struct MuxCommand {
    pub(crate) input: PipeInput,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
    /// Tells how it ends.
    pub(crate) connection: MuxConnection,
}

impl ControlSocket {
    /// Returns whether a master listens there and answers.
    pub(crate) async fn is_alive(&self) -> bool {
        let asking = async {
            let mut connection = MuxConnection::open(&self.0).await?;
            connection.send(MuxMessage::new(ALIVE_CHECK).number(0)).await?;
            connection.receive().await
        };
        matches!(timeout(QUICK_LIMIT, asking).await, Ok(Ok(answer)) if answer.kind == ALIVE)
    }

    /// Ends the master and its connection. Returns when it is gone, or after a while.
    pub(crate) async fn terminate(&self) {
        let ending = async {
            let mut connection = MuxConnection::open(&self.0).await?;
            connection.send(MuxMessage::new(TERMINATE).number(0)).await?;
            while connection.receive().await.is_ok() {}
            io::Result::Ok(())
        };
        let _ = timeout(QUICK_LIMIT, ending).await;
    }

    /// Asks the master to end, for those who cannot wait.
    pub(crate) fn terminate_at_once(&self) {
        let messages =
            [MuxMessage::new(HELLO).number(VERSION), MuxMessage::new(TERMINATE).number(0)];
        let bytes: Vec<u8> =
            messages.into_iter().filter_map(|one| one.bytes().ok()).flatten().collect();
        if let Ok(mut master) = std::os::unix::net::UnixStream::connect(&self.0) {
            let _ = master.set_read_timeout(Some(AT_ONCE));
            let _ = master.write_all(&bytes);
            // A master that cannot answer does not read on.
            let _ = master.read_to_end(&mut Vec::new());
        }
    }

    /// Starts `command` on the host.
    pub(crate) async fn run(&self, command: &str) -> Result<MuxCommand, NoMuxChannel> {
        let (input, their_input) = pipe::pipe()?;
        let (their_stdout, stdout) = pipe::pipe()?;
        let (their_stderr, stderr) = pipe::pipe()?;
        let request = MuxMessage::new(NEW_SESSION)
            .number(0)
            .text("")
            .numbers([0; 4])
            .number(NO_ESCAPE)
            .text("")
            .text(command);
        let theirs = [
            their_input.into_blocking_fd()?,
            their_stdout.into_blocking_fd()?,
            their_stderr.into_blocking_fd()?,
        ];
        let connection = self.open_channel(request, &theirs).await?;
        let input = PipeInput { pipe: Some(input), _connection: None };
        Ok(MuxCommand { input, stdout, stderr, connection })
    }

    /// Connects to `host:port`, as seen from the host. The tunnel ends when it is dropped.
    pub(crate) async fn tunnel(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Join<pipe::Receiver, PipeInput>, NoMuxChannel> {
        let (input, their_input) = pipe::pipe()?;
        let (their_output, output) = pipe::pipe()?;
        let request =
            MuxMessage::new(NEW_STDIO_FORWARD).number(0).text("").text(host).number(port.into());
        let theirs = [their_input.into_blocking_fd()?, their_output.into_blocking_fd()?];
        let connection = self.open_channel(request, &theirs).await?;
        Ok(join(output, PipeInput { pipe: Some(input), _connection: Some(connection) }))
    }

    /// Returns a connection whose channel the host has opened, with the master's ends of its pipes.
    async fn open_channel(
        &self,
        request: MuxMessage,
        theirs: &[OwnedFd],
    ) -> Result<MuxConnection, NoMuxChannel> {
        let mut connection = MuxConnection::open(&self.0).await?;
        connection.send(request).await?;
        for descriptor in theirs {
            connection.pass(descriptor.as_fd()).await?;
        }
        let answer = connection.receive().await?;
        match answer.kind {
            OPENED => Ok(connection),
            FAILURE | DENIED => Err(NoMuxChannel::Refused(answer.reason())),
            _ => Err(NoMuxChannel::Gone),
        }
    }
}

/// A connection to a master, for one channel.
pub(crate) struct MuxConnection(UnixStream);

impl MuxConnection {
    /// Connects and greets. Fails if what listens there is no master.
    async fn open(path: &Path) -> io::Result<Self> {
        let mut connection = Self(UnixStream::connect(path).await?);
        connection.send(MuxMessage::new(HELLO).number(VERSION)).await?;
        let hello = connection.receive().await?;
        if hello.kind != HELLO || hello.numbers().next() != Some(VERSION) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(connection)
    }

    /// Returns the exit code of the command; `None` if the channel ended without one.
    pub(crate) async fn exit(&mut self) -> Option<u32> {
        while let Ok(message) = self.receive().await {
            if message.kind == EXIT {
                return message.numbers().nth(1);
            }
        }
        None
    }

    async fn send(&mut self, message: MuxMessage) -> io::Result<()> {
        self.0.write_all(&message.bytes()?).await
    }

    async fn receive(&mut self) -> io::Result<MuxAnswer> {
        let len = self.0.read_u32().await?;
        let Some(rest) = len.checked_sub(4).filter(|_| len <= LONGEST) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let kind = self.0.read_u32().await?;
        let mut body = vec![0; rest as usize];
        self.0.read_exact(&mut body).await?;
        Ok(MuxAnswer { kind, body })
    }

    /// Hands a descriptor to the master, which takes each with one byte.
    async fn pass(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let sent = self.0.async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let (descriptors, mut rights) = ([descriptor], SendAncillaryBuffer::new(&mut space));
            rights.push(SendAncillaryMessage::ScmRights(&descriptors));
            let byte = [io::IoSlice::new(&[0])];
            Ok(sendmsg(&self.0, &byte, &mut rights, SendFlags::empty())?)
        });
        sent.await.map(|_| ())
    }
}

/// A message to a master.
struct MuxMessage(Vec<u8>);

impl MuxMessage {
    fn new(kind: u32) -> Self {
        Self(Vec::new()).number(kind)
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn numbers(self, numbers: [u32; 4]) -> Self {
        numbers.into_iter().fold(self, Self::number)
    }

    fn text(mut self, text: &str) -> Self {
        self = self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Returns the message behind its length.
    fn bytes(self) -> io::Result<Vec<u8>> {
        let len = u32::try_from(self.0.len()).ok().filter(|len| *len <= LONGEST);
        let len = len.ok_or(io::ErrorKind::InvalidInput)?;
        Ok([&len.to_be_bytes()[..], &self.0].concat())
    }
}

/// A message of a master.
struct MuxAnswer {
    kind: u32,
    body: Vec<u8>,
}

impl MuxAnswer {
    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.body.chunks_exact(4).filter_map(|four| Some(u32::from_be_bytes(four.try_into().ok()?)))
    }

    /// Returns the reason in a refusal: it follows two numbers.
    fn reason(&self) -> String {
        text::plain(&String::from_utf8_lossy(self.body.get(8..).unwrap_or_default()))
    }
}

/// The writing end of a pipe, which ends when it is shut down, as sockets do.
pub(crate) struct PipeInput {
    pipe: Option<pipe::Sender>,
    /// That of a tunnel, which lives as long as this.
    _connection: Option<MuxConnection>,
}

impl AsyncWrite for PipeInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.pipe {
            Some(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe = None;
        Poll::Ready(Ok(()))
    }
}
