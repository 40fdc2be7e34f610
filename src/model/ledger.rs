//! The ledger: the only history of a host. It is an append-only list of events, folded to one state
//! per release. Rollback, prune and `releases` decide by it, never by mtimes or the order of names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::enum_words::words;
use super::id::ReleaseId;
use super::layout::Layout;

/// The place in an entry where the agent writes the host's time (RFC 3339, UTC).
pub const TIME: &str = "@now@";
/// The place in an entry where the agent writes why it reverted a release.
pub const REASON: &str = "@reason@";
/// The place in an entry where the agent writes the exit code of a command.
pub const CODE: &str = "@code@";
/// The version of ledger, manifests and layout that this program reads and writes.
pub const FORMAT: u32 = 1;
/// The beginning of the reason of `rolled-back`; the id of what became live follows.
const ROLLED_BACK_TO: &str = "rolled back to ";
/// The reason of the activation of a release that another tool made.
const FOREIGN: &str = "made by another tool";
/// The reason of an entry that repeats the status of a release: see [`History::repeated`].
const AS_BEFORE: &str = "as before: only the attempt to go back to it was reverted";

words! {
    /// The reason why an undecided release was reverted: the words that the ledger records.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum RevertReason {
        /// It did not pass its checks.
        Unhealthy = "unhealthy",
        /// Another host of the run failed.
        Fleet = "fleet",
        /// The run was stopped, or lost the answer to its activation.
        Interrupted = "interrupted",
        /// The agent: a hook around the flip failed.
        HookFailed = "hook failed",
        /// The agent: a unit file could not be linked.
        UnitFileFailed = "unit file failed",
        /// The agent: `current` could not be replaced.
        FlipFailed = "flip failed",
        /// The agent: the service could not be restarted.
        RestartFailed = "restart failed",
        /// The agent: the connection ended.
        EndOfInput = "end of input",
        /// The agent: no line came in time.
        Deadline = "deadline",
        /// The agent: it was ended by a signal.
        Terminated = "terminated",
        /// A later run found it reverted, with nothing in the ledger about it.
        FoundReverted = "found taken back",
    }
}

impl RevertReason {
    /// Returns whether the host reverted because it heard nothing more; the release may be good.
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::EndOfInput | Self::Deadline | Self::Terminated | Self::FoundReverted)
    }
}

/// An event in the life of a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerEvent {
    /// The release is complete and sealed.
    #[default]
    Staged,
    /// It is about to become live, undecided.
    Activated,
    /// It was judged well and stays.
    Committed,
    /// It was reverted before it was committed.
    Reverted,
    /// A rollback left it for an older release. No rollback chooses it by itself again.
    RolledBack,
    /// It could not be made, or could not be reverted.
    Failed,
    Pruned,
    /// Prune must keep it.
    Pinned,
    /// Prune may delete it again.
    Unpinned,
    /// A person ran a command in it, which says nothing of the release.
    Ran,
}

/// One line of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the format: 1.
    pub v: u32,
    pub event: LedgerEvent,
    /// When, by the host's clock; [`TIME`] until the agent writes it.
    pub at: String,
    /// An id, or the name of a directory that another tool left.
    pub release: String,
    pub run: String,
    /// The user who did it.
    pub who: String,
    /// The machine that it was started on.
    pub from: String,
    /// Name and version of the program that did it.
    pub tool: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Digest>,
    /// Bytes of all files in the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The keyed digest of the `.env` file alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Digest>,
    /// The keyed digest of env, links, hooks and service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Digest>,
    /// The source revision, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The reason, if it is not clear from the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With `activated`: the content of `current` before; empty: there was no link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back: Option<String>,
    /// With the first entry of a deploy or rollback: when that began, by the host's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<String>,
    /// With `staged`: until when it may be activated by itself; without, only its own run does
    /// that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// With `staged`: the app of the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// With `ran`: the exit code of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Detects damage to the fields that decide: see [`Entry::summed`]. Entries of 0.1.0 may have
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum: Option<String>,
}

impl Entry {
    /// Returns an entry with event and release only. The host adds the time.
    pub fn new(event: LedgerEvent, release: &str) -> Self {
        Self {
            v: FORMAT,
            event,
            at: TIME.to_owned(),
            release: release.to_owned(),
            ..Self::default()
        }
    }

    /// Returns when the operation began whose first entry this is; if that is not recorded, when it
    /// was written.
    pub fn began(&self) -> Option<DateTime<Utc>> {
        self.began.as_deref().and_then(read_time).or_else(|| self.time())
    }

    /// Sets the sum of the fields that decide. Those that the host fills in are not among them.
    #[must_use]
    pub fn summed(mut self) -> Self {
        let core = serde_json::from_str::<Core>(&self.line()).unwrap_or_default();
        self.sum = Some(core.work_out());
        self
    }

    /// Returns the line of the ledger. It holds no character that shows damage: one in a name is
    /// escaped.
    pub fn line(&self) -> String {
        let line = serde_json::to_string(self).unwrap_or_default();
        let escaped = |c: char| {
            if is_odd(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }
        };
        line.chars().map(escaped).collect()
    }

    /// Returns the reason of `rolled-back`: what became live instead.
    pub fn rolled_back_to(id: ReleaseId) -> Option<String> {
        Some(format!("{ROLLED_BACK_TO}{id}"))
    }

    /// Returns the reason of the activation of a release that another tool made.
    pub fn foreign() -> String {
        FOREIGN.to_owned()
    }

    /// Returns whether the entry only repeats an earlier one: nothing happened.
    pub fn repeats(&self) -> bool {
        self.reason.as_deref() == Some(AS_BEFORE)
    }

    /// Returns the reason of an entry that repeats an earlier one.
    pub fn as_before() -> Option<String> {
        Some(AS_BEFORE.to_owned())
    }

    /// Returns whether the release was left for a newer one, which says nothing against it. 0.1.0
    /// wrote such entries.
    fn went_forward(&self) -> bool {
        let to = self.reason.as_deref().and_then(|reason| reason.strip_prefix(ROLLED_BACK_TO));
        let to = to.and_then(|id| id.parse::<ReleaseId>().ok());
        self.event == LedgerEvent::RolledBack && to > self.release.parse().ok()
    }

    /// Returns whether the status of the release follows from this entry alone.
    fn decides(&self, release: &str) -> bool {
        self.release == release
            && !matches!(self.event, LedgerEvent::Pinned | LedgerEvent::Unpinned | LedgerEvent::Ran)
    }

    /// Returns when it happened, if that can be read.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        read_time(&self.at)
    }
}

fn read_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

words! {
    /// The status of a release: the last event that decides. Its word is for people.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum ReleaseStatus {
        /// Complete, and never activated.
        Staged = "staged",
        /// Activated, and neither committed nor reverted: a run was interrupted.
        Undecided = "undecided",
        Good = "good",
        Reverted = "reverted",
        RolledBack = "rolled back",
        #[default]
        Failed = "failed",
        Pruned = "pruned",
    }
}

/// The story of one release in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub status: ReleaseStatus,
    /// Whether it was completed.
    pub staged: bool,
    /// Whether another tool made it, so that its beginning is not in the ledger.
    pub foreign: bool,
    /// Whether prune must keep it.
    pub pinned: bool,
    /// The entry that it was staged with: who, revision, digests.
    pub origin: Option<Entry>,
    /// The last entry about it.
    pub last: Entry,
    /// The time of the last commit.
    pub committed_at: Option<DateTime<Utc>>,
    /// The content of `current` that a revert restores.
    pub back: Option<String>,
    /// Its status before it was activated last.
    before: ReleaseStatus,
}

/// Something that a newer program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// Its name: `the ledger`, `.shipit/format`, …
    pub what: String,
    /// Its version, as written.
    pub version: String,
    /// The program that wrote it, if it says so.
    pub tool: Option<String>,
}

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has version {}", self.what, self.version)?;
        if let Some(tool) = &self.tool {
            write!(f, ", by {tool}")?;
        }
        write!(f, "; this shipit knows version {FORMAT}")
    }
}

/// Returns whether a character shows damage: no program writes it.
fn is_odd(c: char) -> bool {
    c.is_control() || c == char::REPLACEMENT_CHARACTER
}

/// The fields of a line that no version will change.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Core {
    v: u32,
    event: String,
    release: String,
    run: String,
    back: Option<String>,
    reason: Option<String>,
    tool: String,
    sum: Option<String>,
    /// Whether the end of the line was never written.
    #[serde(skip)]
    is_torn: bool,
}

impl Core {
    /// Reads a line, unless it is damaged and may be about any release.
    fn read(line: &str) -> Option<Self> {
        match serde_json::from_str::<Self>(line) {
            Ok(core) => (core.v > FORMAT || !core.is_damaged(line)).then_some(core),
            Err(error) if error.is_eof() && !line.contains(is_odd) => {
                let begun = &line[..line.rfind("\",")?];
                let core = serde_json::from_str(&format!("{begun}\"}}")).ok()?;
                Some(Self { is_torn: true, ..core }).filter(|core| !core.release.is_empty())
            }
            Err(_) => None,
        }
    }

    /// Returns whether the sum does not fit, or an odd character shows damage. A damaged block that
    /// begins in one line and ends in a later one can leave one line of JSON, even with a sum that
    /// fits, and the lines between are lost.
    fn is_damaged(&self, line: &str) -> bool {
        let fits = self.sum.as_ref().is_none_or(|sum| *sum == self.work_out());
        !fits || line.contains(is_odd) || self.v == 0 || self.release.is_empty()
    }

    /// Returns the sum: 8 hex digits, enough to detect damage, which nobody does on purpose. The
    /// reason counts only with `rolled-back`; the host fills in all others.
    fn work_out(&self) -> String {
        let rolled_back = self.event == "rolled-back";
        let more = if rolled_back { &self.reason } else { &self.back };
        let more = more.as_deref().unwrap_or_default();
        let text = format!("{} {} {} {more}", self.event, self.release, self.run);
        Digest::of(text.as_bytes()).to_string()[..8].to_owned()
    }
}

/// The ledger of a host, as far as a look printed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// The numbers of the lines in the file that could not be read.
    unreadable: Vec<usize>,
    unknown: BTreeSet<String>,
    newer: Option<Newer>,
    /// The number of entries before the last damaged line.
    damaged_at: Option<usize>,
}

impl Ledger {
    /// Reads lines in the order of the file. A line that is not understood hides no other and is
    /// remembered.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self::parse_numbered((1..).zip(lines))
    }

    /// Reads some lines of the file, each with its number there.
    pub fn parse_numbered<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Self {
        let mut ledger = Self::default();
        for (number, line) in lines.into_iter().filter(|(_, line)| !line.is_empty()) {
            ledger.take(number, line);
        }
        ledger
    }

    /// Takes one line. Carriage returns at the end are no damage: readers of lines drop them.
    fn take(&mut self, number: usize, line: &str) {
        let line = line.trim_end_matches('\r');
        let core = Core::read(line);
        if core.as_ref().is_some_and(|core| core.v <= FORMAT)
            && let Ok(entry) = serde_json::from_str(line)
        {
            return self.entries.push(entry);
        }
        self.unreadable.push(number);
        match core {
            None => self.damaged_at = Some(self.entries.len()),
            // The beginning of a `staged` line: the release was never complete.
            Some(core) if core.is_torn && core.event == "staged" => {}
            Some(core) => {
                if core.v > FORMAT && !core.is_torn {
                    let tool = Some(core.tool).filter(|tool| !tool.is_empty());
                    let (what, version) = ("the ledger".to_owned(), core.v.to_string());
                    self.newer = Some(Newer { what, version, tool });
                }
                self.unknown.insert(core.release);
            }
        }
    }

    /// Returns whether some line is damaged and may be about any release.
    pub fn is_damaged(&self) -> bool {
        self.damaged_at.is_some()
    }

    /// Returns what a newer program wrote, if one did.
    pub fn newer(&self) -> Option<&Newer> {
        self.newer.as_ref()
    }

    /// Returns whether a line that is not understood names the release.
    pub fn names(&self, release: &str) -> bool {
        self.unknown.contains(release)
    }

    /// Returns whether a line that cannot be read may have changed the status of the release.
    pub fn leaves_open(&self, release: &str) -> bool {
        let since = |damage: usize| self.entries.get(damage..).unwrap_or_default();
        let told = |damage| since(damage).iter().any(|entry| entry.decides(release));
        self.names(release) || self.damaged_at.is_some_and(|damage| !told(damage))
    }

    /// Returns whether the first entries about a release are missing: none begins with an
    /// activation.
    pub fn lacks_beginning(&self, release: &str) -> bool {
        let first = self.entries.iter().find(|entry| entry.decides(release));
        let begins =
            |entry: &Entry| matches!(entry.event, LedgerEvent::Staged | LedgerEvent::Failed);
        first.is_some_and(|entry| !begins(entry))
    }

    /// Returns the entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the ledger without the run of its first entry.
    #[must_use]
    pub fn without_first_run(mut self) -> Self {
        let first = self.entries.first().map(|entry| entry.run.clone());
        self.entries.retain(|entry| Some(&entry.run) != first.as_ref());
        self
    }

    /// Appends `events` of release `id`, as if they had happened.
    pub fn assume(&mut self, id: ReleaseId, events: &[LedgerEvent]) {
        self.entries.extend(events.iter().map(|event| Entry::new(*event, &id.to_string())));
    }

    /// Appends an entry, as if it had been written.
    pub fn append(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Returns how many lines could not be read.
    pub fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// Returns the numbers of these lines in the file, counted from 1.
    pub fn unreadable_lines(&self) -> &[usize] {
        &self.unreadable
    }

    /// Returns the history of every release.
    pub fn histories(&self) -> BTreeMap<String, History> {
        History::all(&self.entries)
    }

    /// Returns what was live at a moment, and within a minute before and after: clocks are not
    /// exact.
    pub fn live_about(&self, moment: DateTime<Utc>) -> BTreeSet<ReleaseId> {
        let minute = TimeDelta::minutes(1);
        let mut found = BTreeSet::new();
        for entry in &self.entries {
            let now = match entry.event {
                LedgerEvent::Activated => entry.release.parse().ok(),
                LedgerEvent::Reverted => self.way_back(&entry.release),
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

    /// Returns the releases that were live before some activation.
    pub fn ways_back(&self) -> BTreeSet<ReleaseId> {
        let back = |entry: &Entry| Layout::parse_target(entry.back.as_deref()?);
        self.entries.iter().filter_map(back).collect()
    }

    fn way_back(&self, release: &str) -> Option<ReleaseId> {
        let activated =
            |entry: &&Entry| entry.event == LedgerEvent::Activated && entry.release == release;
        let back = self.entries.iter().rev().find(activated)?.back.as_deref()?;
        Layout::parse_target(back)
    }

    /// Returns the history of a release, if there is one.
    pub fn history(&self, id: ReleaseId) -> Option<History> {
        let release = id.to_string();
        let entries = self.entries.iter().filter(|entry| entry.release == release);
        History::all(entries).remove(&release)
    }
}

impl History {
    /// Returns the histories of the releases that these entries are about.
    fn all<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> BTreeMap<String, Self> {
        let mut all = BTreeMap::<String, Self>::new();
        for entry in entries.into_iter().filter(|entry| entry.event != LedgerEvent::Ran) {
            let begin = || Self { last: entry.clone(), ..Self::default() };
            all.entry(entry.release.clone()).or_insert_with(begin).apply(entry);
        }
        all
    }

    /// Returns until when it may be activated by itself: it was staged for that, and never
    /// activated.
    pub fn expires(&self) -> Option<DateTime<Utc>> {
        let entry = self.origin.as_ref().filter(|_| self.status == ReleaseStatus::Staged)?;
        read_time(entry.expires.as_deref()?)
    }

    /// Returns the event to repeat after `reverted`, if the release was decided on before. Without
    /// it, 0.1.0 would take the release for bad and delete it.
    pub fn repeated(&self) -> Option<LedgerEvent> {
        let undecided = self.status == ReleaseStatus::Undecided;
        match if undecided { self.before } else { self.status } {
            ReleaseStatus::Good => Some(LedgerEvent::Committed),
            ReleaseStatus::RolledBack => Some(LedgerEvent::RolledBack),
            _ => None,
        }
    }

    fn apply(&mut self, entry: &Entry) {
        if entry.repeats() {
            let good = entry.event == LedgerEvent::Committed;
            self.status = if good { ReleaseStatus::Good } else { ReleaseStatus::RolledBack };
            return;
        }
        if entry.event == LedgerEvent::Activated && self.status != ReleaseStatus::Undecided {
            self.before = self.status;
        }
        match entry.event {
            LedgerEvent::Staged => {
                self.status = ReleaseStatus::Staged;
                self.staged = true;
                self.origin = Some(entry.clone());
            }
            LedgerEvent::Activated => {
                self.status = ReleaseStatus::Undecided;
                self.back.clone_from(&entry.back);
                self.foreign |= entry.reason.as_deref() == Some(FOREIGN);
            }
            LedgerEvent::Committed => {
                self.status = ReleaseStatus::Good;
                self.committed_at = entry.time();
            }
            LedgerEvent::Reverted => self.status = self.as_before(ReleaseStatus::Reverted),
            LedgerEvent::RolledBack if entry.went_forward() => {}
            LedgerEvent::RolledBack => self.status = ReleaseStatus::RolledBack,
            LedgerEvent::Failed => self.status = self.as_before(ReleaseStatus::Failed),
            LedgerEvent::Pruned => self.status = ReleaseStatus::Pruned,
            LedgerEvent::Pinned => self.pinned = true,
            LedgerEvent::Unpinned => self.pinned = false,
            LedgerEvent::Ran => {}
        }
        self.last = entry.clone();
    }

    /// Returns the status after a failed activation. A release that was good, or that a rollback
    /// left, stays so: the host may be the reason as well.
    fn as_before(&self, otherwise: ReleaseStatus) -> ReleaseStatus {
        match self.before {
            ReleaseStatus::Good | ReleaseStatus::RolledBack => self.before,
            _ => otherwise,
        }
    }
}
