//! What is restarted when a release goes live, and how strongly it is proved that it runs.

use std::fmt;
use std::time::Duration;

/// One service of the release: what runs it, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in the config; that of the app if it is the only one.
    pub name: String,
    pub what: ServiceKind,
    /// It is on hosts with one of these roles; empty: on all.
    pub roles: Vec<String>,
    /// How long one restart may take.
    pub limit: Duration,
    /// The weakest proof that is accepted; `None`: what its definition allows.
    pub proof: Option<Proof>,
}

/// What a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    Unit(Unit),
    /// A command, run with the host's `sh` in the release directory.
    Command {
        /// What to run after a flip.
        restart: String,
        /// What to run when no release is live any more, because the first one was reverted.
        stop: Option<String>,
        /// The log to quote when it fails: a path in the release, or an absolute one.
        log: Option<String>,
    },
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name, `todo.service`.
    pub name: String,
    pub scope: Scope,
    /// What a flip does to it.
    pub action: Action,
}

impl Service {
    /// Returns the unit, if the service is one.
    pub const fn unit(&self) -> Option<&Unit> {
        match &self.what {
            ServiceKind::Unit(unit) => Some(unit),
            ServiceKind::Command { .. } => None,
        }
    }
}

/// Returns how long one restart of all these services may take.
pub fn limit_of<'s>(services: impl IntoIterator<Item = &'s Service>) -> Duration {
    services.into_iter().map(|service| service.limit).sum()
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

/// How strongly it was seen that a service runs the release; the strongest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// The unit was reloaded after the flip and has the same process as before. Only the health
    /// checks tell what it runs.
    Reloaded,
    /// The process may not be looked at. The unit restarted after the flip and its settings go
    /// through `current`.
    Inferred,
    /// The working directory or the executable of the main process lies in the release.
    Seen,
}

impl Proof {
    /// Returns the word for JSON and for the config.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reloaded => "reloaded",
            Self::Inferred => "inferred",
            Self::Seen => "seen",
        }
    }
}

/// How it was proved that one service of a host runs the release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceProof {
    /// The name of the service.
    pub service: String,
    /// Its unit, if it is one.
    pub unit: Option<String>,
    /// `None`: there was nothing to prove, for it is a command.
    pub proof: Option<Proof>,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            ServiceKind::Unit(unit) => f.write_str(&unit.name),
            ServiceKind::Command { .. } => f.write_str("the restart command"),
        }
    }
}
