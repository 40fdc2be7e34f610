//! Annotations for GitHub Actions, which reviewers see beside the code; the summary of the job, and
//! the outputs of the step.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::markdown::{MOST, markdown};
use super::words::about;
use super::{clean, summary};
use crate::deploy::check::{Finding, Level};
use crate::deploy::outcome::{Failure, Report};

/// The files that GitHub reads after a step; none of them: the step runs elsewhere.
#[derive(Debug, Clone, Default)]
pub struct StepFiles {
    /// `GITHUB_STEP_SUMMARY`: Markdown.
    pub summary: Option<PathBuf>,
    /// `GITHUB_OUTPUT`: lines for later steps.
    pub output: Option<PathBuf>,
}

impl StepFiles {
    /// Adds a report to both files, and returns its annotations, one per line.
    pub fn tell(&self, report: &Report, digest: Option<&str>) -> String {
        let mut lines = annotations(report);
        if let Err((name, error)) = self.add(report, digest) {
            let text = format!("{name} could not be written: {error}");
            lines += &command("warning", "shipit", &text);
        }
        lines
    }

    /// Fails with the variable whose file could not be written.
    fn add(&self, report: &Report, digest: Option<&str>) -> Result<(), (&'static str, io::Error)> {
        if let Some(path) = &self.summary {
            let text = markdown(report, digest);
            append(path, &text).map_err(|error| ("GITHUB_STEP_SUMMARY", error))?;
        }
        let Some(path) = &self.output else { return Ok(()) };
        let release = report.release.map(|id| format!("release={id}\n"));
        let digest = digest.filter(|digest| digest.chars().all(|c| c.is_ascii_hexdigit()));
        let digest = digest.map(|digest| format!("digest=sha256:{digest}\n"));
        let verdict = format!("verdict={}\n", report.verdict().word());
        let lines: String = release.into_iter().chain(digest).chain([verdict]).collect();
        append(path, &lines).map_err(|error| ("GITHUB_OUTPUT", error))
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

/// Returns the annotations of a report, one per line.
pub fn annotations(report: &Report) -> String {
    let title = format!("shipit {} {}", report.goal, report.stage);
    let state = summary::state(report);
    let problem = |problem: &summary::Problem| {
        let Failure { cause, hint, .. } = &problem.failure;
        let mut text = vec![problem.headline()];
        text.extend(cause.iter().cloned());
        text.extend(state.iter().map(|state| format!("state: {state}")));
        text.extend(hint.iter().map(|hint| format!("hint: {hint}")));
        command("error", &title, &text.join("\n"))
    };
    let warning = |(host, text): &(Option<String>, String)| {
        command("warning", &title, &about(host.as_deref().unwrap_or_default(), text))
    };
    let problems = summary::problems(report);
    let errors = problems.iter().take(MOST).map(problem);
    errors.chain(report.warnings.iter().take(MOST).map(warning)).collect()
}

/// Returns the annotation of an error from outside a run, given as it was printed.
pub fn error(printed: &str) -> String {
    command("error", "shipit", console::strip_ansi_codes(printed).trim_end())
}

/// Returns the annotations of the findings of `check`, one per line.
pub fn findings(findings: &[Finding]) -> String {
    let annotation = |level, kind| {
        let found = findings.iter().filter(move |finding| finding.level == level).take(MOST);
        found.map(move |finding| {
            let what = about(finding.host.as_deref().unwrap_or_default(), &finding.text);
            let fix = finding.fix.as_ref().map_or_else(String::new, |fix| format!("\nfix: {fix}"));
            command(kind, "shipit check", &clean::text(&format!("{what}{fix}")))
        })
    };
    annotation(Level::Problem, "error").chain(annotation(Level::Warning, "warning")).collect()
}

fn command(kind: &str, title: &str, text: &str) -> String {
    let title = escape(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{kind} title={title}::{}\n", escape(text))
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
