//! Dry runs: the plan of a run, made without the lock and without changing anything.

use super::Fleet;
use super::difference::Difference;
use crate::deploy::context::RunContext;
use crate::deploy::goal::Goal;
use crate::deploy::health::local_ports;
use crate::deploy::host::HostRun;
use crate::deploy::outcome::{Failure, HostResult};
use crate::deploy::plan::{HostPlan, PlanError};
use crate::deploy::query::Answers;
use crate::model::host_state::HostState;
use crate::model::note::Note;
use crate::remote::answer::CheckFacts;
use crate::remote::conversation::Scan;

/// The plans of a run that was not executed.
pub struct DryRun {
    /// Each host with its plan, or why it has none; `Err(None)`: because of another host.
    pub plans: Vec<(String, Result<HostPlan, Option<Failure>>)>,
    /// The changes that a deploy would make on each of these hosts, in the same order.
    pub differences: Vec<Option<Difference>>,
    /// Whether every host runs exactly this already.
    pub unchanged: bool,
    /// The reason why there is no plan at all, if so.
    pub failure: Option<Failure>,
}

/// Looks at the hosts and makes their plans.
pub async fn dry_run(cx: RunContext<'_>, goal: &Goal) -> DryRun {
    let mut fleet = Fleet::new(cx, Some(goal));
    let (mut unchanged, mut planned, mut differences) = (false, false, Vec::new());
    if fleet.open(goal, false).await.is_ok() {
        fleet.look_at_live().await;
        fleet.expect_recovery(goal);
        unchanged = fleet.is_unchanged(goal);
        if !unchanged {
            fleet.share().await;
        }
        planned = fleet.plan(goal).is_ok();
        if planned && !unchanged {
            differences = fleet.differences(goal).await;
        }
    }
    let plan = |host: &HostRun| match host.result() {
        None if planned => Ok(host.plan.clone()),
        Some(HostResult::Untouched { failure: Some(failure), .. }) => Err(Some(failure.clone())),
        _ => Err(None),
    };
    let plans = fleet.hosts.all.iter().map(|host| (host.name().to_owned(), plan(host))).collect();
    let failure = fleet.failure.clone();
    fleet.hosts.close().await;
    DryRun { plans, differences, unchanged, failure }
}

/// The answers of a host to `check`, and what a deploy would refuse and warn of.
pub struct Probed {
    pub state: HostState,
    /// Facts that a look does not ask for.
    pub probe: CheckFacts,
    /// The reasons for which a deploy would refuse the host.
    pub refusals: Vec<PlanError>,
    /// The notes that a deploy would give as warnings.
    pub notes: Vec<Note>,
}

/// Looks at every host and probes it, without the lock. With a `goal`, returns what a deploy of it
/// would refuse and warn of.
pub async fn probe(cx: RunContext<'_>, goal: Option<&Goal>) -> Answers<Probed> {
    let mut fleet = Fleet::new(cx, goal);
    let probe = async |host: &mut HostRun<'_>| {
        host.talk.open(false, Scan::No).await?;
        let ports = local_ports(host.talk.config(), host.talk.host);
        host.talk.probe(ports.into_iter().collect()).await
    };
    let probed = fleet.hosts.each(probe).await;
    for (host, probed) in fleet.hosts.all.iter_mut().zip(&probed) {
        if let Err(failure) = probed {
            host.end_untouched(Some(failure.clone()));
        }
    }
    fleet.look_at_live().await;
    fleet.share().await;
    let skipped = fleet.skipped();
    let judged = fleet.hosts.all.iter().zip(probed).map(|(host, probe)| {
        let judged = probe.and_then(|probe| {
            let state = host.talk.looked()?;
            let (wanted, planner) = (fleet.wanted(goal, host), host.planner(&skipped));
            let refused = planner.map(|it| (it.refusals(wanted), it.notes(wanted)));
            let (refusals, notes) = refused.unwrap_or_default();
            Ok(Probed { state, probe, refusals, notes })
        });
        (host.name().to_owned(), judged)
    });
    let judged = judged.collect();
    fleet.hosts.close().await;
    judged
}
