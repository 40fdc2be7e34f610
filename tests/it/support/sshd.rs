//! A real sshd of our own: generated keys and configuration in a temporary directory, on a free
//! port of loopback, with the rights of the user who runs the tests.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shipit::config::{Address, SshSettings, SshTransport};
use shipit::remote::session::{Session, SessionError};
use shipit::ssh::expand::LocalEnv;
use shipit::ssh::given::GivenTexts;
use tempfile::TempDir;

use super::ssh::{User, around, connector, host, skipped, soon, told, whoami, write};

const SSHD: &str = "/usr/sbin/sshd";

/// Settings of every server.
const SSHD_CONFIG: &str = "PidFile none\nAuthorizedKeysFile DIR/authorized_keys\nStrictModes no\n\
                           UsePAM no\nPasswordAuthentication no\n\
                           KbdInteractiveAuthentication no\nPermitRootLogin yes\n\
                           LogLevel VERBOSE\nSetEnv HOME=DIR\n";

/// Returns the client that `SHIPIT_TEST_TRANSPORT` names: the built-in one, or OpenSSH.
pub(crate) fn transport() -> SshTransport {
    match std::env::var("SHIPIT_TEST_TRANSPORT").as_deref() {
        Ok("openssh") => SshTransport::OpenSsh,
        _ => SshTransport::Builtin,
    }
}

/// Returns whether there is an sshd. Fails without one if SHIPIT_TEST_OPENSSH is set.
pub(crate) fn present() -> bool {
    if Path::new(SSHD).exists() {
        return true;
    }
    assert!(std::env::var_os("SHIPIT_TEST_OPENSSH").is_none(), "{SSHD} is missing");
    skipped(&format!("{SSHD} is missing"));
    false
}

/// Runs a program that must succeed.
pub(crate) fn must(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A directory with keys, a client configuration and sshds that trust the keys in it.
pub(crate) struct SshDir {
    pub(crate) dir: TempDir,
    pub(crate) user: User,
    pub(crate) settings: SshSettings,
    pub(crate) agent: Option<PathBuf>,
    /// Further variables of the user.
    pub(crate) env: BTreeMap<String, String>,
}

impl SshDir {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let settings = SshSettings {
            config: Some(dir.path().join("config")),
            transport: transport(),
            ..SshSettings::default()
        };
        let dir = Self { dir, user: User::default(), settings, agent: None, env: BTreeMap::new() };
        dir.keygen("host", &["-t", "ed25519"]);
        dir.keygen("id", &["-t", "ed25519"]);
        dir.trust("id");
        write(&dir.path("known_hosts"), "");
        dir
    }

    /// With a server of its own for each connection to `web`, behind no port.
    pub(crate) fn without_a_port() -> Self {
        let dir = Self::new();
        let text = SSHD_CONFIG.replace("DIR", dir.dir.path().to_str().unwrap());
        write(&dir.path("sshd"), &format!("{text}HostKey {}\n", dir.path("host").display()));
        dir.config(22, &format!("ProxyCommand {SSHD} -i -f DIR/sshd"));
        write(&dir.path("known_hosts"), &format!("127.0.0.1 {}", dir.text("host.pub")));
        dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A key pair `name`, without a passphrase unless the arguments give one.
    pub(crate) fn keygen(&self, name: &str, args: &[&str]) {
        let path = self.path(name);
        let mut all = vec!["-q", "-C", name, "-f", path.to_str().unwrap()];
        if !args.contains(&"-N") {
            all.extend(["-N", ""]);
        }
        all.extend(args);
        must("ssh-keygen", &all);
    }

    /// Lets the key `name` log in, and no other.
    pub(crate) fn trust(&self, name: &str) {
        write(&self.path("authorized_keys"), &self.text(&format!("{name}.pub")));
    }

    /// A known_hosts line for the host key `key` of the server at `port`.
    pub(crate) fn know(&self, port: u16, key: &str) {
        let key = self.text(&format!("{key}.pub"));
        let line = format!("{}[127.0.0.1]:{port} {key}", self.text("known_hosts"));
        write(&self.path("known_hosts"), &line);
    }

    /// The client's configuration: `web` is the server at `port`.
    pub(crate) fn config(&self, port: u16, more: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "Host web\n  HostName 127.0.0.1\n  Port {port}\n\
             Host *\n  {}\n  User {}\n  UserKnownHostsFile {dir}/known_hosts\n  \
             GlobalKnownHostsFile none\n  IdentityFile {dir}/id\n  IdentitiesOnly yes\n",
            more.replace("DIR", &dir.to_string()),
            whoami(),
        );
        write(&self.path("config"), &text);
    }

    pub(crate) async fn connect(&self, name: &str) -> Result<Arc<dyn Session>, SessionError> {
        let mut around = around(self.dir.path(), "ssh");
        around.env.extend(self.env.clone());
        if let Some(agent) = &self.agent {
            around.env.insert("SSH_AUTH_SOCK".to_owned(), agent.display().to_string());
        }
        let connector = connector(&self.user, &self.settings, around);
        soon(connector.connect(&host(name, None))).await
    }

    /// Connects to `web`, for which deploy.toml names the key `pinned`.
    pub(crate) async fn connect_pinned(
        &self,
        pinned: &str,
    ) -> Result<Arc<dyn Session>, SessionError> {
        let mut web = host("web", None);
        if let Address::Ssh { fingerprint, .. } = &mut web.address {
            *fingerprint = Some(pinned.to_owned());
        }
        let around = around(self.dir.path(), "ssh");
        soon(connector(&self.user, &self.settings, around).connect(&web)).await
    }

    /// Connects to `web` with a key and known hosts that variables hold as text.
    pub(crate) async fn connect_given(
        &self,
        key: &str,
        known_hosts: &str,
    ) -> Result<Arc<dyn Session>, SessionError> {
        let variable = |name: &str| match name {
            "SHIPIT_SSH_KEY" => Some(key.to_owned()),
            "SHIPIT_KNOWN_HOSTS" => Some(known_hosts.to_owned()),
            _ => None,
        };
        let given = GivenTexts::read(&variable).unwrap_or_else(|error| panic!("{error}"));
        let around = LocalEnv { given, ..around(self.dir.path(), "ssh") };
        soon(connector(&self.user, &self.settings, around).connect(&host("web", None))).await
    }

    pub(crate) async fn session(&self) -> Arc<dyn Session> {
        self.connect("web").await.unwrap_or_else(|error| panic!("{}", told(&error)))
    }
}

/// A running sshd; gone with this.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    pub(crate) log: PathBuf,
    child: Child,
}

impl Sshd {
    /// Commands have the directory as their home, so that no `.bashrc` of a user is read.
    /// With the host key `host` unless `more` names others.
    pub(crate) fn start(dir: &SshDir, more: &str) -> Self {
        Self::start_on(dir, "127.0.0.1", more)
    }

    pub(crate) fn start_on(dir: &SshDir, address: &str, more: &str) -> Self {
        Self::launch(dir, address, more, Command::new(SSHD))
    }

    /// With PAM, which asks for `password`: in a mount namespace of its own, sshd sees our files in
    /// place of two in /etc. Returns `None` where that takes more than we may.
    pub(crate) fn start_with_password(dir: &SshDir, password: &str, more: &str) -> Option<Self> {
        let may = |program: &str| {
            Command::new(program)
                .args(["-m", "true"])
                .output()
                .is_ok_and(|out| out.status.success())
        };
        if !present() || !rustix::process::geteuid().is_root() || !may("unshare") {
            skipped("a mount namespace of our own takes root");
            return None;
        }
        let modules = [
            "auth required pam_unix.so",
            "account required pam_permit.so",
            "session required pam_permit.so",
        ];
        write(&dir.path("pam"), &format!("{}\n", modules.join("\n")));
        let hash = must("openssl", &["passwd", "-6", password]);
        write(&dir.path("shadow"), &format!("{}:{}:19000:0:99999:7:::\n", whoami(), hash.trim()));
        let (pam, shadow) = (dir.path("pam"), dir.path("shadow"));
        let script = format!(
            "mount --bind {} /etc/pam.d/sshd && mount --bind {} /etc/shadow && exec \"$0\" \"$@\"",
            pam.display(),
            shadow.display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, SSHD]);
        Some(Self::launch(dir, "127.0.0.1", more, command))
    }

    fn launch(dir: &SshDir, address: &str, more: &str, mut command: Command) -> Self {
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let (path, log) = (dir.dir.path().display(), dir.path(&format!("log.{port}")));
        let host_key = if more.contains("HostKey ") { "" } else { "HostKey DIR/host" };
        let text =
            format!("{more}\n{host_key}\nListenAddress {address}\nPort {port}\n{SSHD_CONFIG}");
        let config = dir.path(&format!("sshd.{port}"));
        write(&config, &text.replace("DIR", &path.to_string()));
        let child = command
            .args(["-D", "-e", "-f", config.to_str().unwrap()])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let sshd = Self { port, log, child };
        sshd.wait_for("Server listening");
        sshd
    }

    /// Returns its log so far.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_for_one_of(&[text]);
    }

    /// Waits for the end of a login, whether its client said so or just went.
    pub(crate) fn wait_for_logout(&self) {
        self.wait_for_one_of(&["Disconnected from", "Closing connection to"]);
    }

    fn wait_for_one_of(&self, texts: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !texts.iter().any(|text| self.said().contains(text)) {
            assert!(Instant::now() < deadline, "no {texts:?} in the log:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns how often its log contains `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.said().matches(text).count()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A dir and a server that it knows as `web`.
pub(crate) fn web(more: &str) -> Option<(SshDir, Sshd)> {
    present().then(|| {
        let dir = SshDir::new();
        let sshd = Sshd::start(&dir, more);
        dir.know(sshd.port, "host");
        dir.config(sshd.port, "");
        (dir, sshd)
    })
}

/// An agent of our own; gone with this.
pub(crate) struct SshAgent(std::process::Child);

impl SshAgent {
    /// With this many keys of its own, `k0` and so on.
    pub(crate) fn with_new_keys(dir: &mut SshDir, count: usize) -> Self {
        let names: Vec<String> = (0..count).map(|n| format!("k{n}")).collect();
        for name in &names {
            dir.keygen(name, &["-t", "ed25519"]);
        }
        Self::start(dir, &names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub(crate) fn start(dir: &mut SshDir, keys: &[&str]) -> Self {
        let socket = dir.path("agent");
        let child = std::process::Command::new("ssh-agent")
            .args(["-D", "-a", socket.to_str().unwrap()])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        let add = |what: &std::ffi::OsStr| {
            let mut add = Command::new("ssh-add");
            add.arg("-q").arg(what).env("SSH_AUTH_SOCK", &socket).output().unwrap().status
        };
        // Its socket is there before it answers; 2 says that it does not.
        while add("-l".as_ref()).code() == Some(2) {
            assert!(Instant::now() < deadline, "the agent does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        for key in keys {
            assert!(add(dir.path(key).as_os_str()).success());
        }
        dir.agent = Some(socket);
        agent
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A master of the user; gone with this.
pub(crate) struct UserMaster(PathBuf);

impl UserMaster {
    /// Makes `web`, the server at `port`, a name that is reached over a master, and starts it.
    pub(crate) fn start(place: &SshDir, port: u16) -> Self {
        place.config(port, "ControlPath DIR/%C");
        let config = place.path("config");
        let args =
            ["-F", config.to_str().unwrap(), "-M", "-N", "-f", "-oControlPersist=yes", "web"];
        let started = Command::new("ssh").args(args).stderr(Stdio::null()).status().unwrap();
        assert!(started.success());
        Self(config)
    }

    /// Returns whether it obeys `ssh -O`.
    pub(crate) fn ask(&self, order: &str) -> bool {
        let args = ["-F", self.0.to_str().unwrap(), "-O", order, "web"];
        Command::new("ssh").args(args).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for UserMaster {
    fn drop(&mut self) {
        self.ask("exit");
    }
}
