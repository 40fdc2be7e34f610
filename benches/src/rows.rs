//! The rows of the benchmark.

use anyhow::Result;
use regex_lite::Regex;

use crate::data::Data;

/// The work that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A deploy of `a` to a host that has nothing.
    First,
    /// A deploy of `b` where `a` is live.
    Redeploy,
    /// Back to `a` where `b` is live.
    Rollback,
}

/// One line of the table, for all its tools.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) data: Data,
    pub(crate) action: Action,
    /// The round trip of the link, in milliseconds.
    pub(crate) rtt: u32,
    /// The rate of the link in each direction, in Mbit/s; 0: unlimited.
    pub(crate) mbit: u32,
    pub(crate) hosts: usize,
    /// Over a connection that lives before the clock starts.
    pub(crate) master: bool,
    pub(crate) tools: Vec<&'static str>,
}

const ALL: &[&str] =
    &["shipit", "tarpipe", "tarpipe-check", "rsync", "rsync-z", "scp", "capistrano"];
const FLEET: &[&str] = &["shipit", "tarpipe", "tarpipe-check", "rsync", "capistrano"];
const BYTES: &[&str] = &["shipit", "tarpipe", "rsync", "rsync-z", "capistrano"];
const BACK: &[&str] = &["shipit", "tarpipe", "rsync", "capistrano"];
const WARM: &[&str] = &["shipit", "tarpipe", "tarpipe-check", "rsync"];
const PIPES: &[&str] = &["shipit", "tarpipe", "ssh-cat", "scp-file"];

/// The name of an earlier build of shipit, measured beside the new one.
pub(crate) const BEFORE: &str = "shipit-before";

/// The guarantees of a tool about its releases when it succeeds.
pub(crate) fn checks(tool: &str) -> &'static str {
    match tool {
        "shipit" | BEFORE => "SHA-256, sync, undo",
        "tarpipe-check" => "SHA-256, sync",
        _ => "nothing",
    }
}

impl Row {
    /// A row at 0 ms, to one host, at full rate.
    fn new(name: &str, title: &str, data: Data, action: Action, tools: &[&'static str]) -> Self {
        let (name, title, tools) = (name.to_owned(), title.to_owned(), tools.to_vec());
        Self { name, title, data, action, rtt: 0, mbit: 0, hosts: 1, master: false, tools }
    }

    fn to(self, hosts: usize) -> Self {
        Self { hosts, ..self }
    }

    fn over(self, rtt: u32, mbit: u32) -> Self {
        Self { rtt, mbit, ..self }
    }

    fn warm(self) -> Self {
        Self { master: true, ..self }
    }
}

/// Every row, as docs/performance.md shows them.
#[rustfmt::skip]
pub(crate) fn all() -> Vec<Row> {
    use Action::{First, Redeploy, Rollback};
    use Data::{Big, Noise, Program, Tiny, Tree};
    vec![
        Row::new("tiny-0", "10 files, 100 KB, 2 changed; 0 ms", Tiny, Redeploy, ALL),
        Row::new("tiny-50", "10 files, 100 KB, 2 changed; 50 ms", Tiny, Redeploy, ALL).over(50, 0),
        Row::new("warm-0", "10 files, 100 KB, 2 changed, over a living ControlMaster; 0 ms", Tiny, Redeploy, WARM).warm(),
        Row::new("warm-50", "10 files, 100 KB, 2 changed, over a living ControlMaster; 50 ms", Tiny, Redeploy, WARM).warm().over(50, 0),
        Row::new("tiny-10-hosts", "10 files, 100 KB, 2 changed, 10 hosts; 0 ms", Tiny, Redeploy, FLEET).to(10),
        Row::new("tiny-50-hosts", "10 files, 100 KB, 2 changed, 50 hosts; 0 ms", Tiny, Redeploy, FLEET).to(50),
        Row::new("tree-first-0", "5,000 files, 60 MB, first deploy; 0 ms", Tree, First, ALL),
        Row::new("tree-first-50", "5,000 files, 60 MB, first deploy; 50 ms", Tree, First, ALL).over(50, 0),
        Row::new("tree-changed-0", "5,000 files, 60 MB, 1 % changed; 0 ms", Tree, Redeploy, ALL),
        Row::new("tree-changed-50", "5,000 files, 60 MB, 1 % changed; 50 ms", Tree, Redeploy, ALL).over(50, 0),
        Row::new("big-50-100", "one file of 200 MB, 2 % changed; 50 ms, 100 Mbit/s", Big, Redeploy, BYTES).over(50, 100),
        Row::new("program-50-100", "a program, relinked; 50 ms, 100 Mbit/s", Program, Redeploy, BYTES).over(50, 100),
        Row::new("rollback-0", "rollback; 0 ms", Tiny, Rollback, BACK),
        Row::new("rollback-50", "rollback; 50 ms", Tiny, Rollback, BACK).over(50, 0),
        Row::new("noise-1000-0", "1 GB that cannot be compressed; 0 ms", Noise(1000), First, PIPES),
        Row::new("noise-256-50", "256 MB that cannot be compressed; 50 ms", Noise(256), First, PIPES).over(50, 0),
    ]
}

/// One run to each number of hosts. A thousand `ssh` at once are more than an sshd's queue of
/// connections holds; nobody would do so.
pub(crate) fn many(counts: &[usize]) -> Vec<Row> {
    let row = |&hosts: &usize| {
        let title = format!("10 files, 100 KB, 2 changed, to {hosts} addresses; 0 ms");
        let tools: &[_] = if hosts > 300 { &["shipit"] } else { &["shipit", "tarpipe"] };
        Row::new(&format!("hosts-{hosts}"), &title, Data::Tiny, Action::Redeploy, tools).to(hosts)
    };
    counts.iter().map(row).collect()
}

/// These rows, each that shipit is in with its earlier build right behind it.
pub(crate) fn with_before(mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        if let Some(at) = row.tools.iter().position(|tool| *tool == "shipit") {
            row.tools.insert(at + 1, BEFORE);
        }
    }
    rows
}

/// Those whose name matches, with those of their tools whose name matches.
pub(crate) fn chosen(all: Vec<Row>, rows: &str, tools: &str) -> Result<Vec<Row>> {
    let (rows, tools) = (Regex::new(rows)?, Regex::new(tools)?);
    let chosen = all.into_iter().filter(|row| rows.is_match(&row.name)).map(|mut row| {
        row.tools.retain(|tool| tools.is_match(tool));
        row
    });
    Ok(chosen.filter(|row| !row.tools.is_empty()).collect())
}
