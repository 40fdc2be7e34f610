//! The findings of `check` as text and JSON: problems last; everything but `ok` ends in a fix.

use serde_json::{Value, json};

use super::human::{count, group_by, hanging, list};
use super::json::answer;
use super::styles::Styles;
use super::{clean, words};
use crate::deploy::check::{Finding, Level};

/// Columns of a finding's level.
const LABEL: usize = 9;

/// Returns the findings as text, with equal findings of several hosts on one line.
pub fn check_view(findings: &[Finding], styles: &Styles) -> String {
    let key = |finding: &Finding| (finding.level, clean::line(&finding.text), finding.fix.clone());
    let mut groups = group_by(findings.iter().map(|f| (f.host.as_deref(), key(f))));
    groups.sort_by_key(|((level, ..), _)| *level);
    let levels: Vec<_> = groups.iter().map(|((level, ..), _)| *level).collect();
    let mut lines = Vec::new();
    for ((level, what, fix), hosts) in groups {
        let hosts: Vec<_> = hosts.into_iter().flatten().collect();
        let what = words::about(&list(&hosts), &what);
        lines.extend(hanging(&label(level, styles), LABEL, &what, styles.width));
        let fix = fix.or_else(|| (level > Level::Ok).then(|| "none is known".to_owned()));
        let label = format!("{:LABEL$}fix:", "");
        let rows = fix.iter().flat_map(|fix| {
            hanging(&label, LABEL + "fix: ".len(), &clean::line(fix), styles.width)
        });
        lines.extend(rows.map(|row| styles.hint.apply_to(row).to_string()));
    }
    lines.push(total(&levels));
    lines.join("\n") + "\n"
}

fn label(level: Level, styles: &Styles) -> String {
    let (style, word) = match level {
        Level::Ok => (&styles.good, "ok"),
        Level::Warning => (&styles.warn, "warning"),
        Level::Problem => (&styles.bad, "problem"),
    };
    style.apply_to(format!("{word:8}")).to_string()
}

/// Returns the number of findings of each level, as printed.
fn total(levels: &[Level]) -> String {
    let of = |level| levels.iter().filter(|found| **found == level).count();
    let (warnings, problems) = (of(Level::Warning), of(Level::Problem));
    let verdict = match problems {
        0 => "a deploy would work",
        _ => "a deploy would not work",
    };
    let (warnings, problems) = (count(warnings, "warning"), count(problems, "problem"));
    format!("{verdict}: {} ok, {warnings}, {problems}", of(Level::Ok))
}

/// Returns the findings as JSON.
pub fn check_json(findings: &[Finding]) -> Value {
    let works = findings.iter().all(|finding| finding.level < Level::Problem);
    answer(json!({ "works": works, "findings": findings }))
}
