//! Ledgers, and looks at hosts that have them.

use shipit::model::host_state::HostState;
use shipit::model::ledger::{Entry, LedgerEvent};
use shipit::remote::answer::host_state;

/// Release `n`: the minute of that number.
pub(crate) fn id(n: usize) -> String {
    format!("2026082109{n:02}00")
}

/// Lines as the program writes them, from words such as `1 staged` and `3 rolled-back 2`: of a
/// rollback to 2.
pub(crate) fn lines(story: &[&str]) -> Vec<String> {
    let line = |words: &&str| {
        let words: Vec<_> = words.split(' ').collect();
        let what: LedgerEvent = serde_json::from_value(words[1].into()).unwrap();
        let number: usize = words[0].parse().unwrap();
        let other = words.get(2).map(|n| id(n.parse().unwrap()));
        let entry = Entry {
            at: format!("2026-08-21T09:{number:02}:00Z"),
            run: format!("run{number:013}"),
            who: "ada".to_owned(),
            from: "laptop".to_owned(),
            tool: "shipit 0.1.0".to_owned(),
            ..Entry::new(what, &id(number))
        };
        let entry = match (what, other) {
            (LedgerEvent::Activated, other) => {
                let back = other.map(|id| format!("releases/{id}")).unwrap_or_default();
                Entry { back: Some(back), ..entry }
            }
            (LedgerEvent::RolledBack, Some(to)) => {
                Entry { reason: Entry::rolled_back_to(to.parse().unwrap()), ..entry }
            }
            (_, reason) => Entry { reason, ..entry },
        };
        serde_json::to_string(&entry.summed()).unwrap()
    };
    story.iter().map(line).collect()
}

/// Returns the state of a host with releases 1 to `releases`, all made by this program.
pub(crate) fn looked(releases: usize, live: usize, ledger: &[&str]) -> HostState {
    let mut text = format!("clock 1800000000\ncurrent releases/{}\n", id(live));
    text.extend((1..=releases).map(|n| format!("release {0}\nmade {0}\n", id(n))));
    text.extend(ledger.iter().map(|line| format!("ledger {line}\n")));
    host_state(&text)
}
