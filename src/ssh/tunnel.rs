//! TCP connections as seen from the host, carried by the SSH connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelOpenFailure, ChannelReadHalf};
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::remote::session::SessionError;
use crate::ssh::exec::pump;
use crate::ssh::text;

/// The most bytes between the two ends of a tunnel.
const BUFFER: usize = 256 << 10;
/// More than this unread means that nobody listens any more.
const UNREAD_LIMIT: usize = 16 << 20;
/// The limit for telling the server that we are done with a channel.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Returns our end of a channel that the host has connected. Like a command's channel it is read
/// all the time, because an unread one would block the connection.
pub(crate) fn start(channel: russh::Channel<Msg>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (read, write) = channel.split();
    let write = Arc::new(write);
    let (from_us, to_us) = tokio::io::split(theirs);
    let pump: tokio::task::JoinHandle<()> =
        tokio::spawn(pump::<ReadHalf<DuplexStream>>(from_us, write.clone(), None));
    tokio::spawn(async move {
        carry(read, to_us).await;
        pump.abort();
        let _ = timeout(CLOSE_LIMIT, write.close()).await;
    });
    ours
}

/// Carries bytes until the other side has closed or our end is dropped.
async fn carry(mut read: ChannelReadHalf, mut to_us: WriteHalf<DuplexStream>) {
    let mut queue: VecDeque<Bytes> = VecDeque::new();
    let (mut unread, mut open) = (0, true);
    while open || !queue.is_empty() {
        let next: &[u8] = queue.front().map_or(&[], |bytes| bytes);
        tokio::select! {
            message = read.wait(), if open => match message {
                Some(ChannelMsg::Data { data }) => {
                    unread += data.len();
                    queue.push_back(data);
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => open = false,
                Some(_) => {}
            },
            written = to_us.write(next), if !next.is_empty() => {
                let Ok(count @ 1..) = written else { return };
                unread -= count;
                advance(&mut queue, count);
            }
        }
        if unread > UNREAD_LIMIT {
            return;
        }
    }
    let _ = to_us.shutdown().await;
}

fn advance(queue: &mut VecDeque<Bytes>, count: usize) {
    if let Some(front) = queue.front_mut() {
        front.advance(count);
        if front.is_empty() {
            queue.pop_front();
        }
    }
}

/// Returns the error of a host that did not connect.
pub(crate) fn refusal(failure: &ChannelOpenFailure, host: &str, port: u16) -> SessionError {
    let (forbidden, reason) = match failure {
        ChannelOpenFailure::AdministrativelyProhibited => (true, "forwarding is forbidden there"),
        ChannelOpenFailure::UnknownChannelType => (true, "it does not know forwarding"),
        ChannelOpenFailure::ConnectFailed => (false, "nothing listens there"),
        ChannelOpenFailure::ResourceShortage => (false, "it is short of resources"),
        ChannelOpenFailure::Other { .. } => (false, "it gave no reason"),
    };
    let address = text::address(host, port);
    SessionError::DialRefused { address, reason: reason.to_owned(), forbidden }
}
