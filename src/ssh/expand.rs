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
    around: &'a LocalEnv,
    values: BTreeMap<char, String>,
}

impl<'a> Tokens<'a> {
    /// Returns the values `of_host`, with those of this machine.
    pub(super) fn new(around: &'a LocalEnv, of_host: [(char, &str); 6]) -> Self {
        let uid = rustix::process::getuid().as_raw().to_string();
        let of_machine = [
            ('%', "%"),
            ('d', &around.home.to_string_lossy()),
            ('i', &uid),
            ('L', around.hostname.split('.').next().unwrap_or_default()),
            ('l', &around.hostname),
            ('u', &around.user),
        ];
        let values = of_machine.into_iter().chain(of_host);
        let values = values.map(|(token, value)| (token, value.to_owned())).collect();
        let mut tokens = Self { around, values };
        // As in ssh_config(5).
        let place = tokens.expand("%l%h%p%r%j");
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, place.as_bytes());
        tokens.values.insert('C', HEXLOWER.encode(hash.as_ref()));
        tokens
    }

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
            check_word("user", &self.expand("%r"))?;
        }
        Ok(self.expand(value))
    }

    fn expand(&self, value: &str) -> String {
        let mut out = String::with_capacity(value.len());
        let mut chars = value.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next() {
                    Some(token) => match self.values.get(&token) {
                        Some(value) => out.push_str(value),
                        None => out.extend(['%', token]),
                    },
                    None => out.push('%'),
                },
                c => out.push(c),
            }
        }
        out
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
