//! The hosts that `tests/fleet/boot.sh` booted, seen from outside: root by plain ssh, and the
//! cable.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The hosts that take deploys.
pub(crate) const APPS: [Host; 3] = [Host("app1"), Host("app2"), Host("app3")];

/// One host, by the name that the fleet's ssh_config knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Host(pub(crate) &'static str);

/// Where the fleet's files lie: `ssh_config`, `key`, `known_hosts`.
pub(crate) fn dir() -> PathBuf {
    std::env::var_os("SHIPIT_FLEET_DIR").map(PathBuf::from).expect("tests/run boots the fleet")
}

impl Host {
    /// Its address: hosts are numbered from 11 in the fleet's network.
    pub(crate) fn address(self) -> String {
        let net = std::env::var("SHIPIT_FLEET_NET").unwrap();
        let last = if self.0 == "jump" { 14 } else { 10 + self.0[3..].parse::<u8>().unwrap() };
        format!("{net}.{last}")
    }

    /// Runs a command as root, whatever comes of it.
    pub(crate) fn try_ssh(self, command: &str) -> Output {
        self.ssh_as("root", command).output().unwrap()
    }

    /// Runs a command as root and gives back what it printed, less white space at its end.
    #[track_caller]
    pub(crate) fn ssh(self, command: &str) -> String {
        let output = self.try_ssh(command);
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {command}: {text}{errors}", self.0);
        text
    }

    /// The ssh that would run a command, ready to be started.
    pub(crate) fn ssh_as(self, user: &str, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(dir().join("ssh_config")).args(["-l", user, self.0, command]);
        ssh.stdin(Stdio::null());
        ssh
    }

    /// Writes a file as root.
    pub(crate) fn put(self, path: &str, text: &str) {
        let mut ssh = self.ssh_as("root", &format!("cat > {path}"));
        let mut child = ssh.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{}: {path} was not written", self.0);
    }

    /// Makes the host ready for an app, by the script that makes real ones.
    pub(crate) fn provision(self, options: &[&str]) {
        let script = std::fs::File::open("vagrant/provision.sh").unwrap();
        let key = std::fs::read_to_string(dir().join("key.pub")).unwrap();
        let command = format!("sh -s -- --key '{}' {}", key.trim(), options.join(" "));
        let mut ssh = self.ssh_as("root", &command);
        assert!(ssh.stdin(script).status().unwrap().success(), "{} was not provisioned", self.0);
    }

    /// Boots it anew and waits until it is up.
    pub(crate) fn reboot(self) {
        const BOOTED: &str = "systemctl show --value -p UserspaceTimestampMonotonic";
        let before = self.ssh(BOOTED);
        self.try_ssh("systemctl reboot");
        until(Duration::from_secs(30), "the host is up again", || {
            let now = self.try_ssh(&format!("systemctl is-system-running --wait; {BOOTED}"));
            let text = String::from_utf8_lossy(&now.stdout).into_owned();
            (text.contains("running") || text.contains("degraded")) && !text.contains(&before)
        });
    }

    /// Pulls the cable out of the switch: both ends keep their link and hear nothing.
    pub(crate) fn cut(self) {
        self.link(&["nomaster"]);
    }

    /// Plugs the cable in again.
    pub(crate) fn heal(self) {
        let bridge = std::env::var("SHIPIT_FLEET_BRIDGE").unwrap();
        self.link(&["master", &bridge]);
    }

    /// Whether a command succeeds on the host while its cable may be out: through the namespaces
    /// of its first process.
    pub(crate) fn inside(self, command: &str) -> bool {
        let nspawn = std::fs::read_to_string(dir().join(self.0).join("nspawn.pid")).unwrap();
        let first = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", nspawn.trim()));
        let first = first.unwrap().split_whitespace().next().unwrap().to_owned();
        let enter = ["nsenter", "-t", &first, "-m", "-p", "-n", "sh", "-c", command];
        Self::here(&enter).success()
    }

    fn link(self, what: &[&str]) {
        let cable = format!("c-{}", self.0);
        assert!(Self::here(&[&["ip", "link", "set", &cable], what].concat()).success());
    }

    /// Runs a command as root on this machine.
    fn here(words: &[&str]) -> ExitStatus {
        let sudo = std::env::var("SHIPIT_FLEET_SUDO").unwrap_or_default();
        let mut words = sudo.split_whitespace().chain(words.iter().copied());
        Command::new(words.next().unwrap()).args(words).status().unwrap()
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
