//! Options of `ssh_config` beyond those that [`HostSettings`](super::ssh_config::HostSettings) has
//! fields for. An option counts where `ssh -G` says something else than it does without any file:
//! what restricts is followed or refused by name, and the rest is mentioned.

use std::collections::BTreeMap;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, HashAlg};

use crate::remote::session::SessionError;

/// Read by `ssh_config::read_answer`, or here.
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
    "proxyusefdpass",
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
    "preferredauthentications",
];

/// To connect without these would trust more than ssh does, or go another way than it.
const REFUSED: [(&str, &str); 2] =
    [("knownhostscommand", "KnownHostsCommand"), ("bindinterface", "BindInterface")];

/// Without these we trust fewer hosts, or have fewer keys, than ssh.
const MISSED: [(&str, &str); 5] = [
    ("hostbasedauthentication", "HostbasedAuthentication"),
    ("nohostauthenticationforlocalhost", "NoHostAuthenticationForLocalhost"),
    ("pkcs11provider", "PKCS11Provider"),
    ("securitykeyprovider", "SecurityKeyProvider"),
    ("verifyhostkeydns", "VerifyHostKeyDNS"),
];

/// The smallest RSA key, in bits, where `ssh_config` names no other: as ssh has it.
pub(crate) const RSA_BITS: u32 = 1024;

/// The output of `ssh -G`, by keyword.
pub(crate) type Said<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// Sorts an answer of `ssh -G`.
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
            allowed: Allowed::read(&said, &plain)?,
            missed: missed.collect(),
            ignored: ignored.map(|keyword| (*keyword).to_owned()).collect(),
        })
    }
}

fn is_off(values: Option<&Vec<&str>>) -> bool {
    let off = |value: &&str| matches!(*value, "none" | "no" | "false" | "");
    values.is_none_or(|values| values.iter().all(off))
}

/// We log in by key, and by nothing else.
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

/// One list of algorithms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// As `ssh_config` spells it.
    option: &'static str,
    /// `None`: `ssh_config` does not say.
    names: Option<Vec<String>>,
}

impl List {
    fn read(said: &Said<'_>, plain: &Said<'_>, option: &'static str, keywords: &[&str]) -> Self {
        let differs = |keyword: &&&str| said.get(**keyword) != plain.get(**keyword);
        let found = keywords.iter().find(differs).and_then(|keyword| said.get(keyword)?.first());
        let names = found.map(|list| list.split(',').map(str::to_owned).collect());
        Self { option, names }
    }

    /// Returns whether the algorithm of this name may be used.
    pub(crate) fn allows(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.iter().any(|allowed| allowed == name))
    }

    /// Those of `ours` that may be used.
    pub(crate) fn of<T: Clone + AsRef<str>>(&self, ours: &[T]) -> Vec<T> {
        ours.iter().filter(|one| self.allows(one.as_ref())).cloned().collect()
    }

    /// The option and what it says; `None` where it says nothing.
    pub(crate) fn shown(&self) -> Option<String> {
        Some(format!("{} {}", self.option, self.names.as_ref()?.join(",")))
    }
}

/// The algorithms that may be used: ours, less those that `ssh_config` leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub(crate) exchanges: List,
    pub(crate) ciphers: List,
    pub(crate) macs: List,
    /// Algorithms of host keys and host certificates.
    pub(crate) host_keys: List,
    /// Algorithms of the user's keys and certificates.
    pub(crate) user_keys: List,
    /// Algorithms of the signatures in host certificates.
    pub(crate) authorities: List,
    /// The smallest RSA key, in bits.
    pub(crate) rsa_bits: u32,
}

impl Default for Allowed {
    fn default() -> Self {
        let all = List::default;
        Self {
            exchanges: all(),
            ciphers: all(),
            macs: all(),
            host_keys: all(),
            user_keys: all(),
            authorities: all(),
            rsa_bits: RSA_BITS,
        }
    }
}

impl Allowed {
    fn read(said: &Said<'_>, plain: &Said<'_>) -> Result<Self, SessionError> {
        let list = |option, keywords: &[&str]| List::read(said, plain, option, keywords);
        let bits = ["requiredrsasize", "rsaminsize"];
        let bits = bits.iter().find_map(|keyword| said.get(keyword)?.first()?.parse().ok());
        let accepted = ["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"];
        let allowed = Self {
            exchanges: list("KexAlgorithms", &["kexalgorithms"]),
            ciphers: list("Ciphers", &["ciphers"]),
            macs: list("MACs", &["macs"]),
            host_keys: list("HostKeyAlgorithms", &["hostkeyalgorithms"]),
            user_keys: list("PubkeyAcceptedAlgorithms", &accepted),
            authorities: list("CASignatureAlgorithms", &["casignaturealgorithms"]),
            rsa_bits: bits.unwrap_or(RSA_BITS).max(RSA_BITS),
        };
        super::client::check_lists(&allowed)?;
        Ok(allowed)
    }

    /// Returns the reason if a key is too weak to prove anything.
    pub(crate) fn weakness(&self, key: &KeyData) -> Option<String> {
        match key {
            KeyData::Dsa(_) => Some("DSA keys are not used any more".to_owned()),
            KeyData::Rsa(rsa) if rsa.key_size() < self.rsa_bits => Some(format!(
                "it is an RSA key of {} bits, and RequiredRSASize is {}",
                rsa.key_size(),
                self.rsa_bits
            )),
            _ => None,
        }
    }

    /// The names under which our own key may sign: two for an RSA key, best first; empty where
    /// `ssh_config` allows none.
    pub(crate) fn signing(&self, key: &Algorithm, certified: bool) -> Vec<Algorithm> {
        let all = match key {
            Algorithm::Rsa { .. } => [HashAlg::Sha512, HashAlg::Sha256]
                .map(|hash| Algorithm::Rsa { hash: Some(hash) })
                .to_vec(),
            other => vec![other.clone()],
        };
        all.into_iter().filter(|one| self.user_keys.allows(&name_of(one, certified))).collect()
    }
}

/// As ssh spells it.
pub(crate) fn name_of(algorithm: &Algorithm, certified: bool) -> String {
    if certified { algorithm.to_certificate_type() } else { algorithm.to_string() }
}

fn unusable(setting: &str, reason: &str) -> SessionError {
    SessionError::Setting { setting: setting.to_owned(), reason: reason.to_owned() }
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
    fn what_no_file_says_restricts_nothing() {
        let options = read(PLAIN).unwrap();
        assert!(options.missed.is_empty() && options.ignored.is_empty(), "{options:?}");
        assert_eq!(options.allowed.ciphers.shown(), None);
        assert!(options.allowed.exchanges.allows("anything"));
    }

    #[test]
    fn lists_restrict_and_an_empty_one_is_refused_by_name() {
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
    fn options_that_restrict_and_are_not_followed_are_refused_by_name() {
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
    fn what_is_not_followed_is_mentioned() {
        let options =
            read("gssapiauthentication yes\nverifyhostkeydns true\nsendenv LANG\nciphers a,b");
        let options = options.unwrap();
        assert_eq!(options.missed, ["VerifyHostKeyDNS"]);
        assert_eq!(options.ignored, ["gssapiauthentication", "sendenv"]);
    }
}
