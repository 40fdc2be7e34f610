//! From the states of all hosts to their plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Deltas, Fleet, Recoveries};
use crate::deploy::divergence::find_split;
use crate::deploy::event::Event;
use crate::deploy::goal::Goal;
use crate::deploy::host::HostRun;
use crate::deploy::hosts::Aborted;
use crate::deploy::outcome::Failure;
use crate::deploy::plan::{
    HostPlan, PlanError, Planner, WantedRelease, activation_target, is_staged, is_unchanged,
    new_id, rollback_target,
};
use crate::deploy::retention::common_staged;
use crate::model::delta::BaseState;
use crate::model::goal::GoalKind;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;

impl<'a> Fleet<'a> {
    pub(super) fn planner(&self) -> Planner<'a> {
        let skipped = self.hosts.all.iter().filter(|host| !host.takes_part());
        let skipped = skipped.map(|host| host.name().to_owned()).collect();
        Planner { config: self.cx.config, run: self.cx.run, skipped }
    }

    /// Returns names and states of the hosts that take part.
    pub(super) fn states(&self) -> Vec<(&str, &HostState)> {
        let here = self.hosts.all.iter().filter(|host| host.takes_part());
        here.filter_map(|host| Some((host.name(), host.talk.state.as_ref()?))).collect()
    }

    pub(super) fn plan_recovery(&self) -> Recoveries {
        let planner = self.planner();
        let here = self.hosts.all.iter().filter(|host| host.takes_part());
        let recovery = |host: &HostRun| {
            let recovery = planner.recover(host.talk.host, host.talk.state.as_ref()?)?;
            Some((host.name().to_owned(), recovery))
        };
        here.filter_map(recovery).collect()
    }

    pub(super) fn plan_forward(&mut self) -> Recoveries {
        let Some(split) = find_split(&self.states()) else { return Recoveries::new() };
        let (on, behind) = (split.committed.join(", "), split.behind.join(", "));
        self.warn(None, format!(
            "contact was lost while {} was committed: {on} kept it and {behind} reverted it; it is \
             now made live there too",
            split.id
        ));
        let planner = self.planner();
        let behind = self
            .hosts
            .all
            .iter()
            .filter(|host| split.behind.iter().any(|name| name == host.name()));
        let forward = |host: &HostRun| {
            let forward = planner.forward(host.talk.host, host.talk.state.as_ref()?, &split);
            Some((host.name().to_owned(), forward))
        };
        behind.filter_map(forward).collect()
    }

    /// In a dry run, assumes that the hosts are recovered as a run would recover them first.
    pub(super) fn expect_recovery(&mut self, goal: &Goal) {
        let planned = self.plan_recovery();
        self.expect(planned);
        if goal.kind().makes_live() {
            let planned = self.plan_forward();
            self.expect(planned);
        }
    }

    pub(super) fn expect(&mut self, mut planned: Recoveries) {
        for host in &mut self.hosts.all {
            let Some(recovery) = planned.remove(host.name()) else { continue };
            host.talk.state = host.talk.state.as_ref().map(|state| recovery.expected(state));
            host.plan.recover.push(recovery);
        }
    }

    /// Returns for each host what it has of the release, given what it said of its live one.
    pub(super) async fn share(&mut self, bases: BTreeMap<String, BaseState>) -> Deltas {
        let Some(finder) = self.finder.clone() else { return Deltas::new() };
        let bases = Arc::new(bases);
        let found = self
            .hosts
            .each_that(HostRun::takes_part, |host| {
                let (finder, bases) = (Arc::clone(&finder), Arc::clone(&bases));
                Box::pin(async move {
                    let base = bases.get(host.name()).cloned().unwrap_or_default();
                    finder.delta(&host.talk, &base).await
                })
            })
            .await;
        let named =
            found.into_iter().map(|(at, delta)| (self.hosts.all[at].name().to_owned(), delta));
        named.collect()
    }

    /// Returns what the run makes on `host`; `None` if it makes nothing.
    pub(super) fn wanted<'w>(
        &'w self,
        goal: Option<&'w Goal>,
        host: &HostRun<'_>,
        deltas: &'w Deltas,
    ) -> Option<WantedRelease<'w>> {
        let build = goal.and_then(Goal::build)?;
        let release = &self.finder.as_ref()?.release;
        Some(WantedRelease { build, release, prepared: deltas.get(host.name())? })
    }

    /// Returns whether the build is live with this config on every host or, if it is to be staged,
    /// waits there already.
    pub(super) fn is_unchanged(&mut self, goal: &Goal) -> bool {
        let Some(build) = goal.build().filter(|build| !build.force) else { return false };
        let here = self.hosts.all.iter().filter(|host| host.takes_part());
        let here = here.filter_map(|host| Some((host.talk.host, host.talk.state.as_ref()?)));
        let (config, here) = (self.cx.config, here.collect::<Vec<_>>());
        if here.iter().all(|(host, state)| is_unchanged(config, host, state, build)) {
            return true;
        }
        let staged = common_staged(here.iter().map(|(_, state)| *state));
        let staged = staged.filter(|_| goal.kind() == GoalKind::Stage).filter(|id| {
            here.iter().all(|(host, state)| is_staged(config, host, state, build, *id))
        });
        self.release = staged;
        staged.is_some()
    }

    pub(super) fn plan(&mut self, goal: &Goal, deltas: &Deltas) -> Result<(), Aborted> {
        self.release = self.choose_release(goal)?;
        let planner = self.planner();
        let plan = |host: &HostRun| self.plan_host(&planner, goal, host, deltas);
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

    /// Returns the plan of one host, or why it has none; `None` if it takes no part.
    pub(super) fn plan_host(
        &self,
        planner: &Planner<'_>,
        goal: &Goal,
        host: &HostRun<'_>,
        deltas: &Deltas,
    ) -> Option<Result<HostPlan, PlanError>> {
        let state = host.talk.state.as_ref().filter(|_| host.takes_part())?;
        Some(match goal {
            Goal::Deploy { .. } => {
                let wanted = self.wanted(Some(goal), host, deltas)?;
                planner.deploy(host.talk.host, state, wanted, self.release?)
            }
            Goal::Stage { .. } => {
                let wanted = self.wanted(Some(goal), host, deltas)?;
                planner.stage(host.talk.host, state, wanted, self.release?)
            }
            Goal::Activate(_) => planner.activate(host.talk.host, state, self.release?),
            Goal::Rollback(_) => planner.rollback(host.talk.host, state, self.release?),
            Goal::Prune(rule) => planner.prune(state, *rule),
        })
    }

    pub(super) fn choose_release(&mut self, goal: &Goal) -> Result<Option<ReleaseId>, Aborted> {
        let states = self.states();
        match goal {
            Goal::Deploy { .. } | Goal::Stage { .. } => {
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
            Goal::Activate(named) => match activation_target(&states, *named) {
                Ok(id) => Ok(Some(id)),
                Err(error) => {
                    self.failure = Some(error.failure(&self.cx.config.stage));
                    Err(Aborted)
                }
            },
            Goal::Prune(_) => Ok(None),
        }
    }

    pub(super) fn note_warnings(&mut self) {
        let of = |host: &HostRun| {
            let name = host.name().to_owned();
            host.plan.warnings.clone().into_iter().map(move |text| (name.clone(), text))
        };
        let all: Vec<_> = self.hosts.all.iter().flat_map(of).collect();
        for (host, text) in all {
            self.warn(Some(host), text);
        }
    }
}
