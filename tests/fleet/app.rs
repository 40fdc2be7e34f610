//! One app of one scenario: its own unit, port and `deploy_to` on each host, its own deploy.toml
//! and artifacts here, and the program under test.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::hosts::{self, Host, SPARE, until};

static PORT: AtomicU16 = AtomicU16::new(9100);

/// The options in which apps differ.
#[derive(Default, Clone)]
pub(crate) struct Wish {
    /// Further options of `provision.sh`.
    pub(crate) provision: &'static [&'static str],
    /// Lines of deploy.toml above the first table.
    pub(crate) top: &'static str,
    /// Whole tables, or keys of `[env]`, which is the last one open before them.
    pub(crate) tables: &'static str,
    /// Keys of `[service]`.
    pub(crate) service: &'static str,
    /// Keys of `[health]`.
    pub(crate) health: &'static str,
}

/// An app of a scenario.
pub(crate) struct App {
    pub(crate) name: &'static str,
    pub(crate) hosts: Vec<Host>,
    port: u16,
    home: TempDir,
    /// Held by the one scenario that has the spare hosts.
    _alone: Option<MutexGuard<'static, ()>>,
}

static ALONE: Mutex<()> = Mutex::new(());
static PROVISIONING: Mutex<()> = Mutex::new(());

/// The turns of scenarios; one that failed does not spoil it.
fn take(turn: &'static Mutex<()>) -> MutexGuard<'static, ()> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exit code and the output of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl App {
    /// An app with the usual settings on these hosts.
    pub(crate) fn on(hosts: &[Host], name: &'static str) -> Self {
        Self::with(hosts, name, &Wish::default())
    }

    /// An app with wishes.
    pub(crate) fn with(hosts: &[Host], name: &'static str, wish: &Wish) -> Self {
        let port = Self::free_port();
        let alone = hosts.iter().any(|host| SPARE.contains(host)).then(|| take(&ALONE));
        let home = TempDir::new().unwrap();
        let app = Self { name, hosts: hosts.to_vec(), port, home, _alone: alone };
        let number = port.to_string();
        let options = [&["--app", name, "--port", &number], wish.provision].concat();
        let one_by_one = take(&PROVISIONING);
        for host in hosts {
            host.provision(&options);
        }
        drop(one_by_one);
        app.write("deploy.toml", &app.deploy_toml(wish));
        app
    }

    /// A port that no other app has.
    pub(crate) fn free_port() -> u16 {
        PORT.fetch_add(1, Ordering::Relaxed)
    }

    fn deploy_toml(&self, wish: &Wish) -> String {
        let Self { name, port, .. } = self;
        let Wish { top, tables, service, health, .. } = wish;
        let hosts: Vec<_> = self.hosts.iter().map(|host| format!("{:?}", host.0)).collect();
        format!(
            r#"app = "{name}"
deploy_to = "/srv/{name}"
{top}

[service]
unit = "{name}.service"
{service}

[health]
http = "http://127.0.0.1:{port}/up"
{health}

[ssh]
config = "{config}"
user = "deploy"

[stages.production]
hosts = [{hosts}]

[env]
vars.GREETING = {{ env = "GREETING" }}
{tables}
"#,
            config = hosts::dir().join("ssh_config").display(),
            hosts = hosts.join(", "),
        )
    }

    /// A file beside deploy.toml.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Changes deploy.toml.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.home.path().join("deploy.toml")).unwrap();
        assert!(text.contains(from), "deploy.toml has no {from}");
        self.write("deploy.toml", &text.replace(from, to));
    }

    /// The port of the service.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The directory of deploy.toml.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Makes a tarball of the sample service at one version; `marks` are files that change its
    /// behaviour. Returns its path.
    pub(crate) fn tarball(&self, version: &str, marks: &[&str]) -> String {
        self.tarball_of(version, marks, |tree| {
            fs::create_dir_all(tree.join("bin")).unwrap();
            fs::copy("vagrant/service/bin/serve", tree.join("bin/serve")).unwrap();
        })
    }

    /// Makes a tarball of another service, whose files `fill` writes. Returns its path.
    pub(crate) fn tarball_of(
        &self,
        version: &str,
        marks: &[&str],
        fill: impl FnOnce(&Path),
    ) -> String {
        let tree = self.home.path().join(format!("tree-{version}"));
        fs::create_dir_all(&tree).unwrap();
        fill(&tree);
        fs::write(tree.join("VERSION"), version).unwrap();
        for mark in marks {
            fs::write(tree.join(mark), "").unwrap();
        }
        let path = self.home.path().join(format!("{version}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&path).arg("-C").arg(&tree).arg(".");
        assert!(tar.status().unwrap().success());
        path.to_str().unwrap().to_owned()
    }

    /// The program with these arguments, ready to be started. `GREETING` is in its environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipit"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.home.path()).env("GREETING", "hello").env("USER", "tester");
        command.current_dir(self.home.path()).stdin(Stdio::null());
        command.args(["-c", "deploy.toml"]).args(args);
        command
    }

    /// Runs the program to its end.
    pub(crate) fn shipit(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    pub(crate) fn deploy(&self, artifact: &str) -> Run {
        self.shipit(&["deploy", "production", "--yes", "--artifact", artifact])
    }

    /// Starts a deploy without waiting for it; its output goes to `said`.
    pub(crate) fn start_deploy(&self, artifact: &str) -> Child {
        let deploy = ["deploy", "production", "--yes", "--wait", "--artifact", artifact];
        let mut command = self.command(&deploy);
        let said = fs::File::create(self.home.path().join("said")).unwrap();
        command.stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    /// Returns the output of the last deploy that was started.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.home.path().join("said")).unwrap()
    }

    /// The version that `current` leads to on a host.
    pub(crate) fn version(&self, host: Host) -> String {
        host.root(&format!("cat /srv/{}/current/VERSION", self.name))
    }

    /// Returns the target of `current` on a host, or an empty text without it.
    pub(crate) fn current(&self, host: Host) -> String {
        host.root(&format!("readlink /srv/{}/current || true", self.name))
    }

    /// The number of releases on a host.
    pub(crate) fn releases(&self, host: Host) -> usize {
        host.root(&format!("ls /srv/{}/releases | wc -l", self.name)).parse().unwrap()
    }

    /// The lines of the ledger of a host.
    pub(crate) fn ledger(&self, host: Host) -> String {
        host.root(&format!("cat /srv/{}/.shipit/ledger.jsonl", self.name))
    }

    /// Returns the answer of the service on a host, or its error.
    pub(crate) fn answer(&self, host: Host) -> Result<String, std::io::Error> {
        let address: SocketAddr = format!("{}:{}", host.address(), self.port).parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.lines().last().unwrap_or_default().to_owned())
    }

    /// Waits until every host answers with this version and greeting.
    #[track_caller]
    pub(crate) fn answers(&self, version: &str, greeting: &str) {
        for &host in &self.hosts {
            self.answers_on(host, version, greeting);
        }
    }

    /// Waits until one host answers with this version and greeting.
    #[track_caller]
    pub(crate) fn answers_on(&self, host: Host, version: &str, greeting: &str) {
        let expected = format!("version={version} greeting={greeting}");
        until(Duration::from_secs(10), &format!("{} answers {expected}", host.0), || {
            self.answer(host).is_ok_and(|answer| answer == expected)
        });
    }

    /// Nobody holds the lock of a host: no agent has it open. To try the lock would get in the way
    /// of a run that is about to take it.
    pub(crate) fn unlocked(&self, host: Host) -> bool {
        let open = format!("-> /srv/{}/.shipit/lock", self.name);
        let held = format!("ls -l /proc/[0-9]*/fd/9 2>/dev/null | grep -q -- '{open}$'");
        !host.try_root(&held).status.success()
    }
}

impl Drop for App {
    /// Frees the port and the disk; a scenario that failed is left to look at.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for host in &self.hosts {
            let name = self.name;
            host.try_root(&format!(
                "systemctl disable --now {name}; systemctl reset-failed {name}; \
                 rm -rf /srv/{name} /etc/systemd/system/{name}.service*; systemctl daemon-reload"
            ));
        }
    }
}

impl Run {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// It ended with this exit code; if not, all that it said is shown.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Its errors say this, and what the state is.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in:\n{}", self.stderr);
        }
        self
    }
}
