//! Verification of host keys, by known_hosts, host certificates and pinned fingerprints.

use std::io;
use std::path::Path;
use std::sync::Arc;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::remote::session::{KNOWN_HOSTS, SessionError};
use crate::ssh::algorithms::{Allowed, key_types, name_of};
use crate::ssh::known_hosts::{
    KeyRecord, KnownHosts, KnownHostsPlace, append, hashed_name, matches_pattern, read_revoked,
    unreadable,
};
use crate::ssh::ssh_config::{HostSettings, KeyPolicy};
use crate::ssh::target::unusable;

/// Returns the name by which a host is looked up in known_hosts.
pub(crate) fn record_name(settings: &HostSettings) -> String {
    let name = match &settings.host_key_alias {
        Some(alias) => alias.clone(),
        None if settings.port == 22 => settings.hostname.clone(),
        None => format!("[{}]:{}", settings.hostname, settings.port),
    };
    name.to_lowercase()
}

/// Everything needed to judge the key of one host.
#[derive(Debug, Clone)]
pub(crate) struct HostKeyCheck {
    settings: Arc<HostSettings>,
    known: KnownHosts,
    /// The name with the port, as in known_hosts.
    name: String,
    /// The name without the port, as in certificates.
    bare: String,
    pin: Option<String>,
    /// Seconds since 1970.
    now: u64,
    /// Keys that are never accepted, with the line that revokes each.
    revoked: Vec<(KeyData, KnownHostsPlace)>,
    /// Kinds of keys of which the host showed one that is not the pinned one.
    passed_over: Vec<Algorithm>,
}

impl HostKeyCheck {
    /// Reads the records of the host's keys: in the files, unless their lines are `given` as text.
    /// A pinned fingerprint takes the place of both.
    pub(crate) fn load(
        settings: &Arc<HostSettings>,
        pin: Option<&str>,
        given: Option<&str>,
        now: u64,
    ) -> Result<Self, SessionError> {
        let name = record_name(settings);
        let bare = settings.host_key_alias.as_ref().unwrap_or(&settings.hostname).to_lowercase();
        let mut names = vec![name.as_str(), bare.as_str()];
        names.dedup();
        let known = match (pin, given) {
            (Some(_), _) => KnownHosts::default(),
            (None, Some(text)) => KnownHosts::of_text(Path::new(KNOWN_HOSTS), text, &names),
            (None, None) => KnownHosts::read(&settings.known_hosts, &names)?,
        };
        Ok(Self {
            settings: Arc::clone(settings),
            known,
            name,
            bare,
            pin: pin.map(str::to_owned),
            now,
            revoked: read_revoked(&settings.revoked)?,
            passed_over: Vec::new(),
        })
    }

    fn allowed(&self) -> &Allowed {
        &self.settings.options.allowed
    }

    /// Returns the name with the port, then the name without.
    fn names(&self) -> [&str; 2] {
        [&self.name, &self.bare]
    }

    /// Returns the lines about this host whose key cannot be read. They match no key, but the host
    /// counts as known.
    pub(crate) fn damaged(&self) -> Vec<KnownHostsPlace> {
        self.known.damaged(&self.name)
    }

    /// Key types to ask the server for: those on record first, so that a host with several keys
    /// shows one that we can check. SHA-1 is not among them.
    pub(crate) fn key_types(&self) -> Vec<Algorithm> {
        let names = self.names();
        let recorded = self.known.key_types(&names);
        let on_record = |one: &Algorithm| recorded.iter().any(|other| same_kind(one, other));
        let mut types = self.types(false);
        types.sort_by_key(|algorithm| !on_record(algorithm));
        types
    }

    /// Returns the types of certificates to ask for: none unless an authority is trusted for this
    /// host.
    pub(crate) fn certificate_types(&self) -> Vec<Algorithm> {
        let trusted = self.known.names_authority(&self.names());
        if trusted && self.pin.is_none() { self.types(true) } else { Vec::new() }
    }

    fn types(&self, certified: bool) -> Vec<Algorithm> {
        let mut types = key_types();
        let passed_over =
            |one: &Algorithm| self.passed_over.iter().any(|other| same_kind(one, other));
        types.retain(|one| {
            self.allowed().host_keys.allows(&name_of(one, certified)) && !passed_over(one)
        });
        types
    }

    /// Asks for no further key of this `kind`: a host shows one key at a time. Returns whether
    /// another kind is left that may be the pinned one.
    pub(crate) fn pass_over(&mut self, kind: &str) -> bool {
        self.passed_over.extend(Algorithm::new(kind));
        !self.types(false).is_empty()
    }

    /// Judges the key that the host shows. Writes a new key down if the policy says so, and returns
    /// a notice about it.
    pub(crate) fn judge(
        &self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<Option<String>, SessionError> {
        let key = shown.public_key();
        if let Some(reason) = self.allowed().weakness(key.key_data()) {
            return Err(unusable(&format!("the host key of {}", self.name), &reason));
        }
        if let Some(refusal) = self.revocation(key.key_data()) {
            return Err(refusal);
        }
        if let Some(pin) = &self.pin {
            return self.judge_pin(pin, &key);
        }
        match shown.certificate() {
            Some(certificate) => self.judge_certificate(certificate),
            None => self.judge_key(&key),
        }
    }

    /// Returns the error if the key is revoked: in `RevokedHostKeys`, or in known_hosts under the
    /// name with or without the port.
    fn revocation(&self, key: &KeyData) -> Option<SessionError> {
        let listed = self.revoked.iter().find(|(revoked, _)| revoked == key);
        let listed = listed.map(|(_, place)| place.clone());
        let KnownHostsPlace { file, line } =
            listed.or_else(|| self.known.revoked(&self.names(), key))?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string().into();
        let (name, line) = (self.name.clone(), Some(line));
        Some(SessionError::HostKeyRevoked { name, fingerprint, file, line })
    }

    /// Returns the record of the key. As in ssh, a key under the bare name also counts for a port
    /// that has no record.
    fn verdict(&self, key: &KeyData) -> KeyRecord {
        let verdict = self.known.verdict(&self.name, key);
        match (&verdict, self.known.verdict(&self.bare, key)) {
            (KeyRecord::Unknown | KeyRecord::OtherType(_), known @ KeyRecord::Known(_)) => known,
            _ => verdict,
        }
    }

    fn judge_pin(&self, pin: &str, key: &PublicKey) -> Result<Option<String>, SessionError> {
        let fingerprint = fingerprint(key);
        if same_fingerprint(pin, &fingerprint) {
            return Ok(None);
        }
        Err(SessionError::HostKeyNotPinned {
            name: self.name.clone(),
            kind: key.algorithm().to_string(),
            fingerprint: fingerprint.into(),
            pinned: pin.to_owned(),
        })
    }

    fn judge_key(&self, key: &PublicKey) -> Result<Option<String>, SessionError> {
        let name = self.name.clone();
        let fingerprint: Box<str> = fingerprint(key).into();
        let kind = key.algorithm().to_string();
        let unknown = |other: Option<KnownHostsPlace>| SessionError::HostKeyUnknown {
            name: self.name.clone(),
            kind: key.algorithm().to_string(),
            fingerprint: fingerprint.clone(),
            files: self.known.files.clone(),
            by_hand: self.settings.by_hand.clone(),
            other: other.map(|place| Box::new((place.file, place.line))),
        };
        let by_hand = self.settings.by_hand.clone();
        match self.verdict(key.key_data()) {
            KeyRecord::Known(_) => Ok(None),
            KeyRecord::Revoked(KnownHostsPlace { file, line }) => {
                Err(SessionError::HostKeyRevoked { name, fingerprint, file, line: Some(line) })
            }
            KeyRecord::Changed(KnownHostsPlace { file, line }) => {
                Err(SessionError::HostKeyChanged { name, kind, fingerprint, file, line, by_hand })
            }
            KeyRecord::OtherType(place) => Err(unknown(Some(place))),
            KeyRecord::Unknown if self.settings.policy == KeyPolicy::AcceptNew => {
                self.write_down(key)
            }
            KeyRecord::Unknown => Err(unknown(None)),
        }
    }

    fn judge_certificate(&self, certificate: &Certificate) -> Result<Option<String>, SessionError> {
        if let Some(refusal) = self.revocation(certificate.signature_key()) {
            return Err(refusal);
        }
        match self.flaw(certificate, &self.names()) {
            None => Ok(None),
            // As in ssh: the certificate says nothing then, but the key itself may be on record.
            Some(_) if matches!(self.verdict(certificate.public_key()), KeyRecord::Known(_)) => {
                Ok(None)
            }
            Some(reason) => Err(SessionError::HostCertificate { name: self.name.clone(), reason }),
        }
    }

    /// Returns the reason if the authority's signature proves nothing: it is made with SHA-1, with
    /// an algorithm that `ssh_config` leaves out, or with a key that is too small.
    fn weak_signature(&self, certificate: &Certificate) -> Option<String> {
        let algorithm = certificate.signature().algorithm();
        let name = name_of(&algorithm, false);
        let outdated = matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa);
        if outdated || !self.allowed().authorities.allows(&name) {
            return Some(format!("it is signed with {name}, which is not accepted"));
        }
        let weakness = self.allowed().weakness(certificate.signature_key())?;
        Some(format!("its authority's key is too weak: {weakness}"))
    }

    /// Returns the reason if the certificate does not hold.
    fn flaw(&self, certificate: &Certificate, names: &[&str]) -> Option<String> {
        let authority = certificate.signature_key();
        let print = authority.fingerprint(HashAlg::Sha256);
        if !self.known.authority(names, authority) {
            return Some(format!("it is signed by {print}, which is not trusted for this host"));
        }
        if let Some(reason) = self.weak_signature(certificate) {
            return Some(reason);
        }
        let for_us =
            |p: &String| matches_pattern(p.to_lowercase().as_bytes(), self.bare.as_bytes());
        let flaw = if certificate.cert_type() != CertType::Host {
            "it is not a host certificate"
        } else if !certificate.critical_options().is_empty() {
            "it has critical options, which host certificates never have"
        } else if !certificate.valid_principals().iter().any(for_us) {
            return Some(format!("it is not for {}", self.bare));
        } else if self.now < certificate.valid_after() {
            "it is not valid yet"
        } else if self.now >= certificate.valid_before() {
            "it has expired"
        } else if certificate.validate_at(self.now, [&print]).is_err() {
            "its signature is wrong"
        } else {
            return None;
        };
        Some(flaw.to_owned())
    }

    fn write_down(&self, key: &PublicKey) -> Result<Option<String>, SessionError> {
        let given = self.known.files.iter().any(|file| file == Path::new(KNOWN_HOSTS));
        let Some(file) = self.settings.new_keys.as_ref().filter(|_| !given) else {
            let setting = if given { KNOWN_HOSTS } else { "UserKnownHostsFile none" };
            let reason = format!(
                "the {} key {} of {} is new, and there is nowhere to write it down",
                key.algorithm(),
                fingerprint(key),
                self.name
            );
            return Err(unusable(setting, &reason));
        };
        let written = self.new_line(key).and_then(|line| append(file, &line));
        written.map_err(|error| unreadable(file, &error))?;
        Ok(Some(written_down(&fingerprint(key), file)))
    }

    fn new_line(&self, key: &PublicKey) -> io::Result<String> {
        let bare = PublicKey::new(key.key_data().clone(), "");
        let text = bare.to_openssh().map_err(io::Error::other)?;
        let name = if self.settings.hash_known_hosts {
            hashed_name(&self.name)?
        } else {
            self.name.clone()
        };
        Ok(format!("{name} {}\n", text.trim_end()))
    }
}

/// Returns the notice about a host key that was unknown, and is now in `file`.
pub(crate) fn written_down(fingerprint: &str, file: &Path) -> String {
    format!("new host key {fingerprint}, written to {}", file.display())
}

/// Returns whether two types are of one kind of key: the hash of an RSA signature does not count.
fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    let rsa = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Rsa { .. });
    one == other || (rsa(one) && rsa(other))
}

/// Returns the fingerprint of a key: `SHA256:…`.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Returns whether two fingerprints are equal. People copy them with and without the padding.
pub(crate) fn same_fingerprint(one: &str, other: &str) -> bool {
    one.trim().trim_end_matches('=') == other.trim_end_matches('=')
}
