//! The table of docs/faults.md.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use shipit::deploy::outcome::Report;
use shipit::report::styles::Styles;
use shipit::report::{Verbosity, summary};

/// One fault in one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) fault: String,
    pub(crate) exit: String,
    pub(crate) says: String,
    pub(crate) live: String,
    pub(crate) test: String,
}

pub(crate) static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    fs::read_to_string(path).unwrap().lines().filter_map(Row::parse).collect()
});

impl Row {
    /// A line of a table that is neither its head nor the rule below it.
    pub(crate) fn parse(source: &str) -> Option<Self> {
        let inner = source.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<_> = inner.split(" | ").map(str::to_owned).collect();
        let [fault, exit, says, live, test] = cells.try_into().ok()?;
        (exit != "exit").then_some(Self { fault, exit, says, live, test })
    }

    /// Returns whether the row agrees with `seen`. Both texts of a race are listed, with ` / `.
    pub(crate) fn tells(&self, seen: &Self) -> bool {
        let says = self.says.split(" / ").find(|says| *says == seen.says).unwrap_or_default();
        *seen == Self { says: says.to_owned(), ..self.clone() }
    }

    pub(crate) fn line(&self) -> String {
        [&self.fault, &self.exit, &self.says, &self.live, &self.test]
            .map(|cell| format!("| {cell} "))
            .concat()
            + "|"
    }
}

/// The row about `fault` tells what `report` tells and which versions are live.
pub(crate) fn agrees(test: &str, fault: &str, report: &Report, live: &[String]) {
    let seen = Row {
        fault: fault.to_owned(),
        exit: report.verdict().exit_code().to_string(),
        says: first_line(report),
        live: live.iter().map(|version| age(version)).collect::<Vec<_>>().join(", "),
        test: format!("`{test}`"),
    };
    let known = ROWS.iter().any(|row| row.tells(&seen));
    assert!(known, "docs/faults.md does not say:\n{}", seen.line());
}

pub(crate) fn age(version: &str) -> &str {
    match version {
        "2" => "new",
        "1" => "old",
        _ => "earlier",
    }
}

/// Returns the first line of the summary, with ages in place of release ids.
pub(crate) fn first_line(report: &Report) -> String {
    let text = summary::text(&Styles::plain(), report, Verbosity::Normal);
    let first = text.lines().next().unwrap().split(';').next().unwrap();
    let ids = [
        ("20260821090004", "NEW"),
        ("20260821090003", "OLD"),
        ("20260821090002", "EARLIER"),
        ("20260821090001", "OLDEST"),
    ];
    ids.iter().fold(first.to_owned(), |line, (id, age)| line.replace(id, age))
}
