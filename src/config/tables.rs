//! The tables of `deploy.toml`: what is written, not yet what it means. Unknown keys and wrong
//! types are refused here.

mod health;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, de};
use toml::Spanned;

pub(super) use self::health::{Check, Health};
use super::env_format::EnvFormat;
use super::{Confirm, OnFailure, OnUnreachable};
use crate::model::service::{Action, Proof, Scope};

/// The keys of the file's top level; a stage has the same ones, less the first three.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Layer {
    pub(super) app: Option<Spanned<String>>,
    pub(super) default_stage: Option<Spanned<String>>,
    pub(super) stages: BTreeMap<Spanned<String>, Layer>,
    pub(super) deploy_to: Option<Spanned<String>>,
    pub(super) keep_releases: Option<Spanned<i64>>,
    pub(super) hosts: Option<Spanned<ListOr<TextOr<HostTable>, HostsTable>>>,
    pub(super) confirm: Confirm,
    pub(super) parallel: Option<Spanned<i64>>,
    pub(super) linked_dirs: Vec<Spanned<TextOr<DirTable>>>,
    pub(super) linked_files: Vec<Spanned<TextOr<FileTable>>>,
    pub(super) artifact: ArtifactTable,
    pub(super) assets: AssetsTable,
    pub(super) env: Option<ListOr<Env, Env>>,
    pub(super) service: Option<ServiceTable>,
    pub(super) services: BTreeMap<Spanned<String>, ServiceTable>,
    pub(super) slots: Option<SlotsTable>,
    pub(super) health: Health,
    pub(super) hooks: HooksTable,
    pub(super) notices: Vec<Spanned<NoticeTable>>,
    pub(super) rollout: RolloutTable,
    pub(super) upload: UploadTable,
    pub(super) maintenance: Option<MaintenanceTable>,
    pub(super) ssh: Ssh,
    pub(super) sudo: SudoTable,
    pub(super) timeouts: Timeouts,
}

/// The place that a list of hosts comes from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HostsTable {
    pub(super) command: Option<Spanned<String>>,
    pub(super) file: Option<Spanned<String>>,
}

/// A host that needs more than its name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostTable {
    pub(super) address: Spanned<String>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) roles: Vec<Spanned<String>>,
    pub(super) fingerprint: Option<Spanned<String>>,
}

/// A linked directory that needs more than its path.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DirTable {
    pub(super) path: String,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<String>>,
}

/// A linked file that needs more than its path.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTable {
    pub(super) path: String,
    #[serde(default)]
    pub(super) optional: bool,
}

/// `[artifact]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ArtifactTable {
    pub(super) path: Option<Spanned<String>>,
    pub(super) sha256: Option<Spanned<TextOr<DigestTable>>>,
    pub(super) headers: BTreeMap<Spanned<String>, Spanned<TextOr<SourceTable>>>,
    pub(super) signature: Option<Spanned<SignatureTable>>,
    pub(super) s3: S3Table,
    pub(super) exclude: Vec<Spanned<String>>,
    pub(super) strip_components: Option<Spanned<i64>>,
    pub(super) follow_links: bool,
    pub(super) case: Option<CaseValue>,
    pub(super) keep_private: bool,
}

/// `[assets]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AssetsTable {
    pub(super) keep: Option<Vec<Spanned<String>>>,
    pub(super) releases: Option<Spanned<i64>>,
}

/// The rule for names that differ only in upper and lower case.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CaseValue {
    Unique,
    Any,
}

/// A digest that is elsewhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DigestTable {
    pub(super) url: Spanned<String>,
}

/// The signer of an artifact.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SignatureTable {
    pub(super) minisign: Option<Spanned<String>>,
    pub(super) allowed_signers: Option<Spanned<String>>,
    pub(super) identity: Option<Spanned<String>>,
    pub(super) namespace: Option<Spanned<String>>,
    pub(super) url: Option<Spanned<String>>,
}

/// The server of `s3://` addresses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct S3Table {
    pub(super) endpoint: Option<Spanned<String>>,
    pub(super) region: Option<Spanned<String>>,
    pub(super) profile: Option<Spanned<String>>,
}

/// An environment file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Env {
    pub(super) file: Option<Spanned<String>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<String>>,
    pub(super) format: EnvFormat,
    pub(super) files: Vec<Spanned<TextOr<ImportTable>>>,
    pub(super) vars: BTreeMap<Spanned<String>, Spanned<TextOr<VarTable>>>,
    /// Only in `[[env]]`.
    pub(super) roles: Option<Spanned<Vec<Spanned<String>>>>,
}

/// A whole file of values that needs more than its path.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ImportTable {
    pub(super) env: Option<Spanned<String>>,
    pub(super) command: Option<Spanned<String>>,
    pub(super) file: Option<Spanned<String>>,
    pub(super) optional: Option<Spanned<bool>>,
}

/// A variable: where its value is, and whether that is a secret.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct VarTable {
    pub(super) env: Option<Spanned<String>>,
    pub(super) command: Option<Spanned<String>>,
    pub(super) file: Option<Spanned<String>>,
    pub(super) value: Option<Spanned<String>>,
    pub(super) default: Option<Spanned<String>>,
    pub(super) optional: Option<Spanned<bool>>,
    pub(super) secret: Option<bool>,
}

/// A value that is elsewhere.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SourceTable {
    pub(super) env: Option<Spanned<String>>,
    pub(super) command: Option<Spanned<String>>,
    pub(super) file: Option<Spanned<String>>,
}

impl SourceTable {
    pub(super) fn keys(&self) -> [&Option<Spanned<String>>; 3] {
        [&self.env, &self.command, &self.file]
    }
}

/// `[service]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServiceTable {
    pub(super) unit: Option<Spanned<Units>>,
    pub(super) file: Option<Spanned<String>>,
    pub(super) scope: Option<Spanned<Scope>>,
    pub(super) action: Option<Spanned<Action>>,
    pub(super) restart: Option<Spanned<String>>,
    pub(super) stop: Option<Spanned<String>>,
    pub(super) log: Option<Spanned<String>>,
    pub(super) timeout: Option<Spanned<Length>>,
    pub(super) proof: Option<Spanned<Proof>>,
    pub(super) image: Option<Spanned<String>>,
    pub(super) engine: Option<Spanned<Words>>,
    /// Only in `[services.NAME]`.
    pub(super) roles: Option<Spanned<Vec<Spanned<String>>>>,
    /// Only in `[services.NAME]`.
    pub(super) after: Option<Spanned<Vec<Spanned<String>>>>,
}

/// Two slots, of which one serves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SlotsTable {
    pub(super) ports: Option<Spanned<BTreeMap<Spanned<String>, Spanned<i64>>>>,
    pub(super) drain: Option<Spanned<Length>>,
    pub(super) keep_warm: Option<Spanned<Length>>,
    pub(super) traffic: TrafficTable,
}

/// `[slots.traffic]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TrafficTable {
    pub(super) file: Option<Spanned<String>>,
    pub(super) content: Option<Spanned<String>>,
    pub(super) command: Option<Spanned<String>>,
}

/// The names of units: one text, or a list.
#[derive(Debug, Clone)]
pub(super) struct Units(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueForms {
            text: Some(|text| Some(Self(vec![text.to_owned()]))),
            list: Some(|names| Some(Self(names))),
            ..ValueForms::<Self>::of(
                "the name of a unit such as \"todo.service\", or a list of names",
            )
        })
    }
}

/// `[hooks]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HooksTable {
    pub(super) shell: Option<Spanned<Words>>,
    pub(super) timeout: Option<Spanned<Length>>,
    pub(super) local: LocalHooks,
    pub(super) staged: Vec<Spanned<TextOr<HookTable>>>,
    pub(super) before_switch: Vec<Spanned<TextOr<HookTable>>>,
    pub(super) switched: Vec<Spanned<TextOr<HookTable>>>,
    pub(super) activated: Vec<Spanned<TextOr<HookTable>>>,
    pub(super) committed: Vec<Spanned<TextOr<HookTable>>>,
    pub(super) reverted: Vec<Spanned<TextOr<HookTable>>>,
}

/// `[hooks.local]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LocalHooks {
    pub(super) before: Vec<Spanned<TextOr<LocalHookTable>>>,
    pub(super) staged: Vec<Spanned<TextOr<LocalHookTable>>>,
    pub(super) after: Vec<Spanned<TextOr<LocalHookTable>>>,
    pub(super) failed: Vec<Spanned<TextOr<LocalHookTable>>>,
}

/// A hook here, written as those on hosts are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalHookTable {
    pub(super) run: String,
}

/// A hook that needs more than its command.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookTable {
    pub(super) run: String,
    #[serde(default)]
    pub(super) once: bool,
    #[serde(default)]
    pub(super) roles: Vec<Spanned<String>>,
    pub(super) timeout: Option<Spanned<Length>>,
}

/// A message to an address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoticeTable {
    pub(super) url: Spanned<TextOr<SourceTable>>,
    #[serde(default)]
    pub(super) format: NoticeFormat,
    pub(super) on: Option<Spanned<Vec<Moment>>>,
}

/// The form of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeFormat {
    /// An object with the text and the report.
    #[default]
    Json,
    /// As Slack, Mattermost, Rocket.Chat and others take it.
    Slack,
    /// A card, as Microsoft Teams takes it.
    Teams,
}

/// The moment of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    Started,
    Done,
    /// Not everything was done, for whatever reason.
    Failed,
    /// A host was reverted.
    Reverted,
}

/// `[rollout]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RolloutTable {
    pub(super) batch: Option<Spanned<BatchValue>>,
    pub(super) canary: Vec<Spanned<String>>,
    pub(super) pause: Option<Spanned<Length>>,
    pub(super) on_failure: OnFailure,
    pub(super) on_unreachable: OnUnreachable,
    pub(super) max_failed: Option<Spanned<i64>>,
}

/// `[upload]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UploadTable {
    pub(super) link: Option<bool>,
    pub(super) limit: Option<Spanned<String>>,
    pub(super) parallel: Option<Spanned<i64>>,
}

/// `[maintenance]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MaintenanceTable {
    pub(super) file: Option<Spanned<String>>,
    pub(super) template: Option<Spanned<String>>,
}

/// SSH settings beside `ssh_config`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ssh {
    pub(super) config: Option<Spanned<String>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) identity_file: Option<Spanned<String>>,
    pub(super) known_hosts: Option<Spanned<String>>,
    pub(super) connect_timeout: Option<Spanned<Length>>,
    pub(super) host_keys: Option<HostKeys>,
    pub(super) transport: SshTransport,
}

/// The client that connects to hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SshTransport {
    /// The built-in one; OpenSSH where a master of it lives, or where `ssh_config` needs it.
    #[default]
    Auto,
    Builtin,
    OpenSsh,
}

/// The way to rights that the login does not have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SudoTable {
    pub(super) command: Option<Spanned<Words>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) password: Option<Spanned<TextOr<SourceTable>>>,
}

/// The rule for host keys that no file knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeys {
    Strict,
    /// They are written down.
    AcceptNew,
}

/// Limits in time that belong to nothing else.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Timeouts {
    pub(super) deadline: Option<Spanned<Length>>,
}

/// A text, or a table that says more.
#[derive(Debug, Clone)]
pub(super) enum TextOr<T> {
    Text(String),
    Table(T),
}

/// A list, or a table in place of it.
#[derive(Debug, Clone)]
pub(super) enum ListOr<Item, T> {
    List(Vec<Spanned<Item>>),
    Table(T),
}

/// The words for a wrong value in place of a [`TextOr`] or a [`ListOr`].
pub(super) trait Form {
    const EXPECTED: &'static str;
}

impl Form for HostsTable {
    const EXPECTED: &'static str = "a list of hosts, or a table with `command` or `file`";
}
impl Form for Env {
    const EXPECTED: &'static str = "a table, or with `[[env]]` one for each file";
}
impl Form for HostTable {
    const EXPECTED: &'static str = "a host such as \"deploy@web1:22\", or a table with `address`";
}
impl Form for DirTable {
    const EXPECTED: &'static str = "a path, or a table with `path`, `mode` and `group`";
}
impl Form for FileTable {
    const EXPECTED: &'static str = "a path, or a table with `path` and `optional`";
}
impl Form for DigestTable {
    const EXPECTED: &'static str = "64 hex digits, or a table with `url`";
}
impl Form for VarTable {
    const EXPECTED: &'static str =
        "a string, or a table with one of `env`, `command`, `file` and `value`";
}
impl Form for ImportTable {
    const EXPECTED: &'static str = "a path, or a table with one of `env`, `command` and `file`";
}
impl Form for SourceTable {
    const EXPECTED: &'static str = "a string, or a table with one of `env`, `command` and `file`";
}
impl Form for LocalHookTable {
    const EXPECTED: &'static str = "a command, or a table with `run`";
}
impl Form for HookTable {
    const EXPECTED: &'static str =
        "a command, or a table with `run`, `once`, `roles` and `timeout`";
}

impl<'de, T: Deserialize<'de> + Form> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueForms::<Self, String, T> {
            text: Some(|text| Some(Self::Text(text.to_owned()))),
            table: Some(Self::Table),
            ..ValueForms::of(T::EXPECTED)
        })
    }
}

impl<'de, Item: Deserialize<'de>, T: Deserialize<'de> + Form> Deserialize<'de> for ListOr<Item, T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueForms {
            list: Some(|list| Some(Self::List(list))),
            table: Some(Self::Table),
            ..ValueForms::of(T::EXPECTED)
        })
    }
}

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length(pub(super) Duration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueForms {
            number: Some(|number| Some(Self(Duration::from_secs(u64::try_from(number).ok()?)))),
            text: Some(|text| length(text).map(Self)),
            ..ValueForms::<Self>::of(
                "a length of time such as \"30s\", \"2m\", or a number of seconds",
            )
        })
    }
}

/// Returns a length of time from its text: `500ms`, `30s`, `2m`, `1h`, `30d`.
pub fn length(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..unit].parse::<u64>().ok()?;
    let milliseconds = match text[unit..].trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(milliseconds)?))
}

/// The words of a command: a list, or one text that is split at blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueForms {
            text: Some(|text| Some(Self(text.split_whitespace().map(str::to_owned).collect()))),
            list: Some(|words| Some(Self(words))),
            ..ValueForms::<Self>::of(
                "a program with its flags such as \"bash -lc\", or a list of words",
            )
        })
    }
}

impl<'de> Deserialize<'de> for Confirm {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueForms {
            switch: Some(|first| if first { Self::First } else { Self::Never }),
            text: Some(|text| (text == "staged").then_some(Self::Staged)),
            ..ValueForms::<Self>::of("true, false or \"staged\"")
        })
    }
}

/// The number of hosts that flip together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchValue {
    All,
    Hosts(i64),
    Percent(i64),
}

impl<'de> Deserialize<'de> for BatchValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueForms {
            number: Some(|hosts| Some(Self::Hosts(hosts))),
            text: Some(|text| match text {
                "all" => Some(Self::All),
                _ => text.strip_suffix('%')?.parse().ok().map(Self::Percent),
            }),
            ..ValueForms::<Self>::of(
                "a number of hosts, a part of them such as \"25%\", or \"all\"",
            )
        })
    }
}

/// The forms in which a value may be written, each with what it means; `None`: it is wrong.
struct ValueForms<T, Item = String, Table = ()> {
    expected: &'static str,
    switch: Option<fn(bool) -> T>,
    number: Option<fn(i64) -> Option<T>>,
    text: Option<fn(&str) -> Option<T>>,
    /// It may be wrong only by being empty.
    list: Option<fn(Vec<Item>) -> Option<T>>,
    table: Option<fn(Table) -> T>,
}

impl<T, Item, Table> ValueForms<T, Item, Table> {
    /// Returns a value that has none of the forms.
    fn of(expected: &'static str) -> Self {
        Self { expected, switch: None, number: None, text: None, list: None, table: None }
    }
}

impl<'de, T, Item: Deserialize<'de>, Table: Deserialize<'de>> Visitor<'de>
    for ValueForms<T, Item, Table>
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        let read = self.switch.ok_or_else(|| E::invalid_type(Unexpected::Bool(value), &self))?;
        Ok(read(value))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let found = Unexpected::Signed(number);
        let read = self.number.ok_or_else(|| E::invalid_type(found, &self))?;
        read(number).ok_or_else(|| E::invalid_value(found, &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let found = Unexpected::Str(text);
        let read = self.text.ok_or_else(|| E::invalid_type(found, &self))?;
        read(text).ok_or_else(|| E::invalid_value(found, &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        let read = self.list.ok_or_else(|| A::Error::invalid_type(Unexpected::Seq, &self))?;
        let items = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        let empty = Unexpected::Other("an empty list");
        read(items).ok_or_else(|| A::Error::invalid_value(empty, &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let read = self.table.ok_or_else(|| A::Error::invalid_type(Unexpected::Map, &self))?;
        Table::deserialize(MapAccessDeserializer::new(map)).map(read)
    }
}
