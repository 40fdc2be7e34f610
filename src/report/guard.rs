//! What every reporter hears, made harmless first: no secret, no control sequence, no endless
//! text, and in GitHub Actions nothing that its runner would take for a command.

use super::Reporter;
use super::clean;
use super::redact::Secrets;
use crate::deploy::event::Event;
use crate::deploy::outcome::{Done, Failure, HostResult, Report};

/// Passes on to a reporter what is fit to be shown.
pub struct Guard<R> {
    inner: R,
    secrets: Secrets,
    github: bool,
}

impl<R> Guard<R> {
    /// Masks `secrets` for `inner`.
    pub fn new(inner: R, secrets: Secrets) -> Self {
        Self { inner, secrets, github: false }
    }

    /// Also takes the effect from workflow commands.
    #[must_use]
    pub fn in_github(mut self) -> Self {
        self.github = true;
        self
    }

    /// A secret could be hidden by control sequences or hold some, so it is looked for before and
    /// after they are removed, and always before a text is cut.
    fn fit(&self, raw: &str) -> String {
        let stripped = clean::strip(&self.secrets.redact(raw));
        let text = clean::text(&self.secrets.redact(&stripped));
        if self.github { defuse(&text) } else { text }
    }

    fn fit_all(&self, raw: &[String]) -> Vec<String> {
        raw.iter().map(|text| self.fit(text)).collect()
    }

    fn fit_option(&self, raw: Option<&String>) -> Option<String> {
        raw.map(|text| self.fit(text))
    }

    fn event(&self, event: &Event) -> Event {
        match event {
            Event::RunStarted { goal, stage, hosts } => {
                Event::RunStarted { goal, stage: self.fit(stage), hosts: self.fit_all(hosts) }
            }
            Event::ArtifactReady { name, digest, files, size, revision } => Event::ArtifactReady {
                name: self.fit(name),
                digest: digest.clone(),
                files: *files,
                size: *size,
                revision: self.fit_option(revision.as_ref()),
            },
            Event::ReleaseNamed { .. }
            | Event::Phase(_)
            | Event::Interrupted { .. }
            | Event::Ready { .. }
            | Event::StepStarted { .. }
            | Event::Progress { .. } => event.clone(),
            Event::Connected { host, live } => {
                Event::Connected { host: host.clone(), live: self.fit(live) }
            }
            Event::Warning { host, text } => {
                Event::Warning { host: host.clone(), text: self.fit(text) }
            }
            Event::PuttingBack { host, to } => {
                Event::PuttingBack { host: host.clone(), to: self.fit(to) }
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
                source: self.fit(source),
                text: self.fit(text),
            },
            Event::Sent { host, line } => Event::Sent { host: host.clone(), line: self.fit(line) },
            other => other.clone(),
        }
    }

    fn report(&self, report: &Report) -> Report {
        let host = |(name, result): &(String, HostResult)| (name.clone(), self.result(result));
        let warning = |(host, text): &(Option<String>, String)| (host.clone(), self.fit(text));
        Report {
            goal: report.goal,
            stage: self.fit(&report.stage),
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
                live: self.fit_option(live.as_ref()),
                failure: failure.as_ref().map(|failure| self.failure(failure)),
            },
            HostResult::Skipped { failure } => {
                HostResult::Skipped { failure: self.failure(failure) }
            }
            HostResult::PutBack { live, failure, but } => HostResult::PutBack {
                live: self.fit(live),
                failure: self.failure(failure),
                but: self.fit_option(but.as_ref()),
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
            before: self.fit_option(done.before.as_ref()),
            pruned: self.fit_all(&done.pruned),
            ..done.clone()
        }
    }

    fn failure(&self, failure: &Failure) -> Failure {
        Failure {
            what: self.fit(&failure.what),
            cause: self.fit_all(&failure.cause),
            hint: self.fit_option(failure.hint.as_ref()),
        }
    }
}

impl<R: Reporter> Reporter for Guard<R> {
    fn on_event(&mut self, event: &Event) {
        let fit = self.event(event);
        self.inner.on_event(&fit);
    }

    fn finish(&mut self, report: &Report) {
        let fit = self.report(report);
        self.inner.finish(&fit);
    }

    fn tick(&mut self) {
        self.inner.tick();
    }
}

/// GitHub's runner obeys lines that begin with `::` after blanks, and `##[` anywhere.
fn defuse(text: &str) -> String {
    let line = |line: &str| {
        let blanks = line.len() - line.trim_start().len();
        match line.trim_start().strip_prefix("::") {
            Some(rest) => format!("{}: :{rest}", &line[..blanks]),
            None => line.to_owned(),
        }
    };
    text.replace("##[", "# #[").lines().map(line).collect::<Vec<_>>().join("\n")
}
