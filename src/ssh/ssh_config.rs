//! Settings of one host, as the user's own `ssh` understands them: `ssh -G` is asked, because it
//! is the only program that reads every `ssh_config` right.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::config::{HostKeys, SshSettings};
use crate::remote::quote::shown_word;
use crate::remote::session::{BY_SETTING, SessionError};
use crate::ssh::options::Options;
use crate::ssh::text;

/// How long `ssh -G` may take at least; a `Match exec` in the user's file may do anything.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// How long connecting may take where nobody says.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a silent server is asked whether it is there.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How many of those may stay without an answer.
const ALIVE_COUNT: usize = 3;
/// What `ssh` tries when nobody names a key.
const DEFAULT_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// The surroundings of this process, which only the command line reads.
#[derive(Debug, Clone)]
pub struct LocalEnv {
    /// The user's home directory of the user database, for `~` and `%d`.
    pub home: PathBuf,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// The local user, who is also the remote one where nobody says; empty: nobody knows.
    pub user: String,
    /// The name of this machine, for `%l`.
    pub hostname: String,
    /// The environment, for `SSH_AUTH_SOCK` and `${…}`.
    pub env: BTreeMap<String, String>,
    /// The `ssh` program.
    pub ssh: PathBuf,
}

/// Whom to ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshTarget {
    /// An alias of `ssh_config`, a name or an address.
    pub host: String,
    /// Instead of what `ssh_config` says.
    pub user: Option<String>,
    /// Instead of what `ssh_config` says.
    pub port: Option<u16>,
}

/// What happens to a host key that is in no known_hosts file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPolicy {
    Strict,
    /// Write them down, if the host is wholly unknown.
    AcceptNew,
    /// `StrictHostKeyChecking no`: the key is refused, with a warning that this option is not
    /// followed.
    NoAsStrict,
}

/// Which addresses of a host are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    #[default]
    Any,
    /// IPv4 only.
    Inet,
    /// IPv6 only.
    Inet6,
}

/// Where keys are held by a running agent.
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
    /// Only keys that are named here, also from the agent.
    pub identities_only: bool,
    pub agent: AgentSocket,
    /// Certificates beside those that stand next to their keys.
    pub certificate_files: Vec<PathBuf>,
    /// The way there, first hop first; empty: direct.
    pub proxy_jump: Vec<SshTarget>,
    /// A program that makes the connection.
    pub proxy_command: Option<String>,
    /// The user's, then the machine's.
    pub known_hosts: Vec<PathBuf>,
    /// The first file of the user's, where new keys are written.
    pub new_keys: Option<PathBuf>,
    /// Lists of host keys that are never accepted.
    pub revoked: Vec<PathBuf>,
    /// Under which name the host key is looked up, instead of the host's.
    pub host_key_alias: Option<String>,
    /// What to do about unknown host keys.
    pub policy: KeyPolicy,
    /// Whether names in new lines are hashed.
    pub hash_known_hosts: bool,
    /// For connecting, the handshake and logging in.
    pub connect_timeout: Duration,
    /// How often a silent server is asked whether it is there.
    pub alive_interval: Duration,
    /// How many of those may stay without an answer.
    pub alive_count: usize,
    /// Which addresses are tried.
    pub family: Family,
    /// The address of this machine to connect from.
    pub bind_address: Option<String>,
    /// The rest of `ssh_config`.
    pub options: Options,
    /// The `ssh` command that logs in with these settings.
    pub by_hand: Box<str>,
}

impl HostSettings {
    /// `host:port`, `[v6]:port`.
    pub fn address(&self) -> String {
        text::address(&self.hostname, self.port)
    }
}

/// Whether the settings come from `ssh -G` or, for want of an `ssh`, from defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsSource {
    /// From `ssh -G`.
    Asked,
    /// There is no `ssh` here.
    Defaults,
}

/// What `ssh -G` says without any file; the same for all hosts.
pub(crate) type Plain = OnceCell<Option<String>>;

/// Finds out how to reach `target`.
pub(crate) async fn resolve(
    target: &SshTarget,
    settings: &SshSettings,
    around: &LocalEnv,
    plain: &Plain,
) -> Result<(HostSettings, SettingsSource), SessionError> {
    check_word("host", &target.host)?;
    if let Some(user) = &target.user {
        check_user(user)?;
    }
    let nowhere = SshSettings { config: Some("/dev/null".into()), ..SshSettings::default() };
    let any = SshTarget { host: "localhost".to_owned(), user: None, port: None };
    let asked = ask(target, settings, around);
    let plain = plain.get_or_try_init(|| ask(&any, &nowhere, around));
    let (Some(answer), Some(plain)) = tokio::try_join!(asked, plain)? else {
        return Ok((defaults(target, settings, around)?, SettingsSource::Defaults));
    };
    let asked = read_answer(&answer, plain, target, around)?;
    Ok((with_settings(asked, target, settings), SettingsSource::Asked))
}

/// `None`: there is no `ssh` program.
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

/// The settings where there is no `ssh`. A file that deploy.toml names cannot be read then, and
/// nobody is guessed to be root: both are errors.
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

/// `deploy.toml` has the last word. The key and user it names are the target's own, which the
/// caller sets; what stands here holds for jump hosts too.
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

/// The `ssh` command that connects to `target` as we do.
fn by_hand(target: &SshTarget, settings: &SshSettings) -> String {
    let mut words = vec!["ssh".to_owned()];
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
    words.iter().map(|word| shown_word(word)).collect::<Vec<_>>().join(" ")
}

/// Returns the home of another user, as `~other/key` means it, if the user file has one.
fn home_of(user: &str) -> Option<PathBuf> {
    let file = std::fs::read("/etc/passwd").ok()?;
    let text = String::from_utf8_lossy(&file);
    let mut accounts = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let account = accounts.find(|fields| fields.first() == Some(&user))?;
    account.get(5).map(PathBuf::from)
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

/// What `ssh -G` printed about `target`, beside what it prints without any file. What cannot be
/// served is an error.
pub fn read_answer(
    text: &str,
    plain: &str,
    target: &SshTarget,
    around: &LocalEnv,
) -> Result<HostSettings, SessionError> {
    let answer = SshConfigOutput::read(text);
    if answer.yes("proxyusefdpass") {
        return Err(unusable("ProxyUseFdpass yes", "it is not supported"));
    }
    let options = Options::read(text, plain)?;
    let jump = answer.one("proxyjump");
    let tokens = Tokens::new(&answer, target, around);
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
        alive_count: alive_count(&answer),
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

/// `ssh -G` says 3 also when nobody asked for it.
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

/// What `%` stands for in file names and commands.
struct Tokens<'a> {
    around: &'a LocalEnv,
    alias: &'a str,
    hostname: String,
    user: String,
    port: u16,
    key_alias: String,
    jump: &'a str,
}

impl<'a> Tokens<'a> {
    fn new(answer: &SshConfigOutput<'a>, target: &'a SshTarget, around: &'a LocalEnv) -> Self {
        let hostname = answer.one("hostname").unwrap_or(&target.host).to_owned();
        let user = answer.one("user").unwrap_or(&around.user).to_owned();
        let port = answer.one("port").and_then(|port| port.parse().ok()).unwrap_or(22);
        let key_alias = answer.one("hostkeyalias").unwrap_or(&target.host).to_owned();
        let jump = answer.one("proxyjump").unwrap_or_default();
        Self { around, alias: &target.host, hostname, user, port, key_alias, jump }
    }

    fn path(&self, value: &str) -> PathBuf {
        let expanded = self.environment(&self.expand(value.trim_matches('"')));
        let tilde =
            expanded.strip_prefix('~').map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let in_home = tilde.and_then(|(user, rest)| match user {
            "" => Some(self.around.home.join(rest)),
            user => Some(home_of(user)?.join(rest)),
        });
        self.around.cwd.join(in_home.unwrap_or_else(|| PathBuf::from(&expanded)))
    }

    /// A shell reads it, and a user's name may hold what a shell acts on.
    fn command(&self, value: &str) -> Result<String, SessionError> {
        if value.contains("%r") {
            check_word("user", &self.user)?;
        }
        Ok(self.expand(value))
    }

    fn expand(&self, value: &str) -> String {
        let mut out = String::with_capacity(value.len());
        let mut chars = value.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next() {
                    Some(token) => self.token(token, &mut out),
                    None => out.push('%'),
                },
                c => out.push(c),
            }
        }
        out
    }

    fn token(&self, token: char, out: &mut String) {
        let hostname = &self.around.hostname;
        match token {
            '%' => out.push('%'),
            'd' => out.push_str(&self.around.home.to_string_lossy()),
            'h' => out.push_str(&self.hostname),
            'i' => out.push_str(&rustix::process::getuid().as_raw().to_string()),
            'j' => out.push_str(self.jump),
            'k' => out.push_str(&self.key_alias),
            'L' => out.push_str(hostname.split('.').next().unwrap_or(hostname)),
            'l' => out.push_str(hostname),
            'n' => out.push_str(self.alias),
            'p' => out.push_str(&self.port.to_string()),
            'r' => out.push_str(&self.user),
            'u' => out.push_str(&self.around.user),
            'C' => out.push_str(&self.connection_hash()),
            other => out.extend(['%', other]),
        }
    }

    /// `%C`: SHA-1 of `%l%h%p%r%j`, as ssh_config(5) says.
    fn connection_hash(&self) -> String {
        use sha1::Digest as _;
        use std::fmt::Write as _;
        let text = self.expand("%l%h%p%r%j");
        sha1::Sha1::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    fn environment(&self, value: &str) -> String {
        let mut out = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else { break };
            out.push_str(before);
            out.push_str(self.around.env.get(name).map_or("", String::as_str));
            rest = tail;
        }
        out + rest
    }
}

/// `[user@]host[:port],…`, each also as `ssh://…` and with a v6 address in brackets.
fn parse_jump(value: &str) -> Result<Vec<SshTarget>, SessionError> {
    value.split(',').map(|hop| parse_hop(hop.trim())).collect()
}

fn parse_hop(hop: &str) -> Result<SshTarget, SessionError> {
    let bad = |reason: &str| unusable(&format!("ProxyJump {hop}"), reason);
    let bare = hop.strip_prefix("ssh://").map_or(hop, |rest| rest.trim_end_matches('/'));
    let (user, place) = match bare.rsplit_once('@') {
        Some((user, place)) => (Some(user.to_owned()), place),
        None => (None, bare),
    };
    let (host, port) = split_port(place).ok_or_else(|| bad("a bracket is not closed"))?;
    let port = match port {
        Some(port) => Some(port.parse().map_err(|_| bad("the port is not a number"))?),
        None => None,
    };
    check_word("ProxyJump", host)?;
    user.as_deref().map(check_user).transpose()?;
    Ok(SshTarget { host: host.to_owned(), user, port })
}

/// A bare v6 address has no port.
fn split_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return Some((host, after.strip_prefix(':')));
    }
    match place.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port))),
        _ => Some((place, None)),
    }
}

/// Names end up in commands (`%h`), so nothing that a shell would read in its own way may pass.
fn check_word(what: &str, value: &str) -> Result<(), SessionError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "'\"`$\\;&<>|(){}".contains(c);
    let reason = if value.is_empty() {
        "it is empty"
    } else if value.starts_with('-') {
        "it begins with a dash"
    } else if value.contains(bad) {
        "it holds characters that no host or user name has"
    } else {
        return Ok(());
    };
    Err(unusable(&format!("{what} {value:?}"), reason))
}

/// Names of accounts may hold much, `CORP\alice` and `svc$` for two. A dash would make an option of
/// one, and ssh refuses the others too.
fn check_user(user: &str) -> Result<(), SessionError> {
    let bad = |c: char| c.is_control() || "'`\";&<>|(){}".contains(c);
    if user.is_empty() || user.starts_with('-') || user.contains(bad) || user.ends_with('\\') {
        return Err(unusable(&format!("user {user:?}"), "no account has such a name"));
    }
    Ok(())
}

fn unusable(setting: &str, reason: &str) -> SessionError {
    SessionError::Setting { setting: setting.to_owned(), reason: reason.to_owned() }
}

/// Whether `path` is one of the keys that are looked for without being named.
pub(crate) fn is_default_key(path: &Path, home: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent() == Some(&home.join(".ssh")) && name.starts_with("id_")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn around() -> LocalEnv {
        LocalEnv {
            home: "/home/me".into(),
            cwd: "/project".into(),
            user: "me".into(),
            hostname: "laptop.example.net".into(),
            env: BTreeMap::from([("SSH_AUTH_SOCK".into(), "/run/agent".into())]),
            ssh: "ssh".into(),
        }
    }

    fn target(host: &str) -> SshTarget {
        SshTarget { host: host.into(), user: None, port: None }
    }

    fn parsed(text: &str) -> HostSettings {
        read_answer(text, text, &target("web"), &around()).unwrap()
    }

    #[test]
    fn tokens_and_tilde_are_expanded() {
        let host = parsed(
            "hostname web.example.net\nuser deploy\nport 2222\nidentityfile ~/.ssh/%r@%h-%p\n\
             identityfile %d/keys/%n.%L%%\nidentityfile rel\nproxycommand nc %h %p",
        );
        let files: Vec<_> = host.identity_files.iter().map(|p| p.to_string_lossy()).collect();
        assert_eq!(
            files,
            [
                "/home/me/.ssh/deploy@web.example.net-2222",
                "/home/me/keys/web.laptop%",
                "/project/rel"
            ]
        );
        assert_eq!(host.proxy_command.as_deref(), Some("nc web.example.net 2222"));
        assert_eq!(host.address(), "web.example.net:2222");
    }

    #[test]
    fn the_agent_is_where_it_is_said_to_be() {
        let agent = |text: &str| parsed(text).agent;
        assert_eq!(agent("port 22"), AgentSocket::Path("/run/agent".into()));
        assert_eq!(agent("identityagent SSH_AUTH_SOCK"), AgentSocket::Path("/run/agent".into()));
        assert_eq!(agent("identityagent $SSH_AUTH_SOCK"), AgentSocket::Path("/run/agent".into()));
        assert_eq!(agent("identityagent ~/a"), AgentSocket::Path("/home/me/a".into()));
        assert_eq!(agent("identityagent ~root/a"), AgentSocket::Path("/root/a".into()));
        assert!(
            matches!(agent("identityagent ~nobody.here/a"), AgentSocket::Path(path) if path.ends_with("~nobody.here/a"))
        );
        assert_eq!(agent("identityagent none"), AgentSocket::None);
    }

    #[test]
    fn jumps_in_every_spelling() {
        let hops = parse_jump("a,me@b:2200,ssh://c@[fe80::1]:22/,[::1],2001:db8::1").unwrap();
        let shown: Vec<_> = hops
            .iter()
            .map(|h| {
                format!("{}|{}|{}", h.user.as_deref().unwrap_or(""), h.host, h.port.unwrap_or(0))
            })
            .collect();
        assert_eq!(shown, ["|a|0", "me|b|2200", "c|fe80::1|22", "|::1|0", "|2001:db8::1|0"]);
    }

    #[test]
    fn policies() {
        for (text, policy) in [
            ("ask", KeyPolicy::Strict),
            ("true", KeyPolicy::Strict),
            ("accept-new", KeyPolicy::AcceptNew),
            ("false", KeyPolicy::NoAsStrict),
        ] {
            assert_eq!(parsed(&format!("stricthostkeychecking {text}")).policy, policy);
        }
    }

    #[test]
    fn odd_names_are_refused() {
        for bad in ["-oProxyCommand=x", "a b", "a\nb", "a;b", "$(x)", "", "a'b"] {
            assert!(check_word("host", bad).is_err(), "{bad:?}");
        }
        assert!(check_word("host", "web_1.example.net").is_ok());
        assert!(check_word("host", "fe80::1%eth0").is_ok());
    }
}
