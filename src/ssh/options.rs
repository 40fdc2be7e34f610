//! Options of `ssh_config` beyond those that [`HostSettings`](super::ssh_config::HostSettings) has
//! fields for. An option counts where `ssh -G` says something else than it does without any file:
//! what restricts is followed or refused by name, and the rest is mentioned.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::remote::session::SessionError;
use crate::ssh::algorithms::{Allowed, List};

/// Options that `ssh_config::read_answer` reads, or this file.
const FOLLOWED: &str = "host hostname user port identityfile identitiesonly identityagent \
    certificatefile proxyjump proxycommand userknownhostsfile globalknownhostsfile hostkeyalias \
    stricthostkeychecking hashknownhosts revokedhostkeys connecttimeout serveraliveinterval \
    serveralivecountmax addressfamily bindaddress ciphers macs kexalgorithms hostkeyalgorithms \
    pubkeyacceptedalgorithms pubkeyacceptedkeytypes casignaturealgorithms requiredrsasize \
    rsaminsize pubkeyauthentication kbdinteractiveauthentication preferredauthentications";

/// To connect without these would trust more than ssh does, or go another way than it.
const REFUSED: [&str; 3] = ["KnownHostsCommand", "BindInterface", "ProxyUseFdpass"];

/// Without these we trust fewer hosts, or have fewer keys, than ssh.
const MISSED: [&str; 5] = [
    "HostbasedAuthentication",
    "NoHostAuthenticationForLocalhost",
    "PKCS11Provider",
    "SecurityKeyProvider",
    "VerifyHostKeyDNS",
];

/// An output of `ssh -G`: values by keyword, which may be asked for in any case.
#[derive(Debug, Clone)]
pub(crate) struct Said(BTreeMap<String, Vec<String>>);

impl Said {
    pub(crate) fn read(output: &str) -> Self {
        let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (keyword, value) in output.lines().filter_map(|line| line.trim().split_once(' ')) {
            said.entry(keyword.to_owned()).or_default().push(value.trim().to_owned());
        }
        Self(said)
    }

    pub(crate) fn all(&self, keyword: &str) -> &[String] {
        self.0.get(&keyword.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn first(&self, keyword: &str) -> Option<&str> {
        self.all(keyword).first().map(String::as_str)
    }

    /// Returns the first value, unless it is empty or `none`.
    pub(crate) fn one(&self, keyword: &str) -> Option<&str> {
        self.first(keyword).filter(|value| !matches!(*value, "" | "none"))
    }

    pub(crate) fn yes(&self, keyword: &str) -> bool {
        matches!(self.first(keyword), Some("yes" | "true"))
    }

    fn no(&self, keyword: &str) -> bool {
        matches!(self.first(keyword), Some("no" | "false"))
    }
}

/// The output of `ssh -G` about a host, and that without any file.
#[derive(Debug, Clone)]
pub struct SshAnswers {
    pub(crate) about: Said,
    pub(crate) plain: Arc<Said>,
}

impl SshAnswers {
    /// Reads both outputs.
    pub fn read(about: &str, plain: &str) -> Self {
        Self { about: Said::read(about), plain: Arc::new(Said::read(plain)) }
    }

    fn differs(&self, keyword: &str) -> bool {
        self.about.all(keyword) != self.plain.all(keyword)
    }

    /// Returns the values of an option that is on, if they differ from those without any file.
    pub(crate) fn set(&self, keyword: &str) -> Option<String> {
        let values = self.about.all(keyword);
        let off = values.iter().all(|value| matches!(&**value, "none" | "no" | "false" | ""));
        (!off && self.differs(keyword)).then(|| values.join(" "))
    }
}

/// Options of `ssh_config` that have no field of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The algorithms that may be used.
    pub allowed: Allowed,
    /// The server's questions, of a second factor, are not to be answered.
    pub unasked: bool,
    /// Options that are not followed, and would let ssh in where we stay out.
    pub missed: Vec<&'static str>,
    /// Options that are not followed and change neither whom we trust nor the way there, as
    /// `ssh -G` spells them.
    pub ignored: Vec<String>,
}

impl Options {
    /// Reads the answers of `ssh -G`. An option that would restrict and cannot be followed is an
    /// error.
    pub(crate) fn read(answers: &SshAnswers) -> Result<Self, SessionError> {
        for name in REFUSED {
            if let Some(value) = answers.set(name) {
                return Err(unusable(&format!("{name} {value}"), "it is not supported"));
            }
        }
        let missed = MISSED.into_iter().filter(|name| answers.set(name).is_some());
        let known = |keyword: &str| {
            FOLLOWED.split(' ').any(|followed| followed == keyword)
                || MISSED.iter().any(|missed| missed.eq_ignore_ascii_case(keyword))
        };
        let keywords = answers.about.0.keys();
        let ignored = keywords.filter(|keyword| !known(keyword) && answers.set(keyword).is_some());
        Ok(Self {
            unasked: unasked(&answers.about)?,
            allowed: allowed(answers)?,
            missed: missed.collect(),
            ignored: ignored.cloned().collect(),
        })
    }

    /// Returns the first option that is not followed, and that OpenSSH would use to log in or to
    /// verify the host.
    pub(crate) fn openssh_could(&self) -> Option<&'static str> {
        self.missed.iter().find(|name| **name != "NoHostAuthenticationForLocalhost").copied()
    }
}

/// Returns whether `ssh_config` turns the server's questions off. Fails if it turns logging in by
/// key off: there is no other way.
fn unasked(said: &Said) -> Result<bool, SessionError> {
    let listed = |method: &str| {
        let list = said.first("preferredauthentications");
        list.is_none_or(|list| list.split(',').any(|listed| listed == method))
    };
    for (option, off) in [
        ("PubkeyAuthentication", said.no("pubkeyauthentication")),
        ("PreferredAuthentications", !listed("publickey")),
    ] {
        if off {
            let setting = format!("{option} {}", said.first(option).unwrap_or_default());
            return Err(unusable(&setting, "keys are the only way in which shipit logs in"));
        }
    }
    Ok(said.no("kbdinteractiveauthentication") || !listed("keyboard-interactive"))
}

/// Returns the algorithms that may be used. Fails if an option leaves nothing of a list.
fn allowed(answers: &SshAnswers) -> Result<Allowed, SessionError> {
    // An option, and its old name if it has one.
    let list = |names: &[&'static str]| {
        let found = names.iter().find(|name| answers.differs(name));
        let found = found.and_then(|name| answers.about.first(name));
        let split = |list: &str| list.split(',').map(str::to_owned).collect();
        List { option: names[0], names: found.map(split) }
    };
    let bits = ["requiredrsasize", "rsaminsize"];
    let bits = bits.iter().find_map(|keyword| answers.about.first(keyword)?.parse().ok());
    let allowed = Allowed {
        exchanges: list(&["KexAlgorithms"]),
        ciphers: list(&["Ciphers"]),
        macs: list(&["MACs"]),
        host_keys: list(&["HostKeyAlgorithms"]),
        user_keys: list(&["PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes"]),
        authorities: list(&["CASignatureAlgorithms"]),
        rsa_bits: bits.unwrap_or_default(),
    };
    allowed.check()?;
    Ok(allowed)
}

fn unusable(setting: &str, reason: &str) -> SessionError {
    SessionError::Unsupported { setting: setting.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const PLAIN: &str = "ciphers a,b\nkexalgorithms k\ngssapiauthentication no\n\
                         requiredrsasize 1024\nverifyhostkeydns false\nsendenv none";

    fn read(answer: &str) -> Result<Options, String> {
        Options::read(&SshAnswers::read(answer, PLAIN)).map_err(|error| error.to_string())
    }

    #[test]
    fn default_options_restrict_nothing() {
        let options = read(PLAIN).unwrap();
        assert!(options.missed.is_empty() && options.ignored.is_empty(), "{options:?}");
        assert_eq!(options.allowed.ciphers.shown(), None);
        assert!(options.allowed.exchanges.allows("anything"));
    }

    #[test]
    fn list_restricts_and_an_empty_one_is_refused() {
        let options = read("ciphers aes256-ctr,aes128-cbc\nkexalgorithms k").unwrap();
        let ciphers = &options.allowed.ciphers;
        assert!(ciphers.allows("aes256-ctr") && !ciphers.allows("aes128-gcm@openssh.com"));
        for (answer, option) in [
            ("ciphers 3des-cbc", "Ciphers 3des-cbc"),
            ("kexalgorithms diffie-hellman-group1-sha1", "KexAlgorithms"),
            ("hostkeyalgorithms ssh-dss", "HostKeyAlgorithms ssh-dss"),
            ("macs hmac-md5\nciphers aes128-ctr", "MACs hmac-md5"),
        ] {
            let refusal = read(answer).unwrap_err();
            assert!(refusal.starts_with(option) && refusal.contains("none of them"), "{refusal}");
        }
        assert!(read("macs hmac-md5").is_ok(), "ciphers that need no MAC are left");
    }

    #[test]
    fn unsupported_restriction_is_refused_by_name() {
        for (answer, option) in [
            ("knownhostscommand /bin/keys %H", "KnownHostsCommand /bin/keys %H"),
            ("bindinterface wg0", "BindInterface wg0"),
            ("pubkeyauthentication false", "PubkeyAuthentication false"),
            ("preferredauthentications password", "PreferredAuthentications password"),
        ] {
            assert!(read(answer).unwrap_err().starts_with(option), "{answer}");
        }
    }

    #[test]
    fn ignored_option_is_reported() {
        let options =
            read("gssapiauthentication yes\nverifyhostkeydns true\nsendenv LANG\nciphers a,b");
        let options = options.unwrap();
        assert_eq!(options.missed, ["VerifyHostKeyDNS"]);
        assert_eq!(options.ignored, ["gssapiauthentication", "sendenv"]);
    }
}
