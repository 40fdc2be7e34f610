//! Why there was no run.

use std::io;
use std::path::PathBuf;

use crate::artifact::ArtifactError;
use crate::config::checks::GatherError;
use crate::config::env::EnvError;
use crate::config::error::ConfigError;
use crate::report::error::Hinted;

/// Why a command did not get to its run. Nothing was changed on any host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    Checks(#[from] GatherError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("stopped on request")]
    Stopped,
    #[error("there is no artifact to deploy")]
    NoArtifact,
    #[error("the program could not start")]
    Start {
        #[source]
        source: io::Error,
    },
    #[error("{who} asks for confirmation and nobody can be asked here")]
    Unconfirmed { who: String },
    #[error("`{value}` cannot be given to {flag}: {expected}")]
    BadFlag { flag: &'static str, value: String, expected: &'static str },
    #[error("{path} is there already")]
    Exists { path: PathBuf },
    #[error("{path} could not be written")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the demo's server could not start")]
    Demo {
        #[source]
        source: crate::remote::session::SessionError,
    },
}

impl CliError {
    /// Usage and config are 2, a stop is 130; the rest failed to do what was asked.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped => 130,
            Self::Start { .. } | Self::Write { .. } | Self::Demo { .. } => 1,
            _ => 2,
        }
    }
}

impl Hinted for CliError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Env(error) => error.hint(),
            Self::Checks(error) => error.hint(),
            Self::Artifact(error) => error.hint(),
            Self::NoArtifact => Some("`--artifact PATH`, or `path` in [artifact]".to_owned()),
            Self::Unconfirmed { .. } => Some("`--yes` says so beforehand".to_owned()),
            _ => None,
        }
    }

    fn state(&self) -> Option<String> {
        match self {
            Self::Env(_) | Self::Checks(_) | Self::Artifact(_) | Self::NoArtifact => {
                Some("no host was contacted; nothing was changed".to_owned())
            }
            Self::Stopped | Self::Unconfirmed { .. } => Some("nothing was changed".to_owned()),
            _ => None,
        }
    }
}
