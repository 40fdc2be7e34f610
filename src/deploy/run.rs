//! One run of the program, and what it writes into the ledgers of hosts.

use chrono::{DateTime, Utc};

use crate::model::ledger::{Entry, LedgerEvent, REASON};
use crate::remote::order::Record;

/// One run of the program, as hosts get to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The id of the run: 16 lower-case letters and digits. It also marks the frames of responses.
    pub nonce: String,
    /// The start of the run, by this machine's clock.
    pub now: DateTime<Utc>,
    /// The user who started it.
    pub who: String,
    /// The name of this machine.
    pub from: String,
    /// Name and version of this program: `shipit 0.1.0`.
    pub tool: String,
    /// The command, for the record of the lock: `deploy production`.
    pub command: String,
}

impl Run {
    /// Returns the record of the run lock, without the time, which the host adds.
    pub fn owner(&self) -> String {
        format!("{} on {} ({}, run {})", self.who, self.from, self.command, self.nonce)
    }

    /// Returns a ledger entry of this run about `release`, without the time, which the host adds.
    pub fn entry(&self, event: LedgerEvent, release: &str) -> Entry {
        Entry {
            run: self.nonce.clone(),
            who: self.who.clone(),
            from: self.from.clone(),
            tool: self.tool.clone(),
            ..Entry::new(event, release)
        }
    }

    /// Returns a record about `release` whose reason the agent fills in.
    pub fn reasoned(&self, event: LedgerEvent, release: &str, note: String) -> Record {
        let entry = Entry { reason: Some(REASON.to_owned()), ..self.entry(event, release) };
        record(&entry, note)
    }
}

/// Returns what the agent appends to the ledger for `entry`, with `note` for `revisions.log`.
pub fn record(entry: &Entry, note: String) -> Record {
    let entry = entry.clone().summed();
    Record { line: entry.line(), note }
}
