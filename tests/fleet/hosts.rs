//! The hosts that `tests/fleet/boot.sh` booted, seen from outside: root by the back door, and the
//! cable.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The hosts of scenarios that may run beside each other.
pub(crate) const APPS: [Host; 3] = [Host("app1"), Host("app2"), Host("app3")];

/// The hosts of scenarios that need them alone: cables are cut, hosts rebooted, logs counted.
pub(crate) const SPARE: [Host; 3] = [Host("app4"), Host("app5"), Host("app6")];

/// The host that others are reached through.
pub(crate) const JUMP: Host = Host("jump");

/// One host, by the name that the fleet's ssh_config knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Host(pub(crate) &'static str);

/// Returns the directory with `ssh_config`, `key` and `known_hosts` of the fleet.
pub(crate) fn dir() -> PathBuf {
    std::env::var_os("SHIPIT_FLEET_DIR").map(PathBuf::from).expect("tests/run boots the fleet")
}

/// A host whose cable is out. It is plugged in again even if the test failed: others use the host.
#[must_use]
pub(crate) struct Cut(Host);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.link(&["master", &format!("shipit{}", Host::fleet())]);
    }
}

impl Host {
    /// Its address: hosts are numbered from 11 in the fleet's network; the jump host is the last.
    pub(crate) fn address(self) -> String {
        let net = std::env::var("SHIPIT_FLEET_NET").unwrap();
        format!("{net}.{}", 10 + self.0[3..].parse().unwrap_or(7))
    }

    /// Runs a command as root, and ignores whether it fails.
    pub(crate) fn try_root(self, command: &str) -> Output {
        self.enter(command).output().unwrap()
    }

    /// Runs a command as root and gives back what it printed, less white space at its end.
    #[track_caller]
    pub(crate) fn root(self, command: &str) -> String {
        let output = self.try_root(command);
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {command}: {text}{errors}", self.0);
        text
    }

    /// Its first process, unless it is down.
    fn first(self) -> Option<String> {
        let nspawn = std::fs::read_to_string(dir().join(self.0).join("nspawn.pid")).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", nspawn.trim());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        children.split_whitespace().next().map(str::to_owned)
    }

    /// Returns a command that runs `command` as root in the namespaces of the host's first process.
    /// It is fast, leaves no line in sshd's log and works while the cable is out, but not while the
    /// host is down.
    pub(crate) fn enter(self, command: &str) -> Command {
        let first = self.first().unwrap_or_else(|| "none".to_owned());
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut words = vec!["nsenter", "-t", &first, "-m", "-u", "-i", "-n", "-p", "-r", "-w"];
        words.extend(["env", "-i", "HOME=/root", path, "sh", "-c", command]);
        let mut enter = Self::here(&words);
        enter.stdin(Stdio::null());
        enter
    }

    /// Writes a file as root.
    pub(crate) fn put(self, path: &str, text: &str) {
        let mut enter = self.enter(&format!("cat > {path}"));
        let mut child = enter.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{}: {path} was not written", self.0);
    }

    /// Prepares the host for an app with the script for real hosts.
    pub(crate) fn provision(self, options: &[&str]) {
        let script = std::fs::File::open("vagrant/provision.sh").unwrap();
        let key = std::fs::read_to_string(dir().join("key.pub")).unwrap();
        let command = format!("sh -s -- --key '{}' {}", key.trim(), options.join(" "));
        let status = self.enter(&command).stdin(script).status().unwrap();
        assert!(status.success(), "{} was not provisioned", self.0);
    }

    /// Boots it again and waits until it is up.
    pub(crate) fn reboot(self) {
        self.boot_anew("systemctl reboot");
    }

    /// Reboots the host without telling any process on it: as if the plug were pulled, except that
    /// written data stays.
    pub(crate) fn crash(self) {
        self.boot_anew("systemctl reboot --force --force");
    }

    /// Reboots the host, and returns when it has another first process. Nobody may enter it in
    /// between: a process that enters a host while it goes down is stopped, and then keeps it from
    /// going down.
    fn boot_anew(self, how: &str) {
        let before = self.first();
        self.try_root(how);
        // systemd gives each unit up to 90 seconds to stop.
        until(Duration::from_mins(2), "the host goes down and boots", || {
            self.first().is_some_and(|first| Some(first) != before)
        });
        until(Duration::from_secs(30), "the host is up again", || {
            let state = self.try_root("systemctl is-system-running --wait").stdout;
            ["running", "degraded"].contains(&String::from_utf8_lossy(&state).trim())
        });
    }

    /// Pulls the cable out of the switch until the returned value is dropped: both ends keep their
    /// link and hear nothing.
    pub(crate) fn cut(self) -> Cut {
        self.link(&["nomaster"]);
        Cut(self)
    }

    /// The number of the fleet that this run talks to.
    fn fleet() -> String {
        std::env::var("SHIPIT_FLEET_NUMBER").unwrap()
    }

    fn link(self, what: &[&str]) {
        let cable = format!("c{}-{}", Self::fleet(), self.0);
        let mut ip = Self::here(&[&["ip", "link", "set", &cable], what].concat());
        assert!(ip.status().unwrap().success());
    }

    /// Returns a command that runs as root on this machine.
    fn here(words: &[&str]) -> Command {
        let sudo = std::env::var("SHIPIT_FLEET_SUDO").unwrap_or_default();
        let mut words = sudo.split_whitespace().chain(words.iter().copied());
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
    }
}

/// Waits until something is true; fails when it takes too long. Gives back how long it took.
#[track_caller]
pub(crate) fn until(limit: Duration, what: &str, mut test: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < limit, "{limit:?} have passed and it is not so that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    start.elapsed()
}
