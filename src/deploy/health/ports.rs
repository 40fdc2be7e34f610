//! The ports of a host that its health checks connect to.

use std::collections::BTreeSet;

use crate::config::checks::HealthProbe;
use crate::config::{Config, Host};

/// Returns the ports that the checks of a host ask on the host itself; not those of slots.
pub fn local_ports(config: &Config, host: &Host) -> BTreeSet<u16> {
    let port = |probe: &HealthProbe| match probe {
        HealthProbe::Http(http) => is_local(&http.host).then_some(http.port),
        HealthProbe::Tcp { host, port } => is_local(host).then_some(*port),
        HealthProbe::Command(_) => None,
    };
    let checks = config.health.checks.iter().filter(|check| check.concerns(host));
    checks.filter_map(|check| port(&check.probe)).filter(|port| *port != 0).collect()
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}
