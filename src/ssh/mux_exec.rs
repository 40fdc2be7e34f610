//! One running command of a master. Its pipes are read all the time; where nobody takes what it
//! prints, only this channel waits, since each has a window of its own.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::remote::session::{Channel, Exit, Output};
use crate::ssh::mux::{ControlSocket, MuxCommand};

/// The most pieces that wait in the receiver's queue.
const QUEUE: usize = 64;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
/// A background child may hold the output open: after the exit code we wait this long for its end.
const AFTER_EXIT: Duration = Duration::from_secs(1);

/// Returns the two ends of a command that runs.
pub(crate) fn start(command: MuxCommand, socket: ControlSocket) -> Channel {
    let MuxCommand { input, stdout, stderr, mut ending } = command;
    let (sender, output) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut reading = Reading {
            out: Pipe::new(stdout, Output::Stdout),
            err: Pipe::new(stderr, Output::Stderr),
            listener: Some(sender),
            deadline: None,
        };
        let exit = {
            let ending = ending.exit();
            tokio::pin!(ending);
            tokio::select! {
                exit = &mut ending => exit,
                // The host closes the output before it tells the exit code.
                () = reading.read_on() => ending.await,
            }
        };
        reading.deadline = Some(Instant::now() + AFTER_EXIT);
        reading.read_on().await;
        drop(ending);
        let exit = match exit {
            Some(code) => Some(Exit::Code(code)),
            None => socket.is_alive().await.then_some(Exit::Untold),
        };
        if let Some(exit) = exit {
            reading.hand_over(Output::Exit(exit)).await;
        }
    });
    Channel { input: Box::pin(input), output }
}

/// One of the two outputs of a command.
struct Pipe<R> {
    from: R,
    buffer: BytesMut,
    open: bool,
    piece: fn(Bytes) -> Output,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(from: R, piece: fn(Bytes) -> Output) -> Self {
        Self { from, buffer: BytesMut::new(), open: true, piece }
    }

    /// Returns the next piece; `None` at the end.
    async fn next(&mut self) -> Option<Output> {
        self.buffer.reserve(PIECE);
        if let Ok(1..) = self.from.read_buf(&mut self.buffer).await {
            return Some((self.piece)(self.buffer.split().freeze()));
        }
        self.open = false;
        None
    }
}

/// Both outputs of a command.
struct Reading<R> {
    out: Pipe<R>,
    err: Pipe<R>,
    /// `None`: nobody listens any more.
    listener: Option<mpsc::Sender<Output>>,
    /// The end of waiting for more, without the time that the listener takes.
    deadline: Option<Instant>,
}

impl<R: AsyncRead + Unpin> Reading<R> {
    async fn read_on(&mut self) {
        while self.out.open || self.err.open {
            let deadline = self.deadline.unwrap_or_else(Instant::now);
            let piece = tokio::select! {
                biased;
                piece = self.out.next(), if self.out.open => piece,
                piece = self.err.next(), if self.err.open => piece,
                () = sleep_until(deadline), if self.deadline.is_some() => return,
            };
            if let Some(piece) = piece {
                self.hand_over(piece).await;
            }
        }
    }

    async fn hand_over(&mut self, output: Output) {
        let began = Instant::now();
        if let Some(listener) = &self.listener
            && listener.send(output).await.is_err()
        {
            self.listener = None;
        }
        self.deadline = self.deadline.map(|deadline| deadline + began.elapsed());
    }
}
