//! Runs the engine for a command: with a reporter, or silently if it only looks.

use std::future::Future;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use super::aside::Aside;
use super::error::CliError;
use super::notify::Notifier;
use super::output::Approval;
use super::reach::Reach;
use super::world::World;
use crate::cache::LocalCache;
use crate::config::Config;
use crate::deploy::cancel::Cancel;
use crate::deploy::context::RunContext;
use crate::deploy::event::{Event, Events};
use crate::deploy::outcome::{Report, RunOutcome};
use crate::deploy::query::{self, Answers};
use crate::deploy::run::Run;
use crate::model::host_state::HostState;
use crate::report::json::report_line;
use crate::report::redact::Secrets;

/// Settings of a run: its output, and whether it waits.
pub(crate) struct RunOptions {
    /// The values that are masked in everything that is shown.
    pub(crate) secrets: Secrets,
    /// Print nothing on success.
    pub(crate) quiet: bool,
    /// Wait until the lock is released.
    pub(crate) wait: bool,
    /// The connections to the hosts, if connecting has begun already.
    pub(crate) reach: Option<Reach>,
}

/// The owner of everything that a [`RunContext`] borrows.
struct RunResources {
    cancel: Cancel,
    run: Run,
    connect: Reach,
    cache: LocalCache,
    approve: Approval,
    told: Box<dyn Fn(&Report) -> String + Send + Sync>,
}

impl RunResources {
    fn context<'a>(&'a self, config: &'a Config, events: Events<'a>, wait: bool) -> RunContext<'a> {
        let Self { cancel, run, connect, cache, approve, told } = self;
        RunContext { config, run, connect, events, approve, cancel, cache, wait, told }
    }
}

impl World {
    /// Does `work` with a reporter, and returns the exit code after its report was shown and told.
    pub(crate) async fn shown(
        &self,
        config: &Config,
        command: &str,
        how: RunOptions,
        work: impl AsyncFnOnce(RunContext<'_>) -> Report,
    ) -> u8 {
        let notifier = Notifier::new(self, config);
        let resources = self.resources(config, command, how.reach, &how.secrets);
        let aside = &self.aside;
        let sieve = self.sieve(how.secrets.clone());
        let digest = OnceLock::new();
        let sink = |event: Event| {
            notifier.event(&event);
            if let Event::ArtifactReady { digest: found, .. } = &event {
                let _ = digest.set(found.clone());
            }
            aside.tell(event);
            aside.show();
        };
        aside.begin(self.reporter(how.secrets, how.quiet));
        let events = Events::new(&sink);
        let report = tokio::select! {
            report = work(resources.context(config, events, how.wait)) => report,
            () = tick(aside, &resources.cancel, events) => unreachable!("the ticking never ends"),
        };
        let view = aside.end();
        if let Some(id) = report.release.filter(|_| report.verdict() == RunOutcome::Done) {
            self.remember_one(config, id);
        }
        let report = report.naming_stage();
        let shown = sieve.report(&report);
        notifier.ended(&shown);
        if let Some(mut view) = view {
            view.finish(&report);
        }
        self.annotate_run(&shown, digest.get().map(String::as_str));
        for text in notifier.left().await {
            // In JSON the report is the last line.
            let _ = writeln!(std::io::stderr(), "warning: {text}");
        }
        report.verdict().exit_code()
    }

    /// Looks at every host, without the run lock.
    pub(crate) async fn look(&self, config: &Config) -> Result<Answers<HostState>, CliError> {
        self.quietly(config, "look at", query::look).await
    }

    /// Does `work` that changes nothing, without a reporter. Fails if it is interrupted.
    pub(crate) async fn quietly<T>(
        &self,
        config: &Config,
        command: &str,
        work: impl AsyncFnOnce(RunContext<'_>) -> T,
    ) -> Result<T, CliError> {
        let done = unless_stopped(&self.cancel(), self.to_the_end(config, command, work)).await;
        // Work that was dropped has not done this.
        self.tell_aside();
        done
    }

    /// Does `work` without a reporter, to its end: it is over in seconds, or must not end halfway.
    pub(crate) async fn to_the_end<T>(
        &self,
        config: &Config,
        command: &str,
        work: impl AsyncFnOnce(RunContext<'_>) -> T,
    ) -> T {
        let resources = self.resources(config, command, None, &Secrets::default());
        let done = work(resources.context(config, Events::new(&|_| {}), false)).await;
        self.tell_aside();
        done
    }

    /// Shows the notices of connections outside a run.
    fn tell_aside(&self) {
        for event in self.aside.told() {
            match event {
                Event::Printed { host, text, .. } => {
                    let _ = writeln!(std::io::stderr(), "{host}: {text}");
                }
                event => self.warn(&event),
            }
        }
    }

    fn resources(
        &self,
        config: &Config,
        command: &str,
        reach: Option<Reach>,
        secrets: &Secrets,
    ) -> RunResources {
        let sieve = self.sieve(secrets.clone());
        RunResources {
            cancel: self.cancel(),
            run: self.run_values(command, config),
            connect: reach.unwrap_or_else(|| self.reach(config)),
            cache: self.cache.clone(),
            approve: self.approval(),
            told: Box::new(move |report| {
                report_line(&sieve.report(&report.clone().naming_stage()))
            }),
        }
    }
}

/// Redraws the view, and tells of requests to stop, again and again.
async fn tick(aside: &Aside, cancel: &Cancel, events: Events<'_>) {
    let mut beats = tokio::time::interval(Duration::from_millis(120));
    let mut told = 0;
    loop {
        beats.tick().await;
        aside.tick();
        let asked = u8::from(cancel.asked()) + u8::from(cancel.insisted());
        if asked > told {
            told = asked;
            events.emit(Event::Interrupted { again: asked > 1 });
        }
    }
}

/// Waits for `work` that changes nothing: it holds no lock and needs no revert, so one Ctrl-C drops
/// it. Fails if the user asked to stop.
pub(super) async fn unless_stopped<T>(
    cancel: &Cancel,
    work: impl Future<Output = T>,
) -> Result<T, CliError> {
    let done = tokio::select! {
        done = work => Some(done),
        () = cancel.wait(1) => None,
    };
    // A request to stop counts even if the work ended at the same moment.
    done.filter(|_| !cancel.asked()).ok_or(CliError::Stopped)
}
