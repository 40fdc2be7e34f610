//! The ledger: the only history of a host. An append-only list of events, folded to one state per
//! release; rollback, prune and `releases` decide from it, never from mtimes or the order of names.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::id::ReleaseId;

/// The place in a ready-made event where the agent writes the host's time (RFC 3339, UTC).
pub const TIME: &str = "@now@";
/// The place where the agent writes one of its fixed words for why it took a release back.
pub const REASON: &str = "@reason@";

/// What happened to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It is complete and sealed.
    Staged,
    /// It is about to be flipped to, undecided.
    Activated,
    /// It was shown to run.
    Committed,
    /// It was taken back before it was committed.
    Reverted,
    /// It was live and good, and was left by a rollback: never chosen again by itself.
    RolledBack,
    /// It could not be made, or could not be taken back.
    Failed,
    /// It was deleted.
    Pruned,
    /// It is kept whatever prune says.
    Pinned,
    /// It is no longer pinned.
    Unpinned,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The format: 1.
    pub v: u32,
    /// What happened.
    pub event: What,
    /// When, by the host's clock; [`TIME`] until the agent writes it.
    pub at: String,
    /// To which release: an id, or a directory that another tool left.
    pub release: String,
    /// In which run.
    pub run: String,
    /// Who did it.
    pub who: String,
    /// From which machine.
    pub from: String,
    /// By which version of this program.
    pub tool: String,
    /// The digest of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Digest>,
    /// Bytes of all files in the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The keyed digest of the `.env` file alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Digest>,
    /// The keyed digest of env, links, hooks and service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Digest>,
    /// The source revision, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With `activated`: what `current` held before, as read (empty: there was no link).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<String>,
    /// With the first line of a deploy or rollback: when that began, by the host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<String>,
}

impl Entry {
    /// A line that says only what happened to which release; its time is left to the host.
    pub fn new(event: What, release: &str) -> Self {
        Self {
            v: 1,
            event,
            at: TIME.to_owned(),
            release: release.to_owned(),
            run: String::new(),
            who: String::new(),
            from: String::new(),
            tool: String::new(),
            artifact: None,
            size: None,
            env: None,
            config: None,
            revision: None,
            reason: None,
            back: None,
            began: None,
        }
    }

    /// When that began which it is the first line of, if it says so readably; else when it happened.
    pub fn began(&self) -> Option<DateTime<Utc>> {
        let began = DateTime::parse_from_rfc3339(self.began.as_deref().unwrap_or(&self.at)).ok();
        began.map(|at| at.with_timezone(&Utc)).or_else(|| self.time())
    }

    /// When it happened, if the line says so readably.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(&self.at).ok().map(|t| t.with_timezone(&Utc))
    }
}

/// Where a release stands, by the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Complete, never live.
    Staged,
    /// Live or about to be, without a verdict: a run was interrupted.
    Undecided,
    /// It was live and shown to run.
    Good,
    /// Taken back before it was committed.
    Reverted,
    /// It was good and somebody rolled back from it.
    RolledBack,
    /// It failed.
    Failed,
    /// Deleted.
    Pruned,
}

/// All that the ledger says of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Where it stands.
    pub standing: Standing,
    /// Whether it was completed.
    pub staged: bool,
    /// Whether prune must keep it.
    pub pinned: bool,
    /// The line that staged it: who, revision, digests.
    pub origin: Option<Entry>,
    /// The last line about it.
    pub last: Entry,
    /// When it was last committed.
    pub committed_at: Option<DateTime<Utc>>,
    /// What to return to while it is undecided.
    pub back: Option<String>,
}

/// A host's ledger, as far as `look` printed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: Vec<Entry>,
    unreadable: usize,
}

impl Ledger {
    /// Reads lines in the order of the file. What is not readable is skipped and counted: a torn
    /// last line must not hide the rest.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut ledger = Self::default();
        for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(entry) => ledger.entries.push(entry),
                Err(_) => ledger.unreadable += 1,
            }
        }
        ledger
    }

    /// The events, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same without the run of its first line.
    #[must_use]
    pub fn without_first_run(mut self) -> Self {
        let first = self.entries.first().map(|entry| entry.run.clone());
        self.entries.retain(|entry| Some(&entry.run) != first.as_ref());
        self
    }

    /// Appends what a deploy of `id` that works will have appended.
    pub fn assume_good(&mut self, id: ReleaseId) {
        let event = |event| Entry::new(event, &id.to_string());
        self.entries.extend([What::Staged, What::Activated, What::Committed].map(event));
    }

    /// How many lines could not be read.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// The events folded to one history per release.
    pub fn histories(&self) -> BTreeMap<String, History> {
        let mut all = BTreeMap::<String, History>::new();
        for entry in &self.entries {
            let history = all.entry(entry.release.clone()).or_insert_with(|| History::begin(entry));
            history.apply(entry);
        }
        all
    }

    /// What was live at a moment, or within a minute of it: clocks and steps are not exact.
    pub fn live_about(&self, moment: DateTime<Utc>) -> BTreeSet<ReleaseId> {
        let minute = TimeDelta::minutes(1);
        let mut found = BTreeSet::new();
        for entry in &self.entries {
            let now = match entry.event {
                What::Activated => entry.release.parse().ok(),
                What::Reverted => self.way_back(&entry.release),
                _ => continue,
            };
            let at = entry.time().unwrap_or(moment);
            if at - moment > minute {
                break;
            }
            if moment - at > minute {
                found.clear();
            }
            found.extend(now);
        }
        found
    }

    fn way_back(&self, release: &str) -> Option<ReleaseId> {
        let activated = |entry: &&Entry| entry.event == What::Activated && entry.release == release;
        let back = self.entries.iter().rev().find(activated)?.back.as_deref()?;
        back.strip_prefix("releases/")?.parse().ok()
    }

    /// The history of one release.
    pub fn history(&self, id: ReleaseId) -> Option<History> {
        let release = id.to_string();
        let entries = self.entries.iter().filter(|entry| entry.release == release);
        entries.fold(None, |history, entry| {
            let mut history = history.unwrap_or_else(|| History::begin(entry));
            history.apply(entry);
            Some(history)
        })
    }
}

impl History {
    fn begin(entry: &Entry) -> Self {
        Self {
            standing: Standing::Failed,
            staged: false,
            pinned: false,
            origin: None,
            last: entry.clone(),
            committed_at: None,
            back: None,
        }
    }

    fn apply(&mut self, entry: &Entry) {
        self.standing = match entry.event {
            What::Staged => Standing::Staged,
            What::Activated => Standing::Undecided,
            What::Committed => Standing::Good,
            What::Reverted => Standing::Reverted,
            What::RolledBack => Standing::RolledBack,
            What::Failed => Standing::Failed,
            What::Pruned => Standing::Pruned,
            What::Pinned | What::Unpinned => self.standing,
        };
        match entry.event {
            What::Staged => {
                self.staged = true;
                self.origin = Some(entry.clone());
            }
            What::Activated => self.back.clone_from(&entry.back),
            What::Committed => self.committed_at = entry.time(),
            What::Pinned => self.pinned = true,
            What::Unpinned => self.pinned = false,
            _ => {}
        }
        self.last = entry.clone();
    }
}
