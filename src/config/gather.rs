//! Fetches what health checks, downloads and notices need of this machine: values of headers,
//! certificates, addresses.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::checks::{Header, HealthProbe, Trust, is_sendable};
use super::env::{self, EnvError};
use super::{EnvSource, Health, NoticeTarget, rules};

/// The most bytes of certificates in one file. They may travel on the control channel.
const MOST_PEM: usize = 64 * 1024;

/// The request of a health check, in errors.
pub const OF_CHECK: &str = "a health check";
/// The request for the artifact, in errors.
pub const OF_ARTIFACT: &str = "the request for the artifact";

/// The reason why a health check or a download cannot be made. No text contains a value.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    #[error("{whose} lacks a header")]
    Header { whose: &'static str, source: EnvError },
    #[error("the value of the header `{name}` of {whose} holds characters that no header may")]
    Unsendable { whose: &'static str, name: String },
    #[error("could not read the certificates in {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} holds no certificate in PEM form", path.display())]
    NoCertificate { path: PathBuf },
}

impl GatherError {
    /// Returns what to do about the error.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Header { source, .. } => source.hint(),
            Self::NoCertificate { .. } => {
                Some("it begins with `-----BEGIN CERTIFICATE-----`".to_owned())
            }
            Self::Unsendable { .. } | Self::Read { .. } => None,
        }
    }
}

/// Fetches values of headers and certificates in place, as the values of the environment file are
/// fetched. Returns the values that no output may show.
pub async fn gather(
    health: &mut Health,
    base: &Path,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Vec<String>, GatherError> {
    let lacking = |source| GatherError::Header { whose: OF_CHECK, source };
    env::all_set(health.sources(), environment).map_err(lacking)?;
    let mut secrets = Vec::new();
    for check in &mut health.checks {
        let HealthProbe::Http(http) = &mut check.probe else { continue };
        secrets.extend(headers(&mut http.headers, OF_CHECK, base, environment).await?);
        if let Some(Trust::Only { path, pem }) = &mut http.trust {
            *pem = certificates(path)?;
        }
    }
    Ok(secrets)
}

/// Fetches the addresses of notices, and drops those that cannot be had: no notice keeps a deploy
/// from its work. Returns the values that no output may show, and warnings.
pub async fn addresses(
    notices: &mut Vec<NoticeTarget>,
    base: &Path,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> (Vec<String>, Vec<String>) {
    let (mut known, mut secrets, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for mut notice in std::mem::take(notices) {
        match env::value("url", &notice.url, base, environment).await {
            Ok(url) if rules::is_address(&url) => {
                if !matches!(notice.url, EnvSource::Text(_)) {
                    secrets.push(url.clone());
                }
                notice.url = EnvSource::Text(url);
                known.push(notice);
            }
            Ok(_) => warnings.push("no notice is sent: its `url` is no address".to_owned()),
            Err(error) => warnings.push(format!("no notice is sent: {error}")),
        }
    }
    *notices = known;
    (secrets, warnings)
}

/// Fetches the values of headers in place. Returns those that no output may show.
pub async fn headers(
    headers: &mut [Header],
    whose: &'static str,
    base: &Path,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Vec<String>, GatherError> {
    let mut secrets = Vec::new();
    for Header { name, value, .. } in headers {
        let text = env::value(name, value, base, environment).await;
        let text = text.map_err(|source| GatherError::Header { whose, source })?;
        if !is_sendable(&text) {
            return Err(GatherError::Unsendable { whose, name: name.clone() });
        }
        if !matches!(value, EnvSource::Text(_)) && !text.is_empty() {
            secrets.push(text.clone());
        }
        *value = EnvSource::Text(text);
    }
    Ok(secrets)
}

/// Returns the text of a file of certificates. Fails if it holds none, or is too large.
fn certificates(path: &Path) -> Result<String, GatherError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| GatherError::Read { path: path.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let some = found.is_ok_and(|found| !found.is_empty()) && text.len() <= MOST_PEM;
    some.then_some(text).ok_or_else(|| GatherError::NoCertificate { path: path.to_owned() })
}
