//! All hosts of one run, phase by phase: look, recover, plan, prepare, activate, commit, clean up.
//! A phase works on all hosts at once, under a limit, and ends on every host before the next
//! begins. `rollout` activates and commits.

mod difference;
mod dry_run;
mod planning;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

pub use self::difference::{ConfigFate, Difference, batch_names};
pub use self::dry_run::{DryRun, Probed, dry_run, probe};
use self::planning::forward;
use super::context::{RunContext, hello};
use super::delta::{self, DeltaFinder};
use super::event::{Event, Phase};
use super::goal::Goal;
use super::host::{HostPhase, HostRun};
use super::hosts::{Aborted, Hosts};
use super::local_hook;
use super::outcome::{Done, Failure, HostResult, Report};
use super::payload::Payload;
use super::plan::newer;
use super::run::Run;
use super::verify::drift_warning;
use crate::config::{Config, Confirm, Host, OnUnreachable};
use crate::model::goal::GoalKind;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::words::count;
use crate::remote::conversation::{Hello, Scan};

/// All hosts of a run.
struct Fleet<'a> {
    cx: RunContext<'a>,
    hosts: Hosts<'a>,
    /// The release that the run is about, once it is chosen.
    release: Option<ReleaseId>,
    /// Finds what hosts have of the release to be made; `None` if none is made.
    finder: Option<DeltaFinder>,
    warnings: Vec<(Option<String>, String)>,
    /// A failure outside any host.
    failure: Option<Failure>,
    /// Whether a person said no.
    declined: bool,
}

/// Runs the goal on all hosts. A failure of a host is part of the report.
pub async fn run(cx: RunContext<'_>, goal: &Goal) -> Report {
    cx.begin(goal.kind());
    pursue(cx, goal).await
}

/// Runs `local.before`, has `open` open what it built, and pursues that goal of this kind. If one
/// of these fails, no host is connected to.
pub async fn build_and_run(
    cx: RunContext<'_>,
    kind: GoalKind,
    open: impl AsyncFnOnce() -> Result<Goal, Failure>,
) -> Report {
    cx.begin(kind);
    let built = async {
        local_hook::before(&cx).await?;
        open().await
    };
    match cx.cancel.unless_asked(built).await.unwrap_or_else(|| Err(Failure::stopped())) {
        Ok(goal) => pursue(cx, &goal).await,
        Err(failure) => {
            let mut fleet = Fleet::new(cx, None);
            fleet.failure = (!cx.cancel.asked()).then_some(failure);
            let report = fleet.report(kind);
            local_hook::after(&cx, &report).await;
            report
        }
    }
}

async fn pursue(cx: RunContext<'_>, goal: &Goal) -> Report {
    if let Some(build) = goal.build() {
        cx.events.emit(build.ready());
    }
    let mut fleet = Fleet::new(cx, Some(goal));
    let pipeline = async {
        let _ = fleet.pipeline(goal).await;
        fleet.hosts.close().await;
    };
    let insisted = tokio::select! {
        () = pipeline => false,
        () = cx.cancel.wait(2) => true,
    };
    if insisted {
        fleet.hosts.all.iter_mut().for_each(HostRun::abandon);
    }
    let report = fleet.report(goal.kind());
    local_hook::after(&cx, &report).await;
    report
}

/// Returns what the conversation of a deploy with `host` begins with, before the artifact is known.
pub fn hello_of_deploy(config: &Config, host: &Host, run: &Run) -> Hello {
    hello(config, host, run, true, Scan::Others, delta::first(config, host))
}

impl<'a> Fleet<'a> {
    fn new(cx: RunContext<'a>, goal: Option<&Goal>) -> Self {
        let finder = goal
            .and_then(Goal::build)
            .map(|build| DeltaFinder::new(build.release(cx.config), build.source.clone()));
        let (hosts, warnings) = (Hosts::new(cx), Vec::new());
        Self { cx, hosts, release: None, finder, warnings, failure: None, declined: false }
    }

    async fn pipeline(&mut self, goal: &Goal) -> Result<(), Aborted> {
        self.cx.events.emit(Event::Phase(Phase::Look));
        self.open(goal, true).await?;
        self.refuse_newer(goal)?;
        self.recover().await?;
        if goal.kind().makes_live() {
            self.finish_split().await?;
        }
        self.look_at_live().await;
        if self.is_unchanged(goal) {
            for host in self.hosts.all.iter_mut().filter(|host| host.takes_part()) {
                host.end(HostResult::Unchanged { live: host.live() });
            }
            return Ok(());
        }
        self.share().await;
        self.plan(goal)?;
        self.prepare(goal).await?;
        self.approve(goal).await?;
        self.set_waiting().await?;
        self.hosts.activate().await?;
        self.clean(goal).await;
        Ok(())
    }

    /// Connects to all hosts, with their locks if `lock` is set. A prune goes on without hosts that
    /// failed, and so does a run with `on_unreachable = "skip"`.
    async fn open(&mut self, goal: &Goal, lock: bool) -> Result<(), Aborted> {
        let config = self.cx.config;
        let scan = match goal {
            Goal::Prune(_) => Scan::Yes,
            Goal::Deploy(_) | Goal::Stage(_) | Goal::Activate(_) => Scan::Others,
            Goal::Rollback(_) => Scan::No,
        };
        let open = async |host: &mut HostRun<'_>| {
            let makes = goal.build().is_some();
            let first = if makes { delta::first(config, host.talk.host) } else { Vec::new() };
            host.talk.open_asking(lock, scan, first).await
        };
        let mut reported = BTreeSet::new();
        loop {
            let opened = self.cx.cancel.unless_asked(self.hosts.each(open)).await.ok_or(Aborted)?;
            self.note_unreachable(goal, opened)?;
            if !lock || self.hosts.all_locked().await {
                break;
            }
            if !self.cx.wait || self.cx.cancel.asked() {
                self.hosts.end_locked();
                return Err(Aborted);
            }
            self.hosts.report_waiting(&mut reported);
            self.hosts.close().await;
            sleep(Duration::from_secs(1)).await;
        }
        self.hosts.stop_if_asked()
    }

    fn note_unreachable(
        &mut self,
        goal: &Goal,
        opened: Vec<Result<(), Failure>>,
    ) -> Result<(), Aborted> {
        let skips = self.cx.config.rollout.on_unreachable == OnUnreachable::Skip;
        let skips = skips && !goal.is_prune() && opened.iter().any(Result::is_ok);
        for (host, opened) in self.hosts.all.iter_mut().zip(opened) {
            host.phase = match opened {
                Ok(()) => HostPhase::Open,
                Err(failure) if skips => HostPhase::Ended(HostResult::Skipped { failure }),
                Err(failure) => HostPhase::Ended(host.talk.untouched(Some(failure))),
            };
        }
        let missing = self.hosts.all.iter().any(|host| !host.takes_part());
        if missing && !skips && !goal.is_prune() { Err(Aborted) } else { Ok(()) }
    }

    /// Fails if a newer program was on a host. A prune goes on without such hosts.
    fn refuse_newer(&mut self, goal: &Goal) -> Result<(), Aborted> {
        let mut refused = false;
        for host in self.hosts.all.iter_mut().filter(|host| host.takes_part()) {
            if let Some(error) = host.talk.state.as_ref().and_then(newer) {
                let failure = error.failure(&self.cx.config.stage);
                host.end_untouched(Some(failure));
                refused = true;
            }
        }
        if refused && !goal.is_prune() { Err(Aborted) } else { Ok(()) }
    }

    /// Commits or reverts what interrupted runs left, host by host.
    async fn recover(&mut self) -> Result<(), Aborted> {
        let skipped = self.skipped();
        let recover = async |host: &mut HostRun<'_>| {
            let recovery = host.planner(&skipped).and_then(|planner| planner.recover());
            host.recover(recovery).await
        };
        let recovered = self.hosts.each_that(HostRun::takes_part, recover).await;
        self.note_failures(recovered)
    }

    /// Activates a release on hosts that reverted it while others committed it.
    async fn finish_split(&mut self) -> Result<(), Aborted> {
        let (split, skipped) = (self.find_split(), self.skipped());
        let forward = async |host: &mut HostRun<'_>| {
            let recovery = forward(host, &skipped, split.as_ref());
            host.recover(recovery).await
        };
        let finished = self.hosts.each_that(HostRun::takes_part, forward).await;
        self.hosts.diverged = finished.iter().any(|(_, result)| result.is_err());
        self.note_failures(finished)
    }

    fn warn(&mut self, host: Option<String>, text: String) {
        self.cx.events.emit(Event::Warning { host: host.clone(), text: text.clone() });
        self.warnings.push((host, text));
    }

    /// Ends the run on hosts that failed without touching what is live. Fails if there are any.
    fn note_failures(&mut self, results: Vec<(usize, Result<(), Failure>)>) -> Result<(), Aborted> {
        let mut stop = Ok(());
        for (place, result) in results {
            let host = &mut self.hosts.all[place];
            if let Err(failure) = result {
                if host.takes_part() {
                    host.end_untouched((!self.cx.cancel.asked()).then_some(failure));
                }
                stop = Err(Aborted);
            }
        }
        stop?;
        self.hosts.stop_if_asked()
    }

    /// Asks at once whether somebody touched what is live, and what a new release can share with
    /// it. A deploy replaces what was touched, but somebody should know.
    async fn look_at_live(&mut self) {
        let (Some(finder), config) = (&self.finder, self.cx.config) else { return };
        let look = async |host: &mut HostRun<'_>| {
            let talk = &host.talk;
            let (warning, base) =
                futures::join!(drift_warning(talk, config), finder.ask(talk, config));
            host.base = base;
            warning
        };
        for (place, warning) in self.hosts.each_that(HostRun::takes_part, look).await {
            if let Some(text) = warning {
                self.warn(Some(self.hosts.all[place].name().to_owned()), text);
            }
        }
    }

    async fn prepare(&mut self, goal: &Goal) -> Result<(), Aborted> {
        let (Some(build), Some(finder)) = (goal.build(), &self.finder) else { return Ok(()) };
        let Some(id) = self.release else { return Ok(()) };
        self.cx.events.emit(Event::Phase(Phase::Prepare));
        let prefix = Layout::staging(id, &self.cx.run.nonce);
        let release = Arc::clone(&finder.release);
        let (source, env) = (build.source.clone(), build.env.clone());
        let payload = Payload::new(source, release, prefix, env, &self.cx.config.upload);
        let prepare = async |host: &mut HostRun<'_>| Box::pin(host.prepare(&payload)).await;
        let prepared = self.hosts.each_that(HostRun::takes_part, prepare).await;
        self.note_failures(prepared)
    }

    /// Runs `local.staged` and asks by `confirm = "staged"`, now that all hosts are ready and
    /// nothing live has changed. Fails if the release is not to be activated.
    async fn approve(&mut self, goal: &Goal) -> Result<(), Aborted> {
        let Some(id) = self.release.filter(|_| !goal.is_prune()) else { return Ok(()) };
        if goal.build().is_some() {
            let ran = local_hook::staged(&self.cx, id).await;
            self.hosts.stop_if_asked()?;
            self.failure = ran.err();
        }
        if self.failure.is_some() {
            return Err(Aborted);
        }
        if self.cx.config.confirm == Confirm::Staged && goal.kind().makes_live() {
            let hosts = self.hosts.all.iter().filter(|host| host.takes_part()).count();
            let question = format!("Activate {id} on {}", count(hosts, "host"));
            let answer = self.cx.cancel.unless_asked(self.cx.approve.approve(question)).await;
            self.declined = answer != Some(true);
        }
        if self.declined { Err(Aborted) } else { Ok(()) }
    }

    /// Records on all hosts that the release waits to be activated, now that nothing is in its way.
    async fn set_waiting(&mut self) -> Result<(), Aborted> {
        let set = self.hosts.each_that(HostRun::takes_part, HostRun::set_waiting).await;
        self.note_failures(set)
    }

    /// Cleans up. A failure is a warning after a deploy, and the result of a prune.
    async fn clean(&mut self, goal: &Goal) {
        if self.hosts.all.iter().all(|host| host.plan.clean.is_empty()) {
            return;
        }
        self.cx.events.emit(Event::Phase(Phase::Tidy));
        let failed = self.hosts.each_that(HostRun::takes_part, HostRun::clean).await;
        for (place, mut failures) in failed {
            let host = &mut self.hosts.all[place];
            if goal.is_prune() && !failures.is_empty() {
                host.end_untouched(Some(failures.remove(0)));
            }
            let name = host.name().to_owned();
            for failure in failures {
                self.warn(Some(name.clone()), failure.one_line());
            }
        }
    }

    fn report(self, goal: GoalKind) -> Report {
        let hosts = &self.hosts.all;
        let stopped = self.declined || self.cx.cancel.asked();
        let all_well = self.failure.is_none() && !stopped && hosts.iter().all(HostRun::takes_part);
        let interrupted = stopped && !hosts.iter().all(HostRun::is_decided);
        let result = |host: &HostRun| match &host.phase {
            HostPhase::Ended(result) => result.clone(),
            HostPhase::Decided => finished(host, goal),
            _ if all_well || goal == GoalKind::Prune => finished(host, goal),
            _ => host.talk.untouched(None),
        };
        Report {
            goal,
            stage: self.cx.config.stage.clone(),
            release: self.release,
            hosts: hosts.iter().map(|host| (host.name().to_owned(), result(host))).collect(),
            warnings: self.warnings,
            interrupted,
            failure: self.failure,
            split: self.hosts.diverged,
        }
    }
}

/// Returns the result of a host where all went as planned.
fn finished(host: &HostRun<'_>, goal: GoalKind) -> HostResult {
    if host.plan.activate.is_none() && goal.makes_live() {
        return HostResult::Unchanged { live: host.live() };
    }
    let live = host.done.live.or(host.live());
    HostResult::Done(Done { live, kept: host.plan.kept.clone(), ..host.done.clone() })
}
