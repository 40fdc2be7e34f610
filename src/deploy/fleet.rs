//! All hosts of one run, phase by phase: look, recover, plan, prepare, switch, commit, tidy. What a
//! phase needs of every host is done on all at once, under a limit; a later phase begins only
//! when the one before it is over on every host. Switching and committing are `rollout`'s.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep};

use super::delta::{self, DeltaFinder};
use super::divergence::find_split;
use super::event::{Event, Phase};
use super::goal::{Build, PruneRule, RollbackTarget, Run};
use super::host::{HostRun, RunContext, hello};
use super::local_hook;
use super::outcome::{Failure, HostResult, Report};
use super::payload::Payload;
use super::plan::{
    HostPlan, Note, PlanError, Planner, Recovery, check_newer, is_unchanged, new_id,
    rollback_target,
};
use super::verify::drift_warning;
use crate::artifact::Artifact;
use crate::config::{Config, OnUnreachable};
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::remote::agent::{CheckFacts, Hello, Scan};

/// How long a run waits for hosts that one which will let go of them holds.
const FAIR_WAIT: Duration = Duration::from_secs(10);

/// What a run is for.
pub enum Goal {
    /// Make a build live.
    Deploy {
        /// What.
        build: Box<Build>,
        /// Where its bytes are.
        artifact: Arc<Artifact>,
    },
    /// Make an earlier release live again.
    Rollback(RollbackTarget),
    /// Delete old releases.
    Prune(PruneRule),
}

impl Goal {
    /// One word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Deploy { .. } => "deploy",
            Self::Rollback(_) => "rollback",
            Self::Prune(_) => "prune",
        }
    }

    /// What is to be made live, if it is not there yet.
    pub fn build(&self) -> Option<&Build> {
        if let Self::Deploy { build, .. } = self { Some(build) } else { None }
    }
}

/// The run is over before its end; what there is to say stands in the hosts' results.
pub(super) struct Aborted;

/// One host's part of a phase.
pub(super) type HostFuture<'s, T> = Pin<Box<dyn Future<Output = T> + Send + 's>>;

/// All hosts of a run.
pub(super) struct Fleet<'a> {
    pub(super) cx: RunContext<'a>,
    pub(super) hosts: Vec<HostRun<'a>>,
    release: Option<ReleaseId>,
    /// Of a deploy: what hosts have of what is to be made.
    bases: Option<Arc<DeltaFinder>>,
    warnings: Vec<(Option<String>, String)>,
    failure: Option<Failure>,
    /// Some hosts committed what others, which were to commit it too, do not run.
    pub(super) split: bool,
}

/// Does it. One host's failure is data in the report.
pub async fn run(cx: RunContext<'_>, goal: &Goal) -> Report {
    begin(&cx, goal.name());
    pursue(cx, goal).await
}

/// A deploy of what `local.before` builds: `open` opens it when these commands are through. A failure
/// of either is the report's, and no host is spoken with.
pub async fn build_and_run(
    cx: RunContext<'_>,
    open: impl AsyncFnOnce() -> Result<Goal, Failure>,
) -> Report {
    begin(&cx, "deploy");
    let built = async {
        local_hook::before(&cx).await?;
        open().await
    };
    let built = tokio::select! {
        built = built => built,
        () = cx.cancel.wait(1) => Err(Failure::new("stopped on request")),
    };
    match built {
        Ok(goal) => pursue(cx, &goal).await,
        Err(failure) => {
            let mut fleet = Fleet::new(cx);
            fleet.failure = (!cx.cancel.asked()).then_some(failure);
            let report = fleet.report("deploy");
            local_hook::after(&cx, &report).await;
            report
        }
    }
}

fn begin(cx: &RunContext<'_>, goal: &'static str) {
    let names = cx.config.hosts.iter().map(|host| host.name.clone()).collect();
    let stage = cx.config.stage.clone();
    cx.events.emit(Event::RunStarted { goal, stage, hosts: names });
}

async fn pursue(cx: RunContext<'_>, goal: &Goal) -> Report {
    if let Goal::Deploy { build, .. } = goal {
        cx.events.emit(build.ready());
    }
    let mut fleet = Fleet::towards(cx, goal);
    let pipeline = async {
        let _ = fleet.pipeline(goal).await;
        fleet.close().await;
    };
    let insisted = tokio::select! {
        () = pipeline => false,
        () = cx.cancel.wait(2) => true,
    };
    if insisted {
        fleet.abandon();
    }
    let report = fleet.report(goal.name());
    local_hook::after(&cx, &report).await;
    report
}

/// What would be done, from live facts and by the same code, without taking the lock.
pub struct DryRun {
    /// Each host with its plan, or why it has none; without a reason: because of another host.
    pub plans: Vec<(String, Result<HostPlan, Option<Failure>>)>,
    /// The release it is about, if that much is known.
    pub release: Option<ReleaseId>,
    /// Every host runs exactly this already.
    pub unchanged: bool,
    /// Why there is no plan at all.
    pub failure: Option<Failure>,
}

/// Looks and plans, and stops there.
pub async fn dry_run(cx: RunContext<'_>, goal: &Goal) -> DryRun {
    let mut fleet = Fleet::towards(cx, goal);
    let opened = fleet.open(goal, false).await;
    let unchanged = opened.is_ok() && fleet.is_unchanged(goal);
    if opened.is_ok() && !unchanged {
        fleet.look_at_live().await;
        fleet.share().await;
    }
    let planned = opened.is_ok() && fleet.plan(goal).is_ok();
    let plan = |host: &HostRun| match &host.result {
        None if planned => Ok(host.plan.clone()),
        Some(HostResult::Untouched { failure: Some(failure), .. }) => Err(Some(failure.clone())),
        _ => Err(None),
    };
    let plans = fleet.hosts.iter().map(|host| (host.host.name.clone(), plan(host))).collect();
    let (release, failure) = (fleet.release, fleet.failure.clone());
    fleet.close().await;
    DryRun { plans, release, unchanged, failure }
}

/// What the conversations of a deploy begin with, whatever is to be deployed.
pub fn hello_of_deploy(config: &Config, run: &Run) -> Hello {
    hello(config, run, true, Scan::Others, delta::first(config))
}

/// Looks at every host, without the lock.
pub async fn look(cx: RunContext<'_>) -> Vec<(String, Result<HostState, Failure>)> {
    let mut fleet = Fleet::new(cx);
    let found = fleet.each(|host| Box::pin(host.open(false, Scan::No))).await;
    let mut states = Vec::new();
    for (host, found) in fleet.hosts.iter().zip(found) {
        let state = host.state.clone().ok_or_else(|| Failure::new("could not be looked at"));
        states.push((host.host.name.clone(), found.and(state)));
    }
    fleet.close().await;
    states
}

/// A host's look, what `check` wants to know besides, and what a deploy would say.
pub struct Probed {
    /// The look.
    pub state: HostState,
    /// What was asked besides.
    pub probe: CheckFacts,
    /// All for which a deploy would refuse.
    pub refusals: Vec<PlanError>,
    /// Of what a deploy would warn.
    pub warnings: Vec<Note>,
}

/// Looks at every host and probes it, without the lock; then asks the rules of a deploy, if there
/// is a `goal` to be had.
pub async fn probe(
    cx: RunContext<'_>,
    goal: Option<&Goal>,
) -> Vec<(String, Result<Probed, Failure>)> {
    let mut fleet = goal.map_or_else(|| Fleet::new(cx), |goal| Fleet::towards(cx, goal));
    let probe = async |host: &mut HostRun<'_>| {
        host.open(false, Scan::No).await?;
        host.probe().await
    };
    let probed = fleet.each(|host| Box::pin(probe(host))).await;
    for (host, probed) in fleet.hosts.iter_mut().zip(&probed) {
        host.result = probed.as_ref().err().map(|failure| host.untouched(Some(failure.clone())));
    }
    fleet.look_at_live().await;
    fleet.share().await;
    let planner = fleet.planner();
    let judged = fleet.hosts.iter().zip(probed).map(|(host, probe)| {
        let state = host.state.clone().ok_or_else(|| Failure::new("could not be looked at"));
        let judged = probe.and_then(|probe| {
            let state = state?;
            let build = goal.and_then(Goal::build).zip(fleet.bases.as_ref());
            let build = build.map(|(build, bases)| (build, &bases.release.manifest));
            let refusals = planner.refusals(&state, build);
            let warnings = planner.notes(&state, build);
            Ok(Probed { state, probe, refusals, warnings })
        });
        (host.host.name.clone(), judged)
    });
    let judged = judged.collect();
    fleet.close().await;
    judged
}

impl<'a> Fleet<'a> {
    fn new(cx: RunContext<'a>) -> Self {
        let hosts = cx.config.hosts.iter().map(|host| HostRun::new(cx, host)).collect();
        let (release, bases, failure) = (None, None, None);
        Self { cx, hosts, release, bases, warnings: Vec::new(), failure, split: false }
    }

    fn towards(cx: RunContext<'a>, goal: &Goal) -> Self {
        let bases = match goal {
            Goal::Deploy { build, artifact } => {
                Some(Arc::new(DeltaFinder::new(build.release(cx.config), Arc::clone(artifact))))
            }
            _ => None,
        };
        Self { bases, ..Self::new(cx) }
    }

    /// Does `part` on all hosts at once, at most `parallel` at a time; results in host order.
    async fn each<T: Send>(
        &mut self,
        part: impl for<'s> Fn(&'s mut HostRun<'a>) -> HostFuture<'s, T>,
    ) -> Vec<T> {
        let all = self.each_that(|_| true, part).await;
        all.into_iter().map(|(_, result)| result).collect()
    }

    /// The same on those hosts that are `wanted`; each result with the host's place. A slow host
    /// keeps nobody else waiting.
    pub(super) async fn each_that<T: Send>(
        &mut self,
        wanted: impl Fn(&HostRun<'a>) -> bool,
        part: impl for<'s> Fn(&'s mut HostRun<'a>) -> HostFuture<'s, T>,
    ) -> Vec<(usize, T)> {
        let limit = self.cx.config.parallel.max(1);
        let hosts = self.hosts.iter_mut().enumerate().filter(|(_, host)| wanted(host));
        let numbered = |(place, host)| {
            let part = part(host);
            async move { (place, part.await) }
        };
        let parts: Vec<_> = hosts.map(numbered).collect();
        let mut done: Vec<_> = stream::iter(parts).buffer_unordered(limit).collect().await;
        done.sort_by_key(|(place, _)| *place);
        done
    }

    fn planner(&self) -> Planner<'a> {
        let skipped = self.hosts.iter().filter(|host| !host.takes_part());
        let skipped = skipped.map(|host| host.host.name.clone()).collect();
        Planner { config: self.cx.config, run: self.cx.run, skipped }
    }

    /// The hosts that take part, as they were when they were looked at.
    fn states(&self) -> Vec<(&str, &HostState)> {
        let here = self.hosts.iter().filter(|host| host.takes_part());
        here.filter_map(|host| Some((host.host.name.as_str(), host.state.as_ref()?))).collect()
    }

    async fn pipeline(&mut self, goal: &Goal) -> Result<(), Aborted> {
        self.cx.events.emit(Event::Phase(Phase::Look));
        self.open(goal, true).await?;
        self.refuse_newer(goal)?;
        self.recover().await?;
        if !is_prune(goal) {
            self.finish_split().await?;
        }
        self.look_at_live().await;
        if self.is_unchanged(goal) {
            for host in self.hosts.iter_mut().filter(|host| host.takes_part()) {
                let live = host.state.as_ref().and_then(HostState::live);
                host.result = Some(HostResult::Unchanged { live });
            }
            return Ok(());
        }
        self.share().await;
        self.plan(goal)?;
        self.prepare(goal).await?;
        self.switch().await?;
        self.tidy(goal).await;
        Ok(())
    }

    /// Connects to all, with the lock if wanted. A prune goes on without hosts that failed, and so
    /// does a run that may skip some.
    async fn open(&mut self, goal: &Goal, lock: bool) -> Result<(), Aborted> {
        let config = self.cx.config;
        let (scan, first) = match goal {
            Goal::Prune(_) => (Scan::Yes, Vec::new()),
            Goal::Deploy { .. } => (Scan::Others, delta::first(config)),
            Goal::Rollback(_) => (Scan::No, Vec::new()),
        };
        let mut told = BTreeSet::new();
        loop {
            let cancel = self.cx.cancel;
            let opened = tokio::select! {
                opened = self.each(|host| Box::pin(host.open_asking(lock, scan, first.clone()))) => opened,
                () = cancel.wait(1) => return Err(Aborted),
            };
            self.note_unreachable(goal, opened)?;
            if !lock || self.all_locked().await {
                break;
            }
            if !self.cx.wait || self.cx.cancel.asked() {
                self.note_holders();
                return Err(Aborted);
            }
            self.tell_waits_for(&mut told);
            self.close().await;
            sleep(Duration::from_secs(1)).await;
        }
        self.stop_if_asked()
    }

    fn note_unreachable(
        &mut self,
        goal: &Goal,
        opened: Vec<Result<(), Failure>>,
    ) -> Result<(), Aborted> {
        let skips = self.cx.config.rollout.on_unreachable == OnUnreachable::Skip;
        let skips = skips && !is_prune(goal) && opened.iter().any(Result::is_ok);
        for (host, opened) in self.hosts.iter_mut().zip(opened) {
            host.result = opened.err().map(|failure| {
                if skips { HostResult::Skipped { failure } } else { host.untouched(Some(failure)) }
            });
        }
        let missing = self.hosts.iter().any(|host| !host.takes_part());
        if missing && !skips && !is_prune(goal) { Err(Aborted) } else { Ok(()) }
    }

    /// Changes nothing where a newer program was; a prune goes on without such hosts.
    fn refuse_newer(&mut self, goal: &Goal) -> Result<(), Aborted> {
        let mut refused = false;
        for host in self.hosts.iter_mut().filter(|host| host.takes_part()) {
            let Some(state) = &host.state else { continue };
            if let Err(error) = check_newer(state) {
                let failure = plan_failure(&error, &self.cx.config.stage);
                host.result = Some(host.untouched(Some(failure)));
                refused = true;
            }
        }
        if refused && !is_prune(goal) { Err(Aborted) } else { Ok(()) }
    }

    pub(super) fn stop_if_asked(&self) -> Result<(), Aborted> {
        if self.cx.cancel.asked() { Err(Aborted) } else { Ok(()) }
    }

    /// Whether every lock is ours, perhaps after a while.
    async fn all_locked(&mut self) -> bool {
        let end = Instant::now() + FAIR_WAIT;
        while self.hosts.iter().any(|host| host.holder().is_some()) {
            if !self.may_wait() || Instant::now() > end || self.cx.cancel.asked() {
                return false;
            }
            sleep(Duration::from_millis(200)).await;
            for host in self.hosts.iter_mut().filter(|host| host.holder().is_some()) {
                let _ = host.retry_lock().await;
            }
        }
        true
    }

    /// Of two runs that each hold some hosts, the one of the smaller nonce waits for the rest and
    /// wins; the other lets go. Each sees the other's name on what it lacks, whatever hosts they
    /// have in common, and no circle of runs can wait for each other. A holder without a name has
    /// let go while it was looked at, unless it is none of ours.
    fn may_wait(&self) -> bool {
        let lets_go = |host: &HostRun| {
            host.state.as_ref().is_some_and(|HostState { lock, .. }| {
                let after_us = lock.owner.as_ref().is_none_or(|it| it.run > self.cx.run.nonce);
                lock.frozen.is_none() && after_us
            })
        };
        let here = || self.hosts.iter().filter(|host| host.takes_part());
        here().any(|host| host.holder().is_none())
            && here().all(|host| host.holder().is_none() || lets_go(host))
    }

    /// Tells whom the run waits for, once each: `told` remembers.
    fn tell_waits_for(&self, told: &mut BTreeSet<(String, String)>) {
        for host in &self.hosts {
            let Some(holder) = host.holder() else { continue };
            let (name, holder) = (host.host.name.clone(), holder.to_owned());
            if told.insert((name.clone(), holder.clone())) {
                let text = format!("waits for {holder}");
                self.cx.events.emit(Event::Warning { host: Some(name), text });
            }
        }
    }

    fn note_holders(&mut self) {
        for host in self.hosts.iter_mut().filter(|host| host.takes_part()) {
            host.result = Some(match host.holder() {
                Some(holder) => HostResult::Locked { holder: holder.to_owned() },
                None => host.untouched(None),
            });
        }
    }

    /// Settles what interrupted runs left, host by host.
    async fn recover(&mut self) -> Result<(), Aborted> {
        let planner = self.planner();
        let recovered = self
            .each_that(HostRun::takes_part, move |host| {
                let planner = planner.clone();
                Box::pin(async move {
                    let Some(state) = &host.state else { return Ok(()) };
                    match planner.recover(host.host, state) {
                        Some(recover) => host.recover(&recover).await,
                        None => Ok(()),
                    }
                })
            })
            .await;
        self.note_failures(recovered)
    }

    /// Makes a release that a lost connection left on some hosts only live on all of them.
    async fn finish_split(&mut self) -> Result<(), Aborted> {
        let Some(split) = find_split(&self.states()) else { return Ok(()) };
        let (on, behind) = (split.committed.join(", "), split.behind.join(", "));
        self.warn(None, format!(
            "contact was lost while {} was committed: {on} kept it and {behind} reverted it; it is \
             now made live there too",
            split.id
        ));
        let planner = self.planner();
        let split = Arc::new(split);
        let behind = Arc::clone(&split);
        let wanted = |host: &HostRun| behind.behind.contains(&host.host.name);
        let finished = self
            .each_that(wanted, move |host| {
                let (planner, split) = (planner.clone(), Arc::clone(&split));
                Box::pin(async move {
                    let Some(state) = host.state.clone() else { return Ok(()) };
                    let forward = planner.forward(host.host, &state, &split);
                    host.recover(&Recovery::Forward(Box::new(forward))).await
                })
            })
            .await;
        self.split = finished.iter().any(|(_, result)| result.is_err());
        self.note_failures(finished)
    }

    fn warn(&mut self, host: Option<String>, text: String) {
        self.cx.events.emit(Event::Warning { host: host.clone(), text: text.clone() });
        self.warnings.push((host, text));
    }

    /// Notes failures that touched nothing; any of them ends the run.
    fn note_failures(&mut self, results: Vec<(usize, Result<(), Failure>)>) -> Result<(), Aborted> {
        let mut stop = Ok(());
        for (place, result) in results {
            let host = &mut self.hosts[place];
            if let Err(failure) = result {
                let failure = (!self.cx.cancel.asked()).then_some(failure);
                host.result = host.result.take().or_else(|| Some(host.untouched(failure)));
                stop = Err(Aborted);
            }
        }
        stop?;
        self.stop_if_asked()
    }

    /// Asks at once whether somebody touched what is live, and what the new release can share with
    /// it. A deploy replaces what was touched, but somebody should know.
    async fn look_at_live(&mut self) {
        let Some(bases) = self.bases.clone() else { return };
        let config = self.cx.config;
        let found = self
            .each_that(HostRun::takes_part, |host| {
                let bases = Arc::clone(&bases);
                Box::pin(async move {
                    let (warning, there) =
                        futures::join!(drift_warning(host, config), bases.ask(host, config));
                    host.shareable = there;
                    warning
                })
            })
            .await;
        for (place, text) in found {
            let Some(text) = text else { continue };
            let host = Some(self.hosts[place].host.name.clone());
            self.warn(host, text);
        }
    }

    /// Works out for each host what of the release is there already.
    async fn share(&mut self) {
        let Some(bases) = self.bases.clone() else { return };
        let kept = self.cx.cache;
        self.each_that(HostRun::takes_part, |host| {
            let bases = Arc::clone(&bases);
            Box::pin(async move {
                let delta = bases.delta(host, kept, &host.shareable).await;
                if let Some(state) = &mut host.state {
                    state.delta = delta;
                }
            })
        })
        .await;
    }

    fn is_unchanged(&self, goal: &Goal) -> bool {
        let Goal::Deploy { build, .. } = goal else { return false };
        let states = self.states();
        !build.force && states.iter().all(|(_, state)| is_unchanged(self.cx.config, state, build))
    }

    fn plan(&mut self, goal: &Goal) -> Result<(), Aborted> {
        let planner = self.planner();
        self.release = self.choose_release(goal)?;
        let mut stop = Ok(());
        for host in self.hosts.iter_mut().filter(|host| host.takes_part()) {
            let Some(state) = host.state.clone() else { continue };
            let plan = match (goal, self.release, &self.bases) {
                (Goal::Deploy { build, .. }, Some(id), Some(bases)) => {
                    let build = (&**build, &bases.release.manifest);
                    planner.deploy(host.host, &state, build, id)
                }
                (Goal::Rollback(_), Some(id), _) => planner.rollback(host.host, &state, id),
                (Goal::Prune(rule), ..) => planner.prune(host.host, &state, *rule),
                _ => Ok(HostPlan::default()),
            };
            match plan {
                Ok(plan) => host.plan = plan,
                Err(error) => {
                    let failure = plan_failure(&error, &self.cx.config.stage);
                    host.result = Some(host.untouched(Some(failure)));
                    stop = if is_prune(goal) { stop } else { Err(Aborted) };
                }
            }
        }
        stop?;
        self.note_warnings();
        Ok(())
    }

    fn choose_release(&mut self, goal: &Goal) -> Result<Option<ReleaseId>, Aborted> {
        let states = self.states();
        match goal {
            Goal::Deploy { .. } => {
                let id = new_id(states.into_iter().map(|(_, state)| state), self.cx.run);
                self.cx.events.emit(Event::ReleaseNamed { id });
                Ok(Some(id))
            }
            Goal::Rollback(target) => match rollback_target(&states, *target) {
                Ok(id) => Ok(Some(id)),
                Err(error) => {
                    let mut failure = Failure::new(error.to_string())
                        .hint(Some(error.hint(&self.cx.config.stage)));
                    failure.cause = error.causes();
                    self.failure = Some(failure);
                    Err(Aborted)
                }
            },
            Goal::Prune(_) => Ok(None),
        }
    }

    fn note_warnings(&mut self) {
        let of = |host: &HostRun| {
            let name = host.host.name.clone();
            host.plan.warnings.clone().into_iter().map(move |text| (name.clone(), text))
        };
        let all: Vec<_> = self.hosts.iter().flat_map(of).collect();
        for (host, text) in all {
            self.warn(Some(host), text);
        }
    }

    async fn prepare(&mut self, goal: &Goal) -> Result<(), Aborted> {
        let (Goal::Deploy { build, artifact }, Some(id), Some(bases)) =
            (goal, self.release, &self.bases)
        else {
            return Ok(());
        };
        self.cx.events.emit(Event::Phase(Phase::Prepare));
        let prefix = Layout::staging(id, &self.cx.run.nonce);
        let release = Arc::clone(&bases.release);
        let (env, upload) = (build.env.clone(), &self.cx.config.upload);
        let payload = Payload::new(Arc::clone(artifact), release, prefix, env, upload);
        let payload = Arc::new(payload);
        let prepared = self
            .each_that(HostRun::takes_part, move |host| {
                let payload = Arc::clone(&payload);
                Box::pin(async move { host.prepare(&payload, id).await })
            })
            .await;
        self.note_failures(prepared)
    }

    /// What fails is a warning after a release was made live, and the result of a prune.
    async fn tidy(&mut self, goal: &Goal) {
        if self.hosts.iter().all(|host| host.plan.tidy.is_empty()) {
            return;
        }
        self.cx.events.emit(Event::Phase(Phase::Tidy));
        let failed = self.each_that(HostRun::takes_part, |host| Box::pin(host.tidy())).await;
        for (place, mut failures) in failed {
            let host = &mut self.hosts[place];
            if is_prune(goal) && !failures.is_empty() {
                host.result = Some(host.untouched(Some(failures.remove(0))));
            }
            let name = host.host.name.clone();
            for failure in failures {
                self.warn(Some(name.clone()), failure.one_line());
            }
        }
    }

    async fn close(&mut self) {
        self.each(|host| Box::pin(host.close())).await;
    }

    /// Stops speaking to everyone; what was undecided is unknown to us now.
    fn abandon(&mut self) {
        let seconds = self.cx.config.deadline.as_secs();
        for host in &mut self.hosts {
            if host.undecided && host.result.is_none() {
                let failure = Failure::new("was left undecided")
                    .because(format!("the host reverts by itself within {seconds}s"))
                    .hint(Some(format!("shipit status {}", self.cx.config.stage)));
                host.result = Some(HostResult::Unknown { failure });
            }
            host.abandon();
        }
    }

    fn report(self, goal: &'static str) -> Report {
        let all_well = self.failure.is_none()
            && !self.cx.cancel.asked()
            && self.hosts.iter().all(|host| host.result.is_none());
        let committed = |host: &HostRun| host.done.live.is_some();
        let result = |host: HostRun| match host.result.clone() {
            Some(result) => (host.host.name.clone(), result),
            None if all_well || committed(&host) || goal == "prune" => finished(&host, goal),
            None => (host.host.name.clone(), host.untouched(None)),
        };
        let interrupted = self.cx.cancel.asked()
            && !self.hosts.iter().all(|host| host.result.is_none() && host.done.live.is_some());
        Report {
            goal,
            stage: self.cx.config.stage.clone(),
            release: self.release,
            hosts: self.hosts.into_iter().map(result).collect(),
            warnings: self.warnings,
            interrupted,
            failure: self.failure,
            split: self.split,
        }
    }
}

fn finished(host: &HostRun<'_>, goal: &str) -> (String, HostResult) {
    let live = host.state.as_ref().and_then(HostState::live);
    let nothing_to_do = host.plan.switch.is_none() && goal != "prune";
    let result = if nothing_to_do {
        HostResult::Unchanged { live }
    } else {
        let live = host.done.live.or(live);
        let kept = host.plan.kept.clone();
        HostResult::Done(super::outcome::Done { live, kept, ..host.done.clone() })
    };
    (host.host.name.clone(), result)
}

const fn is_prune(goal: &Goal) -> bool {
    matches!(goal, Goal::Prune(_))
}

pub(super) fn plan_failure(error: &PlanError, stage: &str) -> Failure {
    Failure::new(error.to_string()).hint(error.hint(stage))
}
