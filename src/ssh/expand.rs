//! The surroundings of this process, and the values of `~`, `%` and `${…}` of `ssh_config` in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use ring::digest;

use crate::remote::session::SessionError;
use crate::ssh::given::GivenTexts;
use crate::ssh::target::check_word;

/// The surroundings of this process, which only the command line reads.
#[derive(Debug, Clone)]
pub struct LocalEnv {
    /// The user's home directory of the user database, for `~` and `%d`.
    pub home: PathBuf,
    /// The directory that relative paths begin at.
    pub cwd: PathBuf,
    /// The local user, who is also the remote one unless one is named; empty if it is unknown.
    pub user: String,
    /// The name of this machine, for `%l`.
    pub hostname: String,
    /// The environment, for `SSH_AUTH_SOCK` and `${…}`.
    pub env: BTreeMap<String, String>,
    /// The `ssh` program.
    pub ssh: PathBuf,
    /// A key and known hosts that variables hold as text.
    pub given: GivenTexts,
}

/// Values of `%` in file names and commands.
pub(super) struct Tokens<'a> {
    pub(super) around: &'a LocalEnv,
    pub(super) alias: &'a str,
    pub(super) hostname: String,
    pub(super) user: String,
    pub(super) port: u16,
    pub(super) key_alias: String,
    pub(super) jump: &'a str,
}

impl Tokens<'_> {
    pub(super) fn path(&self, value: &str) -> PathBuf {
        let expanded = self.environment(&self.expand(value.trim_matches('"')));
        let tilde =
            expanded.strip_prefix('~').map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let in_home = tilde.and_then(|(user, rest)| match user {
            "" => Some(self.around.home.join(rest)),
            user => Some(home_of(user)?.join(rest)),
        });
        self.around.cwd.join(in_home.unwrap_or_else(|| PathBuf::from(&expanded)))
    }

    /// Returns the command with its tokens replaced. Fails if the user's name has characters on
    /// which the shell would act.
    pub(super) fn command(&self, value: &str) -> Result<String, SessionError> {
        if value.contains("%r") {
            check_word("user", &self.user)?;
        }
        Ok(self.expand(value))
    }

    pub(super) fn expand(&self, value: &str) -> String {
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

    /// Returns `%C`: the SHA-1 of `%l%h%p%r%j`, as in ssh_config(5).
    fn connection_hash(&self) -> String {
        let text = self.expand("%l%h%p%r%j");
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        HEXLOWER.encode(hash.as_ref())
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

/// Returns the home of another user, as `~other/key` means it, if the user file has one.
fn home_of(user: &str) -> Option<PathBuf> {
    let file = std::fs::read("/etc/passwd").ok()?;
    let text = String::from_utf8_lossy(&file);
    let mut accounts = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let account = accounts.find(|fields| fields.first() == Some(&user))?;
    account.get(5).map(PathBuf::from)
}
