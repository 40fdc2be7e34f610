//! What runs left that ended before their end: which run, whose, and in which step.

use std::collections::BTreeMap;

use super::host_state::HostState;
use super::ledger::Entry;

/// A run that did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    /// The run, where what it left says so.
    pub run: Option<String>,
    /// The release it was about, likewise.
    pub release: Option<String>,
    /// The furthest step that it is known to have begun.
    pub step: Stopped,
    /// A line of the ledger that says who and when, if there is one.
    pub entry: Option<Entry>,
    /// What the lock's record says of it, where that was left.
    pub record: Option<String>,
}

/// In which step a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stopped {
    /// It had connected.
    Begin,
    /// It deleted old releases.
    Prune,
    /// It uploaded or checked what had arrived.
    Upload,
    /// It linked, ran hooks or sealed.
    Make,
    /// It had recorded the flip, which was not done or is undone.
    Flip,
    /// It had flipped: the release is live and nobody said that it stays.
    Judge,
}

impl Stopped {
    /// The word for machines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Prune => "prune",
            Self::Upload => "upload",
            Self::Make => "make",
            Self::Flip => "flip",
            Self::Judge => "judge",
        }
    }

    /// Whether a release waits for its verdict.
    pub const fn is_undecided(self) -> bool {
        matches!(self, Self::Flip | Self::Judge)
    }
}

/// The runs that left something on a host, the furthest first. The one that holds the lock now is
/// at work and not among them.
pub fn interrupted(state: &HostState) -> Vec<Interrupted> {
    let mut runs: BTreeMap<String, (Stopped, Option<String>)> = BTreeMap::new();
    for path in &state.leftovers {
        let Some((run, step, release)) = leftover(path) else { continue };
        let known = runs.entry(run).or_insert((step, release.clone()));
        known.0 = known.0.max(step);
        known.1 = known.1.take().or(release);
    }
    let mut found: Vec<_> = runs
        .into_iter()
        .map(|(run, (step, release))| {
            let made = release.as_ref().is_some_and(|id| state.unfinished.contains(id));
            let step = if made { step.max(Stopped::Make) } else { step };
            let entry = state.ledger.entries().iter().rfind(|e| e.run == run).cloned();
            Interrupted { record: record(state, &run), run: Some(run), release, step, entry }
        })
        .collect();
    unfinished(state, &mut found);
    undecided(state, &mut found);
    found.sort_by_key(|one| std::cmp::Reverse(one.step));
    found
}

/// Releases that nobody finished and that no leftover tells of.
fn unfinished(state: &HostState, found: &mut Vec<Interrupted>) {
    let failed = state.unmade();
    let interrupted = |name: &&String| !failed.iter().any(|entry| entry.release == **name);
    for name in state.unfinished.iter().filter(interrupted) {
        if state.lock.owner.is_none() && !found.iter().any(|one| one.release.as_ref() == Some(name))
        {
            let release = Some(name.clone());
            let (step, run, entry, record) = (Stopped::Make, None, None, None);
            found.push(Interrupted { run, release, step, entry, record });
        }
    }
}

fn undecided(state: &HostState, found: &mut Vec<Interrupted>) {
    let Some((id, history)) = state.undecided() else { return };
    let step = if state.live() == Some(id) { Stopped::Judge } else { Stopped::Flip };
    if state.lock.owner.as_ref().is_some_and(|owner| owner.run == history.last.run) {
        return;
    }
    let record = record(state, &history.last.run);
    let (run, release) = (Some(history.last.run.clone()), Some(id.to_string()));
    found.retain(|one| one.run != run);
    found.push(Interrupted { run, release, step, entry: Some(history.last), record });
}

/// The record of the lock, if it is of this run: all that is known of one that ended early.
fn record(state: &HostState, run: &str) -> Option<String> {
    state.lock.stale.clone().filter(|record| record.contains(run))
}

/// Whose a leftover is, and what it tells: `releases/.<id>.<run>`, `.shipit/run/<run>`,
/// `.shipit/trash/<id>.<run>`, `.current.<run>`.
fn leftover(path: &str) -> Option<(String, Stopped, Option<String>)> {
    let (place, name) = path.rsplit_once('/').unwrap_or(("", path));
    let dotted = |step| {
        let (release, run) = name.rsplit_once('.')?;
        Some((run.to_owned(), step, Some(release.trim_start_matches('.').to_owned())))
    };
    match place {
        "releases" => dotted(Stopped::Upload),
        ".shipit/trash" => dotted(Stopped::Prune),
        ".shipit/run" => Some((name.to_owned(), Stopped::Begin, None)),
        _ => Some((name.strip_prefix(".current.")?.to_owned(), Stopped::Flip, None)),
    }
}
