//! One running command of a master. Its pipes are read all the time; where nobody takes what it
//! prints, only this channel waits, since each has a window of its own.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::stream::{Stream, StreamExt as _, select, unfold};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::remote::session::{Channel, Exit, Output};
use crate::ssh::exec::{AFTER_EXIT, QUEUE};
use crate::ssh::mux::{ControlSocket, MuxCommand, MuxConnection};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Returns the two ends of a command that runs.
pub(crate) fn start(command: MuxCommand, socket: ControlSocket) -> Channel {
    let (sender, output) = mpsc::channel(QUEUE);
    let MuxCommand { input, stdout, stderr, connection } = command;
    let pieces = select(pieces(stdout, Output::Stdout), pieces(stderr, Output::Stderr));
    tokio::spawn(async move {
        let exit = match carry(pieces, connection, &sender).await {
            Some(code) => Some(Exit::Code(code)),
            None => socket.is_alive().await.then_some(Exit::Untold),
        };
        if let Some(exit) = exit {
            let _ = sender.send(Output::Exit(exit)).await;
        }
    });
    Channel { input: Box::pin(input), output }
}

/// Hands all pieces to the listener, if there is one yet. Returns the exit code.
async fn carry(
    pieces: impl Stream<Item = Output>,
    mut connection: MuxConnection,
    listener: &mpsc::Sender<Output>,
) -> Option<u32> {
    let (mut pieces, mut ending) = (pin!(pieces), pin!(connection.exit()));
    let (mut open, mut exit) = (true, None);
    // The end of waiting for more, without the time that the listener takes.
    let mut deadline = Instant::now();
    while open || exit.is_none() {
        tokio::select! {
            biased;
            // The host closes the output before it tells the exit code.
            code = &mut ending, if exit.is_none() => {
                exit = Some(code);
                deadline = Instant::now() + AFTER_EXIT;
            }
            piece = pieces.next(), if open => match piece {
                Some(piece) => {
                    let began = Instant::now();
                    let _ = listener.send(piece).await;
                    deadline += began.elapsed();
                }
                None => open = false,
            },
            () = sleep_until(deadline), if exit.is_some() => open = false,
        }
    }
    exit.flatten()
}

/// Returns what can be read from a pipe.
fn pieces(from: pipe::Receiver, piece: fn(Bytes) -> Output) -> impl Stream<Item = Output> {
    unfold((from, BytesMut::new()), move |(mut from, mut buffer)| async move {
        buffer.reserve(PIECE);
        let Ok(1..) = from.read_buf(&mut buffer).await else { return None };
        Some((piece(buffer.split().freeze()), (from, buffer)))
    })
}
