//! Masters: each is a process of OpenSSH's `ssh` that holds one connection, for commands and
//! tunnels through its control socket. A run starts its own in a private directory, unless one of
//! the user's is there to ride on.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::PublicKey;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::{HostKeys, SshSettings};
use crate::model::mutex::lock;
use crate::remote::session::{KNOWN_HOSTS, SessionError};
use crate::ssh::expand::LocalEnv;
use crate::ssh::given::KEY;
use crate::ssh::host_key::{fingerprint, record_name, same_fingerprint};
use crate::ssh::mux::ControlSocket;
use crate::ssh::openssh_words::OpenSshLog;
use crate::ssh::options::SshAnswers;
use crate::ssh::ssh_config::{HostSettings, KeyPolicy, is_default_key, naming};
use crate::ssh::target::{SshTarget, too_slow, unusable};

/// A master that nobody uses ends after this many seconds, should this process be killed.
const IDLE_SECONDS: &str = "60";
/// A passphrase, a touch or an agent that asks takes a person; sshd waits two minutes.
pub(crate) const PERSON_LIMIT: Duration = Duration::from_secs(100);
/// A path of a socket is at most this long: 104 bytes less what ssh appends for a moment.
const LONGEST_SOCKET: usize = 85;
/// Kinds of host keys, in the order in which a pinned one is looked for.
const KEY_KINDS: [&str; 3] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
    "rsa-sha2-512,rsa-sha2-256",
];

/// The private directory of a run's own masters. Made with the first; gone with the last.
#[derive(Default)]
pub(crate) struct MasterDir {
    dir: Mutex<Option<Arc<TempDir>>>,
    count: AtomicUsize,
    /// The user was told that there are some.
    told: AtomicBool,
}

impl MasterDir {
    /// Returns `true` once.
    pub(crate) fn is_first(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// Returns the directory, and a name in it that is not in use.
    fn place(&self, around: &LocalEnv) -> Result<(Arc<TempDir>, String), SessionError> {
        let name = self.count.fetch_add(1, Ordering::Relaxed).to_string();
        let mut dir = lock(&self.dir);
        let made = match dir.take() {
            Some(made) => made,
            None => Arc::new(private_dir(around)?),
        };
        Ok((dir.insert(made).clone(), name))
    }
}

/// Makes a directory with a short path that nobody else can enter.
fn private_dir(around: &LocalEnv) -> Result<TempDir, SessionError> {
    let var = |name: &str| around.env.get(name).map(PathBuf::from);
    let places = [var("XDG_RUNTIME_DIR"), Some(PathBuf::from("/tmp")), var("TMPDIR")];
    let mut builder = tempfile::Builder::new();
    builder.prefix("shipit-").permissions(Permissions::from_mode(0o700));
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for place in places.into_iter().flatten().filter(|place| place.is_absolute()) {
        match builder.tempdir_in(place) {
            Ok(dir) if dir.path().as_os_str().len() + 4 <= LONGEST_SOCKET => return Ok(dir),
            Ok(_) => failure = io::Error::other("the path is too long for a socket"),
            Err(error) => failure = error,
        }
    }
    Err(unusable("a directory for the socket of ssh", &failure.to_string()))
}

/// The target of a master, and the rules by which it connects.
pub(crate) struct MasterPlan<'a> {
    pub(crate) target: &'a SshTarget,
    /// The fingerprint of deploy.toml.
    pub(crate) pin: Option<&'a str>,
    pub(crate) host: &'a HostSettings,
    /// The output of `ssh -G`.
    pub(crate) answers: &'a SshAnswers,
    /// Those of deploy.toml.
    pub(crate) settings: &'a SshSettings,
    pub(crate) around: &'a LocalEnv,
}

/// A master.
pub(crate) struct Master {
    pub(crate) socket: ControlSocket,
    /// The log and the directory of one that this run has started, which ends with this.
    pub(crate) own: Option<(LogFiles, Arc<TempDir>)>,
    /// The shortest time that opening a channel took, in microseconds: about one round trip.
    pub(crate) opened: AtomicU64,
}

/// The files into which an `ssh` and the programs beside it write.
pub(crate) struct LogFiles {
    own: PathBuf,
    beside: PathBuf,
}

impl LogFiles {
    fn new(path: &Path) -> Self {
        Self { own: path.with_extension("log"), beside: path.with_extension("beside") }
    }

    fn read(&self) -> OpenSshLog {
        let text =
            |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        OpenSshLog::new(&text(&self.own), &text(&self.beside))
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.socket.terminate_at_once();
        }
    }
}

impl Master {
    fn new(socket: ControlSocket, own: Option<(LogFiles, Arc<TempDir>)>) -> Self {
        Self { socket, own, opened: AtomicU64::new(u64::MAX) }
    }

    /// Returns the user's own master that listens at `path`, if it lives.
    pub(crate) async fn of_user(path: &Path) -> Option<Self> {
        let socket = ControlSocket(path.to_owned());
        let lives = path.exists() && socket.is_alive().await;
        lives.then(|| Self::new(socket, None))
    }

    /// Returns what this master has written so far; `None` for one of the user's.
    pub(crate) fn log(&self) -> Option<OpenSshLog> {
        self.own.as_ref().map(|(log, _)| log.read())
    }

    /// Starts a master and waits until it is logged in.
    pub(crate) async fn start(
        plan: &MasterPlan<'_>,
        masters: &MasterDir,
    ) -> Result<Self, SessionError> {
        plan.check()?;
        let (dir, name) = masters.place(plan.around)?;
        let path = dir.path().join(name);
        let known = match plan.pin {
            Some(pin) => Some(plan.pinned(pin, &path.with_extension("known")).await?),
            None => None,
        };
        let log = LogFiles::new(&path);
        let mut args = plan.args(&log.own, known.as_deref());
        args.extend(["-M", "-N", "-o", "ClearAllForwardings=yes", "-S"].map(OsString::from));
        args.push(path.clone().into());
        args.extend([OsString::from("-o"), format!("ControlPersist={IDLE_SECONDS}").into()]);
        if plan.run(args, &log.beside, &[]).await? {
            return Ok(Self::new(ControlSocket(path), Some((log, dir))));
        }
        Err(log.read().failure(plan.host))
    }
}

impl MasterPlan<'_> {
    /// Fails if deploy.toml has a setting that OpenSSH would not obey.
    fn check(&self) -> Result<(), SessionError> {
        let (ours, given) = (self.settings, &self.around.given);
        let texts = [(KEY, given.key.is_some()), (KNOWN_HOSTS, given.known_hosts.is_some())];
        if let Some((variable, _)) = texts.iter().find(|(_, set)| *set) {
            return Err(unusable(variable, "OpenSSH reads it from a file only, named in [ssh]"));
        }
        let for_hops = [
            ("identity_file", ours.identity_file.is_some()),
            ("known_hosts", ours.known_hosts.is_some()),
            ("host_keys", ours.host_keys.is_some()),
        ];
        let passed_on = for_hops.iter().find(|(_, set)| *set && !self.host.proxy_jump.is_empty());
        if let Some((key, _)) = passed_on {
            let reason = "OpenSSH does not pass it on to the `ssh` that goes to the jump host";
            return Err(unusable(&format!("{key} in [ssh]"), reason));
        }
        let Some(own) = &self.settings.identity_file else { return Ok(()) };
        let is_other = |key: &&PathBuf| *key != own && !is_default_key(key, &self.around.home);
        match self.host.identity_files.iter().find(is_other) {
            Some(other) => Err(unusable(
                &format!("identity_file {}", own.display()),
                &format!("OpenSSH would also try IdentityFile {} of ssh_config", other.display()),
            )),
            None => Ok(()),
        }
    }

    /// Returns whether passwords and passphrases come from a program. On the terminal OpenSSH would
    /// ask in the middle of what is shown there.
    fn may_ask(&self) -> bool {
        let var = |name| self.around.env.get(name).map(String::as_str);
        var("SSH_ASKPASS").is_some_and(|name| !name.is_empty())
            && var("SSH_ASKPASS_REQUIRE") == Some("force")
    }

    /// Returns the arguments that hold for every connection. `known`: a file with the pinned key.
    fn args(&self, log: &Path, known: Option<&Path>) -> Vec<OsString> {
        let mut args: Vec<OsString> = ["-v", "-T", "-a", "-x", "-E"].map(OsString::from).to_vec();
        args.push(log.into());
        let mut option = |text: String| args.extend([OsString::from("-o"), text.into()]);
        let host = self.host;
        let new = host.policy == KeyPolicy::AcceptNew && known.is_none();
        option(format!("StrictHostKeyChecking={}", if new { "accept-new" } else { "yes" }));
        option(format!("ConnectTimeout={}", host.connect_timeout.as_secs().max(1)));
        option(format!("ServerAliveInterval={}", host.alive_interval.as_secs().max(1)));
        option(format!("ServerAliveCountMax={}", host.alive_count));
        option(format!("BatchMode={}", if self.may_ask() { "no" } else { "yes" }));
        option("NumberOfPasswordPrompts=1".to_owned());
        option("RemoteCommand=none".to_owned());
        let file = known.or(self.settings.known_hosts.as_deref());
        if let Some(file) = file {
            option(format!("UserKnownHostsFile={}", quoted(file)));
            option("GlobalKnownHostsFile=/dev/null".to_owned());
            if self.answers.set("knownhostscommand").is_some() {
                option("KnownHostsCommand=none".to_owned());
            }
        }
        if file.is_some() || self.settings.host_keys == Some(HostKeys::Strict) {
            option("VerifyHostKeyDNS=no".to_owned());
            option("NoHostAuthenticationForLocalhost=no".to_owned());
        }
        if let Some(key) = &self.settings.identity_file {
            option(format!("IdentityFile={}", quoted(key)));
            option("IdentitiesOnly=yes".to_owned());
        }
        args.extend(naming(self.target, self.settings));
        args
    }

    /// Runs `ssh` with `args` and `command`. The words of programs on the way go to `beside`.
    /// Returns whether it ended well.
    async fn run(
        &self,
        args: Vec<OsString>,
        beside: &Path,
        command: &[&str],
    ) -> Result<bool, SessionError> {
        let failed =
            |error: io::Error| unusable(&self.around.ssh.display().to_string(), &error.to_string());
        let mut ssh = Command::new(&self.around.ssh);
        ssh.args(args).arg("--").arg(&self.target.host).args(command).envs(&self.around.env);
        if !self.may_ask() {
            // The `ssh` to a jump host would ask, too.
            ssh.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
        }
        ssh.stdin(Stdio::null()).stdout(Stdio::null());
        ssh.stderr(File::create(beside).map_err(failed)?);
        // Ctrl-C at our terminal reaches only us, and a proxy stays as long as its connection.
        let mut child = ssh.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
        let limit = self.host.connect_timeout + PERSON_LIMIT;
        match timeout(limit, child.wait()).await {
            Ok(status) => Ok(status.map_err(failed)?.success()),
            Err(_) => Err(too_slow(format!("logging in to {}", self.host.address()), limit)),
        }
    }

    /// Writes the host's key into the new file `known` if its fingerprint is `pin`, and returns the
    /// file. Connects for that without logging in.
    async fn pinned(&self, pin: &str, known: &Path) -> Result<PathBuf, SessionError> {
        let mut first = None;
        for kinds in KEY_KINDS {
            let said = self.shown(kinds, known).await?;
            if key_in(known).is_some_and(|key| same_fingerprint(pin, &key)) {
                return Ok(known.to_owned());
            }
            let (kind, fingerprint) = said.shown_key();
            if !fingerprint.is_empty() {
                let (name, pinned) = (record_name(self.host), pin.to_owned());
                first.get_or_insert(SessionError::HostKeyNotPinned {
                    name,
                    kind,
                    fingerprint,
                    pinned,
                });
            } else if !said.lacks_key_kind() {
                return Err(said.failure(self.host));
            }
        }
        let none = || unusable("fingerprint", "the host has no key of a kind that is supported");
        Err(first.unwrap_or_else(none))
    }

    /// Connects without logging in, and writes the key of one of these `kinds` that the host shows
    /// into the new file `known`.
    async fn shown(&self, kinds: &str, known: &Path) -> Result<OpenSshLog, SessionError> {
        let log = LogFiles::new(known);
        let _ = (fs::remove_file(known), fs::remove_file(&log.own));
        // The first value of an option counts.
        let mut args: Vec<OsString> = Vec::new();
        for option in [
            "StrictHostKeyChecking=accept-new",
            "PreferredAuthentications=none",
            "HashKnownHosts=no",
            "ControlPath=none",
            &format!("HostKeyAlgorithms={kinds}"),
        ] {
            args.extend(["-o".into(), option.into()]);
        }
        args.extend(self.args(&log.own, Some(known)));
        self.run(args, &log.beside, &["exit"]).await?;
        Ok(log.read())
    }
}

/// Returns the fingerprint of the only key in a known_hosts file.
fn key_in(known: &Path) -> Option<String> {
    let text = fs::read_to_string(known).ok()?;
    let (_, key) = text.trim().split_once(' ')?;
    PublicKey::from_openssh(key).ok().map(|key| fingerprint(&key))
}

/// Returns a path as a value of `ssh_config`.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}
