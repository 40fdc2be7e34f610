//! The choice of the release to roll back to, and of those to delete: pure functions of the ledger.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::goal::PruneRule;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::{History, ReleaseStatus};
use crate::model::words::count;

/// Returns the releases that a rollback may choose by itself on this host, newest first: complete,
/// once live and good, never rolled back from, older than the live one, and fully told by the
/// ledger. After these come releases of another tool that were live: its last one, before we came.
pub fn rollback_candidates(state: &HostState) -> Vec<ReleaseId> {
    let Some(live) = state.live() else { return Vec::new() };
    // A ledger without the live release lacks the last events of the others too.
    if state.made.contains(&live.to_string()) && state.ledger.history(live).is_none() {
        return Vec::new();
    }
    let good = |(id, history): &(ReleaseId, History)| {
        let known = !state.unknown.contains(&id.to_string());
        *id < live && known && history.staged && history.status == ReleaseStatus::Good
    };
    let ours: Vec<_> = state.histories().into_iter().filter(good).map(|(id, _)| id).collect();
    let foreign = foreign_ways_back(state).into_iter().filter(|id| *id < live);
    ours.into_iter().rev().chain(foreign.rev()).collect()
}

/// Returns the releases of another tool that were live here and that nobody rolled back from,
/// oldest first.
fn foreign_ways_back(state: &HostState) -> Vec<ReleaseId> {
    let were_live = state.ledger.ways_back();
    let good = |id: &ReleaseId| match state.ledger.history(*id) {
        Some(history) => history.status == ReleaseStatus::Good,
        None => were_live.contains(id),
    };
    state.foreign_ids().into_iter().filter(good).collect()
}

/// Returns the newest candidate that every host has.
pub fn common_candidate<'a>(states: impl IntoIterator<Item = &'a HostState>) -> Option<ReleaseId> {
    let each = states.into_iter().map(|state| BTreeSet::from_iter(rollback_candidates(state)));
    each.reduce(|all, here| &all & &here)?.last().copied()
}

/// Returns the releases that an activation may choose by itself on this host, oldest first: staged
/// for that, not expired, and newer than the live one.
pub fn activation_candidates(state: &HostState) -> BTreeSet<ReleaseId> {
    state.waiting().into_keys().filter(|id| Some(*id) > state.live()).collect()
}

/// Returns the newest release that every host may activate.
pub fn common_staged<'a>(states: impl IntoIterator<Item = &'a HostState>) -> Option<ReleaseId> {
    let each = states.into_iter().map(activation_candidates);
    each.reduce(|all, here| &all & &here)?.last().copied()
}

/// Returns at most this many releases that were live and good, newest first: pages that are open
/// may still ask for their files.
pub fn once_live(state: &HostState, most: usize) -> Vec<ReleaseId> {
    let was_live = |(id, history): &(ReleaseId, History)| {
        let good = matches!(history.status, ReleaseStatus::Good | ReleaseStatus::RolledBack);
        good && !history.foreign && !state.unknown.contains(&id.to_string())
    };
    let newest = state.histories().into_iter().rev().filter(was_live);
    newest.map(|(id, _)| id).take(most).collect()
}

/// Returns the names in `releases/` to delete, in this order: unfinished and failed releases, which
/// do not count, then good ones beyond the newest `keep`, oldest first. Of those that wait to be
/// activated, the newest `keep` stay until they expire. Nothing is deleted if the
/// ledger is in doubt: a line that is not understood may pin any release. A release that the ledger
/// does not tell of, or that another tool made, always stays.
pub fn to_prune(state: &HostState, rule: PruneRule) -> Vec<String> {
    if state.is_doubtful() {
        return Vec::new();
    }
    let mut histories: BTreeMap<_, _> = state.histories().into_iter().collect();
    histories.retain(|_, history| !history.foreign);
    let mut kept = protected(state, &histories);
    kept.extend(state.waiting().into_keys().rev().take(rule.keep));
    let bad = state.ids().into_iter().filter(|id| is_bad(state, *id, histories.get(id)));
    let counts = |history: &History| history.status == ReleaseStatus::Good && !history.pinned;
    let good = histories.iter().filter(|(_, history)| counts(history)).map(|(id, _)| *id);
    let surplus: Vec<_> = good.rev().skip(rule.keep).collect();
    bad.chain(surplus.into_iter().rev())
        .filter(|id| !kept.contains(id) && is_older(*id, state.facts.clock, rule))
        .map(|id| id.to_string())
        .filter(|name| !state.unknown.contains(name))
        .collect()
}

/// Returns why there is nothing to prune, for people.
pub fn why_kept(state: &HostState, rule: PruneRule) -> String {
    let histories = state.histories();
    let good =
        histories.iter().filter(|(_, history)| history.status == ReleaseStatus::Good).count();
    let there = count(good, "good release");
    match rule.older_than {
        _ if good <= rule.keep => format!("{there} present, {} to keep", rule.keep),
        Some(_) => "every old enough release is live, the way back, pinned or in use".to_owned(),
        None => format!(
            "of {there}, every one beyond {} is live, the way back, pinned or in use",
            rule.keep
        ),
    }
}

fn is_older(id: ReleaseId, now: DateTime<Utc>, rule: PruneRule) -> bool {
    rule.older_than.is_none_or(|age| now - id.time() > age)
}

/// Returns what must stay whatever the rule says: what is live, the way back, what is pinned, what
/// a process or a slot runs from, and an undecided release with its own way back.
fn protected(state: &HostState, histories: &BTreeMap<ReleaseId, History>) -> BTreeSet<ReleaseId> {
    let mut kept: BTreeSet<ReleaseId> = state.live().into_iter().collect();
    kept.extend(rollback_candidates(state).first());
    kept.extend(state.slots.iter().filter_map(|slot| slot.release));
    kept.extend(state.perhaps_in_use());
    kept.extend(state.in_use.iter().filter_map(|name| name.parse::<ReleaseId>().ok()));
    for (id, history) in histories {
        if history.status == ReleaseStatus::Undecided {
            kept.extend(history.back.as_deref().and_then(Layout::parse_target));
        }
        if history.pinned || history.status == ReleaseStatus::Undecided {
            kept.insert(*id);
        }
    }
    kept
}

/// Returns whether nobody would roll back to a release.
fn is_bad(state: &HostState, id: ReleaseId, history: Option<&History>) -> bool {
    let newer_than_live = state.live().is_some_and(|live| id > live);
    match history.map(|history| history.status) {
        None => state.unfinished.contains(&id.to_string()),
        Some(ReleaseStatus::Good | ReleaseStatus::Undecided) => false,
        // It shows why somebody rolled back, so it stays until the next release is live.
        Some(ReleaseStatus::RolledBack) => !newer_than_live,
        Some(_) => true,
    }
}
