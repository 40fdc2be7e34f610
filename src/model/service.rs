//! Services, which are restarted when a release goes live, and proofs that they run it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::enum_words::words;
use super::slots::SLOT;

/// One service of the release: what runs it, or a part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in the config; that of the app if it is the only one.
    pub name: String,
    pub what: ServiceKind,
    /// It is on hosts with one of these roles; empty: on all.
    pub roles: Vec<String>,
    /// The limit for one restart.
    pub limit: Duration,
    /// The weakest proof that is accepted; `None`: the strongest that its definition allows.
    pub proof: Option<Proof>,
    /// The container image that it runs, if the release is one.
    pub image: Option<Image>,
}

/// A container image that a release brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name on hosts, without a tag.
    pub name: String,
    /// The words that start docker or podman.
    pub engine: Vec<String>,
}

impl Image {
    /// Returns the image that `service` runs by its tag: `current`, or the name of its slot.
    pub fn tag_of(&self, slot: &str, service: &Service) -> String {
        format!("{}:{}", self.name, if service.is_in_slot() { slot } else { "current" })
    }

    /// Returns the path of docker or podman, if it is started by another program, such as sudo.
    pub fn program_of_root(&self) -> Option<String> {
        let (program, before) = self.engine.split_last()?;
        let path = if program.starts_with('/') { "" } else { "/usr/bin/" };
        (!before.is_empty()).then(|| format!("{path}{program}"))
    }
}

/// The kind of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    Unit(Unit),
    /// A command, run with the host's `sh` in the release directory.
    Command {
        /// The command to run after a flip.
        restart: String,
        /// The command to run if no release is live any more, because the first one was reverted.
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
    /// The effect of a flip on it.
    pub action: Action,
    /// Its unit file, if that comes with the release: a path in it.
    pub file: Option<String>,
}

/// Digests of the config, which hosts keep, are made of this text. So a field that is newer than
/// such digests shows only where it is set.
impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, what, roles, limit, proof, image } = self;
        let mut text = f.debug_struct("Service");
        text.field("name", name).field("what", what).field("roles", roles);
        text.field("limit", limit).field("proof", proof);
        if let Some(image) = image {
            text.field("image", image);
        }
        text.finish()
    }
}

impl Service {
    /// Returns whether each slot has a unit of the service.
    pub fn is_in_slot(&self) -> bool {
        self.unit().is_some_and(|unit| unit.name.contains(SLOT))
    }

    /// Returns the service as it is in the slot of this name.
    #[must_use]
    pub fn in_slot(&self, slot: &str) -> Self {
        let mut service = self.clone();
        if let ServiceKind::Unit(unit) = &mut service.what {
            unit.name = unit.name.replace(SLOT, slot);
        }
        service
    }

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

words! {
    /// The systemd that a unit belongs to.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Scope {
        /// The system's: `sudo -n systemctl …` (or plain `systemctl` as root).
        System = "system",
        /// The deploying user's: `systemctl --user …`.
        User = "user",
    }
}

words! {
    /// The kind of a unit, by the end of its name.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum UnitKind {
        Service = "service",
        Socket = "socket",
        Timer = "timer",
        Target = "target",
    }
}

impl UnitKind {
    /// Returns the kind of the unit with this name.
    pub fn of(name: &str) -> Self {
        name.rsplit_once('.').and_then(|(_, kind)| Self::read(kind)).unwrap_or(Self::Service)
    }
}

impl Unit {
    /// Returns the kind of the unit.
    pub fn kind(&self) -> UnitKind {
        UnitKind::of(&self.name)
    }
}

words! {
    /// The effect of a flip on a unit. Its word is the verb of systemctl, or the agent's for none.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Action {
        Restart = "restart",
        Reload = "reload",
        ReloadOrRestart = "reload-or-restart",
        /// One that runs is left alone.
        Start = "start",
        /// Nothing: it is only judged.
        None = "none",
    }
}

impl Action {
    /// Returns whether a unit may keep its main process.
    pub const fn reloads(self) -> bool {
        matches!(self, Self::Reload | Self::ReloadOrRestart)
    }

    /// Returns all verbs of systemctl that an activation and a revert may need.
    pub const fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Restart => &["restart", "stop", "reset-failed"],
            Self::Reload => &["reload", "stop", "reset-failed"],
            Self::ReloadOrRestart => &["reload-or-restart", "stop", "reset-failed"],
            Self::Start => &["start", "stop", "reset-failed"],
            Self::None => &[],
        }
    }
}

words! {
    /// The evidence that a service runs the release, weakest first.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Proof {
        /// It was started after the flip, and nothing ties it to the release.
        Restarted = "restarted",
        /// It was reloaded after the flip and has the same main process as before; its workers are
        /// new, or a health check looks at what it serves.
        Reloaded = "reloaded",
        /// It was started after the flip, and its definition goes through `current`.
        Inferred = "inferred",
        /// A process of it works in the release, or runs a program of it, and began after the flip.
        Seen = "seen",
    }
}

/// The proof that one service of a host runs the release.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ServiceProof {
    /// The name of the service.
    #[serde(rename = "name")]
    pub service: String,
    pub unit: Option<String>,
    /// `None`: there was nothing to prove, for it is a command.
    pub proof: Option<Proof>,
}

/// Returns the weakest proof of all services; `None`: there is nothing to prove.
pub fn weakest_proof(services: &[ServiceProof]) -> Option<Proof> {
    services.iter().filter_map(|service| service.proof).min()
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            ServiceKind::Unit(unit) => f.write_str(&unit.name),
            ServiceKind::Command { .. } => f.write_str("the restart command"),
        }
    }
}
