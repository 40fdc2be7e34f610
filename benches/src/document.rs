//! Puts results into docs/performance.md and the plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::plot;
use crate::run::Record;
use crate::table::{self, Median};

type Picture = fn(&[Median]) -> String;

const DOCUMENT: &str = "docs/performance.md";

/// Reads results and rewrites what the document shows of them.
pub(crate) fn rewrite(results: &[PathBuf]) -> Result<()> {
    let (mut records, mut about) = (Vec::new(), Vec::new());
    for path in results {
        read(path, &mut records, &mut about)?;
    }
    let medians = table::medians(&records);
    let (many, rows): (Vec<_>, Vec<_>) =
        medians.into_iter().partition(|m| m.row.starts_with("hosts-"));
    let mut text = about.join("\n");
    text.push_str("\n\n");
    let pictures: [(_, _, Picture); 2] =
        [("performance", rows, plot::bars), ("hosts", many, plot::curves)];
    for (name, medians, picture) in pictures {
        if !medians.is_empty() {
            fs::write(format!("docs/{name}.svg"), picture(&medians))?;
            let _ = writeln!(text, "![{name}]({name}.svg)\n");
        }
    }
    text += &table::tables(&records);
    let document = fs::read_to_string(DOCUMENT)?;
    Ok(fs::write(DOCUMENT, between(&document, "results", text.trim_end())?)?)
}

fn read(path: &Path, records: &mut Vec<Record>, about: &mut Vec<String>) -> Result<()> {
    let text =
        fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        match value.get("about").and_then(serde_json::Value::as_object) {
            Some(facts) => {
                let facts = facts.iter().map(|(name, fact)| {
                    format!("{name}: {}", fact.to_string().trim_matches('"').trim())
                });
                let line = format!("* {}", facts.collect::<Vec<_>>().join("; "));
                if !about.contains(&line) {
                    about.push(line);
                }
            }
            None => records.push(serde_json::from_value(value)?),
        }
    }
    Ok(())
}

/// The document with other text between two markers.
fn between(document: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let (before, rest) =
        document.split_once(&begin).with_context(|| format!("no {begin} in {DOCUMENT}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end} in {DOCUMENT}"))?;
    Ok(format!("{before}{begin}\n{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = "a\n<!-- begin results -->\nold\n<!-- end results -->\nb\n";
        let again = between(document, "results", "new").ok();
        assert_eq!(again, Some(document.replace("old", "new")));
        assert!(between("a", "results", "new").is_err());
    }
}
