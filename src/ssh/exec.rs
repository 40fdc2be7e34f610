//! One running command. Its channel is read all the time, also if nobody listens.
//!
//! The library blocks the whole connection when one channel is not read, and its writers hang for
//! ever when a channel ends while its window is full. So each channel has one task that reads into
//! a bounded buffer, and one that writes and is ended with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::remote::session::{Channel, Exit, Output};
use crate::ssh::pace::SendWindow;
use crate::ssh::text;

/// More than this unread means that nobody listens any more; the channel is given up.
const UNREAD_LIMIT: usize = 16 << 20;
/// The most pieces that wait in the receiver's own queue.
pub(crate) const QUEUE: usize = 64;
/// The most bytes that are taken from the writer at once.
const CHUNK: usize = 256 << 10;
/// The bytes that are taken first: a short message to each of a thousand hosts needs no more.
const FIRST_CHUNK: usize = 4 << 10;
/// A background child may hold the output open: after the exit status we wait this long for its
/// end.
pub(crate) const AFTER_EXIT: Duration = Duration::from_secs(1);
/// The limit for telling the server that we are done with a channel.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// The extended data that is standard error.
pub(crate) const STDERR: u32 = 1;

type Writer = Arc<ChannelWriteHalf<Msg>>;

/// Returns the two ends of a command that was started on `channel`. `beside`: the host is near.
pub(crate) fn start(channel: russh::Channel<Msg>, beside: bool) -> Channel {
    carry(channel, beside, true)
}

/// Returns the two ends of a connection that the host has made on `channel`.
pub(crate) fn start_tunnel(channel: russh::Channel<Msg>) -> Channel {
    carry(channel, false, false)
}

fn carry(channel: russh::Channel<Msg>, beside: bool, exits: bool) -> Channel {
    let (read, write) = channel.split();
    let write = Arc::new(write);
    let (input, ours) = tokio::io::duplex(CHUNK);
    let (sender, output) = mpsc::channel(QUEUE);
    let pace = Arc::new(SendWindow::default());
    let pump = tokio::spawn(pump(ours, write.clone(), beside.then(|| Arc::clone(&pace))));
    let drain = Drain {
        read,
        sender,
        queue: VecDeque::new(),
        unread: 0,
        exits,
        exit: None,
        eof: false,
        closed: false,
        deadline: None,
        pace,
    };
    tokio::spawn(async move {
        drain.run(&write).await;
        pump.abort();
        let _ = timeout(CLOSE_LIMIT, write.close()).await;
    });
    Channel { input: Box::pin(input), output }
}

/// Carries what is written into the channel, then its end. Ends with an error, or is ended, when
/// the channel is gone: then the other end of `input` breaks instead of waiting. Keeps to `pace` as
/// long as the host says how far it is.
async fn pump(mut input: DuplexStream, write: Writer, mut pace: Option<Arc<SendWindow>>) {
    let mut room = FIRST_CHUNK;
    let mut buffer = BytesMut::with_capacity(room);
    while let Ok(taken @ 1..) = input.read_buf(&mut buffer).await {
        if taken >= room {
            room = (room * 4).min(CHUNK);
        }
        if let Some(kept) = &pace
            && !kept.may_send(taken as u64).await
        {
            pace = None;
        }
        if write.data_bytes(buffer.split().freeze()).await.is_err() {
            return;
        }
        buffer.reserve(room);
    }
    let _ = write.eof().await;
}

/// Reads one channel.
struct Drain {
    read: ChannelReadHalf,
    sender: mpsc::Sender<Output>,
    queue: VecDeque<Output>,
    unread: usize,
    /// It is a command, which ends with `exit`, and not a tunnel.
    exits: bool,
    exit: Option<Exit>,
    /// The command prints nothing more.
    eof: bool,
    /// The channel is closed.
    closed: bool,
    /// The end of waiting for more output, after the exit status.
    deadline: Option<Instant>,
    pace: Arc<SendWindow>,
}

impl Drain {
    /// Reads until the command has ended and all its output is handed over. `Exit` comes last; it
    /// is missing if the connection broke or nobody listened.
    async fn run(mut self, write: &Writer) {
        while !self.done() {
            self.step().await;
            if self.unread > UNREAD_LIMIT {
                let _ = timeout(CLOSE_LIMIT, write.signal(Sig::TERM)).await;
                return;
            }
        }
        self.hand_over().await;
    }

    /// Returns whether the channel has ended. The server chooses the order of end of file, exit and
    /// close. A tunnel that nobody listens to has no end to wait for.
    fn done(&self) -> bool {
        self.closed
            || if self.exits {
                self.eof && self.exit.is_some()
            } else {
                self.eof || self.sender.is_closed()
            }
    }

    async fn step(&mut self) {
        let has_output = !self.queue.is_empty();
        let deadline = self.deadline.unwrap_or_else(Instant::now);
        let sender = self.sender.clone();
        tokio::select! {
            message = self.read.wait() => self.take(message),
            // Where nobody listens any more, the piece is dropped.
            permit = sender.reserve(), if has_output => if let Some(output) = self.queue.pop_front() {
                self.unread -= size(&output);
                _ = permit.map(|permit| permit.send(output));
            },
            () = sleep_until(deadline), if self.deadline.is_some() => self.closed = true,
        }
    }

    fn take(&mut self, message: Option<ChannelMsg>) {
        match message {
            Some(ChannelMsg::Data { data }) => self.keep(Output::Stdout(data)),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                self.keep(Output::Stderr(data));
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => self.exited(Exit::Code(exit_status)),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                self.exited(Exit::Signal(name_of(signal_name)));
            }
            Some(ChannelMsg::Eof) => self.eof = true,
            Some(ChannelMsg::WindowAdjusted { new_size }) => self.pace.adjusted(new_size),
            Some(ChannelMsg::Close | ChannelMsg::Failure) | None => self.closed = true,
            Some(_) => {}
        }
    }

    fn keep(&mut self, output: Output) {
        if !self.sender.is_closed() {
            self.unread += size(&output);
            self.queue.push_back(output);
        }
    }

    fn exited(&mut self, exit: Exit) {
        self.exit = Some(exit);
        self.deadline = Some(Instant::now() + AFTER_EXIT);
    }

    /// Hands over the rest of the output. The channel is dropped first, so that a slow listener
    /// blocks nobody else.
    async fn hand_over(self) {
        drop(self.read);
        for output in self.queue {
            if self.sender.send(output).await.is_err() {
                return;
            }
        }
        if let Some(exit) = self.exit {
            let _ = self.sender.send(Output::Exit(exit)).await;
        }
    }
}

fn size(output: &Output) -> usize {
    match output {
        Output::Stdout(bytes) | Output::Stderr(bytes) => bytes.len(),
        Output::Exit(_) => 0,
    }
}

fn name_of(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => text::plain(&name),
        known => format!("{known:?}"),
    }
}
