//! What is wanted, and who wants it: values that the command line makes and plans are made from.

use chrono::{DateTime, TimeDelta, Utc};

use super::event::Event;
use crate::config::Config;
use crate::model::digest::Digest;
use crate::model::id::ReleaseId;
use crate::model::ledger::{Entry, LedgerEvent, REASON};
use crate::model::link::{SharedKind, SharedLink};
use crate::model::manifest::{Manifest, Sealed};
use crate::model::service::Service;
use crate::remote::order::Record;

/// One run of the program, as hosts get to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Unique: lower-case letters and digits, 16 of them. Also marks the frames of its answers.
    pub nonce: String,
    /// When it began, by this machine's clock.
    pub now: DateTime<Utc>,
    /// Who started it.
    pub who: String,
    /// On which machine.
    pub from: String,
    /// `shipit 0.1.0`.
    pub tool: String,
    /// What was asked for, for the lock's owner record: `deploy production`.
    pub command: String,
}

impl Run {
    /// The owner record of the lock, less the time, which the host adds.
    pub fn owner(&self) -> String {
        format!("{} on {} ({}, run {})", self.who, self.from, self.command, self.nonce)
    }

    /// A ledger line of this run about `release`, its time left to the host.
    pub fn entry(&self, event: LedgerEvent, release: &str) -> Entry {
        Entry {
            run: self.nonce.clone(),
            who: self.who.clone(),
            from: self.from.clone(),
            tool: self.tool.clone(),
            ..Entry::new(event, release)
        }
    }

    /// A record about `release` whose reason the agent fills in.
    pub fn reasoned(&self, event: LedgerEvent, release: &str, note: String) -> Record {
        let entry = Entry { reason: Some(REASON.to_owned()), ..self.entry(event, release) };
        record(&entry, note)
    }
}

/// Returns what the agent appends to the ledger for `entry`, with `note` for `revisions.log`.
pub fn record(entry: &Entry, note: String) -> Record {
    let entry = entry.clone().summed();
    Record { line: serde_json::to_string(&entry).unwrap_or_default(), note }
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
