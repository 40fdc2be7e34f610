//! The ledger's lines put together to what was done: one deed a run and release, with its outcome.

use chrono::{DateTime, TimeDelta, Utc};

use super::ledger::{Entry, What};

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// In which run.
    pub run: String,
    /// What it was.
    pub kind: Kind,
    /// To which release.
    pub release: String,
    /// By whom.
    pub who: String,
    /// From which machine.
    pub from: String,
    /// By which version of this program.
    pub tool: String,
    /// When it began, by the host's clock: when its first line was written, where that is all that is
    /// told.
    pub at: Option<DateTime<Utc>>,
    /// From then to its last line of the same run.
    pub took: Option<TimeDelta>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, where the ledger says so.
    pub reason: Option<String>,
    /// The source revision, where one is known.
    pub revision: Option<String>,
    /// What a deploy deleted afterwards.
    pub pruned: Vec<String>,
}

/// What a deed was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A release was made, and perhaps made live.
    Deploy,
    /// A release that was there was made live again.
    Rollback,
    /// A release was deleted.
    Prune,
    /// A release was pinned.
    Pin,
    /// A release was unpinned.
    Unpin,
    /// A verdict whose activation the ledger does not show.
    Settle,
}

impl Kind {
    /// One word, for people and machines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Prune => "prune",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Settle => "settle",
        }
    }
}

/// What came of a deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done, and shown to run where that was to be shown.
    Done,
    /// The release was made and never made live.
    Staged,
    /// It is live or about to be, without a verdict.
    Undecided,
    /// It was taken back.
    Reverted,
    /// It could not be made, or not be taken back.
    Failed,
}

impl Outcome {
    /// One word, for people and machines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Staged => "staged",
            Self::Undecided => "undecided",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
        }
    }
}

/// The deeds that these lines tell of, oldest first. A verdict belongs to the activation that waits
/// for one, also when a later run settled it.
pub fn deeds(entries: &[Entry]) -> Vec<Deed> {
    let mut all: Vec<Deed> = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.repeats()) {
        match all.iter_mut().rev().find(|deed| goes_on(deed, entry)) {
            Some(deed) => deed.go_on(entry),
            // The release that a rollback left: told by the rollback itself.
            None if entry.event == What::RolledBack => {}
            None => all.push(Deed::begin(entry)),
        }
    }
    all
}

fn goes_on(deed: &Deed, entry: &Entry) -> bool {
    let waits = matches!(deed.outcome, Outcome::Staged | Outcome::Undecided);
    if entry.event == What::Pruned {
        return deed.run == entry.run && deed.kind == Kind::Deploy;
    }
    deed.release == entry.release
        && waits
        && match entry.event {
            What::Activated => deed.run == entry.run,
            What::Committed | What::Reverted | What::Failed => true,
            _ => false,
        }
}

impl Deed {
    fn begin(entry: &Entry) -> Self {
        let (kind, outcome) = match entry.event {
            What::Staged => (Kind::Deploy, Outcome::Staged),
            What::Activated => (Kind::Rollback, Outcome::Undecided),
            What::Committed | What::RolledBack => (Kind::Settle, Outcome::Done),
            What::Reverted => (Kind::Settle, Outcome::Reverted),
            What::Failed if entry.began.is_some() => (Kind::Deploy, Outcome::Failed),
            What::Failed => (Kind::Settle, Outcome::Failed),
            What::Pruned => (Kind::Prune, Outcome::Done),
            What::Pinned => (Kind::Pin, Outcome::Done),
            What::Unpinned => (Kind::Unpin, Outcome::Done),
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
            reason: entry.reason.clone(),
            revision: entry.revision.clone(),
            pruned: Vec::new(),
        }
    }

    fn go_on(&mut self, entry: &Entry) {
        if entry.event == What::Pruned {
            self.pruned.push(entry.release.clone());
            return;
        }
        self.outcome = match entry.event {
            What::Activated => Outcome::Undecided,
            What::Reverted => Outcome::Reverted,
            What::Failed => Outcome::Failed,
            _ => Outcome::Done,
        };
        self.reason = entry.reason.clone().or_else(|| self.reason.take());
        if self.run == entry.run {
            let span = self.at.zip(entry.time()).map(|(begun, now)| now - begun);
            // A clock that was set back says nothing of how long it took.
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
        let told = |deed: &Deed| {
            let took =
                deed.took.map_or_else(String::new, |took| format!(" {}s", took.num_seconds()));
            let (kind, outcome) = (deed.kind.word(), deed.outcome.word());
            let pruned = if deed.pruned.is_empty() {
                String::new()
            } else {
                format!(" -{}", deed.pruned.join(" -"))
            };
            format!("{} {kind} {} {outcome}{took}{pruned}", deed.run, deed.release)
        };
        assert_eq!(deeds(&entries).iter().map(told).collect::<Vec<_>>().join(", "), expect);
    }

    #[test]
    fn lines_become_deeds() {
        check("a staged 1, a activated 1, a committed 1", "a deploy 1 done 2s");
        check("a staged 1, a activated 1, a reverted 1", "a deploy 1 reverted 2s");
        check("a staged 1", "a deploy 1 staged");
        check("a staged 1, a failed 1", "a deploy 1 failed 1s");
        check("b activated 1, b committed 1, b rolled-back 2", "b rollback 1 done 1s");
        check("p pruned 1, p pruned 2", "p prune 1 done, p prune 2 done");
        check("a staged 2, a activated 2, a committed 2, a pruned 1", "a deploy 2 done 2s -1");
        check("p pinned 1, q unpinned 1", "p pin 1 done, q unpin 1 done");
        check("a reverted 1", "a settle 1 reverted");
    }

    #[test]
    fn what_comes_before_the_first_line_counts() {
        let line = |event, second| Entry {
            at: format!("2026-08-22T10:00:{second}Z"),
            began: (event != What::Committed).then(|| "2026-08-22T10:00:01Z".to_owned()),
            ..Entry::new(event, "1")
        };
        let told = |entries: &[Entry]| {
            let all = deeds(entries);
            let took = all[0].took.map(|took| took.num_seconds());
            (all.len(), all[0].kind.word(), all[0].outcome.word(), took)
        };
        let deploy = [line(What::Staged, 24), line(What::Activated, 25), line(What::Committed, 26)];
        assert_eq!(told(&deploy), (1, "deploy", "done", Some(25)));
        assert_eq!(told(&deploy[1..]), (1, "rollback", "done", Some(25)));
        assert_eq!(told(&[line(What::Failed, 11)]), (1, "deploy", "failed", Some(10)));
    }

    #[test]
    fn a_later_run_settles_what_waits() {
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
