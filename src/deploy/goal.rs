//! What a run is for, and the build that it deploys: values that the command line makes and plans are
//! made from.

use std::sync::Arc;

use chrono::TimeDelta;

use super::event::Event;
use crate::artifact::Artifact;
use crate::config::Config;
use crate::model::digest::Digest;
use crate::model::id::ReleaseId;
use crate::model::link::{SharedKind, SharedLink};
use crate::model::manifest::{Manifest, Sealed};
use crate::model::service::Service;

/// What a run is for.
pub enum Goal {
    /// Make a build live.
    Deploy {
        /// What.
        build: Box<Build>,
        /// Where its bytes are.
        artifact: Arc<Artifact>,
    },
    /// Make an earlier release live again.
    Rollback(RollbackTarget),
    /// Delete old releases.
    Prune(PruneRule),
}

impl Goal {
    /// One word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Deploy { .. } => "deploy",
            Self::Rollback(_) => "rollback",
            Self::Prune(_) => "prune",
        }
    }

    /// Returns whether old releases are to be deleted.
    pub const fn is_prune(&self) -> bool {
        matches!(self, Self::Prune(_))
    }

    /// What is to be made live, if it is not there yet.
    pub fn build(&self) -> Option<&Build> {
        if let Self::Deploy { build, .. } = self { Some(build) } else { None }
    }
}

/// A release to be made: the build and its config, before it has a host.
#[derive(Debug, Clone)]
pub struct Build {
    /// As the user named it.
    pub name: String,
    /// All that the artifact holds.
    pub manifest: Manifest,
    /// The artifact's digest: of all it holds, whatever is left out of the release.
    pub digest: Digest,
    /// The source revision, where one is known.
    pub revision: Option<String>,
    /// The bytes of the env file, if there is one.
    pub env: Option<Vec<u8>>,
    /// Deploy even where nothing changed.
    pub force: bool,
}

impl Build {
    /// What of the artifact goes into a release: what lies at linked paths stays out.
    pub fn release(&self, config: &Config) -> Sealed {
        let linked: Vec<String> = config.links.iter().map(|link| link.path.clone()).collect();
        self.manifest.without(&linked).into()
    }

    /// The word on what is deployed.
    pub fn ready(&self) -> Event {
        Event::ArtifactReady {
            name: self.name.clone(),
            digest: self.digest.to_string(),
            files: self.manifest.files(),
            size: self.manifest.size(),
            revision: self.revision.clone(),
        }
    }

    /// The keyed digest of the env file.
    pub fn env_digest(&self, key: &[u8]) -> Option<Digest> {
        self.env.as_ref().map(|bytes| Digest::keyed(key, bytes))
    }

    /// The keyed digest of all that makes a release besides the build: env, links, hooks, service.
    pub fn config_digest(&self, config: &Config, key: &[u8]) -> Digest {
        let mut text = format!(
            "{:?}\n{:?}\n{:?}\n{:?}\n",
            config.links, config.hooks.staged, config.hooks.activated, config.service
        )
        .into_bytes();
        if let Some(spec) = &config.env {
            text.extend(format!("{} {} {:?}\n", spec.file, spec.mode, spec.group).into_bytes());
        }
        text.extend(self.env.as_deref().unwrap_or_default());
        Digest::keyed(key, &text)
    }
}

/// What prune may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneRule {
    /// How many good releases stay, the live one among them; at least 1.
    pub keep: usize,
    /// Only what is older than this goes.
    pub older_than: Option<TimeDelta>,
}

/// Which release a rollback goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackTarget {
    /// The newest earlier one that was live and good on every chosen host.
    Previous,
    /// This one.
    Named(ReleaseId),
}

/// What a shared link is, for people.
pub fn describe_link(link: &SharedLink) -> String {
    match &link.kind {
        SharedKind::Dir { .. } => format!("{}/", link.path),
        SharedKind::File { optional: true } => format!("{} (if it is there)", link.path),
        SharedKind::File { optional: false } => link.path.clone(),
    }
}

/// What restarting comes to, for people.
pub fn describe_restart(service: &Service) -> Option<String> {
    match service {
        Service::Unit { name, action, .. } => Some(format!("systemctl {} {name}", action.verb())),
        Service::Command { restart, .. } => Some(restart.clone()),
        Service::None => None,
    }
}
