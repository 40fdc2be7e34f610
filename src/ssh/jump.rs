//! Jump hosts: the hops before a host, and the stream from the last one on to the host.

use tokio::time::timeout;

use crate::remote::session::{BY_SETTING, ByteStream, SessionError};
use crate::ssh::connection::{Connection, Hop};
use crate::ssh::ssh_config::HostSettings;
use crate::ssh::target::SshTarget;
use crate::ssh::tunnel;

/// More hops than this are a loop.
const MOST_HOPS: usize = 8;

/// Returns the hops before the host. A host that is its own jump host, as `Host *` may make it, has
/// none.
pub(crate) fn hops(settings: &HostSettings, wanted: &Hop) -> Vec<SshTarget> {
    if let Some(via) = &wanted.via {
        return via.clone();
    }
    let hops = settings.proxy_jump.clone();
    let own = |hop: &SshTarget| {
        hop.host.eq_ignore_ascii_case(&settings.alias)
            || hop.host.eq_ignore_ascii_case(&settings.hostname)
    };
    match hops.last() {
        Some(last) if own(last) && last.port.unwrap_or(22) == settings.port => Vec::new(),
        _ => hops,
    }
}

/// Returns the last of `hops`, which is reached through those before it. Fails if there is none, or
/// if the way to `wanted` has too many.
pub(crate) fn last_hop(
    hops: &[SshTarget],
    wanted: &Hop,
    settings: &HostSettings,
) -> Result<Hop, SessionError> {
    let Some((last, before)) = hops.split_last() else {
        return Err(unusable(settings, "there is no hop in it"));
    };
    if wanted.depth >= MOST_HOPS {
        return Err(unusable(settings, "the hops go round in a circle"));
    }
    Ok(Hop {
        name: wanted.name.clone(),
        target: last.clone(),
        pin: None,
        via: (!before.is_empty()).then(|| before.to_vec()),
        depth: wanted.depth + 1,
        further: wanted.further,
    })
}

/// Returns a stream from a hop on to the host. The connection inside it reads at all times, so the
/// stream needs no buffer of its own.
pub(crate) async fn dial(
    connection: &Connection,
    settings: &HostSettings,
) -> Result<Box<dyn ByteStream>, SessionError> {
    let HostSettings { hostname, port, connect_timeout, .. } = settings;
    let opening = connection.handle.channel_open_direct_tcpip(
        hostname.as_str(),
        u32::from(*port),
        "127.0.0.1",
        0,
    );
    match timeout(*connect_timeout, opening).await {
        Ok(Ok(channel)) => Ok(Box::new(channel.into_stream())),
        Ok(Err(russh::Error::ChannelOpenFailure(failure))) => {
            Err(tunnel::refusal(&failure, hostname, *port))
        }
        Ok(Err(_)) => Err(connection.lost()),
        Err(_) => Err(SessionError::Timeout {
            what: format!("connecting to {}", settings.address()),
            after: *connect_timeout,
            hint: Some(BY_SETTING),
        }),
    }
}

fn unusable(settings: &HostSettings, reason: &str) -> SessionError {
    let setting = format!("ProxyJump of {}", settings.alias);
    SessionError::Setting { setting, reason: reason.to_owned() }
}
