//! TCP connections: addresses in turn, and the options that cost or save round trips.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf, join};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use crate::remote::session::{ByteStream, SessionError};
use crate::ssh::ssh_config::{Family, HostSettings};
use crate::ssh::target::{too_slow, unusable};

/// If bytes are not acknowledged for this long, the network is gone. Keepalives do not notice it
/// while a full socket blocks the writer.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_LIMIT_MS: u32 = 20_000;

/// Connects to the first address that answers; all of them share one time limit.
pub(crate) async fn connect(settings: &HostSettings) -> Result<Box<dyn ByteStream>, SessionError> {
    let HostSettings { hostname, port, connect_timeout: limit, by_hand, .. } = settings;
    let address = settings.address();
    let unreachable = |source| {
        let (address, by_hand) = (address.clone(), by_hand.clone());
        SessionError::Unreachable { address, source, by_hand }
    };
    let late = || too_slow(format!("connecting to {address}"), *limit);
    let deadline = Instant::now() + *limit;
    let looking = lookup_host((hostname.as_str(), *port));
    let found = timeout_at(deadline, looking).await.map_err(|_| late())?;
    let mut addresses: Vec<SocketAddr> = found.map_err(unreachable)?.collect();
    let from = bound(settings).await?;
    addresses.retain(|address| {
        belongs(settings.family, address)
            && from.is_none_or(|from| from.is_ipv4() == address.is_ipv4())
    });
    if addresses.is_empty() {
        let why = "it has no address that AddressFamily and BindAddress allow";
        return Err(unreachable(io::Error::other(why)));
    }
    let mut last = late();
    for (at, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - at).unwrap_or(1).max(1);
        last = match timeout(share, dial(*address, from)).await {
            Ok(Ok(stream)) => return quick(stream).map_err(unreachable),
            Ok(Err(error)) => unreachable(error),
            Err(_) => late(),
        };
    }
    Err(last)
}

fn belongs(family: Family, address: &SocketAddr) -> bool {
    match family {
        Family::Any => true,
        Family::Inet => address.is_ipv4(),
        Family::Inet6 => address.is_ipv6(),
    }
}

/// Returns the address that `BindAddress` names, if it is set.
async fn bound(settings: &HostSettings) -> Result<Option<IpAddr>, SessionError> {
    let Some(name) = &settings.bind_address else { return Ok(None) };
    let unusable = |reason: &str| unusable(&format!("BindAddress {name}"), reason);
    let found = lookup_host((name.as_str(), 0)).await;
    let mut found = found.map_err(|error| unusable(&error.to_string()))?;
    let first = found.find(|address| belongs(settings.family, address));
    first.map(|address| Some(address.ip())).ok_or_else(|| unusable("it has no address"))
}

async fn dial(address: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(address).await };
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(address).await
}

/// Returns both directions of a stream that acknowledges at once. sshd leaves Nagle's algorithm on
/// until the first session starts, and then waits for our delayed acknowledgement.
fn quick(stream: TcpStream) -> io::Result<Box<dyn ByteStream>> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_LIMIT_MS)?;
    acknowledge_quickly(&stream);
    let (read, write) = stream.into_split();
    Ok(Box::new(join(QuickRead(read), write)))
}

/// The kernel forgets this by itself, so it is said again after every read. It is an optimisation;
/// failing at it is no failure.
#[cfg(target_os = "linux")]
fn acknowledge_quickly(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
}

#[cfg(not(target_os = "linux"))]
fn acknowledge_quickly(_: &TcpStream) {}

/// The reading half of a stream that acknowledges at once.
struct QuickRead(OwnedReadHalf);

impl AsyncRead for QuickRead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.0).poll_read(cx, buf));
        acknowledge_quickly(self.0.as_ref());
        Poll::Ready(result)
    }
}
