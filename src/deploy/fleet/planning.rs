//! From the states of all hosts to their plans.

use super::Fleet;
use crate::deploy::divergence::{Divergence, find_split};
use crate::deploy::event::Event;
use crate::deploy::goal::Goal;
use crate::deploy::host::HostRun;
use crate::deploy::hosts::Aborted;
use crate::deploy::plan::{
    HostPlan, PlanError, Planner, Recovery, WantedRelease, activation_target, new_id,
    rollback_target,
};
use crate::deploy::retention::common_staged;
use crate::model::goal::GoalKind;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;

impl Fleet<'_> {
    /// Returns the names of hosts that the run goes on without.
    pub(super) fn skipped(&self) -> Vec<String> {
        let skipped = self.hosts.all.iter().filter(|host| !host.takes_part());
        skipped.map(|host| host.name().to_owned()).collect()
    }

    /// Returns names and states of the hosts that take part.
    pub(super) fn states(&self) -> Vec<(&str, &HostState)> {
        let here = self.hosts.all.iter().filter(|host| host.takes_part());
        here.filter_map(|host| Some((host.name(), host.talk.state.as_ref()?))).collect()
    }

    /// Returns how the hosts diverged, if they did, and warns of it.
    pub(super) fn find_split(&mut self) -> Option<Divergence> {
        let split = find_split(&self.states())?;
        let (on, behind) = (split.committed.join(", "), split.behind.join(", "));
        self.warn(None, format!(
            "contact was lost while {} was committed: {on} kept it and {behind} reverted it; it is \
             now made live there too",
            split.id
        ));
        Some(split)
    }

    /// In a dry run, assumes that the hosts are recovered as a run would recover them first.
    pub(super) fn expect_recovery(&mut self, goal: &Goal) {
        let skipped = self.skipped();
        for host in &mut self.hosts.all {
            let recovery = host.planner(&skipped).and_then(|planner| planner.recover());
            host.expect(recovery);
        }
        if goal.kind().makes_live() {
            let split = self.find_split();
            for host in &mut self.hosts.all {
                let recovery = forward(host, &skipped, split.as_ref());
                host.expect(recovery);
            }
        }
    }

    /// Finds for each host what it has of the release, given what it said of its live one.
    pub(super) async fn share(&mut self) {
        let Some(finder) = &self.finder else { return };
        let share = async |host: &mut HostRun<'_>| {
            host.prepared = Some(finder.delta(&host.talk, &host.base).await);
        };
        self.hosts.each_that(HostRun::takes_part, share).await;
    }

    /// Returns what the run makes on `host`; `None` if it makes nothing.
    pub(super) fn wanted<'w>(
        &'w self,
        goal: Option<&'w Goal>,
        host: &'w HostRun<'_>,
    ) -> Option<WantedRelease<'w>> {
        let build = goal.and_then(Goal::build)?;
        let release = &self.finder.as_ref()?.release;
        Some(WantedRelease { build, release, prepared: host.prepared.as_ref()? })
    }

    /// Returns whether the build is live with this config on every host or, if it is to be staged,
    /// waits there already.
    pub(super) fn is_unchanged(&mut self, goal: &Goal) -> bool {
        let Some(build) = goal.build().filter(|build| !build.force) else { return false };
        let skipped = self.skipped();
        let here = self.hosts.all.iter().filter_map(|host| host.planner(&skipped));
        let here: Vec<_> = here.collect();
        if here.iter().all(|host| host.is_unchanged(build)) {
            return true;
        }
        let staged = common_staged(here.iter().map(|host| host.state));
        let staged = staged.filter(|_| goal.kind() == GoalKind::Stage);
        let staged = staged.filter(|id| here.iter().all(|host| host.is_staged(build, *id)));
        self.release = staged;
        staged.is_some()
    }

    pub(super) fn plan(&mut self, goal: &Goal) -> Result<(), Aborted> {
        self.release = self.choose_release(goal)?;
        let skipped = self.skipped();
        let plan = |host: &HostRun<'_>| self.plan_host(host.planner(&skipped)?, goal, host);
        let plans: Vec<_> = self.hosts.all.iter().map(plan).collect();
        let mut stop = Ok(());
        for (host, plan) in self.hosts.all.iter_mut().zip(plans) {
            match plan {
                None => {}
                Some(Ok(plan)) => {
                    let recover = std::mem::take(&mut host.plan.recover);
                    host.plan = HostPlan { recover, ..plan };
                }
                Some(Err(error)) => {
                    let failure = error.failure(&self.cx.config.stage);
                    host.end_untouched(Some(failure));
                    stop = if goal.is_prune() { stop } else { Err(Aborted) };
                }
            }
        }
        stop?;
        self.note_warnings();
        Ok(())
    }

    /// Returns the plan of one host, or why it has none; `None` if nothing is planned for it.
    fn plan_host(
        &self,
        planner: Planner<'_>,
        goal: &Goal,
        host: &HostRun<'_>,
    ) -> Option<Result<HostPlan, PlanError>> {
        Some(match goal {
            Goal::Deploy(_) => planner.deploy(self.wanted(Some(goal), host)?, self.release?),
            Goal::Stage(_) => planner.stage(self.wanted(Some(goal), host)?, self.release?),
            Goal::Activate(_) => planner.activate(self.release?),
            Goal::Rollback(_) => planner.rollback(self.release?),
            Goal::Prune(rule) => planner.prune(*rule),
        })
    }

    fn choose_release(&mut self, goal: &Goal) -> Result<Option<ReleaseId>, Aborted> {
        let (states, stage) = (self.states(), &self.cx.config.stage);
        let chosen = match goal {
            Goal::Deploy(_) | Goal::Stage(_) => {
                let id = new_id(states.into_iter().map(|(_, state)| state), self.cx.run);
                self.cx.events.emit(Event::ReleaseNamed { id });
                Ok(id)
            }
            Goal::Rollback(named) => rollback_target(&states, *named, stage),
            Goal::Activate(named) => activation_target(&states, *named, stage),
            Goal::Prune(_) => return Ok(None),
        };
        chosen.map(Some).map_err(|failure| {
            self.failure = Some(failure);
            Aborted
        })
    }

    fn note_warnings(&mut self) {
        let of = |host: &HostRun<'_>| {
            let (name, warnings) = (host.name().to_owned(), host.plan.warnings.clone());
            warnings.into_iter().map(move |text| (name.clone(), text))
        };
        let all: Vec<_> = self.hosts.all.iter().flat_map(of).collect();
        for (host, text) in all {
            self.warn(Some(host), text);
        }
    }
}

impl HostRun<'_> {
    /// In a dry run, assumes that the host is recovered so.
    fn expect(&mut self, recovery: Option<Recovery>) {
        if let Some(recovery) = recovery {
            self.talk.state = self.talk.state.as_ref().map(|state| recovery.expected(state));
            self.plan.recover.push(recovery);
        }
    }
}

/// Returns how the release that others committed becomes live on this host, if it reverted it.
pub(super) fn forward(
    host: &HostRun<'_>,
    skipped: &[String],
    split: Option<&Divergence>,
) -> Option<Recovery> {
    let split = split.filter(|split| split.behind.iter().any(|name| name == host.name()))?;
    Some(host.planner(skipped)?.forward(split))
}
