//! What a health check asks, and what it needs of this machine before it can: values of headers,
//! certificates.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::env::{self, EnvError};
use super::{EnvSource, Health, Host};

/// More certificates than any authority has; they may travel on the control channel.
const MOST_PEM: usize = 64 * 1024;

/// One question that a new release must answer well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub probe: HealthProbe,
    /// How often, and for how long.
    pub pace: CheckTiming,
    /// On hosts with one of these roles; empty: on all.
    pub roles: Vec<String>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthProbe {
    Http(Box<HttpCheck>),
    /// Whether somebody listens, as seen from the host.
    Tcp {
        /// A name or an address.
        host: String,
        port: u16,
    },
    /// A command on the host, in the release directory: whether it exits with 0.
    Command(String),
}

/// How often something is asked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckTiming {
    pub interval: Duration,
    pub timeout: Duration,
    pub total: Duration,
    /// The number of tries in a row that must be well, at least 1.
    pub successes: u32,
}

/// An HTTP probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// `http://127.0.0.1:8080/up`, as seen from the host.
    pub url: String,
    /// Whom to trust; `None`: it is plain HTTP.
    pub trust: Option<Trust>,
    /// Where to connect: a name or an address of that URL, without brackets.
    pub host: String,
    pub port: u16,
    /// Path and query of that URL.
    pub path: String,
    /// The name that is asked for (and that a certificate must have) instead of the URL's.
    pub name: Option<String>,
    /// What the status may be.
    pub status: Statuses,
    /// What the body must hold.
    pub body: Option<String>,
    pub headers: Vec<Header>,
}

/// Whose certificates hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the public authorities.
    Public,
    /// Those in one file, and what they signed.
    Only {
        /// The file on this machine.
        path: PathBuf,
        /// Its content, once it was [`gather`]ed: PEM with at least one certificate.
        pem: String,
    },
    Anybody,
}

/// The statuses that are well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

/// A header of a request. Its value may be secret: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    /// Its value: always a text once it was [`gather`]ed.
    pub value: EnvSource,
}

impl Check {
    /// Returns whether the check is made on this host.
    pub fn concerns(&self, host: &Host) -> bool {
        self.roles.is_empty() || self.roles.iter().any(|role| host.roles.contains(role))
    }
}

impl fmt::Display for HealthProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(check) => write!(f, "GET {}", check.url),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "TCP [{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "TCP {host}:{port}"),
            Self::Command(command) => write!(f, "`{command}`"),
        }
    }
}

impl Statuses {
    /// Returns whether this status is well.
    pub fn hold(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for Statuses {
    /// Returns all statuses that are no errors. A redirect is an answer and is not followed.
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({})", self.name)
    }
}

/// Why a check cannot be asked. Nothing names a value.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The value of a header could not be had.
    #[error("a health check lacks a header")]
    Header(#[source] EnvError),
    /// A value that no header can have.
    #[error(
        "the value of the header `{name}` of a health check holds characters that no header may"
    )]
    Unsendable { name: String },
    /// A file of certificates that could not be read.
    #[error("could not read the certificates in {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file that holds none.
    #[error("{} holds no certificate in PEM form", path.display())]
    NoCertificate { path: PathBuf },
}

impl GatherError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Header(error) => error.hint(),
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
    env::all_set(health.sources(), environment).map_err(GatherError::Header)?;
    let mut secrets = Vec::new();
    for check in &mut health.checks {
        let HealthProbe::Http(http) = &mut check.probe else { continue };
        for Header { name, value } in &mut http.headers {
            let text = env::value(name, value, base, environment);
            let text = text.await.map_err(GatherError::Header)?;
            if !is_sendable(&text) {
                return Err(GatherError::Unsendable { name: name.clone() });
            }
            if !matches!(value, EnvSource::Text(_)) && !text.is_empty() {
                secrets.push(text.clone());
            }
            *value = EnvSource::Text(text);
        }
        if let Some(Trust::Only { path, pem }) = &mut http.trust {
            *pem = certificates(path)?;
        }
    }
    Ok(secrets)
}

/// What a header's value may be: text in one line.
pub(super) fn is_sendable(value: &str) -> bool {
    value.chars().all(|c| c == '\t' || !c.is_control())
}

/// The text of a file that holds certificates.
fn certificates(path: &Path) -> Result<String, GatherError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| GatherError::Read { path: path.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let some = found.is_ok_and(|found| !found.is_empty()) && text.len() <= MOST_PEM;
    some.then_some(text).ok_or_else(|| GatherError::NoCertificate { path: path.to_owned() })
}
