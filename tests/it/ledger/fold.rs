//! The status of releases: only a release that was left as bad is never chosen again.

use shipit::deploy::goal::PruneRule;
use shipit::deploy::retention::{rollback_candidates, to_prune};
use shipit::model::host_state::HostState;

use crate::support::ledgers::{id, lines, looked};

fn host(releases: usize, live: usize, story: &[&str]) -> HostState {
    let all = lines(story);
    looked(releases, live, &all.iter().map(String::as_str).collect::<Vec<_>>())
}

fn numbers(state: &HostState) -> String {
    let minute = |id: &shipit::model::id::ReleaseId| {
        id.to_string()[10..12].trim_start_matches('0').to_owned()
    };
    rollback_candidates(state).iter().map(minute).collect::<Vec<_>>().join(" ")
}

const THREE: [&str; 9] = [
    "1 staged",
    "1 activated",
    "1 committed",
    "2 staged",
    "2 activated 1",
    "2 committed",
    "3 staged",
    "3 activated 2",
    "3 committed",
];

#[track_caller]
fn offers(more: &[&str], live: usize, expect: &str) {
    let story = [&THREE[..], more].concat();
    let state = host(3, live, &story);
    assert_eq!(numbers(&state), expect, "{more:?}");
    let all = PruneRule { keep: 3, older_than: None };
    let bad = to_prune(&state, all);
    assert!(expect.is_empty() || bad.is_empty(), "{more:?}: {bad:?} would go");
}

#[test]
fn replaced_release_stays_good() {
    offers(&["1 activated 3", "1 committed", "3 rolled-back 1"], 1, "");
    let forward = ["1 activated 3", "1 committed", "3 rolled-back 1"];
    let again = ["3 activated 1", "3 committed", "1 rolled-back 3"];
    offers(&[forward, again].concat(), 3, "2 1");
}

#[test]
fn failed_rollback_leaves_its_target_good() {
    offers(&["2 activated 3", "2 reverted"], 3, "2 1");
    offers(&["2 activated 3", "2 failed"], 3, "2 1");
}

#[test]
fn bad_release_stays_bad_after_a_failed_return() {
    let left = ["2 activated 3", "2 committed", "3 rolled-back 2"];
    let state = host(
        4,
        4,
        &[
            &THREE[..],
            &left,
            &["3 activated 2", "3 reverted", "4 staged", "4 activated 2", "4 committed"],
        ]
        .concat(),
    );
    assert_eq!(numbers(&state), "2 1");
    let rule = PruneRule { keep: 5, older_than: None };
    assert_eq!(to_prune(&state, rule), [id(3)], "five good ones stay, the bad one goes");
}

#[test]
fn torn_line_leaves_open_only_its_release() {
    let mut all = lines(&THREE);
    let torn = lines(&["2 rolled-back 1"]).remove(0);
    all.push(torn[..torn.len() - 30].to_owned());
    let state = looked(3, 3, &all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(state.unknown, [id(2)].into());
    assert_eq!(numbers(&state), "1");
    all.pop();
    all.push(torn[..20].to_owned());
    let state = looked(3, 3, &all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(state.unknown.len(), 3, "it may be about any");
    all.extend(lines(&["3 activated 2", "3 committed"]));
    let state = looked(3, 3, &all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(state.unknown, [id(1), id(2)].into(), "what was told since is known");
}
