//! docs/faults.md: what a row says is what happens, and the tests that it names are there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use shipit::deploy::outcome::Report;
use shipit::report::styles::Styles;
use shipit::report::{Verbosity, summary};

/// One fault in one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    fault: String,
    exit: String,
    says: String,
    live: String,
    test: String,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    fs::read_to_string(path).unwrap().lines().filter_map(Row::parse).collect()
});

impl Row {
    /// A line of a table that is neither its head nor the rule below it.
    fn parse(source: &str) -> Option<Self> {
        let inner = source.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<_> = inner.split(" | ").map(str::to_owned).collect();
        let [fault, exit, says, live, test] = cells.try_into().ok()?;
        (exit != "exit").then_some(Self { fault, exit, says, live, test })
    }

    /// Whether it tells of what was seen; where two things race, it has both, with ` / ` between.
    fn tells(&self, seen: &Self) -> bool {
        let says = self.says.split(" / ").find(|says| *says == seen.says).unwrap_or_default();
        *seen == Self { says: says.to_owned(), ..self.clone() }
    }

    fn line(&self) -> String {
        [&self.fault, &self.exit, &self.says, &self.live, &self.test]
            .map(|cell| format!("| {cell} "))
            .concat()
            + "|"
    }
}

/// The row about `fault` tells what `report` tells and which versions are live.
pub(super) fn agrees(test: &str, fault: &str, report: &Report, live: &[String]) {
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

fn age(version: &str) -> &str {
    match version {
        "2" => "new",
        "1" => "old",
        _ => "earlier",
    }
}

/// What shipit says first, of what comes last; releases by their ages.
fn first_line(report: &Report) -> String {
    let mut out = Vec::new();
    summary::print(&mut out, &Styles::plain(), report, Verbosity::Normal).unwrap();
    let text = String::from_utf8(out).unwrap();
    let first = text.lines().next().unwrap().split(';').next().unwrap();
    let ids = [
        ("20260821090004", "NEW"),
        ("20260821090003", "OLD"),
        ("20260821090002", "EARLIER"),
        ("20260821090001", "OLDEST"),
    ];
    ids.iter().fold(first.to_owned(), |line, (id, age)| line.replace(id, age))
}

#[test]
fn every_test_it_names_is_there() {
    for row in ROWS.iter() {
        let name = row.test.trim_matches('`');
        let (module, function) = name.rsplit_once("::").unwrap_or_else(|| panic!("{row:?}"));
        let found = sources(module).iter().any(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let before: Vec<_> = text.split(&format!("fn {function}(")).collect();
            before.len() == 2 && before[0].rsplit("\n\n").next().unwrap().contains("test")
        });
        assert!(found, "docs/faults.md names a test that is not there: {name}");
    }
}

/// Where a module of the tests may be: `fleet::story` or, of `cargo test`, `faults::wires`.
fn sources(module: &str) -> [PathBuf; 3] {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let path = module.replace("::", "/");
    [
        tests.join(format!("{path}.rs")),
        tests.join(format!("it/{path}.rs")),
        tests.join(format!("it/{path}/mod.rs")),
    ]
}

/// The promises that hold for all rows.
#[test]
fn no_row_leaves_a_host_without_a_release_or_calls_less_than_all_done() {
    assert!(ROWS.len() >= 60, "{} rows", ROWS.len());
    let whole = ["new", "old", "earlier", "old or new", "earlier or old", "nothing as before"];
    for row in ROWS.iter() {
        let asked_for = match row.fault.split([' ', ',', ':']).next().unwrap() {
            "rollback" => "earlier",
            "prune" => "old",
            _ => "new",
        };
        for live in row.live.split(", ") {
            assert!(whole.contains(&live), "{}", row.line());
            assert!(row.exit != "0" || live == asked_for, "{}", row.line());
        }
        let first = row.fault.starts_with("first ");
        assert!(first || row.live != "nothing as before", "{}", row.line());
        assert!(row.exit != "0" || !row.says.starts_with("error"), "{}", row.line());
    }
}
