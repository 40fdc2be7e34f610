//! Plans and the ledger fold over small states, and properties over random ones.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use shipit::deploy::goal::PruneRule;
use shipit::deploy::plan::{activation_target, rollback_target};
use shipit::deploy::retention::to_prune;
use shipit::model::host_state::{Current, Facts, HostState, UnitState};
use shipit::model::id::ReleaseId;
use shipit::model::ledger::{Entry, Ledger, LedgerEvent, ReleaseStatus};

/// Release `n`: the second of that number.
fn id(n: u32) -> ReleaseId {
    format!("202608210900{n:02}").parse().unwrap()
}

/// Returns the events of a release that one letter stands for: good, staged, reverted, left by a
/// rollback, undecided, failed, unfinished, foreign, pinned and good. `w` waits to be activated.
pub(crate) fn events(letter: char) -> &'static [LedgerEvent] {
    use LedgerEvent::{Activated, Committed, Failed, Pinned, Reverted, RolledBack, Staged};
    match letter {
        's' | 'w' => &[Staged],
        'r' => &[Staged, Activated, Reverted],
        'l' => &[Staged, Activated, Committed, RolledBack],
        'u' => &[Staged, Activated],
        'f' => &[Staged, Activated, Failed],
        'x' | 'o' => &[],
        'p' => &[Staged, Activated, Committed, Pinned],
        _ => &[Staged, Activated, Committed],
    }
}

/// `"g r g*"`: three releases, the last one live.
fn state(text: &str) -> HostState {
    let mut state = HostState {
        facts: Facts { clock: id(59).time(), ..Facts::default() },
        ..HostState::default()
    };
    let mut lines = Vec::new();
    for (n, word) in text.split_whitespace().enumerate() {
        let id = id(u32::try_from(n).unwrap() + 1);
        let letter = word.chars().next().unwrap();
        state.present.push(id.to_string());
        if letter == 'x' {
            state.unfinished.insert(id.to_string());
        }
        if word.ends_with('*') {
            state.current = Current::Release(id);
        }
        if word.contains('!') {
            state.in_use.insert(id.to_string());
        }
        for event in events(letter) {
            let expires = (letter == 'w').then(|| "2026-08-28T09:00:00Z".to_owned());
            let entry = Entry { expires, ..Entry::new(*event, &id.to_string()) };
            lines.push(serde_json::to_string(&entry).unwrap());
        }
    }
    state.ledger = Ledger::parse(lines.iter().map(String::as_str));
    state
}

fn numbers(names: &[String]) -> String {
    names.iter().map(|name| name[12..].trim_start_matches('0')).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn prunes(releases: &str, keep: usize, expect: &str) {
    let rule = PruneRule { keep, older_than: None };
    assert_eq!(numbers(&to_prune(&state(releases), rule)), expect, "{releases} keep {keep}");
}

#[test]
fn prune_keeps_the_newest_good_releases() {
    prunes("g g g g*", 2, "1 2");
    prunes("g g g g*", 9, "");
}

#[test]
fn prune_takes_bad_releases_first_and_does_not_count_them() {
    prunes("g r g x f g*", 2, "2 4 5 1");
    prunes("g g r r r*", 2, "3 4");
}

#[test]
fn prune_never_takes_protected_releases() {
    prunes("g* l l l", 1, "");
    prunes("g g* l", 1, "");
    prunes("p g! o u g g*", 1, "");
    prunes("g r! g*", 1, "");
}

#[test]
fn prune_keeps_the_newest_staged_releases_until_they_expire() {
    prunes("g* w w w", 2, "2");
    prunes("g s w g*", 2, "2");
    let mut later = state("g* w s");
    later.facts.clock = "2026-08-28T08:59:59Z".parse().unwrap();
    let rule = PruneRule { keep: 1, older_than: None };
    assert_eq!(numbers(&to_prune(&later, rule)), "3");
    later.facts.clock = "2026-08-28T09:00:00Z".parse().unwrap();
    assert_eq!(numbers(&to_prune(&later, rule)), "2 3");
}

#[track_caller]
fn activates(hosts: &[&str], expect: Result<u32, &str>) {
    let states: Vec<_> = hosts.iter().map(|text| state(text)).collect();
    let named: Vec<_> = states.iter().map(|state| ("web", state)).collect();
    let found = activation_target(&named, None, "live").map_err(|failure| failure.what);
    assert_eq!(found, expect.map(id).map_err(str::to_owned), "{hosts:?}");
}

#[test]
fn activation_takes_the_newest_staged_release_that_all_hosts_have() {
    activates(&["g* w w"], Ok(3));
    activates(&["g* w w", "g* w s"], Ok(2));
    activates(&["g* w s", "g* s w"], Err("there is no staged release that all hosts have"));
    activates(&["g w g*"], Err("no release is staged"));
    activates(&["g* r l"], Err("no release is staged"));
    activates(&["w"], Ok(1));
}

/// A unit whose main process is unreadable, started `running_for` seconds before the look.
fn hidden_unit(running_for: u64) -> UnitState {
    let running_for = Some(Duration::from_secs(running_for));
    UnitState { main_pid: 7, running_for, ..UnitState::default() }
}

#[test]
fn prune_keeps_releases_an_unreadable_process_may_use() {
    let mut state = state("g g g g g*");
    let lines: Vec<_> = (1..=5)
        .map(|n| {
            let at = format!("2026-08-21T0{n}:00:00Z");
            let entry = Entry { at, ..Entry::new(LedgerEvent::Activated, &id(n).to_string()) };
            serde_json::to_string(&entry).unwrap()
        })
        .chain((1..=5).flat_map(|n| {
            let good = |event| serde_json::to_string(&Entry::new(event, &id(n).to_string()));
            [LedgerEvent::Staged, LedgerEvent::Committed].map(|event| good(event).unwrap())
        }))
        .collect();
    state.ledger = Ledger::parse(lines.iter().map(String::as_str));
    state.facts.clock = "2026-08-21T06:00:00Z".parse().unwrap();
    let rule = PruneRule { keep: 1, older_than: None };
    assert_eq!(numbers(&to_prune(&state, rule)), "1 2 3", "the way back stays anyhow");
    state.units = vec![hidden_unit(3 * 3600 + 1800)];
    assert_eq!(numbers(&to_prune(&state, rule)), "1 3", "it began at half past two");
    state.units = vec![UnitState { running_for: None, ..hidden_unit(0) }];
    assert_eq!(numbers(&to_prune(&state, rule)), "", "nobody knows when it began");
    state.units = vec![UnitState { cwd: Some("/".to_owned()), ..hidden_unit(12_600) }];
    assert_eq!(numbers(&to_prune(&state, rule)), "1 2 3", "its directory was read");
}

#[test]
fn prune_respects_older_than() {
    let young = PruneRule { keep: 1, older_than: Some(chrono::TimeDelta::seconds(57)) };
    assert_eq!(numbers(&to_prune(&state("g g g g*"), young)), "1");
}

#[track_caller]
fn rolls_back(hosts: &[&str], expect: &str) {
    let states: Vec<_> = hosts.iter().map(|text| state(text)).collect();
    let named: Vec<_> = states.iter().map(|state| ("web", state)).collect();
    let found = match rollback_target(&named, None, "live") {
        Ok(id) => numbers(&[id.to_string()]),
        Err(failure) => failure.what,
    };
    assert_eq!(found, expect, "{hosts:?}");
}

#[test]
fn rollback_goes_to_the_newest_release_good_on_all_hosts() {
    rolls_back(&["g g g*"], "2");
    rolls_back(&["g l r x s o g*"], "1");
    rolls_back(&["g g* l"], "1");
    rolls_back(&["g g g*", "g r g*"], "1");
    rolls_back(&["g*"], "there is no earlier release to roll back to");
    rolls_back(&["r g*", "g g*"], "there is no earlier good release that all hosts have");
    rolls_back(&["g g*", "g* s"], "the hosts do not run the same release");
}

#[test]
fn ledger_fold_takes_the_last_event() {
    let status = |text: &str| state(text).ledger.history(id(1)).map(|h| h.status);
    assert_eq!(status("g"), Some(ReleaseStatus::Good));
    assert_eq!(status("p"), Some(ReleaseStatus::Good));
    assert_eq!(status("u"), Some(ReleaseStatus::Undecided));
    assert_eq!(status("l"), Some(ReleaseStatus::RolledBack));
    assert_eq!(status("x"), None);
}

#[test]
fn unreadable_lines_are_counted_and_hide_nothing() {
    let good = serde_json::to_string(&Entry::new(LedgerEvent::Staged, "20260821090001")).unwrap();
    let ledger = Ledger::parse(["{torn", good.as_str(), ""]);
    assert_eq!((ledger.entries().len(), ledger.unreadable()), (1, 1));
}

#[test]
fn release_ids_only_grow() {
    let now = id(30).time();
    assert_eq!(ReleaseId::after(None, now), id(30));
    assert_eq!(ReleaseId::after(Some(id(29)), now), id(30));
    assert_eq!(ReleaseId::after(Some(id(30)), now), id(31));
    assert_eq!(ReleaseId::after(Some(id(45)), now), id(46), "a clock set back");
}

#[test]
fn every_small_state_keeps_what_must_be_kept() {
    let letters = ['g', 's', 'r', 'l', 'u', 'x', 'o', 'p'];
    for a in letters {
        for b in letters {
            for c in letters {
                for live in 0..4 {
                    let mark = |n| if n == live { "*" } else { "" };
                    let text = format!("{a}{} {b}{} {c}{}", mark(0), mark(1), mark(2));
                    keeps_what_must_be_kept(&state(&text), 1, &text);
                }
            }
        }
    }
}

/// Returns the way back by its definition: the newest good release before the live one.
fn way_back(text: &str) -> Option<ReleaseId> {
    let words: Vec<_> = text.split(' ').collect();
    let live = words.iter().position(|word| word.ends_with('*'))?;
    let good = words[..live].iter().rposition(|word| word.starts_with(['g', 'p']))?;
    Some(id(u32::try_from(good).unwrap() + 1))
}

fn keeps_what_must_be_kept(state: &HostState, keep: usize, text: &str) {
    let gone = to_prune(state, PruneRule { keep, older_than: None });
    assert!(state.in_use.iter().all(|name| !gone.contains(name)), "{text}: in use");
    let gone: BTreeSet<ReleaseId> = gone.iter().map(|name| name.parse().unwrap()).collect();
    assert!(state.live().is_none_or(|live| !gone.contains(&live)), "{text}: live");
    assert!(way_back(text).is_none_or(|id| !gone.contains(&id)), "{text}: the way back");
    for (id, history) in state.histories() {
        assert!(!(history.pinned && gone.contains(&id)), "{text}: pinned");
        assert!(!(history.status == ReleaseStatus::Undecided && gone.contains(&id)), "{text}");
    }
}

proptest! {
    #[test]
    fn random_states_keep_what_must_be_kept(
        words in prop::collection::vec("[gsrlufxop][!]?", 1..12),
        live in 0_usize..12,
        keep in 1_usize..6,
    ) {
        let mut words = words;
        if let Some(word) = words.get_mut(live) {
            word.push('*');
        }
        let text = words.join(" ");
        keeps_what_must_be_kept(&state(&text), keep, &text);
    }
}
