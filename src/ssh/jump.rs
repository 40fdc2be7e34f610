//! Jump hosts: the hops before a host.

use crate::remote::session::SessionError;
use crate::ssh::connection::Hop;
use crate::ssh::ssh_config::HostSettings;
use crate::ssh::target::{SshTarget, unusable};

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

/// Returns the last of `hops`, which is reached through those before it; `None` if there is none.
/// Fails if the way to `wanted` has too many.
pub(crate) fn last_hop(
    hops: &[SshTarget],
    wanted: &Hop,
    settings: &HostSettings,
) -> Result<Option<Hop>, SessionError> {
    let Some((last, before)) = hops.split_last() else { return Ok(None) };
    if wanted.depth >= MOST_HOPS {
        let setting = format!("ProxyJump of {}", settings.alias);
        return Err(unusable(&setting, "the hops go round in a circle"));
    }
    Ok(Some(Hop {
        name: wanted.name.clone(),
        target: last.clone(),
        pin: None,
        via: (!before.is_empty()).then(|| before.to_vec()),
        depth: wanted.depth + 1,
        further: wanted.further,
    }))
}
