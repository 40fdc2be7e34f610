//! Options of `ssh_config` beyond those that [`HostSettings`](super::ssh_config::HostSettings) has
//! fields for. An option counts where `ssh -G` says something else than it does without any file:
//! what restricts is followed or refused by name, and the rest is mentioned.

use std::collections::BTreeMap;

use crate::remote::session::SessionError;
use crate::ssh::algorithms::{Allowed, List, RSA_BITS};

/// Options that `ssh_config::read_answer` reads, or this file.
const FOLLOWED: [&str; 33] = [
    "host",
    "hostname",
    "user",
    "port",
    "identityfile",
    "identitiesonly",
    "identityagent",
    "certificatefile",
    "proxyjump",
    "proxycommand",
    "userknownhostsfile",
    "globalknownhostsfile",
    "hostkeyalias",
    "stricthostkeychecking",
    "hashknownhosts",
    "revokedhostkeys",
    "connecttimeout",
    "serveraliveinterval",
    "serveralivecountmax",
    "addressfamily",
    "bindaddress",
    "ciphers",
    "macs",
    "kexalgorithms",
    "hostkeyalgorithms",
    "pubkeyacceptedalgorithms",
    "pubkeyacceptedkeytypes",
    "casignaturealgorithms",
    "requiredrsasize",
    "rsaminsize",
    "pubkeyauthentication",
    "kbdinteractiveauthentication",
    "preferredauthentications",
];

/// To connect without these would trust more than ssh does, or go another way than it.
const REFUSED: [(&str, &str); 3] = [
    ("knownhostscommand", "KnownHostsCommand"),
    ("bindinterface", "BindInterface"),
    ("proxyusefdpass", "ProxyUseFdpass"),
];

/// Without these we trust fewer hosts, or have fewer keys, than ssh.
const MISSED: [(&str, &str); 5] = [
    ("hostbasedauthentication", "HostbasedAuthentication"),
    ("nohostauthenticationforlocalhost", "NoHostAuthenticationForLocalhost"),
    ("pkcs11provider", "PKCS11Provider"),
    ("securitykeyprovider", "SecurityKeyProvider"),
    ("verifyhostkeydns", "VerifyHostKeyDNS"),
];

/// The output of `ssh -G`, by keyword.
pub(crate) type Said<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// Returns the values in an output of `ssh -G`, by keyword.
pub(crate) fn said(answer: &str) -> Said<'_> {
    let mut said = Said::new();
    for (keyword, value) in answer.lines().filter_map(|line| line.trim().split_once(' ')) {
        said.entry(keyword).or_default().push(value.trim());
    }
    said
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
    /// Reads the answer of `ssh -G`; `plain` is its answer without any file. An option that would
    /// restrict and cannot be followed is an error.
    pub(crate) fn read(answer: &str, plain: &str) -> Result<Self, SessionError> {
        let (said, plain) = (said(answer), said(plain));
        let differs = |keyword: &&str| said.get(keyword) != plain.get(keyword);
        let set = |keyword: &&str| differs(keyword) && !is_off(said.get(*keyword));
        let value = |keyword: &str| said.get(keyword).map(|all| all.join(" ")).unwrap_or_default();
        if let Some((keyword, name)) = REFUSED.iter().find(|(keyword, _)| set(keyword)) {
            return Err(unusable(&format!("{name} {}", value(keyword)), "it is not supported"));
        }
        check_authentication(&said)?;
        let missed = MISSED.iter().filter(|(keyword, _)| set(keyword)).map(|(_, name)| *name);
        let known = |keyword: &&&str| {
            FOLLOWED.contains(*keyword) || MISSED.iter().any(|(missed, _)| missed == *keyword)
        };
        let ignored = said.keys().filter(|keyword| !known(keyword) && set(keyword));
        Ok(Self {
            allowed: allowed(&said, &plain)?,
            unasked: unasked(&said),
            missed: missed.collect(),
            ignored: ignored.map(|keyword| (*keyword).to_owned()).collect(),
        })
    }
}

impl Options {
    /// Returns the first option that is not followed, and that OpenSSH would use to log in or to
    /// verify the host.
    pub(crate) fn openssh_could(&self) -> Option<&'static str> {
        self.missed.iter().find(|name| **name != "NoHostAuthenticationForLocalhost").copied()
    }
}

fn is_off(values: Option<&Vec<&str>>) -> bool {
    let off = |value: &&str| matches!(*value, "none" | "no" | "false" | "");
    values.is_none_or(|values| values.iter().all(off))
}

/// Fails if logging in by key is turned off: there is no other way.
fn check_authentication(said: &Said<'_>) -> Result<(), SessionError> {
    let one = |keyword: &str| said.get(keyword).and_then(|all| all.first()).copied();
    let only_keys = "keys are the only way in which shipit logs in";
    if let Some(value @ ("no" | "false")) = one("pubkeyauthentication") {
        return Err(unusable(&format!("PubkeyAuthentication {value}"), only_keys));
    }
    match one("preferredauthentications") {
        Some(list) if !list.split(',').any(|method| method == "publickey") => {
            Err(unusable(&format!("PreferredAuthentications {list}"), only_keys))
        }
        _ => Ok(()),
    }
}

/// Returns whether `ssh_config` turns the server's questions off.
fn unasked(said: &Said<'_>) -> bool {
    let one = |keyword: &str| said.get(keyword).and_then(|all| all.first()).copied();
    let off = matches!(one("kbdinteractiveauthentication"), Some("no" | "false"));
    let listed = |list: &str| list.split(',').any(|method| method == "keyboard-interactive");
    off || one("preferredauthentications").is_some_and(|list| !listed(list))
}

/// Returns the algorithms that may be used. Fails if an option leaves nothing of a list.
fn allowed(said: &Said<'_>, plain: &Said<'_>) -> Result<Allowed, SessionError> {
    let list = |option, keywords: &[&str]| {
        let differs = |keyword: &&&str| said.get(**keyword) != plain.get(**keyword);
        let found = keywords.iter().find(differs).and_then(|keyword| said.get(keyword)?.first());
        List::new(option, found.map(|list| list.split(',').map(str::to_owned).collect()))
    };
    let bits = ["requiredrsasize", "rsaminsize"];
    let bits = bits.iter().find_map(|keyword| said.get(keyword)?.first()?.parse().ok());
    let accepted = ["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"];
    let allowed = Allowed {
        exchanges: list("KexAlgorithms", &["kexalgorithms"]),
        ciphers: list("Ciphers", &["ciphers"]),
        macs: list("MACs", &["macs"]),
        host_keys: list("HostKeyAlgorithms", &["hostkeyalgorithms"]),
        user_keys: list("PubkeyAcceptedAlgorithms", &accepted),
        authorities: list("CASignatureAlgorithms", &["casignaturealgorithms"]),
        rsa_bits: bits.unwrap_or(RSA_BITS).max(RSA_BITS),
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
        Options::read(answer, PLAIN).map_err(|error| error.to_string())
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
