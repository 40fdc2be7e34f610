//! Filters everything that reporters get: no secrets, no control sequences, bounded texts, and in
//! GitHub Actions nothing that its runner would obey. Secrets are masked in texts; names and ids
//! stay as they are.

use super::Reporter;
use super::clean;
use super::redact::Secrets;
use crate::deploy::event::Event;
use crate::deploy::outcome::{Done, Failure, HostResult, Report, SAID};

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
        let stripped = clean::strip(&self.secrets.redact(raw));
        self.plain(&self.secrets.redact(&stripped))
    }

    /// Returns a name, an id or another identifier, cleaned but never masked.
    fn plain(&self, raw: &str) -> String {
        let text = clean::text(raw);
        if self.github { defuse(&text) } else { text }
    }

    fn plain_option(&self, raw: Option<&String>) -> Option<String> {
        raw.map(|text| self.plain(text))
    }

    /// Returns a failure as it may be shown.
    pub fn failure(&self, failure: &Failure) -> Failure {
        Failure {
            what: self.fit(&failure.what),
            cause: failure.cause.iter().map(|cause| self.cause(cause)).collect(),
            hint: failure.hint.as_ref().map(|hint| self.fit(hint)),
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
        match event {
            Event::RunStarted { goal, stage, hosts } => Event::RunStarted {
                goal: *goal,
                stage: self.plain(stage),
                hosts: hosts.iter().map(|host| self.plain(host)).collect(),
            },
            Event::ArtifactReady { name, digest, files, size, revision } => Event::ArtifactReady {
                name: self.fit(name),
                digest: digest.clone(),
                files: *files,
                size: *size,
                revision: self.plain_option(revision.as_ref()),
            },
            Event::ReleaseNamed { .. }
            | Event::Phase(_)
            | Event::Interrupted { .. }
            | Event::Ready { .. }
            | Event::StepStarted { .. }
            | Event::Progress { .. } => event.clone(),
            Event::Connected { host, live } => {
                Event::Connected { host: host.clone(), live: self.plain(live) }
            }
            Event::Warning { host, text } => {
                Event::Warning { host: host.clone(), text: self.fit(text) }
            }
            Event::Reverting { host, to } => {
                Event::Reverting { host: host.clone(), to: self.plain(to) }
            }
            _ => self.step(event),
        }
    }

    fn step(&self, event: &Event) -> Event {
        match event {
            Event::StepFinished { host, step, detail, took } => Event::StepFinished {
                host: host.clone(),
                step,
                detail: self.fit(detail),
                took: *took,
            },
            Event::StepFailed { host, step, error } => {
                Event::StepFailed { host: host.clone(), step, error: self.fit(error) }
            }
            Event::Printed { host, source, text } => Event::Printed {
                host: host.clone(),
                source: self.plain(source),
                text: self.fit(text),
            },
            Event::Sent { host, line } => {
                Event::Sent { host: host.clone(), line: self.plain(line) }
            }
            other => other.clone(),
        }
    }

    fn report(&self, report: &Report) -> Report {
        let host = |(name, result): &(String, HostResult)| (name.clone(), self.result(result));
        let warning = |(host, text): &(Option<String>, String)| (host.clone(), self.fit(text));
        Report {
            goal: report.goal,
            stage: self.plain(&report.stage),
            release: report.release,
            hosts: report.hosts.iter().map(host).collect(),
            warnings: report.warnings.iter().map(warning).collect(),
            interrupted: report.interrupted,
            failure: report.failure.as_ref().map(|failure| self.failure(failure)),
            split: report.split,
        }
    }

    fn result(&self, result: &HostResult) -> HostResult {
        match result {
            HostResult::Done(done) => HostResult::Done(self.done(done)),
            HostResult::Unchanged { live } => HostResult::Unchanged { live: *live },
            HostResult::Untouched { live, failure } => HostResult::Untouched {
                live: self.plain_option(live.as_ref()),
                failure: failure.as_ref().map(|failure| self.failure(failure)),
            },
            HostResult::Skipped { failure } => {
                HostResult::Skipped { failure: self.failure(failure) }
            }
            HostResult::Reverted { live, failure, but } => HostResult::Reverted {
                live: self.plain(live),
                failure: self.failure(failure),
                but: but.as_ref().map(|but| self.fit(but)),
            },
            HostResult::Locked { holder } => HostResult::Locked { holder: self.fit(holder) },
            HostResult::Stuck { cause, undo } => {
                HostResult::Stuck { cause: self.failure(cause), undo: self.failure(undo) }
            }
            HostResult::Unknown { failure } => {
                HostResult::Unknown { failure: self.failure(failure) }
            }
        }
    }

    fn done(&self, done: &Done) -> Done {
        Done {
            before: self.plain_option(done.before.as_ref()),
            pruned: done.pruned.iter().map(|name| self.plain(name)).collect(),
            ..done.clone()
        }
    }
}

/// A reporter that passes filtered events on to another one.
pub struct Sanitizer<R> {
    inner: R,
    sieve: Sieve,
}

impl<R> Sanitizer<R> {
    /// Filters for `inner`.
    pub const fn new(inner: R, sieve: Sieve) -> Self {
        Self { inner, sieve }
    }
}

impl<R: Reporter> Reporter for Sanitizer<R> {
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
