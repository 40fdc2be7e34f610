//! TCP connections as seen from the host, carried by the SSH connection.

use russh::ChannelOpenFailure;
use russh::client::Msg;
use tokio::io::{AsyncWriteExt as _, duplex, join};

use crate::remote::session::{ByteStream, Channel, Output, SessionError};
use crate::ssh::{exec, text};

/// The most bytes that wait for us, beside those that the channel keeps.
const BUFFER: usize = 256 << 10;

/// Returns our end of a channel that the host has connected. Like a command's channel it is read
/// all the time, because an unread one would block the connection.
pub(crate) fn start(channel: russh::Channel<Msg>) -> impl ByteStream {
    let Channel { input, mut output } = exec::start_tunnel(channel);
    let (from_host, mut to_us) = duplex(BUFFER);
    tokio::spawn(async move {
        while let Some(piece) = output.recv().await {
            if let Output::Stdout(bytes) = piece
                && to_us.write_all(&bytes).await.is_err()
            {
                return;
            }
        }
    });
    join(from_host, input)
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
