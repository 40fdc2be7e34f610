//! Runs that were interrupted: which run, whose, and in which step.

use std::collections::BTreeMap;

use super::enum_words::words;
use super::host_state::HostState;
use super::ledger::Entry;

/// A run that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    /// The id of the run, if it is known.
    pub run: Option<String>,
    /// The release that it was about, if it is known.
    pub release: Option<String>,
    /// The last step that it is known to have begun.
    pub step: Stopped,
    /// A ledger entry of the run, which says who and when.
    pub entry: Option<Entry>,
    /// The record of the run lock, if it is of this run.
    pub record: Option<String>,
}

words! {
    /// The step in which a run was interrupted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Stopped {
        /// It had only connected.
        Begin = "begin",
        /// It was deleting old releases.
        Prune = "prune",
        /// It was uploading, or checking the upload.
        Upload = "upload",
        /// It was making links, running hooks or sealing.
        Make = "make",
        /// It had recorded the activation; the flip was not done or is reverted.
        Flip = "flip",
        /// It had flipped `current`; the release is live and undecided.
        Judge = "judge",
    }
}

impl Stopped {
    /// Returns whether a release is undecided.
    pub const fn is_undecided(self) -> bool {
        matches!(self, Self::Flip | Self::Judge)
    }
}

/// Returns the interrupted runs of a host, those that had come furthest first. The run that holds
/// the lock now is not among them.
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

/// Adds unfinished releases that no leftover belongs to.
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

/// Returns the record of the run lock, if it is of this run.
fn record(state: &HostState, run: &str) -> Option<String> {
    state.lock.stale.clone().filter(|record| record.contains(run))
}

/// Returns run, step and release of a leftover: `releases/.<id>.<run>`, `.shipit/run/<run>`,
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
