//! A docker that is a script, and a daemon of a real one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use shipit::remote::local::LocalSession;
use tempfile::TempDir;

use super::tools::with_tools;

/// A docker whose store is the directory `tags`: each file is a tag and holds the id of its image.
/// The archive that was loaded last stays in `archive.tar`.
pub(crate) const DOCKER: &str = r#"#!/bin/sh
cd "$(dirname "$0")/.." || exit 1
mkdir -p tags
echo "$*" >>calls
case $1 in
    load)
        cat >archive.tar
        [ ! -e full ] || { echo 'write /blob: no space left on device' >&2; exit 1; }
        for id in $(tar -xOf archive.tar manifest.json); do
            echo "$id" >"tags/built:$id"
            echo "Loaded image: built:$id"
        done
        ;;
    image)
        [ "$2" != ls ] || { [ ! -e closed ]; exit "$?"; }
        for ref; do :; done
        cat "tags/$ref" || exit 1
        ;;
    tag) cp "tags/$2" "tags/$3" 2>/dev/null || echo "$2" >"tags/$3" ;;
    rmi)
        [ ! -e busy ] || { echo "conflict: container 12 is using $2" >&2; exit 1; }
        rm "tags/$2" && echo "Untagged: $2"
        ;;
esac
"#;

/// The session with that docker, whose store is in `dir`.
pub(crate) fn with_docker(session: &LocalSession, dir: &Path) -> LocalSession {
    with_tools(session, dir, &[("docker", DOCKER)])
}

/// A daemon of docker with a store and a socket of its own. It makes no network. Where containerd
/// runs already, it takes a namespace of its own there, away from the daemon of the machine.
pub(crate) struct DockerDaemon {
    dir: TempDir,
    daemon: Child,
    client: PathBuf,
}

impl DockerDaemon {
    /// Starts one; `None` if this machine has none, or another user than root asks.
    pub(crate) fn start() -> Option<Self> {
        let (program, client) = (which("dockerd")?, which("docker")?);
        if !geteuid().is_root() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
        let mut command = Command::new(program);
        command.args(["--storage-driver=vfs", "--bridge=none", "--iptables=false"]);
        command.args(["--ip6tables=false", "--data-root", &at("data"), "--exec-root", &at("exec")]);
        command.args(["--pidfile", &at("pid"), "--host", &format!("unix://{}", at("socket"))]);
        command.args(["--containerd-namespace=shipit-test"]);
        command.args(["--containerd-plugins-namespace=shipit-test-plugins"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let made = Self { daemon: command.spawn().unwrap(), client, dir };
        let began = Instant::now();
        while !made.answers() {
            assert!(began.elapsed() < Duration::from_mins(1), "dockerd does not answer");
            sleep(Duration::from_millis(100));
        }
        Some(made)
    }

    /// Returns a program that is docker's client of this daemon.
    pub(crate) fn program(&self) -> String {
        format!("#!/bin/sh\nexec {} --host {} \"$@\"\n", self.client.display(), self.address())
    }

    fn address(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    fn answers(&self) -> bool {
        let mut client = Command::new(&self.client);
        client.args(["--host", &self.address(), "version"]).output().unwrap().status.success()
    }
}

impl Drop for DockerDaemon {
    fn drop(&mut self) {
        // It ends its containerd, which a signal of `kill` would leave.
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let _ = self.daemon.wait();
    }
}

/// Returns the path of a program, of this user or of root.
fn which(program: &str) -> Option<PathBuf> {
    let dirs = std::env::var_os("PATH")?;
    let dirs = std::env::split_paths(&dirs).chain([PathBuf::from("/usr/sbin")]);
    dirs.map(|dir| dir.join(program)).find(|path| path.exists())
}
