//! A key and known hosts as text, in variables: a CI job has them there, and needs no files.

use std::fmt;
use std::sync::Arc;

use russh::keys::{PrivateKey, PublicKey};

use crate::remote::session::KNOWN_HOSTS;
use crate::ssh::key_text::{NoKey, private_key};

/// The variable with the text of the private key that logs in.
pub(crate) const KEY: &str = "SHIPIT_SSH_KEY";

/// The texts that the environment gives. `Debug` shows nothing of them.
#[derive(Clone, Default)]
pub struct GivenTexts {
    /// The only key that is tried.
    pub(crate) key: Option<Arc<PrivateKey>>,
    /// Lines that take the place of all known_hosts files.
    pub(crate) known_hosts: Option<Arc<str>>,
}

impl fmt::Debug for GivenTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, hosts) = (self.key.is_some(), self.known_hosts.is_some());
        write!(f, "GivenTexts(key: {key}, known hosts: {hosts})")
    }
}

/// The reason why a text cannot be used. It holds nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} cannot be used: {flaw}")]
pub struct GivenError {
    variable: &'static str,
    flaw: String,
}

impl GivenError {
    /// Returns one thing to do about it.
    pub fn hint(&self) -> String {
        match self.variable {
            KEY => "the variable holds what the file of the key holds: `cat ~/.ssh/id_ed25519`",
            _ => "`ssh-keyscan HOST` prints such lines; compare the keys with the host's own",
        }
        .to_owned()
    }
}

impl GivenTexts {
    /// Reads both variables; an empty one counts as not set.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, GivenError> {
        let text = |name: &str| variable(name).filter(|text| !text.is_empty());
        let key = text(KEY).map(|text| key(&text)).transpose();
        let hosts = text(KNOWN_HOSTS).map(|text| known_hosts(&text)).transpose();
        Ok(Self {
            key: key.map_err(|flaw| GivenError { variable: KEY, flaw })?,
            known_hosts: hosts.map_err(|flaw| GivenError { variable: KNOWN_HOSTS, flaw })?,
        })
    }
}

fn key(text: &str) -> Result<Arc<PrivateKey>, String> {
    private_key(text, None).map(Arc::new).map_err(|no_key| match no_key {
        NoKey::Flawed(flaw) => flaw,
        NoKey::Encrypted => "it is encrypted, and nobody is there to ask for its passphrase; \
                             `ssh-keygen -p -N '' -f FILE` makes a copy without one"
            .to_owned(),
    })
}

/// Returns lines of known_hosts. Fails if one is no such line, because it may be about the host
/// that matters.
fn known_hosts(text: &str) -> Result<Arc<str>, String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).peekable();
    if lines.peek().is_none() {
        return Err("no line of it names a host".to_owned());
    }
    for (number, line) in lines {
        if let Some(flaw) = line_flaw(line) {
            return Err(format!("line {number} {flaw}"));
        }
    }
    Ok(text.into())
}

fn line_flaw(line: &str) -> Option<&'static str> {
    let words: Vec<_> = line.split_whitespace().skip_while(|word| word.starts_with('@')).collect();
    let is_kind = |word: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|one| word.starts_with(one));
    if line.contains("-----BEGIN") {
        return Some("belongs to a private key");
    }
    if line.starts_with(['"', '\'']) {
        return Some("stands in quotes");
    }
    if line.contains("\\n") {
        return Some("has its line ends written as `\\n`: `printf '%b'` makes lines of them");
    }
    match words.as_slice() {
        [kind, ..] if is_kind(kind) => Some("begins with a key, not with the name of a host"),
        [_, kind, key, ..] if is_kind(kind) => {
            let damaged = PublicKey::from_openssh(&format!("{kind} {key}")).is_err();
            damaged.then_some("holds a key that cannot be read")
        }
        _ => Some("is not a name, the type of a key and the key"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIXDrNMN7RZ0IQ/EY8GLaGHGmVpLGcHqTFcvpN3PWgFx";

    fn read(name: &'static str, text: &str) -> Result<GivenTexts, String> {
        let variable = |asked: &str| (asked == name).then(|| text.to_owned());
        GivenTexts::read(&variable).map_err(|error| error.to_string())
    }

    #[test]
    fn empty_variables_count_as_not_set() {
        let given = read(KEY, "").unwrap();
        assert_eq!(format!("{given:?}"), "GivenTexts(key: false, known hosts: false)");
    }

    #[test]
    fn lines_of_known_hosts_are_taken_with_any_line_ends() {
        let text =
            format!("# CI\r\n\r\nweb1,[web2]:2222 {ED25519} comment\r\n@revoked * {ED25519}");
        assert!(read(KNOWN_HOSTS, &text).is_ok());
    }

    #[test]
    fn line_that_is_none_of_known_hosts_is_named_without_its_content() {
        for (text, why) in [
            (" \n# web\n".to_owned(), "no line of it names a host"),
            (format!("web {ED25519}\n{ED25519} me"), "line 2 begins with a key"),
            (format!("web {}", &ED25519[..60]), "line 1 holds a key that cannot be read"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), "line 1 belongs to a private key"),
            (format!("\"web {ED25519}\""), "line 1 stands in quotes"),
            (format!("web {ED25519}\\nweb2 {ED25519}"), "line 1 has its line ends written"),
            ("SECRETd2ViIHNzaC1lZDI1NTE5".to_owned(), "line 1 is not a name, the type of a key"),
        ] {
            let error = read(KNOWN_HOSTS, &text).unwrap_err();
            assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
        }
    }
}
