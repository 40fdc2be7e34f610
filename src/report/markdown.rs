//! The report as Markdown, for the page of a job.

use super::{summary, words};
use crate::deploy::outcome::{HostResult, Report};
use crate::model::id::ReleaseId;
use crate::model::service::Proof;

/// Problems, and warnings. GitHub shows at most ten annotations of a kind for each step.
pub(super) const MOST: usize = 10;
/// Rows of hosts; a job's page has a limit of 1 MiB.
const MOST_HOSTS: usize = 1_000;

/// Returns the report: what was done, a table of hosts, and what failed.
pub fn markdown(report: &Report, digest: Option<&str>) -> String {
    let word = report.verdict().word();
    let mut parts = vec![format!("### shipit {} {}: {word}\n\n", report.goal, cell(&report.stage))];
    if let Some(id) = report.release {
        let digest = digest.map(|digest| format!(", digest `{}`", cell(digest)));
        parts.push(format!("Release `{id}`{}\n\n", digest.unwrap_or_default()));
    }
    parts.push("| host | result | live | proof |\n|---|---|---|---|\n".to_owned());
    parts.extend(report.hosts.iter().take(MOST_HOSTS).map(|(host, result)| row(host, result)));
    if let Some(more @ 1..) = report.hosts.len().checked_sub(MOST_HOSTS) {
        parts.push(format!("| and {more} more | | | |\n"));
    }
    for problem in summary::problems(report).iter().take(MOST) {
        parts.push(format!("\n**{}**\n\n", cell(&problem.headline())));
        parts.push(code(problem.failure.cause.iter().flat_map(|cause| cause.lines())));
        let hint = problem.failure.hint.iter();
        parts.extend(hint.map(|hint| format!("hint: {}\n", cell(hint))));
    }
    parts.extend(summary::state(report).map(|state| format!("\nstate: {}\n", cell(&state))));
    let warnings = report.warnings.iter().take(MOST);
    parts.extend(warnings.map(|(host, text)| {
        let line = words::about(host.as_deref().unwrap_or_default(), text);
        format!("\nwarning: {}\n", cell(&line))
    }));
    parts.push("\n".to_owned());
    parts.concat()
}

fn row(host: &str, result: &HostResult) -> String {
    let id = |id: &Option<ReleaseId>| id.map(|id| id.to_string()).unwrap_or_default();
    let (word, live, proof) = match result {
        HostResult::Done(done) => ("done", id(&done.live), done.proof().map(Proof::word)),
        HostResult::Unchanged { live } => ("unchanged", id(live), None),
        HostResult::Untouched { live, .. } => ("untouched", live.clone().unwrap_or_default(), None),
        HostResult::Skipped { .. } => ("skipped", String::new(), None),
        HostResult::Reverted { live, .. } => ("reverted", live.clone(), None),
        HostResult::Locked { .. } => ("locked", String::new(), None),
        HostResult::Stuck { .. } => ("needs attention", String::new(), None),
        HostResult::Unknown { .. } => ("unknown", String::new(), None),
    };
    format!("| {} | {word} | {} | {} |\n", cell(host), cell(&live), proof.unwrap_or_default())
}

/// Returns lines as code, which no text can end.
fn code<'t>(lines: impl Iterator<Item = &'t str>) -> String {
    let mut indented: Vec<_> = lines.map(|line| format!("    {line}\n")).collect();
    if !indented.is_empty() {
        indented.push("\n".to_owned());
    }
    indented.concat()
}

/// Returns a text in one line, with nothing in it that Markdown or HTML would obey.
fn cell(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace(['\n', '\r'], " ");
    backslashed(&text, r"\|*_[]!@#~")
}

/// Returns a text with a backslash before each of these characters.
pub(super) fn backslashed(text: &str, special: &str) -> String {
    let escaped = |c: char| special.contains(c).then_some('\\').into_iter().chain([c]);
    text.chars().flat_map(escaped).collect()
}
