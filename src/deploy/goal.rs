//! The goal of a run, and the build that a deploy makes live; plans are made from them.

use chrono::TimeDelta;

use super::event::Event;
use super::source::Source;
use crate::config::env::EnvFile;
use crate::config::placeholders::Placeholders;
use crate::config::{Config, EnvSpec, Host};
use crate::model::digest::Digest;
use crate::model::env_keys::EnvKeys;
use crate::model::goal::GoalKind;
use crate::model::id::ReleaseId;
use crate::model::link::{SharedKind, SharedLink};
use crate::model::manifest::{Manifest, Sealed};
use crate::model::service::{Action, Service, ServiceKind, Unit};

/// The goal of a run.
pub enum Goal {
    /// Make a build live.
    Deploy(Box<Build>),
    /// Make releases of a build and leave what is live.
    Stage(Box<Build>),
    /// Make a release live that was staged; `None`: the newest that all hosts have.
    Activate(Option<ReleaseId>),
    /// Make an earlier release live again; `None`: the newest that was good on all chosen hosts.
    Rollback(Option<ReleaseId>),
    /// Delete old releases.
    Prune(PruneRule),
}

impl Goal {
    /// Returns its kind.
    pub const fn kind(&self) -> GoalKind {
        match self {
            Self::Deploy(_) => GoalKind::Deploy,
            Self::Stage(_) => GoalKind::Stage,
            Self::Activate(_) => GoalKind::Activate,
            Self::Rollback(_) => GoalKind::Rollback,
            Self::Prune(_) => GoalKind::Prune,
        }
    }

    /// Returns whether old releases are to be deleted.
    pub const fn is_prune(&self) -> bool {
        matches!(self, Self::Prune(_))
    }

    /// Returns the build that releases are made of, if any are made.
    pub fn build(&self) -> Option<&Build> {
        match self {
            Self::Deploy(build) | Self::Stage(build) => Some(build),
            Self::Activate(_) | Self::Rollback(_) | Self::Prune(_) => None,
        }
    }
}

/// The build that a deploy makes releases of, with its env file.
#[derive(Clone)]
pub struct Build {
    /// The source of its bytes.
    pub source: Source,
    /// The artifact as the user named it.
    pub name: String,
    /// Everything that the artifact holds.
    pub manifest: Manifest,
    /// The digest of the whole artifact, whatever is left out of the release.
    pub digest: Digest,
    /// The source revision, if it is known.
    pub revision: Option<String>,
    /// The env files, in the order of those of the config.
    pub env: Vec<EnvFile>,
    /// Deploy even if nothing changed.
    pub force: bool,
    /// The release that it comes from, which must still be live: only its config changes.
    pub of_live: Option<ReleaseId>,
}

impl Build {
    /// Returns the part of the artifact that goes into a release: not what is at linked paths.
    pub fn release(&self, config: &Config) -> Sealed {
        let linked: Vec<String> = config.links.iter().map(|link| link.path.clone()).collect();
        self.manifest.without(&linked).into()
    }

    /// Returns what placeholders in health checks stand for, once it is the release `id`.
    pub fn placeholders(&self, id: ReleaseId) -> Placeholders {
        let (revision, digest) = (self.revision.clone(), Some(self.digest));
        Placeholders { release: id, revision, digest, slot: None }
    }

    /// Returns the event that the artifact is open.
    pub fn ready(&self) -> Event {
        Event::ArtifactReady {
            name: self.name.clone(),
            digest: self.digest.to_string(),
            files: self.manifest.files(),
            size: self.manifest.size(),
            revision: self.revision.clone(),
        }
    }

    /// Returns the bytes of an env file.
    pub fn env_bytes(&self, spec: &EnvSpec) -> Option<&[u8]> {
        self.env.get(spec.number).map(EnvFile::bytes)
    }

    /// Returns what a host with this key keeps of the values in an env file.
    pub fn env_keys(&self, spec: &EnvSpec, key: &[u8]) -> String {
        let file = self.env.get(spec.number);
        EnvKeys::lines(key, &spec.file, file.into_iter().flat_map(EnvFile::values))
    }

    /// Returns the values of all env files of a host; `None`: it has no key to tell them by.
    pub fn all_env_keys(&self, config: &Config, host: &Host, key: &[u8]) -> Option<EnvKeys> {
        let mut written =
            config.env_on(host).filter(|spec| self.env_bytes(spec).is_some()).peekable();
        if written.peek().is_none() {
            return Some(EnvKeys::default());
        }
        EnvKeys::parse(&written.map(|spec| self.env_keys(spec, key)).collect::<String>())
    }

    /// Returns the keyed digest of the env files of a host, one after the other.
    pub fn env_digest(&self, config: &Config, host: &Host, key: &[u8]) -> Option<Digest> {
        let files: Vec<_> = config.env_on(host).filter_map(|spec| self.env_bytes(spec)).collect();
        (!files.is_empty()).then(|| Digest::keyed(key, &files.concat()))
    }

    /// Returns the keyed digest of all else that makes a release: env, links, hooks, services.
    pub fn config_digest(&self, config: &Config, host: &Host, key: &[u8]) -> Digest {
        let mut text = format!(
            "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n",
            config.links,
            config.hooks.staged,
            config.hooks.switched,
            config.hooks.activated,
            config.services
        )
        .into_bytes();
        for spec in config.env_on(host) {
            text.extend(format!("{} {} {:?}\n", spec.file, spec.mode, spec.group).into_bytes());
        }
        if let Some(assets) = &config.assets {
            text.extend(format!("{assets:?}\n").into_bytes());
        }
        for spec in config.env_on(host) {
            text.extend(self.env_bytes(spec).unwrap_or_default());
        }
        Digest::keyed(key, &text)
    }
}

/// The rule that says which releases a prune may delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneRule {
    /// The number of good releases that stay, including the live one; at least 1.
    pub keep: usize,
    /// The least age of what is deleted.
    pub older_than: Option<TimeDelta>,
}

/// Returns a linked path, for people.
pub fn describe_link(link: &SharedLink) -> String {
    match &link.kind {
        SharedKind::Dir { .. } => format!("{}/", link.path),
        SharedKind::File { optional: true } => format!("{} (if it is there)", link.path),
        SharedKind::File { optional: false } => link.path.clone(),
    }
}

/// Returns the command that restarts the service, for people; `None`: nothing restarts it.
pub fn describe_restart(service: &Service) -> Option<String> {
    match &service.what {
        ServiceKind::Unit(Unit { action: Action::None, .. }) => None,
        ServiceKind::Unit(unit) => Some(format!("systemctl {} {}", unit.action.word(), unit.name)),
        ServiceKind::Command { restart, .. } => Some(restart.clone()),
    }
}
