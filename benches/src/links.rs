//! The ways to a host: the bridge, and links with a delay and a rate to the first one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::capacity;
use crate::hosts::{BRIDGE, Hosts};
use crate::relay::{self, Shape};
use crate::shell::words;

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// This end of it, whose bytes are counted.
    pub(crate) device: String,
    /// The ssh_config that leads over it.
    pub(crate) config: PathBuf,
}

impl Link {
    /// Bytes sent and received so far, as the interface counts them.
    pub(crate) fn bytes(&self) -> Result<(u64, u64)> {
        let text = fs::read_to_string("/proc/net/dev")?;
        let mine = format!("{}:", self.device);
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(&mine));
        let numbers: Vec<u64> = line
            .context("the interface is gone")?
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        Ok((*numbers.get(8).context("/proc/net/dev")?, *numbers.first().context("/proc/net/dev")?))
    }
}

/// Those that there are; more are made when they are asked for.
pub(crate) struct Links {
    dir: PathBuf,
    made: BTreeMap<(u32, u32), Link>,
    /// The plain TCP throughput of each one, for people.
    pub(crate) carried: Vec<String>,
}

impl Links {
    /// The bridge alone.
    pub(crate) fn new(dir: &Path, hosts: &Hosts) -> Result<Self> {
        let config = dir.join("bridge.ssh_config");
        hosts.ssh_config(&config, &hosts.addresses)?;
        let bridge = Link { device: BRIDGE.to_owned(), config };
        Ok(Self {
            dir: dir.to_owned(),
            made: BTreeMap::from([((0, 0), bridge)]),
            carried: Vec::new(),
        })
    }

    /// The one with this round trip in milliseconds and this rate in Mbit/s (0: none).
    pub(crate) fn get(&mut self, rtt: u32, mbit: u32, hosts: &Hosts) -> Result<Link> {
        if let Some(link) = self.made.get(&(rtt, mbit)) {
            return Ok(link.clone());
        }
        let number = self.made.len();
        let (near, far) = (format!("near{number}"), format!("far{number}"));
        let rate = (mbit > 0).then(|| f64::from(mbit) * 1e6 / 8.0);
        let delay = Duration::from_micros(u64::from(rtt) * 500);
        relay::join([&near, &far], Shape { delay, rate })?;
        words(&format!("ip link set {far} netns {}", hosts.id(0)))?;
        words(&format!("ip addr add 10.78.{number}.1/24 dev {near}"))?;
        words(&format!("ip link set {near} up"))?;
        hosts.within(0, &format!("ip addr add 10.78.{number}.2/24 dev {far}"))?;
        hosts.within(0, &format!("ip link set {far} up"))?;
        let address = format!("10.78.{number}.2");
        let config = self.dir.join(format!("{near}.ssh_config"));
        hosts.ssh_config(&config, std::slice::from_ref(&address))?;
        let link = Link { device: near, config };
        let carried = capacity::measure(&hosts.id(0), &address, || Ok(link.bytes()?.0))?;
        self.carried.push(format!("{carried:.0} MB/s at {rtt} ms{}", cap(mbit)));
        self.made.insert((rtt, mbit), link.clone());
        Ok(link)
    }
}

fn cap(mbit: u32) -> String {
    if mbit == 0 { String::new() } else { format!(" and {mbit} Mbit/s") }
}
