//! `deploy.toml` as it is written. No rules here: only what may stand where.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The whole file. Every table but `[stages]` may also stand in a stage, which wins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The app's name.
    pub app: String,
    /// The stage that is meant when none is named.
    pub default_stage: Option<String>,
    /// Where it goes on each host.
    pub deploy_to: Option<String>,
    /// How many good releases stay.
    pub keep_releases: Option<usize>,
    /// Directories that outlive releases.
    pub linked_dirs: Option<Vec<TextOr<LinkedDir>>>,
    /// Files that outlive releases.
    pub linked_files: Option<Vec<TextOr<LinkedFile>>>,
    /// What is deployed.
    pub artifact: Option<ArtifactTable>,
    /// The environment config.
    pub env: Option<EnvTable>,
    /// What is restarted.
    pub service: Option<ServiceTable>,
    /// How a release is judged.
    pub health: Option<HealthTable>,
    /// What the user runs along the way.
    pub hooks: Option<HooksTable>,
    /// How the fleet flips.
    pub rollout: Option<RolloutTable>,
    /// SSH settings.
    pub ssh: Option<SshTable>,
    /// Limits in time.
    pub timeouts: Option<TimeoutsTable>,
    /// At most this many hosts at once.
    pub parallel: Option<usize>,
    /// The stages.
    #[serde(default)]
    pub stages: BTreeMap<String, StageTable>,
}

/// One stage: its hosts, and what differs from the top level.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageTable {
    /// Its hosts.
    #[serde(default)]
    pub hosts: Vec<TextOr<HostTable>>,
    /// Ask before changing anything.
    #[serde(default)]
    pub confirm: bool,
    /// See [`ConfigFile`].
    pub deploy_to: Option<String>,
    /// See [`ConfigFile`].
    pub keep_releases: Option<usize>,
    /// See [`ConfigFile`].
    pub linked_dirs: Option<Vec<TextOr<LinkedDir>>>,
    /// See [`ConfigFile`].
    pub linked_files: Option<Vec<TextOr<LinkedFile>>>,
    /// See [`ConfigFile`].
    pub artifact: Option<ArtifactTable>,
    /// Merged with the top level's, variable by variable.
    pub env: Option<EnvTable>,
    /// See [`ConfigFile`].
    pub service: Option<ServiceTable>,
    /// See [`ConfigFile`].
    pub health: Option<HealthTable>,
    /// See [`ConfigFile`].
    pub hooks: Option<HooksTable>,
    /// See [`ConfigFile`].
    pub rollout: Option<RolloutTable>,
    /// See [`ConfigFile`].
    pub ssh: Option<SshTable>,
    /// See [`ConfigFile`].
    pub timeouts: Option<TimeoutsTable>,
    /// See [`ConfigFile`].
    pub parallel: Option<usize>,
}

/// A host with more to say than a string can.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTable {
    /// As in the string form.
    pub address: String,
    /// Instead of what `ssh_config` says.
    pub user: Option<String>,
    /// Instead of what `ssh_config` says.
    pub port: Option<u16>,
    /// For hooks and checks that name roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// `SHA256:…` of its host key, instead of known_hosts.
    pub fingerprint: Option<String>,
}

/// A linked directory with a mode or group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkedDir {
    /// Inside the release and `shared/`.
    pub path: String,
    /// Octal text.
    pub mode: Option<String>,
    /// A group the deploying user is in.
    pub group: Option<String>,
}

/// A linked file that need not be there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkedFile {
    /// Inside the release and `shared/`.
    pub path: String,
    /// No link is made where it is missing.
    #[serde(default)]
    pub optional: bool,
}

/// `[artifact]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactTable {
    /// Directory, archive, single file or URL.
    pub path: String,
    /// Of the file or what the URL answers.
    pub sha256: Option<String>,
    /// What stays out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How many leading directories are dropped.
    #[serde(default)]
    pub strip_components: usize,
}

/// `[env]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvTable {
    /// Its name inside the release.
    pub file: Option<String>,
    /// Octal text.
    pub mode: Option<String>,
    /// Who else may read it.
    pub group: Option<String>,
    /// Where each value comes from.
    #[serde(default)]
    pub vars: BTreeMap<String, TextOr<EnvValue>>,
}

/// A value that is not written in the file: exactly one of these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvValue {
    /// An environment variable.
    pub env: Option<String>,
    /// A command.
    pub command: Option<String>,
    /// A file.
    pub file: Option<String>,
}

/// `[service]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTable {
    /// A systemd unit.
    pub unit: Option<String>,
    /// `system` or `user`.
    pub scope: Option<String>,
    /// `restart` or `reload-or-restart`.
    pub action: Option<String>,
    /// A command, instead of a unit.
    pub restart: Option<String>,
    /// What to run when nothing is left to run.
    pub stop: Option<String>,
    /// How long one restart may take.
    pub timeout: Option<Seconds>,
}

/// `[health]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthTable {
    /// A URL as seen from the host.
    pub http: Option<String>,
    /// How long the unit must stay up.
    pub soak: Option<Seconds>,
    /// Between two tries.
    pub interval: Option<Seconds>,
    /// Of one try.
    pub timeout: Option<Seconds>,
    /// Of all tries.
    pub total: Option<Seconds>,
}

/// `[hooks]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HooksTable {
    /// On this machine.
    #[serde(default)]
    pub local: LocalHooks,
    /// On hosts, before the release is sealed.
    #[serde(default)]
    pub staged: Vec<TextOr<HookTable>>,
    /// On hosts, after the restart.
    #[serde(default)]
    pub activated: Vec<TextOr<HookTable>>,
    /// The shell on hosts, `bash -lc`.
    pub shell: Option<String>,
    /// How long one may take.
    pub timeout: Option<Seconds>,
}

/// `[hooks] local.*`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalHooks {
    /// Before anything.
    #[serde(default)]
    pub before: Vec<TextOr<HookTable>>,
    /// After a deploy that worked.
    #[serde(default)]
    pub after: Vec<TextOr<HookTable>>,
    /// After one that did not.
    #[serde(default)]
    pub failed: Vec<TextOr<HookTable>>,
}

/// A hook with more to say than its command.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookTable {
    /// The command.
    pub run: String,
    /// On the first host only.
    #[serde(default)]
    pub once: bool,
    /// On hosts with one of these roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// `[rollout]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutTable {
    /// `"all"` or a number of hosts.
    pub batch: Option<TextOrNumber>,
}

/// `[ssh]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshTable {
    /// Instead of `~/.ssh/config`.
    pub config: Option<String>,
    /// For all hosts that do not say otherwise.
    pub user: Option<String>,
    /// The one key to use.
    pub identity_file: Option<String>,
    /// Instead of the user's own.
    pub known_hosts: Option<String>,
    /// How long connecting and logging in may take.
    pub connect_timeout: Option<Seconds>,
    /// `strict` or `accept-new`.
    pub host_keys: Option<String>,
}

/// `[timeouts]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeoutsTable {
    /// A host that has not heard from us for so long puts things back.
    pub deadline: Option<Seconds>,
}

/// A string, or a table where more is to be said.
#[derive(Debug, Clone)]
pub enum TextOr<T> {
    /// The short form.
    Text(String),
    /// The long form.
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextOrVisitor(PhantomData))
    }
}

struct TextOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a table")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
    }
}

/// A string or a whole number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOrNumber {
    /// A string.
    Text(String),
    /// A number.
    Number(usize),
}

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NumberVisitor("a whole number or a string")).map(|read| match read {
            Read::Text(text) => Self::Text(text),
            Read::Number(number) => Self::Number(usize::try_from(number).unwrap_or(usize::MAX)),
        })
    }
}

/// A time: whole seconds, or text such as `"500ms"`, `"30s"`, `"2m"`, `"1h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = "a number of seconds or a time such as \"30s\"";
        match from.deserialize_any(NumberVisitor(expected))? {
            Read::Number(seconds) => Ok(Self(Duration::from_secs(seconds))),
            Read::Text(text) => duration(&text).map(Self).ok_or_else(|| {
                D::Error::custom(format!("`{text}` is no time: expected {expected}"))
            }),
        }
    }
}

/// Reads `500ms`, `30s`, `2m`, `1h`, `30d`.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let times = |seconds: u64| Some(Duration::from_secs(number.checked_mul(seconds)?));
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => times(1),
        "m" => times(60),
        "h" => times(3_600),
        "d" => times(86_400),
        _ => None,
    }
}

enum Read {
    Text(String),
    Number(u64),
}

struct NumberVisitor(&'static str);

impl Visitor<'_> for NumberVisitor {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Read, E> {
        Ok(Read::Text(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Read, E> {
        u64::try_from(number).map(Read::Number).map_err(|_| E::custom("must not be negative"))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Read, E> {
        Ok(Read::Number(number))
    }
}
