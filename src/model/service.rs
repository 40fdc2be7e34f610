//! What is restarted when a release goes live.

use std::fmt;
use std::time::Duration;

/// What runs the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    Unit {
        /// Its name, `todo.service`.
        name: String,
        scope: Scope,
        /// What a flip does to it.
        action: Action,
        /// How long one restart may take.
        limit: Duration,
    },
    /// A command, run with the host's `sh` in the release directory.
    Command {
        /// What to run after a flip.
        restart: String,
        /// What to run when no release is live any more, because the first one was reverted.
        stop: Option<String>,
        /// The log to quote when it fails: a path in the release, or an absolute one.
        log: Option<String>,
        /// How long one restart may take.
        limit: Duration,
    },
    /// Nothing to restart: static files.
    None,
}

impl Service {
    /// Returns how long one restart may take; zero if there is nothing to restart.
    pub const fn limit(&self) -> Duration {
        match self {
            Self::Unit { limit, .. } | Self::Command { limit, .. } => *limit,
            Self::None => Duration::ZERO,
        }
    }
}

/// The systemd that a unit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The system's: `sudo -n systemctl …` (or plain `systemctl` as root).
    System,
    /// The deploying user's: `systemctl --user …`.
    User,
}

/// What a flip does to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `systemctl restart`.
    Restart,
    /// `systemctl reload-or-restart`.
    ReloadOrRestart,
}

impl Action {
    /// Returns the verb of systemctl.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::ReloadOrRestart => "reload-or-restart",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit { name, .. } => f.write_str(name),
            Self::Command { .. } => f.write_str("the restart command"),
            Self::None => f.write_str("no service"),
        }
    }
}
