//! Settings of one host, as the user's own `ssh` understands them: `ssh -G` is asked, because it
//! is the only program that reads every `ssh_config` right.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::config::{HostKeys, SshSettings};
use crate::remote::quote::shown_word;
use crate::remote::session::SessionError;
use crate::ssh::expand::{LocalEnv, Tokens};
use crate::ssh::options::{Options, Said, SshAnswers};
use crate::ssh::target::{SshTarget, check_user, check_word, parse_jump, too_slow, unusable};
use crate::ssh::text;

/// The least time that `ssh -G` is given; a `Match exec` in the user's file may do anything.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// The limit for connecting where no file sets one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The interval at which a silent server is asked whether it is there.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// The number of such questions that may stay without an answer.
const ALIVE_COUNT: usize = 3;
/// What `ssh -G` would say of a host that no file is about.
const DEFAULTS: &str = "identityfile ~/.ssh/id_ed25519\n\
    identityfile ~/.ssh/id_ecdsa\n\
    identityfile ~/.ssh/id_rsa\n\
    userknownhostsfile ~/.ssh/known_hosts\n\
    globalknownhostsfile /etc/ssh/ssh_known_hosts";

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
    /// The socket of a running agent that holds keys.
    pub agent: Option<PathBuf>,
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

/// The output of `ssh -G` without any file; it is equal for all hosts.
pub(crate) type Plain = OnceCell<Option<Arc<Said>>>;

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

/// Returns the settings for connections to `target`.
pub(crate) fn resolve(
    answers: Option<&SshAnswers>,
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
) -> Result<HostSettings, SessionError> {
    let host = if let Some(answers) = answers {
        read_answer(answers, target, around)?
    } else {
        check_without_ssh(target, settings, around)?;
        read_answer(&SshAnswers::read(DEFAULTS, DEFAULTS), target, around)?
    };
    Ok(with_settings(host, target, settings))
}

/// Returns the settings for OpenSSH, which obeys the options of `ssh_config` itself.
pub(crate) fn for_openssh(
    answers: &SshAnswers,
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
) -> Result<HostSettings, SessionError> {
    let host = host_settings(&answers.about, target, around, Options::default())?;
    Ok(with_settings(host, target, settings))
}

/// Returns what `ssh -G` says of any host where nobody configured anything. Asks on another thread,
/// for to start a program blocks a thread for some milliseconds.
async fn ask_without_config(around: &LocalEnv) -> Result<Option<Arc<Said>>, SessionError> {
    let nowhere = SshSettings { config: Some("/dev/null".into()), ..SshSettings::default() };
    let any = SshTarget { host: "localhost".to_owned(), user: None, port: None };
    let around = around.clone();
    let asking = tokio::spawn(async move { ask(&any, &nowhere, &around).await });
    let said = asking.await.map_err(|error| unusable("`ssh -G localhost`", &error.to_string()))?;
    Ok(said?.map(Arc::new))
}

/// Returns the output of `ssh -G` about `target`; `None` if there is no `ssh` program.
async fn ask(
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
) -> Result<Option<Said>, SessionError> {
    let mut command = Command::new(&around.ssh);
    command.arg("-G").args(naming(target, settings)).arg("--").arg(&target.host);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let limit = ASK_LIMIT.max(settings.connect_timeout.unwrap_or_default());
    match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(output)) => answer_of(&output, target).map(Some),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(Err(error)) => Err(unusable(&format!("{}", around.ssh.display()), &error.to_string())),
        Err(_) => Err(too_slow(format!("`ssh -G {}`", target.host), limit)),
    }
}

/// Returns the arguments of `ssh` that say how to reach `target`, without its name.
pub(super) fn naming(target: &SshTarget, settings: &SshSettings) -> Vec<OsString> {
    let port = target.port.map(|port| port.to_string());
    let config = settings.config.as_ref().map(OsString::from);
    [("-F", config), ("-l", target.user.as_ref().map(OsString::from)), ("-p", port.map(Into::into))]
        .into_iter()
        .filter_map(|(flag, value)| Some([flag.into(), value?]))
        .flatten()
        .collect()
}

fn answer_of(output: &Output, target: &SshTarget) -> Result<Said, SessionError> {
    if output.status.success() {
        return Ok(Said::read(&String::from_utf8_lossy(&output.stdout)));
    }
    let said = text::plain(&String::from_utf8_lossy(&output.stderr));
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
    Err(unusable(&format!("`ssh -G {}`", target.host), last))
}

/// Fails if deploy.toml names an ssh_config, which nobody can read without `ssh`, or if the user is
/// unknown.
fn check_without_ssh(
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
) -> Result<(), SessionError> {
    if let Some(config) = &settings.config {
        let reason = "it takes the program `ssh` to read it, which is not installed here";
        return Err(unusable(&format!("{}", config.display()), reason));
    }
    if target.user.is_none() && around.user.is_empty() {
        let reason = "the name of this account is unknown; set `user` in [ssh]";
        return Err(unusable(&format!("the user for {}", target.host), reason));
    }
    Ok(())
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
    let words: Vec<_> = words(target, settings).iter().map(|word| shown_word(word)).collect();
    host.by_hand = format!("ssh {}", words.join(" ")).into();
    host
}

/// Returns what comes after `ssh` to connect to `target` as we do.
pub(super) fn words(target: &SshTarget, settings: &SshSettings) -> Vec<String> {
    let path = |path: &PathBuf| path.display().to_string();
    let hosts = |file: &PathBuf| format!("UserKnownHostsFile={}", file.display());
    let options = [
        ("-F", settings.config.as_ref().map(path)),
        ("-i", settings.identity_file.as_ref().map(path)),
        ("-o", settings.known_hosts.as_ref().map(hosts)),
        ("-p", target.port.map(|port| port.to_string())),
    ];
    let options = options.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
    let mut words: Vec<String> = options.flatten().collect();
    words.push(match &target.user {
        Some(user) => format!("{user}@{}", target.host),
        None => target.host.clone(),
    });
    words
}

/// Returns the settings in the answers of `ssh -G` about `target`. Fails at a setting that we
/// cannot obey.
pub fn read_answer(
    answers: &SshAnswers,
    target: &SshTarget,
    around: &LocalEnv,
) -> Result<HostSettings, SessionError> {
    host_settings(&answers.about, target, around, Options::read(answers)?)
}

fn host_settings(
    said: &Said,
    target: &SshTarget,
    around: &LocalEnv,
    options: Options,
) -> Result<HostSettings, SessionError> {
    let hostname = said.one("hostname").unwrap_or(&target.host);
    let user = said.one("user").or(target.user.as_deref()).unwrap_or(&around.user);
    let port = said.one("port").and_then(|port| port.parse().ok()).or(target.port).unwrap_or(22);
    let key_alias = said.one("hostkeyalias");
    let jump = said.one("proxyjump");
    let of_host = [
        ('h', hostname),
        ('j', jump.unwrap_or_default()),
        ('k', key_alias.unwrap_or(&target.host)),
        ('n', &target.host),
        ('p', &port.to_string()),
        ('r', user),
    ];
    let tokens = Tokens::new(around, of_host);
    let files = |keyword: &str| -> Vec<PathBuf> {
        said.all(keyword).iter().filter(|v| *v != "none").map(|v| tokens.path(v)).collect()
    };
    let words = |keyword: &str| -> Vec<PathBuf> {
        let all = said.all(keyword).iter().flat_map(|value| value.split_whitespace());
        all.filter(|v| *v != "none").map(|v| tokens.path(v)).collect()
    };
    let seconds =
        |keyword: &str| said.one(keyword)?.parse().ok().filter(|n| *n > 0).map(Duration::from_secs);
    Ok(HostSettings {
        alias: target.host.clone(),
        hostname: hostname.to_owned(),
        user: user.to_owned(),
        port,
        identity_files: files("identityfile"),
        identities_only: said.yes("identitiesonly"),
        agent: agent_of(said.first("identityagent"), &tokens, around),
        certificate_files: files("certificatefile"),
        proxy_jump: jump.map(parse_jump).transpose()?.unwrap_or_default(),
        proxy_command: said.one("proxycommand").map(|v| tokens.command(v)).transpose()?,
        known_hosts: [words("userknownhostsfile"), words("globalknownhostsfile")].concat(),
        new_keys: words("userknownhostsfile").into_iter().next(),
        revoked: words("revokedhostkeys"),
        host_key_alias: key_alias.map(str::to_owned),
        policy: policy_of(said.one("stricthostkeychecking")),
        hash_known_hosts: said.yes("hashknownhosts"),
        connect_timeout: seconds("connecttimeout").unwrap_or(CONNECT_TIMEOUT),
        alive_interval: seconds("serveraliveinterval").unwrap_or(ALIVE_INTERVAL),
        alive_count: alive_count(said),
        family: match said.one("addressfamily") {
            Some("inet") => Family::Inet,
            Some("inet6") => Family::Inet6,
            _ => Family::Any,
        },
        bind_address: said.one("bindaddress").map(str::to_owned),
        options,
        by_hand: Box::default(),
    })
}

fn policy_of(value: Option<&str>) -> KeyPolicy {
    match value {
        Some("accept-new") => KeyPolicy::AcceptNew,
        Some("no" | "off" | "false") => KeyPolicy::NoAsStrict,
        _ => KeyPolicy::Strict,
    }
}

/// Returns ServerAliveCountMax, at least 1. Without a setting `ssh -G` prints 3.
fn alive_count(said: &Said) -> usize {
    said.one("serveralivecountmax").and_then(|n| n.parse().ok()).unwrap_or(ALIVE_COUNT).max(1)
}

fn agent_of(value: Option<&str>, tokens: &Tokens<'_>, around: &LocalEnv) -> Option<PathBuf> {
    let variable = match value {
        Some("none") => return None,
        None | Some("" | "SSH_AUTH_SOCK") => "SSH_AUTH_SOCK",
        Some(value) => match value.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            Some(name) => name,
            None => return Some(tokens.path(value)),
        },
    };
    around.env.get(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Returns whether `path` is a key that ssh tries without being told to.
pub(crate) fn is_default_key(path: &Path, home: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent() == Some(&home.join(".ssh")) && name.starts_with("id_")
}
