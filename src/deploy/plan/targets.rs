//! The release that a rollback or an activation of all hosts goes to, or why there is none.

use std::collections::BTreeSet;

use super::error::names;
use crate::deploy::outcome::Failure;
use crate::deploy::retention::{
    activation_candidates, common_candidate, common_staged, rollback_candidates,
};
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;

/// Returns the release that an activation of these hosts makes live, or why there is none.
pub fn activation_target(
    states: &[(&str, &HostState)],
    named: Option<ReleaseId>,
    stage: &str,
) -> Result<ReleaseId, Failure> {
    let common = || common_staged(states.iter().map(|(_, state)| *state));
    named.or_else(common).ok_or_else(|| none_staged(states, stage))
}

fn none_staged(states: &[(&str, &HostState)], stage: &str) -> Failure {
    let staged = states.iter().map(|(host, state)| (*host, activation_candidates(state)));
    let staged: Vec<_> = staged.collect();
    let none = staged.iter().all(|(_, ids)| ids.is_empty());
    let what = "there is no staged release that all hosts have";
    let line = |(host, ids): &(&str, BTreeSet<ReleaseId>)| match names(ids) {
        none if none.is_empty() => {
            format!("{host} has none that is newer than what is live and has not expired")
        }
        ids => format!("{host} has {ids}"),
    };
    let failure = Failure::new(if none { "no release is staged" } else { what });
    let failure = staged.iter().map(line).fold(failure, Failure::because);
    failure.hint(format!("`shipit stage {stage}` stages a build"))
}

/// Returns the release that a rollback of these hosts of `stage` goes to, or why there is none.
pub fn rollback_target(
    states: &[(&str, &HostState)],
    named: Option<ReleaseId>,
    stage: &str,
) -> Result<ReleaseId, Failure> {
    if let Some(id) = named {
        return Ok(id);
    }
    if states.windows(2).any(|pair| pair[0].1.live() != pair[1].1.live()) {
        let line = |(host, state): &(&str, &HostState)| match state.live() {
            Some(id) => format!("{host} runs {id}"),
            None => format!("{host} runs no release of shipit"),
        };
        let failure = Failure::new("the hosts do not run the same release");
        let failure = states.iter().map(line).fold(failure, Failure::because);
        let hint = format!("name one with `--to ID`; `shipit releases {stage}` shows them");
        return Err(failure.hint(hint));
    }
    let common = common_candidate(states.iter().map(|(_, state)| *state));
    common.ok_or_else(|| no_common(states, stage))
}

/// No release was live and good on all of these hosts.
fn no_common(states: &[(&str, &HostState)], stage: &str) -> Failure {
    let able = states.iter().find(|(_, state)| !rollback_candidates(state).is_empty());
    let what = match able {
        Some(_) => "there is no earlier good release that all hosts have",
        None => "there is no earlier release to roll back to",
    };
    let hint = match able.filter(|_| states.len() > 1) {
        Some((host, _)) => format!(
            "one host at a time: `shipit rollback {stage} --hosts {host}`; or deploy, which brings \
             all hosts to one release"
        ),
        None => format!("`shipit releases {stage}` shows what is there and why it is not chosen"),
    };
    let lines = states.iter().flat_map(|(host, state)| offers(host, state));
    lines.fold(Failure::new(what), Failure::because).hint(hint)
}

/// Returns what a host could roll back to, newest first: releases that a rollback may choose by
/// itself, those that another tool left, whose owner alone knows what they are, and those that the
/// ledger does not tell enough about.
fn offers(host: &str, state: &HostState) -> Vec<String> {
    let candidates = rollback_candidates(state);
    let mut lines = match names(&candidates) {
        none if none.is_empty() => vec![format!("{host} has none that was live and good")],
        ids => vec![format!("{host} could roll back to {ids}")],
    };
    let mut foreign = state.foreign_ids();
    foreign.retain(|id| !candidates.contains(id));
    let unknown = state.unknown.iter().filter_map(|name| name.parse().ok()).collect();
    for (ids, why) in [(foreign, "left by another tool"), (unknown, "unknown to the ledger")] {
        let ids = names(ids.iter().rev().filter(|id| Some(**id) != state.live()));
        if !ids.is_empty() {
            lines.push(format!("{host} has, {why}, so only with `--to`: {ids}"));
        }
    }
    lines
}
