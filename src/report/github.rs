//! Annotations for GitHub Actions, which reviewers see beside the code.

use std::io::Write;

use super::Reporter;
use super::{clean, summary};
use crate::deploy::check::{Finding, Level};
use crate::deploy::event::Event;
use crate::deploy::outcome::Report;

/// GitHub shows at most ten annotations of a kind for each step.
const MOST: usize = 10;

/// A reporter that adds annotations after the output of another one.
pub struct Annotated<R, W> {
    inner: R,
    out: W,
}

impl<R, W: Write> Annotated<R, W> {
    /// Writes annotations to `out`, after `inner` has finished.
    pub fn new(inner: R, out: W) -> Self {
        Self { inner, out }
    }
}

impl<R: Reporter, W: Write> Reporter for Annotated<R, W> {
    fn on_event(&mut self, event: &Event) {
        self.inner.on_event(event);
    }

    fn finish(&mut self, report: &Report) {
        self.inner.finish(report);
        // A closed pipe does not fail a run.
        let _ = self.out.write_all(annotations(report).as_bytes());
        let _ = self.out.flush();
    }

    fn tick(&mut self) {
        self.inner.tick();
    }

    fn pause(&mut self) {
        self.inner.pause();
    }
}

/// Returns the annotations of a report, one per line.
pub fn annotations(report: &Report) -> String {
    let title = format!("shipit {} {}", report.goal, report.stage);
    let state = summary::state(report);
    let problem = |problem: &summary::Problem| {
        let mut text = vec![problem.headline()];
        text.extend(problem.cause.iter().cloned());
        text.extend(state.iter().map(|state| format!("state: {state}")));
        text.extend(problem.hint.iter().map(|hint| format!("hint: {hint}")));
        command("error", &title, &text.join("\n"))
    };
    let warning = |(host, text): &(Option<String>, String)| {
        command("warning", &title, &super::words::about(host.as_deref(), text))
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
            let what = super::words::about(finding.host.as_deref(), &finding.text);
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
