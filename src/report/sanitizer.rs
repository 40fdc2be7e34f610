//! Filters everything that reporters get: no secrets, no control sequences, bounded texts, and in
//! GitHub Actions nothing that its runner would obey. Secrets are masked in texts; names and ids
//! stay as they are.

use super::redact::Secrets;
use super::{AnyReporter, Reporter, clean};
use crate::deploy::event::Event;
use crate::deploy::outcome::{Failure, HostResult, Report, SAID};

/// Each line of a response is shown up to this length.
const SAID_COLUMNS: usize = 200;

/// The filter of texts.
#[derive(Debug, Clone, Default)]
pub struct Sieve {
    secrets: Secrets,
    github: bool,
}

impl Sieve {
    /// Masks `secrets`; with `github`, also disarms workflow commands.
    pub const fn new(secrets: Secrets, github: bool) -> Self {
        Self { secrets, github }
    }

    /// Returns `raw` as it may be shown. Secrets are masked before and after control sequences are
    /// removed, because these may hide or contain a secret, and always before a text is cut.
    pub fn fit(&self, raw: &str) -> String {
        self.plain(&self.masked(raw))
    }

    /// Does what [`Self::fit`] does, but cuts nothing.
    pub fn whole(&self, raw: &str) -> String {
        self.defused(self.masked(raw))
    }

    fn masked(&self, raw: &str) -> String {
        let stripped = clean::strip(&self.secrets.redact(raw));
        self.secrets.redact(&stripped).into_owned()
    }

    /// Returns a name, an id or another identifier, cleaned but never masked.
    fn plain(&self, raw: &str) -> String {
        self.defused(clean::text(raw))
    }

    fn defused(&self, text: String) -> String {
        if self.github { defuse(&text) } else { text }
    }

    fn fit_all<'t>(&self, texts: impl IntoIterator<Item = &'t mut String>) {
        for text in texts {
            *text = self.fit(text);
        }
    }

    fn plain_all<'t>(&self, texts: impl IntoIterator<Item = &'t mut String>) {
        for text in texts {
            *text = self.plain(text);
        }
    }

    /// Returns a failure as it may be shown.
    pub fn failure(&self, failure: &Failure) -> Failure {
        let mut fit = failure.clone();
        self.failures_in([&mut fit]);
        fit
    }

    fn failures_in<'f>(&self, failures: impl IntoIterator<Item = &'f mut Failure>) {
        for Failure { what, cause, hint } in failures {
            self.fit_all([what]);
            for cause in cause {
                *cause = self.cause(cause);
            }
            self.fit_all(hint);
        }
    }

    fn cause(&self, raw: &str) -> String {
        let text = self.fit(raw);
        if !text.starts_with(SAID) {
            return text;
        }
        let lines = text.lines().map(|line| line.chars().take(SAID_COLUMNS).collect());
        lines.collect::<Vec<String>>().join("\n")
    }

    fn event(&self, event: &Event) -> Event {
        let mut fit = event.clone();
        match &mut fit {
            Event::RunStarted { stage, hosts, .. } => {
                self.plain_all([stage]);
                self.plain_all(hosts);
            }
            Event::ArtifactReady { name, revision, .. } => {
                self.fit_all([name]);
                self.plain_all(revision);
            }
            Event::Connected { live: text, .. }
            | Event::Reverting { to: text, .. }
            | Event::Sent { line: text, .. } => self.plain_all([text]),
            Event::Warning { text, .. }
            | Event::StepFinished { detail: text, .. }
            | Event::StepFailed { error: text, .. } => self.fit_all([text]),
            Event::Printed { source, text, .. } => {
                self.plain_all([source]);
                self.fit_all([text]);
            }
            Event::ReleaseNamed { .. }
            | Event::Phase(_)
            | Event::Interrupted { .. }
            | Event::Ready { .. }
            | Event::StepStarted { .. }
            | Event::Progress { .. } => {}
        }
        fit
    }

    /// Returns a report as it may be shown.
    pub fn report(&self, report: &Report) -> Report {
        let mut fit = report.clone();
        self.plain_all([&mut fit.stage]);
        for (_, result) in &mut fit.hosts {
            self.result_in(result);
        }
        self.fit_all(fit.warnings.iter_mut().map(|(_, text)| text));
        self.failures_in(fit.failures_mut());
        fit
    }

    /// Filters the texts of a result other than its failures.
    fn result_in(&self, result: &mut HostResult) {
        match result {
            HostResult::Done(done) => {
                self.plain_all(&mut done.before);
                self.plain_all(&mut done.pruned);
            }
            HostResult::Untouched { live, .. } => self.plain_all(live),
            HostResult::Reverted { live, but, .. } => {
                self.plain_all([live]);
                self.fit_all(but);
            }
            HostResult::Locked { holder } => self.fit_all([holder]),
            HostResult::Unchanged { .. }
            | HostResult::Skipped { .. }
            | HostResult::Stuck { .. }
            | HostResult::Unknown { .. } => {}
        }
    }
}

/// A reporter that passes filtered events on to another one.
pub struct Sanitizer {
    inner: AnyReporter,
    sieve: Sieve,
}

impl Sanitizer {
    /// Filters for `inner`.
    pub const fn new(inner: AnyReporter, sieve: Sieve) -> Self {
        Self { inner, sieve }
    }
}

impl Reporter for Sanitizer {
    fn on_event(&mut self, event: &Event) {
        let fit = self.sieve.event(event);
        self.inner.on_event(&fit);
    }

    fn finish(&mut self, report: &Report) {
        let fit = self.sieve.report(report);
        self.inner.finish(&fit);
    }

    fn tick(&mut self) {
        self.inner.tick();
    }

    fn pause(&mut self) {
        self.inner.pause();
    }
}

/// Returns a text that GitHub's runner does not obey: it obeys lines that begin with `::` after
/// blanks, and `##[` anywhere.
pub fn defuse(text: &str) -> String {
    let line = |line: &str| {
        let blanks = line.len() - line.trim_start().len();
        match line.trim_start().strip_prefix("::") {
            Some(rest) => format!("{}: :{rest}", &line[..blanks]),
            None => line.to_owned(),
        }
    };
    text.replace("##[", "# #[").lines().map(line).collect::<Vec<_>>().join("\n")
}
