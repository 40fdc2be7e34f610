//! `shipit history`: the operations on the hosts, newest first. Hosts that agree share a line.

use std::collections::HashMap;
use std::time::Duration;

use chrono::FixedOffset;
use console::Style;
use serde_json::{Value, json};

use super::clean;
use super::human::{self, list};
use super::json::answer;
use super::styles::Styles;
use super::table::{self, Column};
use crate::model::operations::{Operation, OperationKind, Outcome, operations};
use crate::remote::answer::LedgerTail;

const COLUMNS: [Column; 8] = [
    Column::text("when", 0),
    Column::text("what", 0),
    Column::text("release", 0),
    Column::text("outcome", 0),
    Column::number("took", 1),
    Column::text("who", 4),
    Column::text("hosts", 3),
    Column::prose("reason", 2),
];

/// The options of the table.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The number of operations to show, from the newest; 0 shows all.
    pub limit: usize,
    /// The time zone of the reader.
    pub offset: FixedOffset,
}

/// Returns the operations of all hosts as a table.
pub fn history_table(hosts: &[(String, LedgerTail)], page: Page, styles: &Styles) -> String {
    let all = merged(hosts);
    let shown = limited(page.limit, all.len());
    let rows: Vec<_> = all[..shown]
        .iter()
        .map(|operation| operation.row(hosts.len(), page.offset, styles))
        .collect();
    let mut lines = if rows.is_empty() {
        vec!["no operations yet".to_owned()]
    } else {
        let mut lines = table::render(&COLUMNS, &rows, styles.table_width());
        lines.push(human::zone(page.offset));
        lines
    };
    if shown < all.len() {
        lines.push(format!("{} before these: `--limit 0` shows all", all.len() - shown));
    }
    let more: Vec<_> = hosts.iter().filter(|(_, told)| told.more).map(|(host, _)| host).collect();
    if !more.is_empty() {
        lines.push(format!("the ledger of {} has older lines than are read", list(&more)));
    }
    for (host, told) in hosts.iter().filter(|(_, told)| told.ledger.unreadable() > 0) {
        let count = human::count(told.ledger.unreadable(), "line");
        lines.push(format!("{host}: {count} of the ledger cannot be read"));
    }
    lines.join("\n") + "\n"
}

fn limited(limit: usize, all: usize) -> usize {
    if limit == 0 { all } else { limit.min(all) }
}

/// An operation, and the hosts on which it had the same outcome.
struct Merged<'a> {
    operation: Operation,
    hosts: Vec<&'a str>,
}

/// Merges the operations of all hosts, newest first. Hosts agree if run, release and outcome are
/// equal; the line then has the earliest time and the longest duration.
fn merged(hosts: &[(String, LedgerTail)]) -> Vec<Merged<'_>> {
    let mut all: Vec<Merged<'_>> = Vec::new();
    let mut known = HashMap::new();
    for (host, told) in hosts {
        for operation in together(operations(told.ledger.entries())) {
            let key = (
                operation.run.clone(),
                operation.kind,
                operation.release.clone(),
                operation.outcome,
                operation.reason.clone(),
            );
            let at = *known.entry(key).or_insert(all.len());
            match all.get_mut(at) {
                Some(merged) => merged.take(host, &operation),
                None => all.push(Merged { operation, hosts: vec![host] }),
            }
        }
    }
    // If times are equal, the order of the host's ledger is kept.
    all.reverse();
    all.sort_by_key(|merged| std::cmp::Reverse(merged.operation.at));
    all
}

/// Returns the operations of one host, with all releases that one prune deleted as one.
fn together(operations: Vec<Operation>) -> Vec<Operation> {
    let mut all: Vec<Operation> = Vec::new();
    for operation in operations {
        let prunes = |known: &&mut Operation| {
            known.kind == OperationKind::Prune && known.run == operation.run
        };
        match all.last_mut().filter(|_| operation.kind == OperationKind::Prune).filter(prunes) {
            Some(known) => known.release = format!("{} {}", known.release, operation.release),
            None => all.push(operation),
        }
    }
    all
}

impl<'a> Merged<'a> {
    /// Returns the release's id, or the number of releases that one prune deleted.
    fn release(&self) -> String {
        match self.operation.release.split(' ').count() {
            1 => clean::line(&self.operation.release),
            several => human::count(several, "release"),
        }
    }

    fn take(&mut self, host: &'a str, operation: &Operation) {
        if !self.hosts.contains(&host) {
            self.hosts.push(host);
        }
        self.operation.at = self.operation.at.min(operation.at);
        self.operation.took = self.operation.took.max(operation.took);
    }

    fn row(&self, of: usize, offset: FixedOffset, styles: &Styles) -> Vec<String> {
        let operation = &self.operation;
        let hosts = match self.hosts.len() {
            _ if of == 1 => String::new(),
            some if some == of => "all".to_owned(),
            _ => list(&self.hosts),
        };
        vec![
            operation.at.map_or_else(|| "?".to_owned(), |at| human::local(at, offset)),
            operation.kind.word().to_owned(),
            self.release(),
            outcome_style(operation.outcome, styles).apply_to(operation.outcome.word()).to_string(),
            operation.took.and_then(|took| took.to_std().ok()).map_or_else(String::new, seconds),
            clean::line(&operation.who),
            hosts,
            operation.reason.as_deref().map_or_else(String::new, clean::line),
        ]
    }
}

fn outcome_style(outcome: Outcome, styles: &Styles) -> &Style {
    match outcome {
        Outcome::Done => &styles.good,
        Outcome::Staged => &styles.dim,
        Outcome::Undecided => &styles.warn,
        Outcome::Reverted | Outcome::Failed => &styles.bad,
    }
}

/// Formats a duration; ledgers have whole seconds.
fn seconds(took: Duration) -> String {
    match took.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => human::duration(took),
    }
}

/// Returns the operations as JSON: host by host, nothing merged.
pub fn history_json(hosts: &[(String, LedgerTail)], stage: &str, limit: usize) -> Value {
    let host = |(host, told): &(String, LedgerTail)| {
        let all = operations(told.ledger.entries());
        let shown = limited(limit, all.len());
        json!({
            "host": host,
            "deeds": all.iter().rev().take(shown).map(operation_json).collect::<Value>(),
            "truncated": told.more,
            "unreadable_ledger_lines": told.ledger.unreadable(),
        })
    };
    answer(json!({ "stage": stage, "hosts": hosts.iter().map(host).collect::<Value>() }))
}

fn operation_json(operation: &Operation) -> Value {
    json!({
        "run": operation.run,
        "what": operation.kind.word(),
        "release": operation.release,
        "outcome": operation.outcome.word(),
        "reason": operation.reason,
        "at": operation.at.map(|at| at.to_rfc3339()),
        "took": operation.took.map(|took| took.num_seconds()),
        "who": operation.who,
        "from": operation.from,
        "tool": operation.tool,
        "pruned": operation.pruned,
        "revision": operation.revision,
    })
}
