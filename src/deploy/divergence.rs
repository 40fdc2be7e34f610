//! Hosts that diverged: some heard that a release stays, others did not and reverted it.

use std::collections::BTreeSet;

use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::ledger::{Entry, LedgerEvent, ReleaseStatus, RevertReason};

/// A release of one run, which some hosts committed and others reverted by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    pub id: ReleaseId,
    /// Names of hosts where it is live and committed.
    pub committed: Vec<String>,
    /// Names of hosts where it is complete and not live.
    pub behind: Vec<String>,
    /// The release that the run marked as left, if it was a rollback.
    pub left: Option<ReleaseId>,
}

/// A run, and the release that it activated.
type Went<'s> = (&'s str, ReleaseId);

/// Returns how these hosts diverged, if they did.
pub fn find_split(hosts: &[(&str, &HostState)]) -> Option<Divergence> {
    let reverted: BTreeSet<Went> =
        hosts.iter().filter_map(|(_, state)| self_reverted(state)).collect();
    let split = |state| committed(state).filter(|went| reverted.contains(went));
    let (state, went) = hosts.iter().find_map(|(_, state)| Some((state, split(state)?)))?;
    let names = |end: fn(&HostState) -> Option<Went<'_>>| {
        let found = hosts.iter().filter(|(_, state)| end(state) == Some(went));
        found.map(|(name, _)| (*name).to_owned()).collect()
    };
    let left = state.histories().into_iter().find_map(|(left, history)| {
        let last = &history.last;
        (last.event == LedgerEvent::RolledBack && last.run == went.0).then_some(left)
    });
    Some(Divergence { id: went.1, committed: names(committed), behind: names(self_reverted), left })
}

/// Returns what is live and committed, with the run that activated last.
fn committed(state: &HostState) -> Option<Went<'_>> {
    let id = state.live()?;
    let good = state.ledger.history(id)?.status == ReleaseStatus::Good;
    good.then_some((&last_activated(state)?.run, id))
}

fn last_activated(state: &HostState) -> Option<&Entry> {
    state.ledger.entries().iter().rev().find(|entry| entry.event == LedgerEvent::Activated)
}

/// Returns the release that was activated last, if the host reverted it by itself and still has it.
fn self_reverted(state: &HostState) -> Option<Went<'_>> {
    let last = last_activated(state)?;
    let id = last.release.parse().ok()?;
    let history = state.ledger.history(id)?;
    let reason = history.last.reason.as_deref().and_then(RevertReason::read);
    let whole = history.staged && state.ids().contains(&id);
    let by_itself = reason.is_some_and(RevertReason::is_silence);
    (whole && history.last.event == LedgerEvent::Reverted && by_itself && state.live() != Some(id))
        .then_some((&last.run, id))
}
