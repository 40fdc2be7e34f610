//! The TCP connection below: addresses in turn, and the options that cost or save round trips.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use crate::remote::session::SessionError;
use crate::ssh::text;

/// Bytes that nobody acknowledges for so long mean that the network is gone. Keepalives do not
/// notice it while a full socket blocks the writer.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_LIMIT_MS: u32 = 20_000;

/// Connects to the first address that answers; all of them share one time limit.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<QuickStream, SessionError> {
    let address = text::address(host, port);
    let unreachable = |source| SessionError::Unreachable { address: address.clone(), source };
    let late = || SessionError::Timeout { what: format!("connecting to {address}"), after: limit };
    let deadline = Instant::now() + limit;
    let found = timeout_at(deadline, lookup_host((host, port))).await.map_err(|_| late())?;
    let addresses: Vec<SocketAddr> = found.map_err(unreachable)?.collect();
    let mut last = late();
    for (at, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - at).unwrap_or(1).max(1);
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return QuickStream::new(stream).map_err(unreachable),
            Ok(Err(error)) => unreachable(error),
            Err(_) => late(),
        };
    }
    Err(last)
}

/// A TCP stream that acknowledges at once. sshd leaves Nagle's algorithm on until the first
/// session starts, and then waits for our delayed acknowledgement.
pub(crate) struct QuickStream(TcpStream);

impl QuickStream {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_LIMIT_MS)?;
        let stream = Self(stream);
        stream.acknowledge_quickly();
        Ok(stream)
    }

    /// The kernel forgets this by itself, so it is said again after every read. It is an
    /// optimisation; failing at it is no failure.
    #[cfg(target_os = "linux")]
    fn acknowledge_quickly(&self) {
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
    }

    #[cfg(not(target_os = "linux"))]
    fn acknowledge_quickly(&self) {}
}

impl AsyncRead for QuickStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.0).poll_read(cx, buf));
        self.acknowledge_quickly();
        Poll::Ready(result)
    }
}

impl AsyncWrite for QuickStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
