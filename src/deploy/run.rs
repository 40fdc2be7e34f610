//! One run of the program, and what it writes into the ledgers of hosts.

use chrono::{DateTime, Utc};

use crate::model::ledger::{Entry, LedgerEvent, REASON};
use crate::remote::order::Record;

/// One run of the program, as hosts get to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Unique: lower-case letters and digits, 16 of them. Also marks the frames of its answers.
    pub nonce: String,
    /// When it began, by this machine's clock.
    pub now: DateTime<Utc>,
    /// Who started it.
    pub who: String,
    /// On which machine.
    pub from: String,
    /// `shipit 0.1.0`.
    pub tool: String,
    /// What was asked for, for the lock's owner record: `deploy production`.
    pub command: String,
}

impl Run {
    /// The owner record of the lock, less the time, which the host adds.
    pub fn owner(&self) -> String {
        format!("{} on {} ({}, run {})", self.who, self.from, self.command, self.nonce)
    }

    /// A ledger line of this run about `release`, its time left to the host.
    pub fn entry(&self, event: LedgerEvent, release: &str) -> Entry {
        Entry {
            run: self.nonce.clone(),
            who: self.who.clone(),
            from: self.from.clone(),
            tool: self.tool.clone(),
            ..Entry::new(event, release)
        }
    }

    /// A record about `release` whose reason the agent fills in.
    pub fn reasoned(&self, event: LedgerEvent, release: &str, note: String) -> Record {
        let entry = Entry { reason: Some(REASON.to_owned()), ..self.entry(event, release) };
        record(&entry, note)
    }
}

/// Returns what the agent appends to the ledger for `entry`, with `note` for `revisions.log`.
pub fn record(entry: &Entry, note: String) -> Record {
    let entry = entry.clone().summed();
    Record { line: serde_json::to_string(&entry).unwrap_or_default(), note }
}
