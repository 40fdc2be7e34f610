//! A ledger that is damaged, not understood or gone: nothing that it may be about is deleted.

use std::collections::BTreeSet;
use std::fs;

use shipit::remote::local::LocalSession;

use crate::support::effort::try_all;
use crate::support::fleet::{TestFleet, Work};

/// The release that version 0 has on the host.
const EARLIER: &str = "20260821090002";

/// A kind of damage to a ledger.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// The block that held a line is zeros.
    Damaged,
    /// A line tells of an event that no version so far writes.
    UnknownEvent,
    /// A newer program wrote a line.
    Newer,
    /// The file is gone.
    Missing,
}

impl Harm {
    const fn fault(self) -> &'static str {
        match self {
            Self::Damaged => "a line of the ledger is damaged",
            Self::UnknownEvent => "the ledger tells of an unknown event",
            Self::Newer => "a newer program wrote to the ledger",
            Self::Missing => "the ledger is gone",
        }
    }

    /// Returns the ledger after the damage, or `None` if it is gone.
    fn done_to(self, ledger: &str) -> Option<String> {
        let mut lines: Vec<_> = ledger.lines().map(str::to_owned).collect();
        let of_earlier = |line: &String| line.contains(EARLIER) && line.contains("committed");
        let place = lines.iter().position(of_earlier).unwrap();
        let line = lines[place].clone();
        match self {
            Self::Damaged => lines[place] = "\0".repeat(line.len()),
            Self::UnknownEvent => lines.push(unsummed(&line).replace("committed", "quarantined")),
            Self::Newer => lines.push(unsummed(&line).replace("\"v\":1", "\"v\":2")),
            Self::Missing => return None,
        }
        Some(lines.join("\n") + "\n")
    }
}

/// A line without the sum of what it said before.
fn unsummed(line: &str) -> String {
    line.split(",\"sum\"").next().unwrap().to_owned() + "}"
}

async fn costs_nothing(test: &str, work: Work) {
    let harms = [Harm::Damaged, Harm::UnknownEvent, Harm::Newer, Harm::Missing];
    try_all(harms, |harm| async move {
        let fault = format!("{}: {}", format!("{work:?}").to_lowercase(), harm.fault());
        let fleet = TestFleet::new(LocalSession::new()).await;
        let host = fleet.host("web1");
        let path = host.path(".shipit/ledger.jsonl");
        match harm.done_to(&host.read(".shipit/ledger.jsonl")) {
            Some(harmed) => fs::write(path, harmed).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let before: BTreeSet<_> = host.names("releases").into_iter().collect();
        let report = fleet.work(work).await;
        fleet.matches_table(test, &fault, &report);
        let after = host.names("releases").into_iter().collect();
        assert!(before.is_subset(&after), "{fault}: {before:?}, then {after:?}");
    })
    .await;
}

#[tokio::test]
async fn a_deploy_deletes_nothing() {
    costs_nothing("faults::ledgers::a_deploy_deletes_nothing", Work::Deploy).await;
}

#[tokio::test]
async fn a_rollback_deletes_nothing() {
    costs_nothing("faults::ledgers::a_rollback_deletes_nothing", Work::Rollback).await;
}

#[tokio::test]
async fn a_prune_deletes_nothing() {
    costs_nothing("faults::ledgers::a_prune_deletes_nothing", Work::Prune).await;
}
