//! The file known_hosts, and lists of revoked keys.
//!
//! The library's own reading of known_hosts ignores revocations, wildcards and authorities, so
//! this one follows sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use russh::keys::ssh_key::known_hosts::{HostPatterns, Marker};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, PublicKey};

use crate::remote::session::SessionError;
use crate::ssh::target::unusable;

/// One line that speaks of a key.
#[derive(Debug, Clone)]
struct KnownHostsLine {
    place: KnownHostsPlace,
    marker: Option<Marker>,
    names: HostPatterns,
    /// `None`: a type we do not know, or a key that is damaged.
    key: Option<KeyData>,
}

/// All lines of all files.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    lines: Vec<KnownHostsLine>,
    pub(super) files: Vec<PathBuf>,
}

/// The record that known_hosts files have of a key that a host shows.
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

impl KnownHosts {
    /// Reads the lines about `names`, in lower case, so that each of a thousand hosts keeps no
    /// lines about the others. A file that does not exist is empty. Fails if one cannot be read,
    /// because a revocation may be in it.
    pub fn read(files: &[PathBuf], names: &[&str]) -> Result<Self, SessionError> {
        let mut known = Self { lines: Vec::new(), files: files.to_vec() };
        for file in files {
            match fs::read(file) {
                Ok(bytes) => known.add(file, &String::from_utf8_lossy(&bytes), names),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(file, &error)),
            }
        }
        Ok(known)
    }

    /// Returns the lines of `text` about `names`, in lower case. `file` is the name of the text, in
    /// place of a path.
    pub fn of_text(file: &Path, text: &str, names: &[&str]) -> Self {
        let mut known = Self { lines: Vec::new(), files: vec![file.to_path_buf()] };
        known.add(file, text, names);
        known
    }

    fn add(&mut self, file: &Path, text: &str, names: &[&str]) {
        let numbered = text.lines().enumerate();
        let parse = |(at, line)| parse_line(file, at + 1, line, names);
        self.lines.extend(numbered.filter_map(parse));
    }

    fn about<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = &'a KnownHostsLine> {
        self.lines.iter().filter(|line| is_about(&line.names, names))
    }

    /// Returns the lines about `name` whose key cannot be read.
    pub(super) fn damaged(&self, name: &str) -> Vec<KnownHostsPlace> {
        let names = [name];
        let lines = self.about(&names).filter(|line| line.key.is_none());
        lines.map(|line| line.place.clone()).collect()
    }

    /// Returns the types of the plain keys that are on record for these names.
    pub(super) fn key_types(&self, names: &[&str]) -> Vec<Algorithm> {
        let lines = self.about(names).filter(|line| line.marker.is_none());
        lines.filter_map(|line| Some(line.key.as_ref()?.algorithm())).collect()
    }

    /// Returns whether an authority is trusted to sign keys for these names.
    pub(super) fn names_authority(&self, names: &[&str]) -> bool {
        self.about(names).any(|line| line.marker == Some(Marker::CertAuthority))
    }

    /// Returns the lines about `name`, as `ssh-keygen -F` lists them.
    pub fn lookup(&self, name: &str) -> Vec<KnownHostsPlace> {
        self.about(&[&name.to_lowercase()]).map(|line| line.place.clone()).collect()
    }

    /// Returns the record of a plain key of `name`. A revocation beats everything, then one line
    /// that agrees is enough.
    pub fn verdict(&self, name: &str, key: &KeyData) -> KeyRecord {
        if let Some(place) = self.revoked(&[name], key) {
            return KeyRecord::Revoked(place);
        }
        let (mut changed, mut other) = (None, None);
        for line in self.about(&[name]).filter(|line| line.marker.is_none()) {
            match &line.key {
                Some(recorded) if recorded == key => return KeyRecord::Known(line.place.clone()),
                Some(recorded) if recorded.algorithm() == key.algorithm() => {
                    changed.get_or_insert_with(|| line.place.clone());
                }
                _ => {
                    other.get_or_insert_with(|| line.place.clone());
                }
            }
        }
        changed
            .map(KeyRecord::Changed)
            .or(other.map(KeyRecord::OtherType))
            .unwrap_or(KeyRecord::Unknown)
    }

    pub(super) fn revoked(&self, names: &[&str], key: &KeyData) -> Option<KnownHostsPlace> {
        let mut lines = self.about(names).filter(|line| line.marker == Some(Marker::Revoked));
        lines.find(|line| line.key.as_ref() == Some(key)).map(|line| line.place.clone())
    }

    pub(super) fn authority(&self, names: &[&str], key: &KeyData) -> bool {
        let mut lines = self.about(names).filter(|line| line.marker == Some(Marker::CertAuthority));
        lines.any(|line| line.key.as_ref() == Some(key))
    }
}

fn parse_line(file: &Path, number: usize, line: &str, wanted: &[&str]) -> Option<KnownHostsLine> {
    let mut words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty());
    let first = words.next().filter(|word| !word.starts_with('#'))?;
    let (marker, names) = if first.starts_with('@') {
        (Some(first.parse().ok()?), words.next()?)
    } else {
        (None, first)
    };
    let is_hashed = names.starts_with("|1|");
    let names = if is_hashed { names.parse() } else { names.to_lowercase().parse() };
    let names = names.ok().filter(|names| is_about(names, wanted))?;
    let (kind, key) = (words.next()?, words.next().unwrap_or_default());
    let key = PublicKey::from_openssh(&format!("{kind} {key}")).ok();
    let key = key.map(|key| key.key_data().clone());
    let place = KnownHostsPlace { file: file.to_path_buf(), line: number };
    Some(KnownHostsLine { place, marker, names, key })
}

/// Returns whether one of `names`, in lower case, is among those of a line.
fn is_about(line: &HostPatterns, names: &[&str]) -> bool {
    names.iter().any(|name| match line {
        HostPatterns::HashedName { salt, hash } => name_hash(salt, name).as_ref() == hash,
        HostPatterns::Patterns(patterns) => matches_list(patterns, name),
    })
}

fn name_hash(salt: &[u8], name: &str) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
    hmac::sign(&key, name.as_bytes())
}

/// Returns whether a pattern of the list matches, and no negated one does.
fn matches_list(patterns: &[String], name: &str) -> bool {
    let mut found = false;
    for pattern in patterns.iter().filter(|pattern| !pattern.is_empty()) {
        match pattern.strip_prefix('!') {
            Some(negated) if matches_pattern(negated.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches_pattern(pattern.as_bytes(), name.as_bytes()),
        }
    }
    found
}

/// Returns whether the name matches: `*` is any run of characters, `?` is one. Backtracks to the
/// last star only, so the time is not exponential.
pub(super) fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
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

/// The first bytes of an OpenSSH revocation list in binary form.
const KRL: &[u8] = b"SSHKRL\n\0";

/// Returns the keys in the files of `RevokedHostKeys`, one a line. Fails if a file cannot be read
/// or understood, because the key in question may be in it.
pub(super) fn read_revoked(
    files: &[PathBuf],
) -> Result<Vec<(KeyData, KnownHostsPlace)>, SessionError> {
    let mut revoked = Vec::new();
    for file in files {
        let setting = format!("RevokedHostKeys {}", file.display());
        let bytes = fs::read(file).map_err(|error| unusable(&setting, &error.to_string()))?;
        if bytes.starts_with(KRL) {
            let reason = "it is a list in binary form (KRL), which is not supported; a file of \
                          public keys is";
            return Err(SessionError::Unsupported { setting, reason: reason.to_owned() });
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

pub(super) fn hashed_name(name: &str) -> io::Result<String> {
    let mut salt = [0; 20];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    let hash = name_hash(&salt, name);
    Ok(format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash)))
}

/// Appends a line. Several processes may append at once, and the file may lack its last newline.
pub(super) fn append(file: &Path, line: &str) -> io::Result<()> {
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

pub(super) fn unreadable(file: &Path, error: &io::Error) -> SessionError {
    unusable(&file.display().to_string(), &error.to_string())
}
