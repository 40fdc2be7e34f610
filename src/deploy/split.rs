//! A fleet that a lost connection split: some hosts heard that a release stays, others did not,
//! and took it back by themselves.

use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::ledger::{Entry, Standing, What};

/// Why a host took a release back when nobody told it to: the agent's words, and ours for what
/// was found so.
const BY_ITSELF: [&str; 4] = ["end of input", "deadline", "terminated", "found taken back"];

/// One run's release, which some hosts committed and others took back by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The release.
    pub id: ReleaseId,
    /// Where it is live and committed.
    pub committed: Vec<String>,
    /// Where it lies, whole and not live.
    pub behind: Vec<String>,
    /// The release that the run, a rollback, marked as left.
    pub left: Option<ReleaseId>,
}

/// The split among these hosts, if there is one.
pub fn find_split(hosts: &[(&str, &HostState)]) -> Option<Split> {
    hosts.iter().find_map(|(_, state)| {
        let id = committed(state)?;
        let run = &last_activated(state)?.run;
        let names = |wanted: &dyn Fn(&HostState) -> bool| {
            let found = hosts.iter().filter(|(_, state)| wanted(state));
            found.map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()
        };
        let same_run = |state: &HostState| last_activated(state).is_some_and(|e| e.run == *run);
        let behind = names(&|state| same_run(state) && took_back(state, id));
        let left = state.histories().into_iter().find_map(|(left, history)| {
            (history.standing == Standing::RolledBack && history.last.run == *run).then_some(left)
        });
        let committed = names(&|state| same_run(state) && committed(state) == Some(id));
        (!behind.is_empty()).then_some(Split { id, committed, behind, left })
    })
}

/// What is live and committed.
fn committed(state: &HostState) -> Option<ReleaseId> {
    let id = state.live()?;
    (state.ledger.history(id)?.standing == Standing::Good).then_some(id)
}

fn last_activated(state: &HostState) -> Option<&Entry> {
    state.ledger.entries().iter().rev().find(|entry| entry.event == What::Activated)
}

/// Whether `id`, which is still here and whole, was the last to be activated and went by itself.
fn took_back(state: &HostState, id: ReleaseId) -> bool {
    let last = last_activated(state).is_some_and(|entry| entry.release == id.to_string());
    let Some(history) = state.ledger.history(id) else { return false };
    let reason = history.last.reason.as_deref().unwrap_or_default();
    last && history.staged
        && history.standing == Standing::Reverted
        && BY_ITSELF.contains(&reason)
        && state.ids().contains(&id)
        && state.live() != Some(id)
}
