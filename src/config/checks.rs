//! The questions of health checks.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::placeholders::{Placeholders, in_address};
use super::{EnvSource, Host};

/// One question that a new release must answer well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub probe: HealthProbe,
    pub pace: CheckTiming,
    /// On hosts with one of these roles; empty: on all.
    pub roles: Vec<String>,
}

/// The question of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthProbe {
    Http(Box<HttpCheck>),
    /// Passes if somebody listens, as seen from the host.
    Tcp {
        /// A name or an address.
        host: String,
        /// 0: that of the slot.
        port: u16,
    },
    /// A command on the host, in the release directory: whether it exits with 0.
    Command(String),
}

/// The interval at which a check asks, and its limits.
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
    /// The host of that URL, by name or address, without brackets.
    pub host: String,
    /// 0: that of the slot.
    pub port: u16,
    /// Path and query of that URL.
    pub path: String,
    /// The name that is asked for (and that a certificate must have) instead of the URL's.
    pub name: Option<String>,
    pub status: Statuses,
    /// A text that the body must contain.
    pub body: Option<String>,
    pub headers: Vec<Header>,
}

/// The authorities whose certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the public authorities.
    Public,
    /// Those in one file, and what they signed.
    Only {
        /// The file on this machine.
        path: PathBuf,
        /// Its content, once it was gathered: PEM with at least one certificate.
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
    /// Its value: always a text once it was gathered.
    pub value: EnvSource,
    /// Whether its text is that of the file, so that it may hold placeholders.
    pub written: bool,
}

impl Check {
    /// Returns whether the check is made on this host.
    pub fn concerns(&self, host: &Host) -> bool {
        host.is_one_of(&self.roles)
    }
}

impl HealthProbe {
    /// Returns the probe with a value for each placeholder. Fails with the first one whose value is
    /// not known.
    pub fn filled(&self, placeholders: &Placeholders) -> Result<Self, &'static str> {
        let slot_port = placeholders.slot.as_ref().map(|slot| slot.port);
        let mut check = match self {
            Self::Tcp { host, port: 0 } => {
                let port = slot_port.ok_or("port")?;
                return Ok(Self::Tcp { host: host.clone(), port });
            }
            Self::Http(check) => check.clone(),
            Self::Tcp { .. } | Self::Command(_) => return Ok(self.clone()),
        };
        if check.port == 0 {
            check.port = slot_port.ok_or("port")?;
        }
        check.url = placeholders.fill(&check.url, in_address)?;
        check.path = placeholders.fill(&check.path, in_address)?;
        let headers = check.headers.iter_mut().filter(|header| header.written);
        let texts = headers.filter_map(|header| match &mut header.value {
            EnvSource::Text(text) => Some(text),
            _ => None,
        });
        for text in texts.chain(&mut check.body) {
            *text = placeholders.fill(text, str::to_owned)?;
        }
        Ok(Self::Http(check))
    }

    /// Returns whether it asks the slot itself, before the traffic moves.
    pub fn is_in_slot(&self) -> bool {
        let (text, words) = match self {
            Self::Http(http) => (&http.url, ["{port}", "{slot}"]),
            Self::Tcp { port, .. } => return *port == 0,
            Self::Command(command) => (command, ["SHIPIT_PORT", "SHIPIT_SLOT"]),
        };
        words.into_iter().any(|word| text.contains(word))
    }
}

impl fmt::Display for HealthProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(check) => write!(f, "GET {}", check.url),
            Self::Tcp { host, port: 0 } => write!(f, "TCP {host}:{{port}}"),
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

/// Returns whether a header may have this value: text in one line.
pub(super) fn is_sendable(value: &str) -> bool {
    value.chars().all(|c| c == '\t' || !c.is_control())
}
