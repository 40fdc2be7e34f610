//! The hosts: Debian's sshd with Debian's configuration, each in network and mount namespaces of
//! its own with a /srv of its own, on one bridge.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::group::Group;
use crate::shell::{call, words};

/// The bridge, as this end sees it.
pub(crate) const BRIDGE: &str = "br0";

/// Settings of an sshd with many addresses: no limit on connections that log in at once, and a /srv
/// for each address.
const MANY: &str = "MaxStartups 10000\nForceCommand exec unshare --mount sh ";
const MANY_SCRIPT: &str = r#"address=${SSH_CONNECTION% *}
address=/srv/${address##* }
mkdir -p "$address" && mount --bind "$address" /srv && exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"#;

/// All that run, until the kit ends: their process namespace ends with it.
pub(crate) struct Hosts {
    dir: PathBuf,
    children: Vec<Child>,
    /// The control group that counts them.
    pub(crate) group: Group,
    /// Each one's address on the bridge.
    pub(crate) addresses: Vec<String>,
    /// The directory that each one has as /srv.
    pub(crate) roots: Vec<PathBuf>,
}

impl Hosts {
    /// Starts this many hosts, each with an sshd of its own.
    pub(crate) fn start(dir: &Path, group: Group, count: usize, disk: bool) -> Result<Self> {
        let mut hosts = Self::prepare(dir, group, disk)?;
        for number in 1..=count {
            let (address, root) = hosts.boot(number, "")?;
            hosts.addresses.push(address);
            hosts.roots.push(root);
        }
        hosts.finish()
    }

    /// Starts one sshd that answers at this many addresses, each with a /srv of its own.
    pub(crate) fn many(dir: &Path, group: Group, count: usize, disk: bool) -> Result<Self> {
        let mut hosts = Self::prepare(dir, group, disk)?;
        let (script, extra) = (dir.join("hosts/many.sh"), dir.join("hosts/many.conf"));
        fs::write(&script, MANY_SCRIPT)?;
        fs::write(&extra, format!("{MANY}{}\n", script.display()))?;
        let (address, root) = hosts.boot(1, &extra.display().to_string())?;
        hosts.within(0, "ip route add local 10.66.0.0/16 dev lo")?;
        words(&format!("ip route add 10.66.0.0/16 via {address}"))?;
        for number in 0..count {
            let address = format!("10.66.{}.{}", number / 250, 1 + number % 250);
            hosts.roots.push(root.join(&address));
            hosts.addresses.push(address);
        }
        hosts.finish()
    }

    fn prepare(dir: &Path, group: Group, disk: bool) -> Result<Self> {
        let place = dir.join("hosts");
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place)?;
        if !disk {
            words(&format!("mount -t tmpfs -o size=80% hosts {}", place.display()))?;
        }
        keys(dir)?;
        words("ip link set lo up")?;
        words(&format!("ip link add {BRIDGE} type bridge"))?;
        words(&format!("ip addr add 10.77.0.1/16 dev {BRIDGE}"))?;
        words(&format!("ip link set {BRIDGE} up"))?;
        tune()?;
        let dir = dir.to_owned();
        Ok(Self { dir, children: Vec::new(), group, addresses: Vec::new(), roots: Vec::new() })
    }

    /// Starts one; says its address and what it has for /srv.
    fn boot(&mut self, number: usize, extra: &str) -> Result<(String, PathBuf)> {
        let (address, place) =
            (format!("10.77.0.{}", number + 1), self.dir.join(format!("hosts/h{number}")));
        fs::create_dir_all(place.join("srv"))?;
        let child = Command::new("sh")
            .args(["-c", r#"for door in $DOORS; do echo 0 >"$door"; done; exec "$@""#, "sh"])
            .args(["unshare", "--net", "--mount", "benches/target.sh"])
            .arg(&place)
            .arg(&address)
            .arg(self.dir.join("keys"))
            .arg(extra)
            .env("DOORS", self.group.doors())
            .stdin(Stdio::null())
            .spawn()?;
        let id = child.id();
        self.children.push(child);
        let own = fs::read_link("/proc/self/ns/net")?;
        wait("a network namespace", || {
            fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|net| net != own)
        })?;
        words(&format!("ip link add v{number} type veth peer name eth0 netns {id}"))?;
        words(&format!("ip link set v{number} master {BRIDGE} up"))?;
        Ok((address, place.join("srv")))
    }

    fn finish(self) -> Result<Self> {
        for (index, child) in self.children.iter().enumerate() {
            let address = format!("10.77.0.{}:22", index + 2).parse()?;
            let up =
                || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
            wait(&format!("sshd {}", child.id()), up)?;
            call("nsenter", ["-t", &self.id(index), "-n", "sh", "-c", TUNING])?;
        }
        // The connections above must not count for a tool.
        thread::sleep(Duration::from_millis(200));
        Ok(self)
    }

    /// The process in whose namespaces a host lives.
    pub(crate) fn id(&self, index: usize) -> String {
        self.children[index].id().to_string()
    }

    /// Runs a command in a host's network namespace.
    pub(crate) fn within(&self, index: usize, command: &str) -> Result<String> {
        words(&format!("nsenter -t {} -n {command}", self.id(index)))
    }

    /// Writes what `ssh -F` needs to reach hosts `h1` and up at these addresses.
    pub(crate) fn ssh_config(&self, path: &Path, addresses: &[String]) -> Result<()> {
        let keys = self.dir.join("keys");
        let key = fs::read_to_string(keys.join("host.pub"))?;
        let key = key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let (identity, known) = (keys.join("client"), path.with_extension("known_hosts"));
        let (mut config, mut trusted) = (String::new(), String::new());
        for (index, address) in addresses.iter().enumerate() {
            writeln!(config, "Host h{}\n    HostName {address}", index + 1)?;
            writeln!(trusted, "{address} {key}")?;
        }
        writeln!(
            config,
            "Host *\n    User root\n    IdentityFile {}\n    IdentitiesOnly yes\n    UserKnownHostsFile {}\n    \
             GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    BatchMode yes",
            identity.display(),
            known.display()
        )?;
        fs::write(path, config)?;
        Ok(fs::write(known, trusted)?)
    }
}

/// No run profits from what TCP learned in the one before.
const TUNING: &str = "echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save";

fn tune() -> Result<()> {
    call("sh", ["-c", TUNING]).map(drop)
}

fn keys(dir: &Path) -> Result<()> {
    let keys = dir.join("keys");
    fs::create_dir_all(&keys)?;
    for name in ["client", "host"] {
        let file = keys.join(name);
        if !file.exists() {
            let file = file.to_str().context("--dir is not UTF-8")?;
            call("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file])?;
        }
    }
    ensure!(Path::new("/usr/sbin/sshd").exists(), "openssh-server is not installed");
    Ok(())
}

/// Waits for something that takes a moment.
fn wait(what: &str, mut there: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !there() {
        if start.elapsed() > Duration::from_secs(20) {
            bail!("waited in vain for {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
