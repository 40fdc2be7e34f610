//! docs/faults.md: what a row says is what happens, and the tests that it names are there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::fault_table::ROWS;

#[test]
fn every_named_test_exists() {
    for row in ROWS.iter() {
        let name = row.test.trim_matches('`');
        let (module, function) = name.rsplit_once("::").unwrap_or_else(|| panic!("{row:?}"));
        let found = sources(module).iter().any(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let before: Vec<_> = text.split(&format!("fn {function}(")).collect();
            before.len() == 2 && is_test(before[0])
        });
        assert!(found, "docs/faults.md names a test that is not there: {name}");
    }
}

/// Returns whether a function that follows this text is a test.
fn is_test(before: &str) -> bool {
    let near = before.rsplit("\n\n").next().unwrap();
    near.contains("test") || near.contains("under_every_shell!")
}

/// The files that may hold a module such as `fleet::story` or, of `cargo test`, `faults::links`.
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
fn every_row_keeps_a_whole_release_and_claims_no_more() {
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
