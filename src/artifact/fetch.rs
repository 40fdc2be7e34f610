//! Fetches an artifact over HTTPS into a nameless temporary file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ureq::tls::{RootCerts, TlsConfig};

use super::error::{ArtifactError, LimitHit};
use super::limits::Limits;
use super::spool;
use crate::model::digest::{Digest, Hasher};

const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_mins(1);
/// Bytes that must arrive within that time.
const LEAST: u64 = 64 * 1024;

/// The place that the address of an artifact leads to.
pub(super) enum ArtifactAddress {
    /// A path on this machine.
    Local(PathBuf),
    Remote,
}

/// Fails if the address is neither `https` nor `file`.
pub(super) fn target(url: &str) -> Result<ArtifactAddress, ArtifactError> {
    let scheme = || ArtifactError::Scheme { url: shown(url) };
    if let Some(path) = url.strip_prefix("file://") {
        let path = path.strip_prefix("localhost").unwrap_or(path);
        let path = Some(path).filter(|path| path.starts_with('/')).ok_or_else(scheme)?;
        return Ok(ArtifactAddress::Local(decoded(path)));
    }
    if url.starts_with("https://") { Ok(ArtifactAddress::Remote) } else { Err(scheme()) }
}

/// Returns the address as it may be shown and recorded: without user, password and query, which are
/// often secrets.
pub(super) fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = bare.split_once("://") else { return bare.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}/{path}")
}

/// Returns the file's name: the last part of the address's path.
pub(super) fn file_name(url: &str) -> String {
    let shown = shown(url);
    let last = shown.rsplit('/').next().unwrap_or_default();
    decoded(last).to_string_lossy().into_owned()
}

/// Fetches `url` and checks its digest. Follows redirects to https only, and ignores proxy settings
/// of the environment.
pub(super) fn fetch(
    url: &str,
    expected: Digest,
    scratch: Option<&Path>,
    limits: &Limits,
) -> Result<File, ArtifactError> {
    let refused =
        |source| ArtifactError::Fetch { url: shown(url), source: Box::new(reason(source)) };
    let config = ureq::Agent::config_builder()
        .https_only(true)
        .tls_config(trusting())
        .proxy(None)
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(SILENCE))
        .accept_encoding("identity")
        .build();
    let response = ureq::Agent::new_with_config(config).get(url).call().map_err(refused)?;
    let most = limits.bytes;
    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
    let mut file = spool::nameless(scratch)?;
    let mut hash = Hasher::default();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0_u64;
    let mut pace = Pace { since: Instant::now(), bytes: 0 };
    loop {
        let got = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(ArtifactError::Download { url: shown(url), source }),
        };
        let moves = pace.moves(got as u64, Instant::now());
        moves.map_err(|source| ArtifactError::Download { url: shown(url), source })?;
        total += got as u64;
        if total > most {
            let limit = LimitHit::Bytes { most };
            return Err(ArtifactError::TooMuch { artifact: shown(url), limit });
        }
        hash.update(&buffer[..got]);
        file.write_all(&buffer[..got]).map_err(|source| ArtifactError::Scratch { source })?;
    }
    let found = hash.finish();
    check(&shown(url), expected, found)?;
    Ok(file)
}

/// Measures how fast a download comes: one byte a minute would last for ever.
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Fails if less than [`LEAST`] came within [`SILENCE`].
    fn moves(&mut self, got: u64, now: Instant) -> io::Result<()> {
        self.bytes += got;
        if now.duration_since(self.since) < SILENCE {
            return Ok(());
        }
        if self.bytes < LEAST {
            let text = "less than 64 KiB came within a minute";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        *self = Self { since: now, bytes: 0 };
        Ok(())
    }
}

/// Returns why an address could not be fetched. The address of a redirect may hold a secret too.
fn reason(error: ureq::Error) -> ureq::Error {
    match error {
        ureq::Error::RequireHttpsOnly(url) => ureq::Error::RequireHttpsOnly(shown(&url)),
        ureq::Error::BadUri(url) => ureq::Error::BadUri(shown(&url)),
        other => other,
    }
}

/// Fails if the bytes have another digest than the config says.
pub(super) fn check(artifact: &str, expected: Digest, found: Digest) -> Result<(), ArtifactError> {
    if expected == found {
        return Ok(());
    }
    Err(ArtifactError::WrongDigest { artifact: artifact.to_owned(), expected, found })
}

/// Returns the bytes of a text in which some are written as `%20` and the like.
fn decoded(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Trusts the authorities that this machine trusts: a company may have its own.
fn trusting() -> TlsConfig {
    TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crawling_download_fails_and_slow_one_succeeds() {
        let since = Instant::now();
        let second = Duration::from_secs(1);
        let ends = |each: u64| {
            let mut pace = Pace { since, bytes: 0 };
            (1..600).find(|at| pace.moves(each, since + second * *at).is_err())
        };
        assert_eq!(ends(1), Some(60));
        assert_eq!(ends(1_000), Some(60));
        assert_eq!(ends(1_200), None);
    }

    #[test]
    fn redirect_address_in_an_error_has_no_query() {
        let url = || "http://me:hunter2@127.0.0.1:1/x?X-Sig=TOPSECRETSIG".to_owned();
        for error in [ureq::Error::RequireHttpsOnly(url()), ureq::Error::BadUri(url())] {
            let text = reason(error).to_string();
            assert!(text.contains("127.0.0.1:1/x"), "{text}");
            assert!(!text.contains("SECRET") && !text.contains("hunter2"), "{text}");
        }
    }
}
