//! Plain lines, one per event: for logs, pipes and CI.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use console::Style;

use super::groups::GroupMarks;
use super::styles::Styles;
use super::{Clock, Reporter, Verbosity, human, summary, words};
use crate::deploy::event::{Event, Phase};
use crate::deploy::outcome::Report;

/// Interval of progress lines: CI systems end jobs that are silent for long.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// Host names are padded to the longest one, up to this width.
const WIDEST_HOST: usize = 24;

/// A reporter that writes plain lines.
pub struct Lines<W: Write> {
    out: W,
    styles: Styles,
    verbosity: Verbosity,
    /// What folds phases, if something does.
    marks: Option<GroupMarks>,
    /// The title of the phase that was folded last and has not ended.
    folded: Option<String>,
    clock: Clock,
    width: usize,
    warned: BTreeSet<(Option<String>, String)>,
    progress: BTreeMap<String, Duration>,
}

impl<W: Write> Lines<W> {
    /// Writes lines to `out`.
    pub fn new(
        out: W,
        styles: Styles,
        verbosity: Verbosity,
        marks: Option<GroupMarks>,
        clock: Clock,
    ) -> Self {
        let (warned, progress) = (BTreeSet::new(), BTreeMap::new());
        Self { out, styles, verbosity, marks, folded: None, clock, width: 0, warned, progress }
    }

    /// Writes a line; a closed pipe does not fail a run.
    fn put(&mut self, line: &str) {
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    fn row(&mut self, host: &str, step: &str, rest: &str) {
        let width = self.width;
        self.put(&format!("{host:width$} | {step:16} {rest}"));
    }

    fn styled(&mut self, host: &str, step: &str, style: &Style, word: &str, rest: &str) {
        let word = style.apply_to(word).to_string();
        self.row(host, step, &format!("{word}  {rest}"));
    }

    fn on_phase(&mut self, phase: Phase) {
        self.end_phase();
        let title = words::phase(phase);
        if let Some(marks) = self.marks {
            let _ = self.out.write_all(marks.begin(&title, (self.clock)()).as_bytes());
            self.folded = Some(title.clone());
        }
        self.put(&self.styles.strong.apply_to(format!("== {title}")).to_string());
    }

    fn end_phase(&mut self) {
        if let (Some(marks), Some(title)) = (self.marks, self.folded.take()) {
            let _ = self.out.write_all(marks.end(&title, (self.clock)()).as_bytes());
        }
    }

    fn on_progress(&mut self, host: &str, sent: u64, total: u64) {
        let now = (self.clock)();
        let last = *self.progress.entry(host.to_owned()).or_insert(now);
        if now < last + PROGRESS_EVERY || sent >= total {
            return;
        }
        self.progress.insert(host.to_owned(), now);
        let far = u128::from(sent) * 100 / u128::from(total.max(1));
        let rest = format!("{far}%  {} of {}", human::size(sent), human::size(total));
        self.row(host, "upload", &rest);
    }

    fn on_warning(&mut self, host: Option<&String>, text: &str) {
        self.warned.insert((host.cloned(), text.to_owned()));
        if let Some(host) = host {
            let text = self.styles.warn.apply_to(text).to_string();
            self.row(host, "warning", &text);
        } else {
            let text = summary::warnings(&self.styles, &[(None, text.to_owned())]);
            let _ = self.out.write_all(text.as_bytes());
        }
    }
}

impl<W: Write> Reporter for Lines<W> {
    fn on_event(&mut self, event: &Event) {
        let Styles { good, bad, dim, .. } = self.styles.clone();
        match event {
            Event::StepFailed { host, step, error } => {
                self.styled(host, step, &bad, "failed", error);
            }
            Event::Warning { host, text } => self.on_warning(host.as_ref(), text),
            Event::Interrupted { again } => self.put(words::interrupted(*again)),
            _ if self.verbosity == Verbosity::Quiet => {}
            Event::Phase(phase) => self.on_phase(*phase),
            Event::Sent { host, line } if self.verbosity == Verbosity::Verbose => {
                self.row(host, "sent", &dim.apply_to(line).to_string());
            }
            Event::Connected { host, live } => {
                self.row(host, "connected", &format!("live: {live}"));
            }
            // It took nothing and says nothing.
            Event::StepFinished { detail, took, .. }
                if detail.is_empty() && took.as_millis() == 0 => {}
            Event::StepFinished { host, step, detail, took } => {
                let rest = words::finished(detail, *took);
                self.styled(host, step, &good, "done", &rest);
            }
            Event::Reverting { host, to } => self.row(host, "reverting", to),
            Event::Printed { host, source, text } => {
                for line in text.lines() {
                    self.row(host, source, &dim.apply_to(format!("| {line}")).to_string());
                }
            }
            Event::Progress { host, sent, total } => self.on_progress(host, *sent, *total),
            event => {
                if let Event::RunStarted { hosts, .. } = event {
                    let longest = hosts.iter().map(|host| host.chars().count()).max();
                    self.width = longest.unwrap_or(0).min(WIDEST_HOST);
                }
                if let Some(line) = words::of_run(event) {
                    self.put(&line);
                }
            }
        }
    }

    fn finish(&mut self, report: &Report) {
        // The summary is never folded.
        self.end_phase();
        let text = summary::end(&self.styles, report, self.verbosity, &self.warned);
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}
