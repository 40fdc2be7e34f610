//! The state of a host, as one look found it. Plans are made from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::hook::HookPlace;
use super::id::ReleaseId;
use super::ledger::{Entry, History, Ledger, LedgerEvent, Newer, ReleaseStatus};
use super::service::Service;
use super::slots::{SlotActivity, SlotState};
use super::sudo::Sudo;
use super::words::count;

/// The state of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostState {
    pub facts: Facts,
    pub current: Current,
    /// Names in `releases/`, sorted, without those that begin with a dot.
    pub present: Vec<String>,
    /// Those that have a manifest: we made them.
    pub made: BTreeSet<String>,
    /// Those that were begun and never completed, by our records. (A name without a manifest or a
    /// ledger entry was left by another tool.)
    pub unfinished: BTreeSet<String>,
    /// Those of ours that the ledger does not tell enough about: entries are missing, or lines that
    /// may be about them are not understood. They are never pruned and never chosen.
    pub unknown: BTreeSet<String>,
    /// Something that a newer program left here: this one must not change anything.
    pub newer: Option<Newer>,
    pub ledger: Ledger,
    /// Names of releases that a process runs from, as far as /proc could be read.
    pub in_use: BTreeSet<String>,
    /// The units among the services of the host, in their order.
    pub units: Vec<UnitState>,
    /// The slots of the stage, if it has any.
    pub slots: Vec<SlotState>,
    /// Leftovers of interrupted runs: uploads, run directories, trash; as paths below `deploy_to`.
    pub leftovers: Vec<String>,
    /// A verdict whose hooks an interrupted run did not run to their end.
    pub owed: Option<OwedHooks>,
    /// The key of the config digests of this host.
    pub key: Vec<u8>,
    /// The holder of the lock, if it is not us: a record for [`LockHolder::read`].
    pub holder: Option<String>,
    pub lock: LockFacts,
    /// When maintenance was turned on, if it is on and somebody asked.
    pub maintenance: Option<DateTime<Utc>>,
}

/// Hooks that follow the verdict on a release and are still to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwedHooks {
    pub id: ReleaseId,
    /// `Committed` or `Reverted`.
    pub place: HookPlace,
}

/// The holder of the lock, as the agent's record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockHolder<'r> {
    /// A run: who runs it, from where, what, since when.
    Run(&'r str),
    /// Nobody's run, but a deploy lock: who set it, why, since when.
    DeployLock(&'r str),
}

impl<'r> LockHolder<'r> {
    /// The first words of the record of a deploy lock.
    pub const DEPLOY_LOCK: &'static str = "frozen by ";

    /// Returns whom the record names.
    pub fn read(record: &'r str) -> Self {
        record.strip_prefix(Self::DEPLOY_LOCK).map_or(Self::Run(record), Self::DeployLock)
    }
}

/// The findings of a look about the lock, besides its holder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockFacts {
    /// The deploy lock: who set it, why and since when.
    pub deploy_lock: Option<String>,
    /// The conversation that holds the lock: a process that lives.
    pub owner: Option<Owner>,
    /// The record of somebody whose process is gone: nothing holds the lock any more.
    pub stale: Option<String>,
}

/// The conversation that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its agent's process on the host.
    pub pid: u32,
    pub run: String,
}

/// The state of `current`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Current {
    /// There is no such link.
    #[default]
    Absent,
    /// A link to a release of ours that is there.
    Release(ReleaseId),
    /// A link to anything else, such as another tool's release or a directory that is gone: its
    /// content.
    Foreign(String),
    /// A file or a directory, which is never touched.
    NotALink,
}

impl Current {
    /// Returns the content of the link, as `activated` records it; empty if there is none.
    pub fn raw(&self) -> String {
        match self {
            Self::Release(id) => super::layout::Layout::target(*id),
            Self::Foreign(target) => target.clone(),
            Self::Absent | Self::NotALink => String::new(),
        }
    }
}

/// Facts about a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    pub clock: DateTime<Utc>,
    /// Free bytes for this user below `deploy_to`.
    pub free_bytes: Option<u64>,
    pub free_inodes: Option<u64>,
    /// The user that we are on the host.
    pub user: String,
    /// Whether that is root.
    pub root: bool,
    pub shell: String,
    /// Optional tools that are there: `zstd`, `gzip`, `sudo`, `systemctl`, `curl`, …
    pub tools: BTreeSet<String>,
    /// The groups that the login user is in, for `[env] group`.
    pub groups: BTreeSet<String>,
    /// Obstacles to work here, such as a missing tool or a directory that cannot be written.
    pub missing: Vec<String>,
    /// Fixes for entries of `missing`, where they are known.
    pub fixes: BTreeMap<String, String>,
    /// The answer of sudo about restarting the unit, if it was asked.
    pub sudo: Sudo,
}

/// One unit, as `systemctl show` has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitState {
    /// The name of the service.
    pub service: String,
    /// Its own name.
    pub name: String,
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `failed`, `activating`, …
    pub active: String,
    /// `running`, `auto-restart`, …
    pub sub: String,
    /// The number of times that systemd restarted it.
    pub restarts: u64,
    /// The id of the current start.
    pub invocation: String,
    /// 0 if nothing runs.
    pub main_pid: u32,
    /// `WorkingDirectory=`.
    pub working_directory: String,
    /// `ExecStart=`, as systemd prints it.
    pub exec_start: String,
    /// `RootDirectory=`, `BindPaths=` and `BindReadOnlyPaths=`.
    pub mounts: String,
    /// `Type=` of a service.
    pub service_type: String,
    /// `Result=` of its last end: `success`, `exit-code`, …
    pub result: String,
    /// The time of its last start, in microseconds since boot; 0: it was never started.
    pub exec_start_at: Option<u64>,
    /// Whether a timer knows when it elapses.
    pub has_next_run: bool,
    /// Whether its file is a link that leads nowhere: the next release may bring the file.
    pub dangling: bool,
    /// The user it runs as; empty for root or the user itself.
    pub user: String,
    /// Since when it is in this state, as systemd prints it.
    pub since: String,
    /// Whether its file is not what systemd has read of it.
    pub needs_daemon_reload: bool,
    /// The targets of `/proc/<pid>/cwd` and, below, of `exe`, if they could be read.
    pub cwd: Option<String>,
    pub exe: Option<String>,
    /// The start of the main process, in clock ticks since boot.
    pub started: Option<u64>,
    /// The time that the main process has been running.
    pub running_for: Option<Duration>,
    /// The running times of processes whose directories we may not read; `None`: unknown.
    pub hidden_for: Vec<Option<Duration>>,
}

impl UnitState {
    /// Returns whether a run of it ends by itself.
    pub fn is_oneshot(&self) -> bool {
        self.service_type == "oneshot"
    }

    /// Returns whether it ran and ended by itself, with 0.
    pub fn has_ended_well(&self) -> bool {
        self.is_oneshot() && self.result == "success" && self.exec_start_at != Some(0)
    }

    /// Returns whether its definition goes through the link `current`.
    pub fn goes_through(&self, current: &str) -> bool {
        let texts = [&self.working_directory, &self.exec_start, &self.mounts];
        texts.into_iter().any(|text| leads(text, current))
    }

    /// Returns whether systemd says that it cannot be started. A unit whose file comes with a
    /// release may be started once that is live.
    pub fn is_unusable(&self) -> bool {
        !self.dangling && ["not-found", "masked", "bad-setting", "error"].contains(&&*self.load)
    }
}

impl HostState {
    /// Returns the names in `releases/` of uploads that were interrupted.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let names = self.leftovers.iter().filter_map(|path| path.strip_prefix("releases/"));
        names.filter(|name| name.starts_with(".2"))
    }

    /// Returns the ids in `releases/`, oldest first.
    pub fn ids(&self) -> Vec<ReleaseId> {
        let mut ids: Vec<_> = self.present.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        ids
    }

    /// Returns the host once `id` is live there and `events` have happened to it.
    #[must_use]
    pub fn assuming(&self, id: ReleaseId, events: &[LedgerEvent]) -> Self {
        let mut state = self.clone();
        state.current = Current::Release(id);
        state.add(id.to_string());
        state.ledger.assume(id, events);
        state
    }

    /// Returns the host once the release of this `staged` entry is complete there.
    #[must_use]
    pub fn holding(&self, staged: Entry) -> Self {
        let mut state = self.clone();
        state.add(staged.release.clone());
        state.ledger.append(staged);
        state
    }

    fn add(&mut self, name: String) {
        if !self.present.contains(&name) {
            self.present.push(name);
            self.present.sort();
        }
    }

    /// Returns the releases that wait to be activated, oldest first, each with when it expires.
    pub fn waiting(&self) -> BTreeMap<ReleaseId, DateTime<Utc>> {
        let until = |(id, history): (ReleaseId, History)| {
            let known = !self.unknown.contains(&id.to_string());
            let until = history.expires().filter(|until| known && *until > self.facts.clock)?;
            Some((id, until))
        };
        self.histories().into_iter().filter_map(until).collect()
    }

    /// Returns the newest id of ours in `releases/` or in the ledger that is not later than
    /// `until`.
    pub fn newest(&self, until: DateTime<Utc>) -> Option<ReleaseId> {
        let told = self.ledger.entries().iter().filter_map(|entry| entry.release.parse().ok());
        let ids = self.ours().into_iter().chain(told);
        ids.filter(|id: &ReleaseId| id.time() <= until).max()
    }

    /// Returns the ids in `releases/` that we made, oldest first.
    pub fn ours(&self) -> Vec<ReleaseId> {
        let mut told = self.ledger.histories();
        told.retain(|_, history| !history.foreign);
        let ours = |id: &ReleaseId| {
            let name = id.to_string();
            self.made.contains(&name)
                || self.unfinished.contains(&name)
                || self.unknown.contains(&name)
                || told.contains_key(&name)
        };
        self.ids().into_iter().filter(ours).collect()
    }

    /// Returns the ids in `releases/` that another tool left, oldest first.
    pub fn foreign_ids(&self) -> Vec<ReleaseId> {
        let ours = self.ours();
        self.ids().into_iter().filter(|id| !ours.contains(id)).collect()
    }

    /// Returns whether prune might delete a release that must stay, because lines of the ledger are
    /// missing or not understood. A release without any line is no reason alone: shipit 0.1.0 left
    /// one when it was interrupted.
    pub fn is_doubtful(&self) -> bool {
        let live = self.live().map(|id| id.to_string());
        let hides_others = |name: &String| {
            self.ledger.leaves_open(name)
                || self.ledger.lacks_beginning(name)
                || self.ledger.entries().is_empty()
                || live.as_ref() == Some(name)
        };
        self.ledger.is_damaged() || self.unknown.iter().any(hides_others)
    }

    /// Returns what a newer program left, here or in the ledger.
    pub fn newer(&self) -> Option<&Newer> {
        self.newer.as_ref().or(self.ledger.newer())
    }

    /// Returns what is not understood on this host, one line each. The texts may quote the host.
    pub fn not_understood(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.newer().map(ToString::to_string).into_iter().collect();
        if let unreadable @ 1.. = self.ledger.unreadable() {
            lines.push(format!("{} of the ledger cannot be read", count(unreadable, "line")));
        }
        if !self.unknown.is_empty() {
            let names = self.unknown.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            lines.push(format!("the ledger does not say what became of {names}"));
        }
        lines
    }

    /// Sets which releases are unfinished and which are unknown, once everything else is read.
    /// `begun` are the releases that runs recorded before they made them.
    pub fn tell_apart(&mut self, begun: &BTreeSet<String>) {
        let histories = self.ledger.histories();
        for id in self.ids() {
            let name = id.to_string();
            let history = histories.get(&name);
            let whole = history.is_some_and(|history| history.staged || history.foreign);
            let ours = history.is_some() || self.made.contains(&name);
            if self.ledger.leaves_open(&name) && (ours || self.ledger.names(&name)) {
                self.unknown.insert(name);
            } else if ours && !whole {
                let set =
                    if begun.contains(&name) { &mut self.unfinished } else { &mut self.unknown };
                set.insert(name);
            }
        }
    }

    /// Returns the host's time of the look, for entries.
    pub fn began(&self) -> String {
        self.facts.clock.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// Returns the entries that say why unfinished releases could not be made.
    pub fn unmade(&self) -> Vec<&Entry> {
        let of = |name: &String| self.ledger.entries().iter().rfind(|e| e.release == *name);
        let last = self.unfinished.iter().filter_map(of);
        last.filter(|entry| entry.event == LedgerEvent::Failed).collect()
    }

    /// Returns the entry that the newest activation could not be reverted, if there is one: a
    /// person must look.
    pub fn stuck(&self) -> Option<&Entry> {
        let ends = [LedgerEvent::Failed, LedgerEvent::Committed, LedgerEvent::Reverted];
        let entries = self.ledger.entries();
        let newest = entries.iter().rposition(|entry| entry.event == LedgerEvent::Activated)?;
        let (activated, later) = entries.get(newest..)?.split_first()?;
        let mut ended = later.iter().filter(|entry| entry.release == activated.release);
        let last = ended.rfind(|entry| ends.contains(&entry.event))?;
        (last.event == LedgerEvent::Failed).then_some(last)
    }

    /// Returns the hooks that an interrupted run did not run to their end. A run that goes on may
    /// do so yet, and hooks of an undecided release wait for its verdict.
    pub fn owed_hooks(&self) -> Option<OwedHooks> {
        let waits = self.lock.owner.is_some() || self.undecided().is_some();
        self.owed.filter(|_| !waits)
    }

    /// Returns the name of the slot whose units were looked at: the live one, or else the first.
    pub fn seen_slot(&self) -> &str {
        let live = self.slots.iter().find(|slot| slot.activity == SlotActivity::Live);
        live.or(self.slots.first()).map_or("", |state| &state.slot.name)
    }

    /// Returns the live release, if it is one of ours.
    pub fn live(&self) -> Option<ReleaseId> {
        if let Current::Release(id) = self.current { Some(id) } else { None }
    }

    /// Returns the undecided release, if there is one: the newest whose last event is surely
    /// `activated`.
    pub fn undecided(&self) -> Option<(ReleaseId, History)> {
        let waits = |(id, history): &(ReleaseId, History)| {
            history.status == ReleaseStatus::Undecided && !self.unknown.contains(&id.to_string())
        };
        self.histories().into_iter().rev().find(waits)
    }

    /// Returns the releases that processes of units may run from if /proc does not tell:
    /// everything that was live about when they started.
    pub fn perhaps_in_use(&self) -> BTreeSet<ReleaseId> {
        let hidden = |unit: &UnitState| unit.main_pid != 0 && unit.cwd.is_none();
        let main = self.units.iter().filter(|unit| hidden(unit)).map(|unit| unit.running_for);
        let all = main.chain(self.units.iter().flat_map(|unit| unit.hidden_for.iter().copied()));
        all.flat_map(|age| self.live_ago(age)).collect()
    }

    /// Returns the state of a service, if it is a unit that was looked at.
    pub fn unit_of(&self, service: &Service) -> Option<&UnitState> {
        let service = service.in_slot(self.seen_slot());
        let unit = service.unit()?;
        self.units.iter().find(|state| state.service == service.name && state.name == unit.name)
    }

    /// Returns what was live at this age; everything, if the age is not known.
    fn live_ago(&self, age: Option<Duration>) -> BTreeSet<ReleaseId> {
        let age = age.and_then(|age| TimeDelta::from_std(age).ok());
        match age.and_then(|age| self.facts.clock.checked_sub_signed(age)) {
            Some(began) => self.ledger.live_about(began),
            None => self.ids().into_iter().collect(),
        }
    }

    /// Returns the histories of the ids in `releases/`, oldest first.
    pub fn histories(&self) -> Vec<(ReleaseId, History)> {
        let mut all = self.ledger.histories();
        self.ids().into_iter().filter_map(|id| Some((id, all.remove(&id.to_string())?))).collect()
    }
}

/// Returns whether a path in `text` is `current` or lies below it.
pub fn leads(text: &str, current: &str) -> bool {
    let in_a_name = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    text.match_indices(current).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + current.len()..]);
        !before.ends_with(in_a_name) && (after.starts_with('/') || !after.starts_with(in_a_name))
    })
}
