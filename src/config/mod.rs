//! Floor 1: from `deploy.toml` to a [`Config`] that cannot be invalid. `file` reads the file into
//! `tables`, which mirror what is written; `explain` says what is wrong with it, `known` lists its
//! keys. `merge` lays a stage over the top level, `resolve` applies every rule of `rules`, `error`
//! holds every way to fail. `env` makes the bytes of `.env`: `dotenv` reads files of values,
//! `env_format` writes them, `secrecy` says what may be shown of them. `checks` holds what health
//! checks ask, `gather` fetches what they need of this machine, `placeholders` stand for a release
//! in them. `inventory` reads hosts that are listed elsewhere, `access` is what it takes to get an
//! artifact. `start` makes what `shipit init` writes, `schema` is what editors read. `trace` finds
//! out what the tables hold.

pub mod access;
pub mod checks;
pub mod dotenv;
pub mod env;
pub mod env_format;
pub mod error;
mod explain;
pub mod file;
pub mod gather;
mod inventory;
pub mod known;
mod merge;
pub mod placeholders;
pub mod resolve;
mod rules;
pub mod schema;
pub mod secrecy;
pub mod start;
pub mod tables;
mod trace;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::access::{ArtifactAccess, DigestSource};
use self::checks::Check;
use self::env_format::EnvFormat;
use self::placeholders::Placeholders;
pub use self::tables::{HostKeys, Moment, NoticeFormat, SshTransport};
use crate::model::hook::HookPlace;
use crate::model::layout::Layout;
use crate::model::link::SharedLink;
use crate::model::note::Note;
use crate::model::service::{Service, Unit};
use crate::model::slots::Slots;
use crate::model::words::count;

/// One stage, ready to be worked with.
#[derive(Debug, Clone)]
pub struct Config {
    pub app: String,
    pub stage: String,
    /// The directory of `deploy.toml`, to which relative paths are relative.
    pub base: PathBuf,
    pub layout: Layout,
    /// The number of good releases that prune keeps, including the live one; at least 1.
    pub keep: usize,
    /// Never empty, names unique, in the order written.
    pub hosts: Vec<Host>,
    /// The command or file that listed the hosts; `None`: deploy.toml itself.
    pub hosts_from: Option<String>,
    pub links: Vec<SharedLink>,
    /// The artifact, unless a flag names another one.
    pub artifact: Option<ArtifactSpec>,
    pub assets: Option<Assets>,
    /// The environment files, names unique.
    pub env: Vec<EnvSpec>,
    /// The services that run it, in the order of restarts; empty for static files.
    pub services: Vec<Service>,
    pub slots: Option<Slots>,
    pub health: Health,
    pub hooks: Hooks,
    pub notices: Vec<NoticeTarget>,
    pub rollout: Rollout,
    pub upload: Upload,
    pub maintenance: Option<Maintenance>,
    pub confirm: Confirm,
    pub ssh: SshSettings,
    pub sudo: SudoSettings,
    /// At most this many hosts at once.
    pub parallel: usize,
    /// The agent reverts an undecided release when it has heard nothing for this long.
    pub deadline: Duration,
}

impl Config {
    /// Returns the names of the hosts, in their order.
    pub fn host_names(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.name.clone()).collect()
    }

    /// Returns the hosts and where they were listed, in one line; `None` if deploy.toml lists them.
    pub fn listed_elsewhere(&self) -> Option<String> {
        let origin = self.hosts_from.as_ref()?;
        let names: Vec<_> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        let hosts = count(names.len(), "host");
        let line = format!("{hosts} from {origin}: {}", names.join(", "));
        Some(line.replace(|c: char| c.is_control(), " "))
    }

    /// Returns the unit files that releases bring to a host.
    pub fn unit_files_on<'c>(&'c self, host: &'c Host) -> impl Iterator<Item = &'c str> {
        self.services_on(host).filter_map(|service| service.unit()?.file.as_deref())
    }

    /// Returns the environment files of a host, in their order.
    pub fn env_on<'c>(&'c self, host: &'c Host) -> impl Iterator<Item = &'c EnvSpec> {
        self.env.iter().filter(|spec| host.is_one_of(&spec.roles))
    }

    /// Returns the name of the env file of a host that a shell can read; `None`: it has only
    /// others.
    pub fn shell_env_on<'c>(&'c self, host: &'c Host) -> Option<&'c str> {
        let reads = |spec: &&EnvSpec| matches!(spec.format, EnvFormat::Portable | EnvFormat::Shell);
        let found = self.env_on(host).find(reads).map(|spec| &*spec.file);
        found.or_else(|| self.env.is_empty().then_some(".env"))
    }

    /// Returns the services of a host, in their order.
    pub fn services_on<'c>(&'c self, host: &'c Host) -> impl Iterator<Item = &'c Service> {
        self.services.iter().filter(|service| host.is_one_of(&service.roles))
    }

    /// Returns the services of a host as they are in `slot`.
    pub fn services_in(&self, host: &Host, slot: &str) -> Vec<Service> {
        self.services_on(host).map(|service| service.in_slot(slot)).collect()
    }

    /// Returns the units of a service: in a slot, those of both.
    pub fn units_of(&self, service: &Service) -> Vec<Unit> {
        let slots =
            self.slots.iter().flat_map(|slots| &slots.pair).filter(|_| service.is_in_slot());
        let mut all: Vec<_> = slots.map(|slot| service.in_slot(&slot.name)).collect();
        if all.is_empty() {
            all.push(service.clone());
        }
        all.iter().filter_map(|service| service.unit().cloned()).collect()
    }

    /// Returns the slots of a host; `None` if no service of it is in a slot.
    pub fn slots_on(&self, host: &Host) -> Option<&Slots> {
        self.slots.as_ref().filter(|_| self.services_on(host).any(Service::is_in_slot))
    }
}

/// One host of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// As written: what reports call it, and what `ssh -G` is asked about.
    pub name: String,
    pub address: Address,
    /// Its roles; empty: all hooks and checks apply.
    pub roles: Vec<String>,
}

impl Host {
    /// Returns whether the host has one of these roles, or any host will do.
    pub fn is_one_of(&self, roles: &[String]) -> bool {
        roles.is_empty() || roles.iter().any(|role| self.roles.contains(role))
    }
}

/// The way to reach a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// This machine, without SSH.
    Local,
    Ssh {
        /// An alias of `ssh_config`, a name or an address.
        host: String,
        /// Instead of what `ssh_config` says.
        user: Option<String>,
        /// Instead of what `ssh_config` says.
        port: Option<u16>,
        /// `SHA256:…` that the host key must have, instead of known_hosts.
        fingerprint: Option<String>,
    },
}

/// SSH settings of `deploy.toml`'s `[ssh]` table. Paths are absolute, or begin with `~/` until
/// [`SshSettings::at_home`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SshSettings {
    /// The file that `ssh` reads instead of `~/.ssh/config`.
    pub config: Option<PathBuf>,
    /// Instead of what `ssh_config` says.
    pub user: Option<String>,
    /// The only key that is tried.
    pub identity_file: Option<PathBuf>,
    /// The file that is read instead of the user's known_hosts.
    pub known_hosts: Option<PathBuf>,
    /// The limit for connecting and logging in.
    pub connect_timeout: Option<Duration>,
    /// The rule for unknown host keys, in place of that of `ssh_config`.
    pub host_keys: Option<HostKeys>,
    pub transport: SshTransport,
}

/// Returns `path` with `~/` replaced by `home`.
pub fn at_home(path: &Path, home: &Path) -> PathBuf {
    path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| home.join(rest))
}

impl SshSettings {
    /// Returns the settings with `~/` replaced by `home` in every path.
    #[must_use]
    pub fn at_home(mut self, home: &Path) -> Self {
        let paths = [&mut self.config, &mut self.identity_file, &mut self.known_hosts];
        paths.into_iter().flatten().for_each(|path| *path = at_home(path, home));
        self
    }
}

/// The way to rights that the login does not have: `[sudo]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SudoSettings {
    /// The words of sudo, doas or run0.
    pub command: Vec<String>,
    /// The user that everything on hosts is done as, in place of the one that logs in.
    pub user: Option<String>,
    pub password: Option<PasswordSource>,
}

/// The source of the password of sudo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// The person at the terminal.
    Terminal,
    Elsewhere(EnvSource),
}

impl Default for SudoSettings {
    fn default() -> Self {
        Self { command: vec!["sudo".to_owned(), "-n".to_owned()], user: None, password: None }
    }
}

impl SudoSettings {
    /// Returns whether it can be asked what it allows.
    pub fn tells(&self) -> bool {
        let program = self.command.first().and_then(|word| word.rsplit('/').next());
        program.is_some_and(|name| name.starts_with("sudo"))
    }

    /// Returns the words with which the login becomes another user. With a password, sudo reads it
    /// from its standard input.
    pub fn outer(&self) -> Vec<String> {
        let asks = self.password.is_some();
        let words =
            self.command.iter().filter(|word| !asks || !["-n", "-S"].contains(&word.as_str()));
        words.cloned().chain(asks.then(|| "-S".to_owned())).collect()
    }
}

/// An artifact to deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactSpec {
    pub source: ArtifactSource,
    /// Entries to leave out: gitignore-like globs on paths inside the artifact.
    pub exclude: Vec<String>,
    /// The number of leading directories that are dropped from each path.
    pub strip_components: usize,
    pub rules: EntryRules,
    /// Linked paths: entries at or below them stay out of every release.
    pub linked: Vec<String>,
    pub access: ArtifactAccess,
}

/// The rules for entries that are refused or changed by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryRules {
    /// Links that lead out of a directory are replaced by what they lead to.
    pub follow_links: bool,
    /// Names may differ only in upper and lower case.
    pub any_case: bool,
    /// Files that others cannot read here stay so on hosts.
    pub keep_private: bool,
}

/// The place of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSource {
    /// A directory, an archive or a single file on this machine.
    Path {
        path: PathBuf,
        /// The digest of the file, if it is to be checked.
        sha256: Option<DigestSource>,
    },
    /// An address that begins with `https://`, `s3://` or `file://`.
    Url {
        url: String,
        /// The digest of its response.
        sha256: Option<DigestSource>,
    },
}

/// The files of earlier releases that stay in a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assets {
    /// The directories that they are below.
    pub keep: Vec<String>,
    /// The number of earlier releases; at most as many as prune keeps.
    pub releases: usize,
}

/// An environment file: values in one file beside the build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvSpec {
    /// Its place among the files of the stage.
    pub number: usize,
    /// Its name inside the release.
    pub file: String,
    /// Octal text, `600`.
    pub mode: String,
    /// The group that may read it too.
    pub group: Option<String>,
    /// Hosts with one of these roles get it; empty: all hosts do.
    pub roles: Vec<String>,
    pub format: EnvFormat,
    /// Whole files of values; later ones count more.
    pub imports: Vec<EnvImport>,
    /// Single values, which count more than those of files.
    pub vars: BTreeMap<String, EnvVar>,
    /// Whether `file` is written in the config.
    pub is_named: bool,
    /// Whether a service of the stage is a unit of systemd.
    pub for_unit: bool,
}

/// A whole dotenv text in `[env]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvImport {
    pub source: EnvSource,
    pub absent: IfAbsent,
}

/// A single value in `[env]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    pub source: EnvSource,
    pub absent: IfAbsent,
    /// Whether it is said to be a secret, or none.
    pub secret: Option<bool>,
}

impl EnvVar {
    /// Returns whether the config says that it is a secret, or none: text is none.
    pub fn is_secret(&self) -> Option<bool> {
        let is_text = matches!(self.source, EnvSource::Text(_));
        self.secret.or(is_text.then_some(false))
    }
}

/// The answer to a variable that is not set or empty, and to a file that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IfAbsent {
    #[default]
    Refused,
    LeftOut,
    /// This is taken instead.
    Text(String),
}

/// The source of a value in `[env]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvSource {
    /// As written in `deploy.toml`.
    Text(String),
    /// An environment variable of this process.
    Variable(String),
    /// The output of a command, without its final newline.
    Command(String),
    /// A file's content, less one final newline.
    File(PathBuf),
}

impl fmt::Display for EnvSource {
    /// Writes where the value is, without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("deploy.toml"),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Command(text) => {
                // Further words may hold a secret.
                let program = text.split_whitespace().find(|word| !word.contains('='));
                write!(f, "`{} …`", program.unwrap_or("sh").escape_debug())
            }
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl EnvSpec {
    /// Returns its name in `meta/` of an upload.
    pub fn uploaded(&self) -> String {
        if self.number == 0 { "env".to_owned() } else { format!("env{}", self.number) }
    }

    /// Each source that must have a value, and the name of that value; `files` for whole files.
    pub fn required(&self) -> impl Iterator<Item = (&str, &EnvSource)> {
        let files = self.imports.iter().filter(|import| import.absent == IfAbsent::Refused);
        let vars = self.vars.iter().filter(|(_, var)| var.absent == IfAbsent::Refused);
        files
            .map(|import| ("files", &import.source))
            .chain(vars.map(|(name, var)| (name.as_str(), &var.source)))
    }

    /// Returns warnings about what is allowed but hardly meant, one line each, with what to do
    /// after a semicolon.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        if self.is_named && self.vars.is_empty() && self.imports.is_empty() {
            let text = format!(
                "{} will be empty: `file` in [env] names the file that is written, and no value is \
                 given",
                self.file
            );
            notes.push(Note::new(text, "`vars.NAME = { env = \"NAME\" }` puts one into it"));
        }
        for (name, var) in &self.vars {
            if ["command", "env", "file"].contains(&name.as_str())
                && matches!(var.source, EnvSource::Text(_))
            {
                let text = format!("`vars` in [env] makes a variable that is called `{name}`");
                let fix = format!(
                    "`vars.NAME = {{ {name} = \"…\" }}` takes the value of `NAME` from there"
                );
                notes.push(Note::new(text, fix));
            }
        }
        notes
    }
}

/// The checks that a new release must pass before it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The time that the unit must stay up without a restart.
    pub soak: Duration,
    /// The checks that must pass at the same time.
    pub checks: Vec<Check>,
}

impl Health {
    /// Fails with the first placeholder of any check whose value is not known.
    pub fn fillable(&self, placeholders: &Placeholders) -> Result<(), &'static str> {
        self.checks.iter().try_for_each(|check| check.probe.filled(placeholders).map(|_| ()))
    }

    /// Each header's name and where its value comes from.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &EnvSource)> {
        let headers = self.checks.iter().flat_map(|check| match &check.probe {
            checks::HealthProbe::Http(http) => http.headers.as_slice(),
            _ => &[],
        });
        headers.map(|header| (header.name.as_str(), &header.value))
    }
}

/// Commands that the user runs along the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// On this machine, before anything.
    pub before: Vec<Hook>,
    /// On this machine, when all hosts are ready and nothing live has changed.
    pub local_staged: Vec<Hook>,
    /// On hosts, in the new release, before it is sealed.
    pub staged: Vec<Hook>,
    /// On hosts, in the new release, before `current` is flipped.
    pub before_switch: Vec<Hook>,
    /// On hosts, in the new release, between the flip and the restart.
    pub switched: Vec<Hook>,
    /// On hosts, after the restart, before it is judged.
    pub activated: Vec<Hook>,
    /// On hosts, in the new release, after it was committed.
    pub committed: Vec<Hook>,
    /// On hosts, in what is live again, after a revert.
    pub reverted: Vec<Hook>,
    /// On this machine, after a deploy that worked.
    pub after: Vec<Hook>,
    /// On this machine, after one that did not.
    pub failed: Vec<Hook>,
    /// The shell on hosts and its flags: `["bash", "-lc"]`; `["/bin/sh", "-c"]` when not said.
    pub shell: Vec<String>,
    /// The limit for a hook without one of its own.
    pub limit: Duration,
}

/// One command of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Text for the shell.
    pub run: String,
    /// On the first (matching) host only.
    pub once: bool,
    /// On hosts with one of these roles; empty: on all.
    pub roles: Vec<String>,
    pub limit: Duration,
}

/// A message about a deploy or a rollback, sent to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeTarget {
    /// The address, which is a secret unless it stands in the file.
    pub url: EnvSource,
    pub format: NoticeFormat,
    pub on: Vec<Moment>,
}

/// The moment at which a person is asked before a stage changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confirm {
    #[default]
    Never,
    /// Before anything is done.
    First,
    /// All hosts are ready, and nothing live has changed.
    Staged,
}

/// The order in which the fleet flips.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollout {
    pub batch: Batch,
    /// Names of the hosts that flip before all others.
    pub canary: Vec<String>,
    /// Between a batch that is well and the next one.
    pub pause: Duration,
    /// The fate of the other hosts if more fail than may.
    pub on_failure: OnFailure,
    pub on_unreachable: OnUnreachable,
    /// The number of hosts that may fail and revert alone before the run counts as failed.
    pub max_failed: usize,
}

/// Settings of uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Whether files that did not change are shared with the release that is live.
    pub link: bool,
    /// The most bytes a second, to all hosts together.
    pub limit: Option<u64>,
    /// The most hosts that receive at the same time.
    pub parallel: Option<usize>,
}

impl Default for Upload {
    fn default() -> Self {
        Self { link: true, limit: None, parallel: None }
    }
}

/// The file that says that the app is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// Its path in `shared/`.
    pub file: String,
    /// A file on this machine with its content.
    pub template: Option<PathBuf>,
}

/// The number of hosts that flip together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batch {
    #[default]
    All,
    /// At most this many hosts.
    Hosts(usize),
    /// At most this part of the run's hosts, rounded down, and at least one host.
    Percent(usize),
}

/// The fate of the other hosts if a host fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Every host is undecided until all are well; if one is not, all revert.
    #[default]
    RevertAll,
    /// A batch is committed if all of it is well, else reverted; earlier batches stay.
    RevertBatch,
    /// Hosts that are well are committed, the others reverted, and no batch follows.
    Stop,
}

/// The fate of the run if a host cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnreachable {
    /// Nothing is touched anywhere.
    #[default]
    Abort,
    /// The others go on; the host is behind until the next deploy.
    Skip,
}

impl Hooks {
    /// Returns the hooks that hosts run by themselves at `place`.
    pub fn at(&self, place: HookPlace) -> &[Hook] {
        match place {
            HookPlace::BeforeSwitch => &self.before_switch,
            HookPlace::Switched => &self.switched,
            HookPlace::Committed => &self.committed,
            HookPlace::Reverted => &self.reverted,
        }
    }
}

impl Hook {
    /// Returns whether the hook runs on this host.
    pub fn concerns(&self, host: &Host) -> bool {
        host.is_one_of(&self.roles)
    }
}
