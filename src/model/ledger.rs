//! The ledger: the only history of a host. An append-only list of events, folded to one state per
//! release; rollback, prune and `releases` decide from it, never from mtimes or the order of names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::id::ReleaseId;
use super::layout::Layout;

/// The place in a ready-made event where the agent writes the host's time (RFC 3339, UTC).
pub const TIME: &str = "@now@";
/// The place where the agent writes one of its fixed words for why it took a release back.
pub const REASON: &str = "@reason@";
/// The version of the format that this program reads and writes: of ledger, manifests and layout.
pub const FORMAT: u32 = 1;
/// How the reason of a release's `rolled-back` begins; the id of what became live follows.
const ROLLED_BACK_TO: &str = "rolled back to ";
/// The reason of a line that repeats where a release stands: see [`History::repeated`].
const AS_BEFORE: &str = "as before: only the attempt to go back to it was reverted";

/// What happened to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerEvent {
    /// It is complete and sealed.
    Staged,
    /// It is about to be flipped to, undecided.
    Activated,
    /// It was shown to run.
    Committed,
    /// It was taken back before it was committed.
    Reverted,
    /// It was live and good, and was left by a rollback to an older one: never chosen again by itself.
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
    pub event: LedgerEvent,
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
    /// With `staged`: the app that it is a release of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Tells whether what decides about releases was damaged since: see [`Entry::summed`]. Lines of
    /// 0.1.0 may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<String>,
}

impl Entry {
    /// A line that says only what happened to which release; its time is left to the host.
    pub fn new(event: LedgerEvent, release: &str) -> Self {
        Self {
            v: FORMAT,
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
            app: None,
            sum: None,
        }
    }

    /// When that began which it is the first line of, if it says so readably; else when it happened.
    pub fn began(&self) -> Option<DateTime<Utc>> {
        let began = DateTime::parse_from_rfc3339(self.began.as_deref().unwrap_or(&self.at)).ok();
        began.map(|at| at.with_timezone(&Utc)).or_else(|| self.time())
    }

    /// The same line with its sum: of all that decides, which leaves out what the host writes.
    #[must_use]
    pub fn summed(mut self) -> Self {
        let event = serde_json::to_value(self.event).ok();
        let event = event.as_ref().and_then(|event| event.as_str()).unwrap_or_default();
        let core = Core {
            event: event.to_owned(),
            release: self.release.clone(),
            run: self.run.clone(),
            back: self.back.clone(),
            reason: self.reason.clone(),
            ..Core::default()
        };
        self.sum = Some(core.work_out());
        self
    }

    /// The reason of a `rolled-back`: what became live instead.
    pub fn rolled_back_to(id: ReleaseId) -> Option<String> {
        Some(format!("{ROLLED_BACK_TO}{id}"))
    }

    /// Whether it only repeats what an earlier line said: nothing happened.
    pub fn repeats(&self) -> bool {
        self.reason.as_deref() == Some(AS_BEFORE)
    }

    /// The reason of a line that repeats.
    pub fn as_before() -> Option<String> {
        Some(AS_BEFORE.to_owned())
    }

    /// Whether the release was left for a newer one, which says nothing against it. 0.1.0 wrote such
    /// lines.
    fn went_forward(&self) -> bool {
        let to = self.reason.as_deref().and_then(|reason| reason.strip_prefix(ROLLED_BACK_TO));
        let to = to.and_then(|id| id.parse::<ReleaseId>().ok());
        self.event == LedgerEvent::RolledBack && to > self.release.parse().ok()
    }

    /// Whether where the release stands is what this line says, whatever came before.
    fn settles(&self, release: &str) -> bool {
        self.release == release
            && !matches!(self.event, LedgerEvent::Pinned | LedgerEvent::Unpinned)
    }

    /// When it happened, if the line says so readably.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(&self.at).ok().map(|t| t.with_timezone(&Utc))
    }
}

/// Where a release stands, by the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseStatus {
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
    pub standing: ReleaseStatus,
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
    /// Where it stood before it was activated last.
    before: ReleaseStatus,
}

/// What a program left that is newer than this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// What it is: `the ledger`, `.shipit/format`, …
    pub what: String,
    /// Its version, as written.
    pub version: String,
    /// The program that wrote it, where it says so.
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

/// What one line says.
enum LedgerLine {
    /// What we understand.
    Entry(Box<Entry>),
    /// Something of this release that we do not understand.
    Unknown { release: String },
    /// The same, from a program that is newer than this one.
    Newer { release: String, newer: Newer },
    /// The end of a run that was cut off before it had told of a complete release: it told nothing.
    NeverStaged,
    /// Something about any release, or about several.
    Damaged,
}

/// What no program writes, but damage may leave.
fn is_odd(c: char) -> bool {
    c.is_control() || c == char::REPLACEMENT_CHARACTER
}

/// The part of a line that no version will change.
#[derive(Deserialize)]
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
}

impl Default for Core {
    fn default() -> Self {
        let [event, release, run, tool] = [const { String::new() }; 4];
        Self { v: FORMAT, event, release, run, back: None, reason: None, tool, sum: None }
    }
}

impl Core {
    fn is_damaged(&self) -> bool {
        let other = |sum: &String| *sum != self.work_out();
        self.v == 0 || self.release.is_empty() || self.sum.as_ref().is_some_and(other)
    }

    /// 8 hex digits: enough to notice damage, which nobody makes on purpose. The host fills in the
    /// reasons of all events but one.
    fn work_out(&self) -> String {
        let rolled_back = self.event == "rolled-back";
        let more = if rolled_back { &self.reason } else { &self.back };
        let more = more.as_deref().unwrap_or_default();
        let text = format!("{} {} {} {more}", self.event, self.release, self.run);
        Digest::of(text.as_bytes()).to_string()[..8].to_owned()
    }
}

impl LedgerLine {
    fn read(line: &str) -> Self {
        match serde_json::from_str::<Core>(line) {
            Ok(core) if core.v > FORMAT => Self::newer(core),
            Ok(core) if core.is_damaged() => Self::Damaged,
            Ok(core) => match serde_json::from_str(line) {
                Ok(entry) => Self::Entry(entry),
                Err(_) => Self::Unknown { release: core.release },
            },
            Err(error) if error.is_eof() && !line.contains(is_odd) => Self::torn(line),
            Err(_) => Self::Damaged,
        }
    }

    fn newer(core: Core) -> Self {
        let tool = Some(core.tool).filter(|tool| !tool.is_empty());
        let newer = Newer { what: "the ledger".to_owned(), version: core.v.to_string(), tool };
        Self::Newer { release: core.release, newer }
    }

    /// What the beginning of a line says; its end was never written.
    fn torn(line: &str) -> Self {
        let whole = line.rfind("\",").map(|end| format!("{}\"}}", &line[..end]));
        match whole.and_then(|whole| serde_json::from_str::<Core>(&whole).ok()) {
            Some(core) if core.release.is_empty() => Self::Damaged,
            Some(core) if core.event == "staged" => Self::NeverStaged,
            Some(core) => Self::Unknown { release: core.release },
            None => Self::Damaged,
        }
    }
}

/// A host's ledger, as far as `look` printed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// The numbers of the lines in the file that could not be read.
    unreadable: Vec<usize>,
    unknown: BTreeSet<String>,
    newer: Option<Newer>,
    /// How many entries come before the last line that may be about any release.
    damaged_at: Option<usize>,
}

impl Ledger {
    /// Reads lines in the order of the file. What is not understood is kept in mind: it must neither
    /// hide the rest nor pass for nothing.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self::parse_numbered((1..).zip(lines))
    }

    /// Reads some lines of the file, each with its number there.
    pub fn parse_numbered<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Self {
        let mut ledger = Self::default();
        for (number, line) in lines.into_iter().filter(|(_, line)| !line.is_empty()) {
            ledger.take(number, LedgerLine::read(line));
        }
        ledger
    }

    fn take(&mut self, number: usize, line: LedgerLine) {
        if !matches!(line, LedgerLine::Entry(_)) {
            self.unreadable.push(number);
        }
        match line {
            LedgerLine::Entry(entry) => self.entries.push(*entry),
            LedgerLine::Unknown { release } => _ = self.unknown.insert(release),
            LedgerLine::Newer { release, newer } => {
                self.unknown.insert(release);
                self.newer = Some(newer);
            }
            LedgerLine::NeverStaged => {}
            LedgerLine::Damaged => self.damaged_at = Some(self.entries.len()),
        }
    }

    /// Whether some line may be about any release.
    pub fn is_damaged(&self) -> bool {
        self.damaged_at.is_some()
    }

    /// What says that a newer program was here.
    pub fn newer(&self) -> Option<&Newer> {
        self.newer.as_ref()
    }

    /// Whether a line that is not understood names the release.
    pub fn names(&self, release: &str) -> bool {
        self.unknown.contains(release)
    }

    /// Whether some line may say another last word on a release than those that can be read.
    pub fn leaves_open(&self, release: &str) -> bool {
        let since = |damage: usize| self.entries.get(damage..).unwrap_or_default();
        let told = |damage| since(damage).iter().any(|entry| entry.settles(release));
        self.names(release) || self.damaged_at.is_some_and(|damage| !told(damage))
    }

    /// Whether the first lines of a release's story are missing: no story begins with an activation.
    pub fn lacks_beginning(&self, release: &str) -> bool {
        let first = self.entries.iter().find(|entry| entry.settles(release));
        let begins =
            |entry: &Entry| matches!(entry.event, LedgerEvent::Staged | LedgerEvent::Failed);
        first.is_some_and(|entry| !begins(entry))
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

    /// Appends `events` of release `id`, as if they had happened.
    pub fn assume(&mut self, id: ReleaseId, events: &[LedgerEvent]) {
        self.entries.extend(events.iter().map(|event| Entry::new(*event, &id.to_string())));
    }

    /// How many lines could not be read.
    pub fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// The numbers of those lines in the file, counted from 1.
    pub fn unreadable_lines(&self) -> &[usize] {
        &self.unreadable
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

    fn way_back(&self, release: &str) -> Option<ReleaseId> {
        let activated =
            |entry: &&Entry| entry.event == LedgerEvent::Activated && entry.release == release;
        let back = self.entries.iter().rev().find(activated)?.back.as_deref()?;
        Layout::parse_target(back)
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
            standing: ReleaseStatus::Failed,
            staged: false,
            pinned: false,
            origin: None,
            last: entry.clone(),
            committed_at: None,
            back: None,
            before: ReleaseStatus::Failed,
        }
    }

    /// What is to be repeated of the release after a `reverted`, by which 0.1.0 takes it for bad and
    /// deletes it.
    pub fn repeated(&self) -> Option<LedgerEvent> {
        let undecided = self.standing == ReleaseStatus::Undecided;
        match if undecided { self.before } else { self.standing } {
            ReleaseStatus::Good => Some(LedgerEvent::Committed),
            ReleaseStatus::RolledBack => Some(LedgerEvent::RolledBack),
            _ => None,
        }
    }

    fn apply(&mut self, entry: &Entry) {
        if entry.repeats() {
            let good = entry.event == LedgerEvent::Committed;
            self.standing = if good { ReleaseStatus::Good } else { ReleaseStatus::RolledBack };
            return;
        }
        if entry.event == LedgerEvent::Activated && self.standing != ReleaseStatus::Undecided {
            self.before = self.standing;
        }
        self.standing = match entry.event {
            LedgerEvent::Staged => ReleaseStatus::Staged,
            LedgerEvent::Activated => ReleaseStatus::Undecided,
            LedgerEvent::Committed => ReleaseStatus::Good,
            LedgerEvent::Reverted => self.as_before(ReleaseStatus::Reverted),
            LedgerEvent::RolledBack if entry.went_forward() => self.standing,
            LedgerEvent::RolledBack => ReleaseStatus::RolledBack,
            LedgerEvent::Failed => self.as_before(ReleaseStatus::Failed),
            LedgerEvent::Pruned => ReleaseStatus::Pruned,
            LedgerEvent::Pinned | LedgerEvent::Unpinned => self.standing,
        };
        match entry.event {
            LedgerEvent::Staged => {
                self.staged = true;
                self.origin = Some(entry.clone());
            }
            LedgerEvent::Activated => self.back.clone_from(&entry.back),
            LedgerEvent::Committed => self.committed_at = entry.time(),
            LedgerEvent::Pinned => self.pinned = true,
            LedgerEvent::Unpinned => self.pinned = false,
            _ => {}
        }
        self.last = entry.clone();
    }

    /// A release that was good, or was left for bad, stays so when a later attempt to go back to it
    /// fails: it failed for reasons of the host as well as its own.
    fn as_before(&self, otherwise: ReleaseStatus) -> ReleaseStatus {
        match self.before {
            ReleaseStatus::Good | ReleaseStatus::RolledBack => self.before,
            _ => otherwise,
        }
    }
}
