//! Whether the host is the one we mean: known_hosts, host certificates and pinned fingerprints.
//!
//! The library's own reading of known_hosts ignores revocations, wildcards and authorities, so
//! this one follows sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::remote::session::SessionError;
use crate::ssh::options::{Allowed, name_of};
use crate::ssh::ssh_config::{HostSettings, KeyPolicy};

/// What the first field of a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Authority,
    Revoked,
}

/// Whom a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
    Patterns(String),
}

/// One line that speaks of a key.
#[derive(Debug, Clone)]
struct KnownHostsLine {
    file: PathBuf,
    number: usize,
    marker: Marker,
    names: Names,
    /// `None`: a type we do not know, or a key that is damaged.
    key: Option<KeyData>,
}

/// All lines of all files.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    lines: Vec<KnownHostsLine>,
    files: Vec<PathBuf>,
}

/// What known_hosts files say of a key that a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRecord {
    /// This very key is on record.
    Known(KnownHostsPlace),
    Revoked(KnownHostsPlace),
    /// Another key of the same type is on record.
    Changed(KnownHostsPlace),
    /// Only keys of other types are on record.
    OtherType(KnownHostsPlace),
    /// Nothing is on record.
    Unknown,
}

/// A line of a known_hosts file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHostsPlace {
    pub file: PathBuf,
    /// The line, from 1; every line counts.
    pub line: usize,
}

impl KnownHostsLine {
    fn place(&self) -> KnownHostsPlace {
        KnownHostsPlace { file: self.file.clone(), line: self.number }
    }
}

impl KnownHosts {
    /// Reads `files`. One that is not there is empty; one that cannot be read is an error,
    /// because a revocation may stand in it.
    pub fn read(files: &[PathBuf]) -> Result<Self, SessionError> {
        Self::read_those(files, &|_| true)
    }

    /// Reads only the lines about `names`, so that each of a thousand hosts keeps and understands
    /// no lines about the others.
    fn read_about(files: &[PathBuf], names: &[&str]) -> Result<Self, SessionError> {
        Self::read_those(files, &|line| names.iter().any(|name| line.matches(name)))
    }

    fn read_those(
        files: &[PathBuf],
        wanted: &dyn Fn(&Names) -> bool,
    ) -> Result<Self, SessionError> {
        let mut known = Self { lines: Vec::new(), files: files.to_vec() };
        for file in files {
            match fs::read(file) {
                Ok(bytes) => known.add(file, &String::from_utf8_lossy(&bytes), wanted),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unusable(file, &error)),
            }
        }
        Ok(known)
    }

    fn add(&mut self, file: &Path, text: &str, wanted: &dyn Fn(&Names) -> bool) {
        let numbered = text.lines().enumerate();
        let parse = |(at, line)| parse_line(file, at + 1, line, wanted);
        self.lines.extend(numbered.filter_map(parse));
    }

    fn about<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = &'a KnownHostsLine> {
        self.lines.iter().filter(|line| names.iter().any(|name| line.names.matches(name)))
    }

    /// The lines that speak of `name`, as `ssh-keygen -F` lists them.
    pub fn lookup(&self, name: &str) -> Vec<KnownHostsPlace> {
        self.about(&[&name.to_lowercase()]).map(KnownHostsLine::place).collect()
    }

    /// What is on record about a plain key of `name`. A revocation beats everything, then one
    /// line that agrees is enough.
    pub fn verdict(&self, name: &str, key: &KeyData) -> KeyRecord {
        if let Some(place) = self.revoked(&[name], key) {
            return KeyRecord::Revoked(place);
        }
        let (mut changed, mut other) = (None, None);
        for line in self.about(&[name]).filter(|line| line.marker == Marker::None) {
            match &line.key {
                Some(recorded) if recorded == key => return KeyRecord::Known(line.place()),
                Some(recorded) if recorded.algorithm() == key.algorithm() => {
                    changed.get_or_insert_with(|| line.place());
                }
                _ => {
                    other.get_or_insert_with(|| line.place());
                }
            }
        }
        changed
            .map(KeyRecord::Changed)
            .or(other.map(KeyRecord::OtherType))
            .unwrap_or(KeyRecord::Unknown)
    }

    fn revoked(&self, names: &[&str], key: &KeyData) -> Option<KnownHostsPlace> {
        let mut lines = self.about(names).filter(|line| line.marker == Marker::Revoked);
        lines.find(|line| line.key.as_ref() == Some(key)).map(KnownHostsLine::place)
    }

    fn authority(&self, names: &[&str], key: &KeyData) -> bool {
        let mut lines = self.about(names).filter(|line| line.marker == Marker::Authority);
        lines.any(|line| line.key.as_ref() == Some(key))
    }
}

fn parse_line(
    file: &Path,
    number: usize,
    line: &str,
    wanted: &dyn Fn(&Names) -> bool,
) -> Option<KnownHostsLine> {
    let mut words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty());
    let first = words.next().filter(|word| !word.starts_with('#'))?;
    let (marker, names) = match first {
        "@cert-authority" => (Marker::Authority, words.next()?),
        "@revoked" => (Marker::Revoked, words.next()?),
        marker if marker.starts_with('@') => return None,
        names => (Marker::None, names),
    };
    let names = parse_names(names).filter(wanted)?;
    let (kind, key) = (words.next()?, words.next().unwrap_or_default());
    let key = PublicKey::from_openssh(&format!("{kind} {key}")).ok();
    let key = key.map(|key| key.key_data().clone());
    Some(KnownHostsLine { file: file.to_path_buf(), number, marker, names, key })
}

fn parse_names(field: &str) -> Option<Names> {
    let Some(rest) = field.strip_prefix("|1|") else {
        return Some(Names::Patterns(field.to_lowercase()));
    };
    let (salt, hash) = rest.split_once('|')?;
    Some(Names::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? })
}

impl Names {
    /// `name` is in lower case.
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => name_hash(salt, name).as_deref() == Some(hash),
            Self::Patterns(list) => matches_list(list, name),
        }
    }
}

fn name_hash(salt: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}

/// One negated pattern that matches makes the whole list not match.
fn matches_list(list: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',').filter(|pattern| !pattern.is_empty()) {
        match pattern.strip_prefix('!') {
            Some(negated) if matches_pattern(negated.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches_pattern(pattern.as_bytes(), name.as_bytes()),
        }
    }
    found
}

/// `*` is any run of characters, `?` is one. Goes back to the last star only, so it is not
/// exponential.
fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// What an OpenSSH revocation list in binary form begins with.
const KRL: &[u8] = b"SSHKRL\n\0";

/// Keys that `RevokedHostKeys` names, one a line. A file that cannot be read, or not understood, is
/// an error, because the key in question may stand in it.
fn read_revoked(files: &[PathBuf]) -> Result<Vec<(KeyData, KnownHostsPlace)>, SessionError> {
    let mut revoked = Vec::new();
    for file in files {
        let setting = |reason: String| SessionError::Setting {
            setting: format!("RevokedHostKeys {}", file.display()),
            reason,
        };
        let bytes = fs::read(file).map_err(|error| setting(error.to_string()))?;
        if bytes.starts_with(KRL) {
            let reason = "it is a list in binary form (KRL), which is not supported; a file of \
                          public keys is";
            return Err(setting(reason.to_owned()));
        }
        let text = String::from_utf8_lossy(&bytes);
        let keys = text.lines().enumerate().filter_map(|(at, line)| {
            let key = PublicKey::from_openssh(line.trim()).ok()?;
            Some((key.key_data().clone(), KnownHostsPlace { file: file.clone(), line: at + 1 }))
        });
        revoked.extend(keys);
    }
    Ok(revoked)
}

/// The name under which a host is looked up.
pub fn record_name(settings: &HostSettings) -> String {
    let name = match &settings.host_key_alias {
        Some(alias) => alias.clone(),
        None if settings.port == 22 => settings.hostname.clone(),
        None => format!("[{}]:{}", settings.hostname, settings.port),
    };
    name.to_lowercase()
}

/// Everything needed to judge the key of one host.
#[derive(Debug, Clone)]
pub struct HostKeyCheck {
    known: KnownHosts,
    /// With the port, as in known_hosts.
    name: String,
    /// Without the port, as in certificates.
    bare: String,
    policy: KeyPolicy,
    pin: Option<String>,
    hashed: bool,
    /// Seconds since 1970.
    now: u64,
    /// Keys that are never accepted, and where it says so.
    revoked: Vec<(KeyData, KnownHostsPlace)>,
    /// Where new keys are written.
    new_keys: Option<PathBuf>,
    allowed: Allowed,
    /// Kinds of keys of which the host showed one that is not the pinned one.
    passed_over: Vec<Algorithm>,
    /// The `ssh` command that connects as we do.
    by_hand: Box<str>,
}

/// The host is the one we mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// On record, certified or pinned.
    Known,
    /// It was unknown and has been written down, with this fingerprint, in this file.
    WrittenDown {
        /// `SHA256:…`.
        fingerprint: String,
        file: PathBuf,
    },
}

impl HostKeyCheck {
    /// Reads what is on record. A pinned fingerprint stands for all records.
    pub fn load(
        settings: &HostSettings,
        pin: Option<&str>,
        now: u64,
    ) -> Result<Self, SessionError> {
        let name = record_name(settings);
        let bare = settings.host_key_alias.as_ref().unwrap_or(&settings.hostname).to_lowercase();
        let mut names = vec![name.as_str(), bare.as_str()];
        names.dedup();
        let known = match pin {
            Some(_) => KnownHosts::default(),
            None => KnownHosts::read_about(&settings.known_hosts, &names)?,
        };
        Ok(Self {
            known,
            name,
            bare,
            policy: settings.policy,
            pin: pin.map(str::to_owned),
            hashed: settings.hash_known_hosts,
            now,
            revoked: read_revoked(&settings.revoked)?,
            new_keys: settings.new_keys.clone(),
            allowed: settings.options.allowed.clone(),
            passed_over: Vec::new(),
            by_hand: settings.by_hand.clone(),
        })
    }

    /// The name with the port, then the name without.
    fn names(&self) -> [&str; 2] {
        [&self.name, &self.bare]
    }

    /// Lines about this host whose key cannot be read. They match nothing, but the host is not
    /// unknown.
    pub fn damaged(&self) -> Vec<KnownHostsPlace> {
        let names = [self.name.as_str()];
        self.known
            .about(&names)
            .filter(|line| line.key.is_none())
            .map(KnownHostsLine::place)
            .collect()
    }

    /// Key types to ask the server for: those on record first, so that a host with several keys
    /// shows one that we can check. SHA-1 is not among them.
    pub fn key_types(&self) -> Vec<Algorithm> {
        let names = self.names();
        let lines = self.known.about(&names).filter(|line| line.marker == Marker::None);
        let recorded: Vec<Algorithm> =
            lines.filter_map(|line| Some(line.key.as_ref()?.algorithm())).collect();
        let on_record = |one: &Algorithm| recorded.iter().any(|other| same_kind(one, other));
        let mut types = self.types(false);
        types.sort_by_key(|algorithm| !on_record(algorithm));
        types
    }

    /// Certificates are asked for only where an authority is trusted for this host.
    pub fn certificate_types(&self) -> Vec<Algorithm> {
        let names = self.names();
        let trusted = self.known.about(&names).any(|line| line.marker == Marker::Authority);
        if trusted && self.pin.is_none() { self.types(true) } else { Vec::new() }
    }

    fn types(&self, certified: bool) -> Vec<Algorithm> {
        let mut types = all_types();
        let passed_over =
            |one: &Algorithm| self.passed_over.iter().any(|other| same_kind(one, other));
        types.retain(|one| {
            self.allowed.host_keys.allows(&name_of(one, certified)) && !passed_over(one)
        });
        types
    }

    /// A host shows one key at a time: asks for no further one of this `kind`. Returns whether
    /// another kind is left that may be the pinned one.
    pub fn pass_over(&mut self, kind: &str) -> bool {
        self.passed_over.extend(Algorithm::new(kind));
        !self.types(false).is_empty()
    }

    /// Judges what the host shows; writes a new key down where the policy says so.
    pub fn judge(&self, shown: &PublicKeyOrCertificate) -> Result<Accepted, SessionError> {
        let key = shown.public_key();
        if let Some(reason) = self.allowed.weakness(key.key_data()) {
            let setting = format!("the host key of {}", self.name);
            return Err(SessionError::Setting { setting, reason });
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

    /// A key may be revoked in `RevokedHostKeys`, and in known_hosts under the name with and without
    /// the port.
    fn revocation(&self, key: &KeyData) -> Option<SessionError> {
        let listed = self.revoked.iter().find(|(revoked, _)| revoked == key);
        let listed = listed.map(|(_, place)| place.clone());
        let KnownHostsPlace { file, line } =
            listed.or_else(|| self.known.revoked(&self.names(), key))?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string().into();
        Some(SessionError::HostKeyRevoked { name: self.name.clone(), fingerprint, file, line })
    }

    /// What is on record. As in ssh, a key that stands under the bare name will do for a port of
    /// which nothing is on record.
    fn verdict(&self, key: &KeyData) -> KeyRecord {
        let verdict = self.known.verdict(&self.name, key);
        match (&verdict, self.known.verdict(&self.bare, key)) {
            (KeyRecord::Unknown | KeyRecord::OtherType(_), known @ KeyRecord::Known(_)) => known,
            _ => verdict,
        }
    }

    fn judge_pin(&self, pin: &str, key: &PublicKey) -> Result<Accepted, SessionError> {
        let fingerprint = fingerprint(key);
        if same_fingerprint(pin, &fingerprint) {
            return Ok(Accepted::Known);
        }
        Err(SessionError::HostKeyNotPinned {
            name: self.name.clone(),
            kind: key.algorithm().to_string(),
            fingerprint: fingerprint.into(),
            pinned: pin.to_owned(),
        })
    }

    fn judge_key(&self, key: &PublicKey) -> Result<Accepted, SessionError> {
        let name = self.name.clone();
        let fingerprint: Box<str> = fingerprint(key).into();
        let kind = key.algorithm().to_string();
        let unknown = |other: Option<KnownHostsPlace>| SessionError::HostKeyUnknown {
            name: self.name.clone(),
            kind: key.algorithm().to_string(),
            fingerprint: fingerprint.clone(),
            files: self.known.files.clone(),
            by_hand: self.by_hand.clone(),
            other: other.map(|place| Box::new((place.file, place.line))),
        };
        let by_hand = self.by_hand.clone();
        match self.verdict(key.key_data()) {
            KeyRecord::Known(_) => Ok(Accepted::Known),
            KeyRecord::Revoked(KnownHostsPlace { file, line }) => {
                Err(SessionError::HostKeyRevoked { name, fingerprint, file, line })
            }
            KeyRecord::Changed(KnownHostsPlace { file, line }) => {
                Err(SessionError::HostKeyChanged { name, kind, fingerprint, file, line, by_hand })
            }
            KeyRecord::OtherType(place) => Err(unknown(Some(place))),
            KeyRecord::Unknown if self.policy == KeyPolicy::AcceptNew => self.write_down(key),
            KeyRecord::Unknown => Err(unknown(None)),
        }
    }

    fn judge_certificate(&self, certificate: &Certificate) -> Result<Accepted, SessionError> {
        if let Some(refusal) = self.revocation(certificate.signature_key()) {
            return Err(refusal);
        }
        match self.flaw(certificate, &self.names()) {
            None => Ok(Accepted::Known),
            // As in ssh: the certificate says nothing then, but the key itself may be on record.
            Some(_) if matches!(self.verdict(certificate.public_key()), KeyRecord::Known(_)) => {
                Ok(Accepted::Known)
            }
            Some(reason) => Err(SessionError::HostCertificate { name: self.name.clone(), reason }),
        }
    }

    /// Why the authority's signature proves nothing, if it does not: it is made with SHA-1, with an
    /// algorithm that `ssh_config` leaves out, or with a key that is too small.
    fn weak_signature(&self, certificate: &Certificate) -> Option<String> {
        let algorithm = certificate.signature().algorithm();
        let name = name_of(&algorithm, false);
        let outdated = matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa);
        if outdated || !self.allowed.authorities.allows(&name) {
            return Some(format!("it is signed with {name}, which is not accepted"));
        }
        let weakness = self.allowed.weakness(certificate.signature_key())?;
        Some(format!("its authority's key is too weak: {weakness}"))
    }

    /// Why the certificate does not hold, if it does not.
    fn flaw(&self, certificate: &Certificate, names: &[&str]) -> Option<String> {
        let authority = certificate.signature_key();
        let print = authority.fingerprint(HashAlg::Sha256);
        if !self.known.authority(names, authority) {
            return Some(format!("it is signed by {print}, which is not trusted for this host"));
        }
        if let Some(reason) = self.weak_signature(certificate) {
            return Some(reason);
        }
        if certificate.cert_type() != CertType::Host {
            return Some("it is not a host certificate".to_owned());
        }
        if !certificate.critical_options().is_empty() {
            return Some("it has critical options, which host certificates never have".to_owned());
        }
        let for_us =
            |p: &String| matches_pattern(p.to_lowercase().as_bytes(), self.bare.as_bytes());
        if !certificate.valid_principals().iter().any(for_us) {
            return Some(format!("it is not for {}", self.bare));
        }
        if self.now < certificate.valid_after() {
            return Some("it is not valid yet".to_owned());
        }
        if self.now >= certificate.valid_before() {
            return Some("it has expired".to_owned());
        }
        let sound = certificate.validate_at(self.now, [&print]).is_ok();
        (!sound).then(|| "its signature is wrong".to_owned())
    }

    fn write_down(&self, key: &PublicKey) -> Result<Accepted, SessionError> {
        let Some(file) = &self.new_keys else {
            return Err(SessionError::Setting {
                setting: "UserKnownHostsFile none".to_owned(),
                reason: "there is nowhere to write the new host key down".to_owned(),
            });
        };
        let line = self.new_line(key).map_err(|error| unusable(file, &error))?;
        append(file, &line).map_err(|error| unusable(file, &error))?;
        Ok(Accepted::WrittenDown { fingerprint: fingerprint(key), file: file.clone() })
    }

    fn new_line(&self, key: &PublicKey) -> io::Result<String> {
        let bare = PublicKey::new(key.key_data().clone(), "");
        let text = bare.to_openssh().map_err(io::Error::other)?;
        let name = if self.hashed { hashed_name(&self.name)? } else { self.name.clone() };
        Ok(format!("{name} {}\n", text.trim_end()))
    }
}

fn hashed_name(name: &str) -> io::Result<String> {
    let mut salt = [0; 20];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    let hash = name_hash(&salt, name).unwrap_or_default();
    Ok(format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash)))
}

/// Several of us may write at once, and the file may lack its last newline.
fn append(file: &Path, line: &str) -> io::Result<()> {
    if let Some(parent) = file.parent().filter(|parent| !parent.exists()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut options = fs::OpenOptions::new();
    let mut handle = options.read(true).append(true).create(true).mode(0o600).open(file)?;
    rustix::fs::flock(&handle, rustix::fs::FlockOperation::LockExclusive)?;
    let newline = if ends_in_newline(&mut handle)? { "" } else { "\n" };
    handle.write_all(format!("{newline}{line}").as_bytes())
}

fn ends_in_newline(handle: &mut fs::File) -> io::Result<bool> {
    if handle.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    handle.seek(SeekFrom::End(-1))?;
    handle.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Returns the key types to ask for when nothing is on record, best first.
pub(crate) fn all_types() -> Vec<Algorithm> {
    let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
    let hashes = [HashAlg::Sha512, HashAlg::Sha256];
    let mut types = vec![Algorithm::Ed25519];
    types.extend(curves.map(|curve| Algorithm::Ecdsa { curve }));
    types.extend(hashes.map(|hash| Algorithm::Rsa { hash: Some(hash) }));
    types
}

/// The hash of an RSA signature is no part of the key.
fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    let rsa = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Rsa { .. });
    one == other || (rsa(one) && rsa(other))
}

/// `SHA256:…` of a key.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// People copy fingerprints with and without the padding.
fn same_fingerprint(one: &str, other: &str) -> bool {
    one.trim().trim_end_matches('=') == other.trim_end_matches('=')
}

fn unusable(file: &Path, error: &io::Error) -> SessionError {
    SessionError::Setting { setting: file.display().to_string(), reason: error.to_string() }
}
