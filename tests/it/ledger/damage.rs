//! A ledger of six releases, damaged in every line and at every byte.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use proptest::prelude::*;
use shipit::deploy::goal::PruneRule;
use shipit::deploy::retention::{rollback_candidates, to_prune};
use shipit::model::host_state::HostState;
use shipit::model::ledger::{Entry, Ledger, LedgerEvent};
use shipit::remote::answer::host_state;
use shipit::remote::script::{SCRIPT, bare};

use crate::support::effort::effort;
use crate::support::ledgers::{id, lines, looked};
use crate::support::tools::program;

/// Six releases: a pinned one, a good one, one that was reverted, one that was left for bad, one
/// that was left for a newer one, and the live one.
const STORY: [&str; 21] = [
    "1 staged",
    "1 activated",
    "1 committed",
    "1 pinned",
    "2 staged",
    "2 activated 1",
    "2 committed",
    "3 staged",
    "3 activated 2",
    "3 reverted",
    "4 staged",
    "4 activated 2",
    "4 committed",
    "2 activated 4",
    "2 committed",
    "4 rolled-back 2",
    "5 staged",
    "5 activated 2",
    "5 committed",
    "6 staged",
    "6 activated 5",
];

fn story() -> Vec<String> {
    let mut all = lines(&STORY);
    all.extend(lines(&["6 committed"]));
    all
}

fn gone(state: &HostState, keep: usize) -> BTreeSet<String> {
    to_prune(state, PruneRule { keep, older_than: None }).into_iter().collect()
}

fn seen(ledger: &[u8]) -> HostState {
    let text = String::from_utf8_lossy(ledger);
    looked(6, 6, &text.split('\n').collect::<Vec<_>>())
}

/// Returns the host with its undamaged ledger.
fn sound() -> &'static HostState {
    static SOUND: LazyLock<HostState> = LazyLock::new(|| seen(story().join("\n").as_bytes()));
    &SOUND
}

/// No more is deleted than with the undamaged ledger.
#[track_caller]
fn deletes_nothing(damaged: &HostState, what: &str) {
    let sound = sound();
    for keep in 1..4 {
        let (more, allowed) = (gone(damaged, keep), gone(sound, keep));
        assert!(more.is_subset(&allowed), "{what}: {more:?}, not {allowed:?}");
    }
}

/// Nothing more is deleted, and a rollback chooses no release that it must not.
#[track_caller]
fn costs_nothing(damaged: &HostState, what: &str) {
    deletes_nothing(damaged, what);
    let (chosen, allowed) = (rollback_candidates(damaged), rollback_candidates(sound()));
    assert!(chosen.iter().all(|id| allowed.contains(id)), "{what}: {chosen:?}, not {allowed:?}");
}

#[test]
fn sound_ledger_lets_releases_be_pruned() {
    assert_eq!(gone(sound(), 1), [id(2), id(3), id(4)].into());
    assert_eq!(gone(sound(), 3), [id(3), id(4)].into());
}

#[test]
fn damaged_line_deletes_no_release() {
    let whole = story();
    for (n, line) in whole.iter().enumerate() {
        let half = &line[..line.len() / 2];
        let harm = [
            half.to_owned(),
            line[line.len() / 2..].to_owned(),
            "\0".repeat(line.len()),
            " ".repeat(line.len()),
            "{}".to_owned(),
            line.replace("\"event\":\"", "\"event\":\"x"),
            line.replace("\"release\"", "\"rel\""),
            line.replace("\"v\":1", "\"v\":2"),
            line.replace("\"v\":1", "\"v\":0"),
            line.replace(r#","who""#, r#" "who""#),
            format!("{line}{line}"),
            format!("{half}\n{}", &line[line.len() / 2..]),
        ];
        for harm in harm {
            let mut damaged = whole.clone();
            damaged[n].clone_from(&harm);
            costs_nothing(&seen(damaged.join("\n").as_bytes()), &format!("line {n}: {harm:?}"));
        }
    }
}

/// One kind of harm at every byte, and every kind with all faults; one of them takes a digit of an
/// id for another.
#[test]
fn damaged_byte_deletes_no_release() {
    let whole = story().join("\n").into_bytes();
    let every = effort(false, false, true);
    for place in 0..whole.len() {
        let kinds = [Some(0), Some(b'\n'), Some(b'"'), Some(whole[place] ^ 1), None];
        for (_, harm) in kinds.into_iter().enumerate().filter(|(n, _)| every || place % 5 == *n) {
            let mut damaged = whole.clone();
            match harm {
                Some(byte) => damaged[place] = byte,
                None => damaged.truncate(place),
            }
            costs_nothing(&seen(&damaged), &format!("byte {place}: {harm:?}"));
        }
    }
}

/// The block reaches from a text in one line to a text in a later line, so that the rest of both
/// is one line of valid JSON without a sum.
#[test]
fn damage_that_joins_lines_is_not_read_as_one_line() {
    let mut damaged = story().join("\n").into_bytes();
    let (from, to) = (find(&damaged, 13, "shipit"), find(&damaged, 17, "\"}"));
    damaged[from..to].fill(0xff);
    costs_nothing(&seen(&damaged), "one line of five");
}

/// The same, where what is left of two lines of the same event has a sum that fits.
#[test]
fn damage_that_joins_lines_with_a_sum_is_not_read_as_one_line() {
    let mut damaged = story().join("\n").into_bytes();
    let (from, to) = (find(&damaged, 13, "2:00Z"), find(&damaged, 20, "activated"));
    damaged[from..to].fill(0xff);
    costs_nothing(&seen(&damaged), "one line of eight");
}

#[test]
fn name_that_is_not_text_is_no_damage() {
    let mut entry = Entry::new(LedgerEvent::Committed, &id(6)).summed();
    entry.who = "Ad\u{fffd}a \u{9b}31m".to_owned();
    let line = entry.line();
    assert!(line.contains(r"Ad\ufffda \u009b31m"), "{line}");
    assert_eq!(Ledger::parse([&*line]).entries(), [entry]);
}

/// Returns where `text` stands last in the line of that number, from 0.
fn find(ledger: &[u8], line: usize, text: &str) -> usize {
    let lines: Vec<_> = ledger.split(|byte| *byte == b'\n').collect();
    let before: usize = lines[..line].iter().map(|line| line.len() + 1).sum();
    before + std::str::from_utf8(lines[line]).unwrap().rfind(text).unwrap()
}

proptest! {
    #[test]
    fn damaged_block_deletes_no_release(
        place in 0_usize..5000,
        length in 1_usize..1500,
        harm in prop::sample::select(vec![0, 0xff, b' ', b'{', b'}', b'1']),
    ) {
        let mut damaged = story().join("\n").into_bytes();
        let from = place.min(damaged.len());
        let to = (from + length).min(damaged.len());
        damaged[from..to].fill(harm);
        let what = format!("{harm} from {from} to {to}");
        deletes_nothing(&seen(&damaged), &what);
        if matches!(harm, 0 | 0xff) {
            costs_nothing(&seen(&damaged), &what);
        }
    }
}

/// Reads a ledger through the agent with this awk: versions differ in their view of a zero byte.
fn sent(awk: &str, dir: &std::path::Path, ledger: &[u8]) -> HostState {
    let root = dir.join("srv");
    for n in 1..=6 {
        fs::create_dir_all(root.join("releases").join(id(n))).unwrap();
        fs::create_dir_all(root.join(".shipit/manifests")).unwrap();
        fs::write(root.join(".shipit/manifests").join(id(n)), "").unwrap();
    }
    let current = root.join("current");
    if !current.is_symlink() {
        std::os::unix::fs::symlink(format!("releases/{}", id(6)), &current).unwrap();
    }
    fs::write(root.join(".shipit/ledger.jsonl"), ledger).unwrap();
    fs::create_dir_all(dir.join("bin")).unwrap();
    program(&dir.join("bin/awk"), &format!("#!/bin/sh\nexec {awk} \"$@\"\n"));
    let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap());
    let script = bare(SCRIPT);
    let mut agent = Command::new("sh");
    agent.args(["-c", &script, "shipit", "serve", "run=run0000000000001", "mode=look"]);
    agent.arg(format!("root={}", root.display()));
    agent.args(["deadline=10", "scope=none", "scan=", "first="]).env("PATH", path);
    let out = agent.stdin(Stdio::null()).output().unwrap();
    host_state(&String::from_utf8_lossy(&out.stdout))
}

#[test]
fn damaged_ledger_through_the_agent_deletes_no_release() {
    let long = (7..70).flat_map(|n| {
        let n = n.to_string();
        ["staged", "pruned"].map(|event| format!("{n} {event}"))
    });
    let long: Vec<_> = long.collect();
    let later = lines(&long.iter().map(String::as_str).collect::<Vec<_>>());
    let whole = [story(), later].concat().join("\n").into_bytes();
    let told = story().join("\n").len();
    for awk in ["mawk", "busybox awk"] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(gone(&sent(awk, dir.path(), &whole), 2), [id(2), id(3), id(4)].into(), "{awk}");
        for (n, place) in (0..told).step_by(64).enumerate() {
            let mut damaged = whole.clone();
            damaged[place] = if n % 2 == 0 { 0 } else { whole[place] ^ 1 };
            let state = sent(awk, dir.path(), &damaged);
            costs_nothing(&state, &format!("{awk}: byte {place}: {}", damaged[place]));
        }
        let mut late = whole.clone();
        late[told + 1] = b'x';
        let state = sent(awk, dir.path(), &late);
        assert_eq!(state.ledger.unreadable_lines(), [story().len() + 1], "{awk}: after others");
        let mut zeroed = whole.clone();
        zeroed[200..1400].fill(0);
        costs_nothing(&sent(awk, dir.path(), &zeroed), &format!("{awk}: a block of zeros"));
    }
}

/// The host without those lines of the ledger that `gone` names.
fn without(gone: impl Fn(&str) -> bool) -> HostState {
    let left: Vec<_> = story().into_iter().filter(|line| !gone(line)).collect();
    seen(left.join("\n").as_bytes())
}

/// A release as 0.1.0 left it when it was interrupted.
#[test]
fn release_without_a_ledger_line_survives_prune() {
    for n in 1..=5 {
        let (name, tag) = (id(n), format!("\"release\":\"{}\"", id(n)));
        let state = without(|line| line.contains(&tag));
        assert_eq!(state.unknown, [name.clone()].into());
        assert!(!state.is_doubtful(), "{n}");
        costs_nothing(&state, &format!("no line of {n}"));
        let others: BTreeSet<_> = gone(sound(), 3).into_iter().filter(|id| *id != name).collect();
        assert_eq!(gone(&state, 3), others, "{n}");
    }
}

#[test]
fn a_ledger_that_lacks_lines_prunes_nothing() {
    let of = |n: usize| format!("\"release\":\"{}\"", id(n));
    let staged = |n: usize| without(|line| line.contains("\"staged\"") && line.contains(&of(n)));
    let live = without(|line| line.contains(&of(6)));
    for (what, state) in (1..=6).map(|n| (n, staged(n))).chain([(7, live)]) {
        assert!(state.is_doubtful(), "{what}");
        assert_eq!(gone(&state, 1), BTreeSet::new(), "{what}");
        costs_nothing(&state, &what.to_string());
    }
}

/// Its status is unknown, although the only line about it is a failure.
#[test]
fn a_release_that_only_failed_and_was_not_begun_is_kept() {
    let told = ["1 staged", "1 activated", "1 committed", "2 failed", "3 staged", "3 activated 1"];
    let all = lines(&[&told[..], &["3 committed"]].concat());
    let state = looked(3, 3, &all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(state.unknown, [id(2)].into());
    assert!(!state.is_doubtful());
    assert_eq!(gone(&state, 1), BTreeSet::new());
}

#[test]
fn lines_that_cannot_be_read_are_named_by_their_numbers() {
    let mut damaged = story();
    damaged[4].clear();
    for n in [2, 9, 10, 11] {
        damaged[n].replace_range(..9, "xxxxxxxxx");
    }
    let state = seen(damaged.join("\n").as_bytes());
    assert_eq!(state.ledger.unreadable_lines(), [3, 10, 11, 12]);
}

#[test]
fn without_a_ledger_every_release_is_unknown() {
    let state = looked(6, 6, &[]);
    assert_eq!(state.unknown.len(), 6);
    assert_eq!(gone(&state, 1), BTreeSet::new());
    assert_eq!(rollback_candidates(&state), []);
}
