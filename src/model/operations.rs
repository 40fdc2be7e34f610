//! Operations in the ledger: one for each run and release, with its outcome.

use chrono::{DateTime, TimeDelta, Utc};

use super::enum_words::words;
use super::ledger::{Entry, LedgerEvent};

/// One operation of a user on a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub run: String,
    pub kind: OperationKind,
    pub release: String,
    pub who: String,
    /// The machine that it was started on.
    pub from: String,
    /// Name and version of the program that did it.
    pub tool: String,
    /// The time at which it began, by the host's clock; if that is not recorded, the time of its
    /// first line.
    pub at: Option<DateTime<Utc>>,
    /// The time from `at` to the last line of the same run.
    pub took: Option<TimeDelta>,
    pub outcome: Outcome,
    /// The reason for its end, if the ledger has one.
    pub reason: Option<String>,
    /// The source revision, if it is known.
    pub revision: Option<String>,
    /// The releases that a deploy deleted afterwards.
    pub pruned: Vec<String>,
}

words! {
    /// The command that an operation was, or a recovery.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum OperationKind {
        /// A release was made, and perhaps activated.
        Deploy = "deploy",
        /// A release was made, to be activated later.
        Stage = "stage",
        /// A release that was staged before was activated.
        Activate = "activate",
        /// A release that was there was activated again.
        Rollback = "rollback",
        Prune = "prune",
        Pin = "pin",
        Unpin = "unpin",
        /// A command was run in the live release.
        Run = "run",
        /// An undecided release was recovered whose activation is not in the ledger.
        Recovery = "settle",
    }
}

words! {
    /// The outcome of an operation.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Outcome {
        /// It was done and, if a release was activated, committed.
        Done = "done",
        /// The release was made and never activated.
        Staged = "staged",
        Undecided = "undecided",
        Reverted = "reverted",
        /// The release could not be made, or not be reverted.
        Failed = "failed",
    }
}

/// Returns the operations in these entries, oldest first. A commit or revert belongs to the
/// activation that is undecided, even if a later run recovered it.
pub fn operations(entries: &[Entry]) -> Vec<Operation> {
    let mut all: Vec<Operation> = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.repeats()) {
        match all.iter_mut().rev().find(|operation| goes_on(operation, entry)) {
            Some(operation) => operation.go_on(entry),
            // The release that a rollback left: its own entry tells of the rollback.
            None if entry.event == LedgerEvent::RolledBack => {}
            None => {
                let staged = is_staged(&all, &entry.release);
                all.push(Operation::begin(entry, staged));
            }
        }
    }
    all
}

/// Returns whether the release was staged and not activated since.
fn is_staged(all: &[Operation], release: &str) -> bool {
    let kinds = [OperationKind::Stage, OperationKind::Activate];
    let about = |it: &&Operation| it.release == release && kinds.contains(&it.kind);
    all.iter().rev().find(about).is_some_and(|it| it.kind == OperationKind::Stage)
}

fn goes_on(operation: &Operation, entry: &Entry) -> bool {
    let waits = matches!(operation.outcome, Outcome::Staged | Outcome::Undecided);
    if entry.event == LedgerEvent::Pruned {
        let makes = [OperationKind::Deploy, OperationKind::Stage, OperationKind::Activate];
        return operation.run == entry.run && makes.contains(&operation.kind);
    }
    operation.release == entry.release
        && waits
        && match entry.event {
            LedgerEvent::Activated | LedgerEvent::Staged => operation.run == entry.run,
            LedgerEvent::Committed | LedgerEvent::Reverted | LedgerEvent::Failed => true,
            _ => false,
        }
}

impl Entry {
    /// Returns the outcome of a command that was run.
    fn ran_well(&self) -> Outcome {
        if self.code.as_deref() == Some("0") { Outcome::Done } else { Outcome::Failed }
    }

    /// Returns the reason for people; that of a command is the command, and how it failed.
    fn told_reason(&self) -> Option<String> {
        match (&self.reason, self.code.as_deref()) {
            (Some(command), Some(code)) if code != "0" => {
                Some(format!("{command}: exited with code {code}"))
            }
            (reason, _) => reason.clone(),
        }
    }
}

impl Operation {
    /// Returns the operation that begins with `entry`. `staged`: an earlier one staged its release.
    fn begin(entry: &Entry, staged: bool) -> Self {
        let (kind, outcome) = match entry.event {
            LedgerEvent::Staged => (OperationKind::Deploy, Outcome::Staged),
            LedgerEvent::Activated if staged => (OperationKind::Activate, Outcome::Undecided),
            LedgerEvent::Activated => (OperationKind::Rollback, Outcome::Undecided),
            LedgerEvent::Committed | LedgerEvent::RolledBack => {
                (OperationKind::Recovery, Outcome::Done)
            }
            LedgerEvent::Reverted => (OperationKind::Recovery, Outcome::Reverted),
            LedgerEvent::Failed if entry.began.is_some() => {
                (OperationKind::Deploy, Outcome::Failed)
            }
            LedgerEvent::Failed => (OperationKind::Recovery, Outcome::Failed),
            LedgerEvent::Pruned => (OperationKind::Prune, Outcome::Done),
            LedgerEvent::Pinned => (OperationKind::Pin, Outcome::Done),
            LedgerEvent::Unpinned => (OperationKind::Unpin, Outcome::Done),
            LedgerEvent::Ran => (OperationKind::Run, entry.ran_well()),
        };
        let at = entry.began();
        let span = at.zip(entry.time()).map(|(begun, now)| now - begun);
        let took = span.filter(|span| entry.began.is_some() && *span >= TimeDelta::zero());
        Self {
            run: entry.run.clone(),
            kind,
            release: entry.release.clone(),
            who: entry.who.clone(),
            from: entry.from.clone(),
            tool: entry.tool.clone(),
            at,
            took,
            outcome,
            reason: entry.told_reason(),
            revision: entry.revision.clone(),
            pruned: Vec::new(),
        }
    }

    fn go_on(&mut self, entry: &Entry) {
        if entry.event == LedgerEvent::Pruned {
            self.pruned.push(entry.release.clone());
            return;
        }
        if entry.expires.is_some() {
            self.kind = OperationKind::Stage;
        }
        self.outcome = match entry.event {
            LedgerEvent::Activated => Outcome::Undecided,
            LedgerEvent::Reverted => Outcome::Reverted,
            LedgerEvent::Failed => Outcome::Failed,
            _ => Outcome::Done,
        };
        self.reason = entry.reason.clone().or_else(|| self.reason.take());
        if self.run == entry.run {
            let span = self.at.zip(entry.time()).map(|(begun, now)| now - begun);
            // A clock that was set back does not tell how long it took.
            self.took = span.filter(|span| *span >= TimeDelta::zero());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"a staged 1"`: run a, event, release; a second later each.
    #[track_caller]
    fn check(lines: &str, expect: &str) {
        let entry = |(second, line): (usize, &str)| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (run, event, release) = (word(), word(), word());
            let text = format!(
                r#"{{"v":1,"event":"{event}","at":"2026-08-22T10:00:{second:02}Z",
                "release":"{release}","run":"{run}","who":"","from":"","tool":""}}"#
            );
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}"))
        };
        let entries: Vec<Entry> = lines.split(", ").enumerate().map(entry).collect();
        let told = |operation: &Operation| {
            let took =
                operation.took.map_or_else(String::new, |took| format!(" {}s", took.num_seconds()));
            let (kind, outcome) = (operation.kind.word(), operation.outcome.word());
            let pruned = if operation.pruned.is_empty() {
                String::new()
            } else {
                format!(" -{}", operation.pruned.join(" -"))
            };
            format!("{} {kind} {} {outcome}{took}{pruned}", operation.run, operation.release)
        };
        assert_eq!(operations(&entries).iter().map(told).collect::<Vec<_>>().join(", "), expect);
    }

    #[test]
    fn ledger_lines_become_operations() {
        check("a staged 1, a activated 1, a committed 1", "a deploy 1 done 2s");
        check("a staged 1, a activated 1, a reverted 1", "a deploy 1 reverted 2s");
        check("a staged 1", "a deploy 1 staged");
        check("a staged 1, a failed 1", "a deploy 1 failed 1s");
        check("b activated 1, b committed 1, b rolled-back 2", "b rollback 1 done 1s");
        check("p pruned 1, p pruned 2", "p prune 1 done, p prune 2 done");
        check("a staged 2, a activated 2, a committed 2, a pruned 1", "a deploy 2 done 2s -1");
        check("p pinned 1, q unpinned 1", "p pin 1 done, q unpin 1 done");
        check("a reverted 1", "a settle 1 reverted");
        check("a staged 1, b ran 1, a activated 1", "a deploy 1 undecided 2s, b run 1 failed");
    }

    #[test]
    fn time_before_the_first_line_counts() {
        let line = |event, second| Entry {
            at: format!("2026-08-22T10:00:{second}Z"),
            began: (event != LedgerEvent::Committed).then(|| "2026-08-22T10:00:01Z".to_owned()),
            ..Entry::new(event, "1")
        };
        let told = |entries: &[Entry]| {
            let all = operations(entries);
            let took = all[0].took.map(|took| took.num_seconds());
            (all.len(), all[0].kind.word(), all[0].outcome.word(), took)
        };
        let deploy = [
            line(LedgerEvent::Staged, 24),
            line(LedgerEvent::Activated, 25),
            line(LedgerEvent::Committed, 26),
        ];
        assert_eq!(told(&deploy), (1, "deploy", "done", Some(25)));
        assert_eq!(told(&deploy[1..]), (1, "rollback", "done", Some(25)));
        assert_eq!(told(&[line(LedgerEvent::Failed, 11)]), (1, "deploy", "failed", Some(10)));
    }

    #[test]
    fn later_run_decides_an_undecided_operation() {
        check(
            "a staged 1, a activated 1, b reverted 1, b staged 2, b activated 2",
            "a deploy 1 reverted 1s, b deploy 2 undecided 1s",
        );
        check(
            "a staged 1, b activated 1, b committed 1",
            "a deploy 1 staged, b rollback 1 done 1s",
        );
    }
}
