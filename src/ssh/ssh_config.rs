//! Settings of one host, as the user's own `ssh` understands them: `ssh -G` is asked, because it
//! is the only program that reads every `ssh_config` right.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::config::{HostKeys, SshSettings};
use crate::remote::quote::shown_word;
use crate::remote::session::{BY_SETTING, SessionError};
use crate::ssh::expand::{LocalEnv, Tokens};
use crate::ssh::options::Options;
use crate::ssh::target::{SshTarget, check_user, check_word, parse_jump, unusable};
use crate::ssh::text;

/// The least time that `ssh -G` is given; a `Match exec` in the user's file may do anything.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// The limit for connecting where no file sets one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The interval at which a silent server is asked whether it is there.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// The number of such questions that may stay without an answer.
const ALIVE_COUNT: usize = 3;
/// The keys that `ssh` tries when no file names one.
const DEFAULT_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// The rule for a host key that is in no known_hosts file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPolicy {
    Strict,
    /// New keys are recorded, if no key of the host is known.
    AcceptNew,
    /// `StrictHostKeyChecking no`: the key is refused, with a warning that this option is not
    /// followed.
    NoAsStrict,
}

/// The kind of addresses of a host that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    #[default]
    Any,
    /// IPv4 only.
    Inet,
    /// IPv6 only.
    Inet6,
}

/// The socket of a running agent that holds keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSocket {
    /// `IdentityAgent none`, or there is none.
    None,
    Path(PathBuf),
}

/// The settings for connections to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    pub alias: String,
    /// Name or address to connect to.
    pub hostname: String,
    pub user: String,
    pub port: u16,
    /// Private keys, in the order to try.
    pub identity_files: Vec<PathBuf>,
    /// Only keys that are named here are tried, also of those that the agent holds.
    pub identities_only: bool,
    pub agent: AgentSocket,
    /// Certificates beside those that stand next to their keys.
    pub certificate_files: Vec<PathBuf>,
    /// The jump hosts, first hop first; empty: none.
    pub proxy_jump: Vec<SshTarget>,
    /// A program that makes the connection.
    pub proxy_command: Option<String>,
    /// The known_hosts files: the user's, then the machine's.
    pub known_hosts: Vec<PathBuf>,
    /// The first file of the user's, where new keys are written.
    pub new_keys: Option<PathBuf>,
    /// Lists of host keys that are never accepted.
    pub revoked: Vec<PathBuf>,
    /// The name by which the host key is looked up, in place of the host's.
    pub host_key_alias: Option<String>,
    /// The rule for unknown host keys.
    pub policy: KeyPolicy,
    /// Whether names in new lines are hashed.
    pub hash_known_hosts: bool,
    /// The limit for connecting, the handshake and logging in.
    pub connect_timeout: Duration,
    /// The interval at which a silent server is asked whether it is there.
    pub alive_interval: Duration,
    /// The number of such questions that may stay without an answer.
    pub alive_count: usize,
    /// The kind of addresses that are tried.
    pub family: Family,
    /// The address of this machine to connect from.
    pub bind_address: Option<String>,
    /// The rest of `ssh_config`.
    pub options: Options,
    /// The `ssh` command that logs in with these settings.
    pub by_hand: Box<str>,
}

impl HostSettings {
    /// Returns the address: `host:port`, `[v6]:port`.
    pub fn address(&self) -> String {
        text::address(&self.hostname, self.port)
    }
}

/// The origin of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsSource {
    /// From `ssh -G`.
    Asked,
    /// There is no `ssh` here.
    Defaults,
}

/// The output of `ssh -G` without any file; it is equal for all hosts.
pub(crate) type Plain = OnceCell<Option<String>>;

/// The output of `ssh -G` about a host.
#[derive(Debug, Clone)]
pub(crate) struct SshAnswers {
    about: String,
    /// Its output without any file.
    plain: String,
}

impl SshAnswers {
    /// Returns the values of an option that differ from those without any file.
    pub(crate) fn set(&self, keyword: &str) -> Option<String> {
        let all = |text| SshConfigOutput::read(text).all(keyword).collect::<Vec<_>>().join(" ");
        let value = all(&self.about);
        let off = matches!(&*value, "" | "none" | "no" | "false");
        (!off && value != all(&self.plain)).then_some(value)
    }

    /// Returns the settings for OpenSSH, which obeys the options of `ssh_config` itself.
    pub(crate) fn for_openssh(
        &self,
        target: &SshTarget,
        settings: &SshSettings,
        around: &LocalEnv,
    ) -> Result<HostSettings, SessionError> {
        let answer = SshConfigOutput::read(&self.about);
        let host = host_settings(&answer, target, around, Options::default())?;
        Ok(with_settings(host, target, settings))
    }

    /// Returns the socket at which a master of the user may listen.
    pub(crate) fn control_path(&self) -> Option<PathBuf> {
        SshConfigOutput::read(&self.about).one("controlpath").map(PathBuf::from)
    }
}

/// Returns what `ssh -G` says about `target`; `None` if there is no `ssh` program.
pub(crate) async fn answers(
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
    plain: &Plain,
) -> Result<Option<SshAnswers>, SessionError> {
    check_word("host", &target.host)?;
    if let Some(user) = &target.user {
        check_user(user)?;
    }
    let plain = plain.get_or_try_init(|| ask_without_config(around));
    let (plain, about) = tokio::try_join!(plain, ask(target, settings, around))?;
    Ok(about.zip(plain.clone()).map(|(about, plain)| SshAnswers { about, plain }))
}

/// Returns the settings for connections to `target`, and their source.
pub(crate) fn resolve(
    answers: Option<&SshAnswers>,
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
) -> Result<(HostSettings, SettingsSource), SessionError> {
    let Some(SshAnswers { about, plain }) = answers else {
        return Ok((defaults(target, settings, around)?, SettingsSource::Defaults));
    };
    let asked = read_answer(about, plain, target, around)?;
    Ok((with_settings(asked, target, settings), SettingsSource::Asked))
}

/// Returns what `ssh -G` says of any host where nobody configured anything. Asks on another thread,
/// for to start a program blocks a thread for some milliseconds.
async fn ask_without_config(around: &LocalEnv) -> Result<Option<String>, SessionError> {
    let nowhere = SshSettings { config: Some("/dev/null".into()), ..SshSettings::default() };
    let any = SshTarget { host: "localhost".to_owned(), user: None, port: None };
    let around = around.clone();
    let asking = tokio::spawn(async move { ask(&any, &nowhere, &around).await });
    asking.await.unwrap_or_else(|error| Err(unusable("`ssh -G localhost`", &error.to_string())))
}

/// Returns the output of `ssh -G` about `target`; `None` if there is no `ssh` program.
async fn ask(
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
) -> Result<Option<String>, SessionError> {
    let mut command = Command::new(&around.ssh);
    command.arg("-G").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(config) = &settings.config {
        command.arg("-F").arg(config);
    }
    let limit = ASK_LIMIT.max(settings.connect_timeout.unwrap_or_default());
    if let Some(user) = &target.user {
        command.arg("-l").arg(user);
    }
    if let Some(port) = target.port {
        command.arg("-p").arg(port.to_string());
    }
    command.arg("--").arg(&target.host);
    match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(output)) => answer_of(&output, target).map(Some),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(Err(error)) => Err(unusable(&format!("{}", around.ssh.display()), &error.to_string())),
        Err(_) => Err(SessionError::Timeout {
            what: format!("`ssh -G {}`", target.host),
            after: limit,
            hint: Some(BY_SETTING),
        }),
    }
}

fn answer_of(output: &Output, target: &SshTarget) -> Result<String, SessionError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = text::plain(&String::from_utf8_lossy(&output.stderr));
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
    Err(unusable(&format!("`ssh -G {}`", target.host), last))
}

/// Returns the settings if there is no `ssh` program. Fails if deploy.toml names an ssh_config,
/// which nobody can read then, or if the user is unknown.
fn defaults(
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
) -> Result<HostSettings, SessionError> {
    if let Some(config) = &settings.config {
        let reason = "it takes the program `ssh` to read it, which is not installed here";
        return Err(unusable(&format!("{}", config.display()), reason));
    }
    if target.user.is_none() && around.user.is_empty() {
        let reason = "the name of this account is unknown; set `user` in [ssh]";
        return Err(unusable(&format!("the user for {}", target.host), reason));
    }
    let ssh = around.home.join(".ssh");
    let host = HostSettings {
        alias: target.host.clone(),
        hostname: target.host.clone(),
        user: target.user.clone().unwrap_or_else(|| around.user.clone()),
        port: target.port.unwrap_or(22),
        identity_files: DEFAULT_KEYS.iter().map(|name| ssh.join(name)).collect(),
        identities_only: false,
        agent: agent_from_env(around, "SSH_AUTH_SOCK"),
        certificate_files: Vec::new(),
        proxy_jump: Vec::new(),
        proxy_command: None,
        known_hosts: vec![ssh.join("known_hosts"), PathBuf::from("/etc/ssh/ssh_known_hosts")],
        new_keys: Some(ssh.join("known_hosts")),
        revoked: Vec::new(),
        host_key_alias: None,
        policy: KeyPolicy::Strict,
        hash_known_hosts: false,
        connect_timeout: CONNECT_TIMEOUT,
        alive_interval: ALIVE_INTERVAL,
        alive_count: ALIVE_COUNT,
        family: Family::Any,
        bind_address: None,
        options: Options::default(),
        by_hand: Box::default(),
    };
    Ok(with_settings(host, target, settings))
}

/// Applies the settings of `deploy.toml`, which override `ssh_config`, also for jump hosts. Key and
/// user are not among them: they are the target's alone, and the caller sets them.
fn with_settings(
    mut host: HostSettings,
    target: &SshTarget,
    settings: &SshSettings,
) -> HostSettings {
    if let Some(file) = &settings.known_hosts {
        host.known_hosts = vec![file.clone()];
        host.new_keys = Some(file.clone());
    }
    if let Some(timeout) = settings.connect_timeout {
        host.connect_timeout = timeout;
    }
    match settings.host_keys {
        Some(HostKeys::AcceptNew) => host.policy = KeyPolicy::AcceptNew,
        Some(HostKeys::Strict) => host.policy = KeyPolicy::Strict,
        None => {}
    }
    host.by_hand = by_hand(target, settings).into();
    host
}

/// Returns the `ssh` command that connects to `target` as we do.
fn by_hand(target: &SshTarget, settings: &SshSettings) -> String {
    let words = words(target, settings);
    let words: Vec<_> = words.iter().map(|word| shown_word(word)).collect();
    format!("ssh {}", words.join(" "))
}

/// Returns what comes after `ssh` to connect to `target` as we do.
pub(super) fn words(target: &SshTarget, settings: &SshSettings) -> Vec<String> {
    let mut words = Vec::new();
    let path = |path: &Path| path.display().to_string();
    if let Some(config) = &settings.config {
        words.extend(["-F".to_owned(), path(config)]);
    }
    if let Some(file) = &settings.identity_file {
        words.extend(["-i".to_owned(), path(file)]);
    }
    if let Some(file) = &settings.known_hosts {
        words.extend(["-o".to_owned(), format!("UserKnownHostsFile={}", path(file))]);
    }
    if let Some(port) = target.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    words.push(match &target.user {
        Some(user) => format!("{user}@{}", target.host),
        None => target.host.clone(),
    });
    words
}

/// The answer of `ssh -G`: one `keyword value` a line, keywords in lower case.
struct SshConfigOutput<'a>(Vec<(&'a str, &'a str)>);

impl<'a> SshConfigOutput<'a> {
    fn read(text: &'a str) -> Self {
        Self(text.lines().filter_map(|line| line.trim().split_once(' ')).collect())
    }

    fn all(&self, keyword: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| *key == keyword).map(|(_, value)| value.trim())
    }

    fn one(&self, keyword: &str) -> Option<&'a str> {
        self.all(keyword).next().filter(|value| !value.is_empty() && *value != "none")
    }

    fn yes(&self, keyword: &str) -> bool {
        matches!(self.one(keyword), Some("yes" | "true"))
    }

    fn seconds(&self, keyword: &str) -> Option<Duration> {
        self.one(keyword)?.parse().ok().filter(|n| *n > 0).map(Duration::from_secs)
    }
}

/// Returns the settings in the output of `ssh -G` about `target`, compared with its output without
/// any file. Fails at a setting that we cannot obey.
pub fn read_answer(
    text: &str,
    plain: &str,
    target: &SshTarget,
    around: &LocalEnv,
) -> Result<HostSettings, SessionError> {
    let answer = SshConfigOutput::read(text);
    host_settings(&answer, target, around, Options::read(text, plain)?)
}

fn host_settings(
    answer: &SshConfigOutput<'_>,
    target: &SshTarget,
    around: &LocalEnv,
    options: Options,
) -> Result<HostSettings, SessionError> {
    let jump = answer.one("proxyjump");
    let tokens = tokens(answer, target, around);
    let files = |keyword: &str| -> Vec<PathBuf> {
        answer.all(keyword).filter(|v| *v != "none").map(|v| tokens.path(v)).collect()
    };
    let words = |keyword: &str| -> Vec<PathBuf> {
        let all = answer.all(keyword).flat_map(str::split_whitespace);
        all.filter(|v| *v != "none").map(|v| tokens.path(v)).collect()
    };
    Ok(HostSettings {
        alias: target.host.clone(),
        hostname: tokens.hostname.clone(),
        user: tokens.user.clone(),
        port: tokens.port,
        identity_files: files("identityfile"),
        identities_only: answer.yes("identitiesonly"),
        agent: agent_of(answer.all("identityagent").next(), &tokens),
        certificate_files: files("certificatefile"),
        proxy_jump: jump.map(parse_jump).transpose()?.unwrap_or_default(),
        proxy_command: answer.one("proxycommand").map(|v| tokens.command(v)).transpose()?,
        known_hosts: [words("userknownhostsfile"), words("globalknownhostsfile")].concat(),
        new_keys: words("userknownhostsfile").into_iter().next(),
        revoked: words("revokedhostkeys"),
        host_key_alias: answer.one("hostkeyalias").map(str::to_owned),
        policy: policy_of(answer.one("stricthostkeychecking")),
        hash_known_hosts: answer.yes("hashknownhosts"),
        connect_timeout: answer.seconds("connecttimeout").unwrap_or(CONNECT_TIMEOUT),
        alive_interval: answer.seconds("serveraliveinterval").unwrap_or(ALIVE_INTERVAL),
        alive_count: alive_count(answer),
        family: family_of(answer.one("addressfamily")),
        bind_address: answer.one("bindaddress").map(str::to_owned),
        options,
        by_hand: Box::default(),
    })
}

fn family_of(value: Option<&str>) -> Family {
    match value {
        Some("inet") => Family::Inet,
        Some("inet6") => Family::Inet6,
        _ => Family::Any,
    }
}

/// Returns ServerAliveCountMax, at least 1. Without a setting `ssh -G` prints 3.
fn alive_count(answer: &SshConfigOutput<'_>) -> usize {
    answer.one("serveralivecountmax").and_then(|n| n.parse().ok()).unwrap_or(ALIVE_COUNT).max(1)
}

fn policy_of(value: Option<&str>) -> KeyPolicy {
    match value {
        Some("accept-new") => KeyPolicy::AcceptNew,
        Some("no" | "off" | "false") => KeyPolicy::NoAsStrict,
        _ => KeyPolicy::Strict,
    }
}

fn agent_of(value: Option<&str>, tokens: &Tokens<'_>) -> AgentSocket {
    match value {
        Some("none") => AgentSocket::None,
        None | Some("" | "SSH_AUTH_SOCK") => agent_from_env(tokens.around, "SSH_AUTH_SOCK"),
        Some(value) => match value.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            Some(name) => agent_from_env(tokens.around, name),
            None => AgentSocket::Path(tokens.path(value)),
        },
    }
}

fn agent_from_env(around: &LocalEnv, name: &str) -> AgentSocket {
    match around.env.get(name) {
        Some(path) if !path.is_empty() => AgentSocket::Path(PathBuf::from(path)),
        _ => AgentSocket::None,
    }
}

/// Returns what the tokens of `ssh_config` stand for on the way to `target`.
fn tokens<'a>(
    answer: &SshConfigOutput<'a>,
    target: &'a SshTarget,
    around: &'a LocalEnv,
) -> Tokens<'a> {
    Tokens {
        around,
        alias: &target.host,
        hostname: answer.one("hostname").unwrap_or(&target.host).to_owned(),
        user: answer.one("user").unwrap_or(&around.user).to_owned(),
        port: answer.one("port").and_then(|port| port.parse().ok()).unwrap_or(22),
        key_alias: answer.one("hostkeyalias").unwrap_or(&target.host).to_owned(),
        jump: answer.one("proxyjump").unwrap_or_default(),
    }
}

/// Returns whether `path` is a key that ssh tries without being told to.
pub(crate) fn is_default_key(path: &Path, home: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent() == Some(&home.join(".ssh")) && name.starts_with("id_")
}
