//! Failures of a conversation with the agent, or of an upload.

use std::time::Duration;

use super::session::SessionError;

/// Messages of tools about a full disk.
const FULL: [&str; 2] = ["No space left", "quota exceeded"];

/// The reason why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the conversation with the host could not begin")]
    Session { source: SessionError },
    /// The host ended without a greeting.
    #[error("the host did not run our script")]
    NoGreeting { said: String },
    /// The conversation ended before the answer came; the order may or may not have run.
    #[error("the connection was lost")]
    Lost {
        /// The cause, as far as it is known.
        reason: String,
    },
    /// No answer came in time.
    #[error("no answer within {}s", after.as_secs())]
    Silent { after: Duration },
    /// No greeting came in time, but perhaps other output.
    #[error("the host did not start our script within {}s", after.as_secs())]
    Unheard { after: Duration, said: String },
    /// The host sent something that is no valid response.
    #[error("invalid response from the host: {reason}")]
    Garbled { reason: String },
    /// The host could not unpack an upload.
    #[error("the host could not unpack what was sent: {how}")]
    Upload {
        /// The exit status of tar.
        how: String,
        /// The last lines of its output.
        said: String,
    },
    /// The host could not send files of a release.
    #[error("the host could not send files of the release: {how}")]
    Unread { how: String, said: String },
    /// The packed file could not be read back.
    #[error("the packed release could not be read")]
    Spool { source: std::io::Error },
}

impl AgentError {
    /// Returns the error for a request after the end of the conversation.
    pub fn gone() -> Self {
        Self::Lost { reason: "the conversation is over".to_owned() }
    }

    /// Returns one thing to type next, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Session { source } => source.hint(),
            Self::NoGreeting { .. } => Some(
                "the login shell must be a POSIX shell, zsh or fish, and /bin/sh must be there: \
                 `chsh -s /bin/sh` on the host; no startup file (.bashrc) or ForceCommand may end it"
                    .to_owned(),
            ),
            Self::Unheard { .. } => Some(
                "what a login runs first (startup files, ForceCommand) must neither read its input \
                 nor replace the shell"
                    .to_owned(),
            ),
            Self::Upload { .. } if self.is_full() => {
                Some("`shipit prune` deletes old releases".to_owned())
            }
            _ => None,
        }
    }

    /// Returns whether it failed because the host's disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Upload { said, .. } if FULL.iter().any(|full| said.contains(full)))
    }

    /// Returns the host's own output, if that explains the error.
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::NoGreeting { said }
            | Self::Unheard { said, .. }
            | Self::Upload { said, .. }
            | Self::Unread { said, .. } => Some(said),
            Self::Lost { reason } => Some(reason),
            _ => None,
        }
    }
}
