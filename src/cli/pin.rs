//! `shipit pin`, `unpin` and `lock`: one small change on every host, or on none.

use super::args::{PinArgs, StageArg};
use super::dry_run::HostPlans;
use super::error::CliError;
use super::run::RunOptions;
use super::world::{World, release_id};
use crate::config::Config;
use crate::deploy::context::RunContext;
use crate::deploy::outcome::Failure;
use crate::deploy::pin;
use crate::deploy::query::{self, HostChange};
use crate::model::goal::GoalKind;
use crate::model::host_state::HostState;
use crate::model::ledger::LedgerEvent;
use crate::remote::order::Order;
use crate::report::redact::Secrets;

/// Protects a release from prune, or lets prune delete it again.
pub(crate) async fn keep(
    world: &World,
    args: &PinArgs,
    event: LedgerEvent,
) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let id = release_id("ID", &args.id)?;
    let goal = if event == LedgerEvent::Pinned { GoalKind::Pin } else { GoalKind::Unpin };
    let run = world.run_values(goal.word(), &config);
    let order = |state: &HostState| pin::pin(&run, state, id, event);
    go(world, &config, &HostChange { goal, release: Some(id), order: &order }).await
}

/// Sets the deploy lock.
pub(crate) async fn lock(
    world: &World,
    stage: &StageArg,
    message: Option<&str>,
) -> Result<u8, CliError> {
    let config = world.config(stage)?;
    let run = world.run_values("lock", &config);
    let order = pin::deploy_lock(&run, &config.stage, message);
    let order = |_: &HostState| -> Result<Option<Order>, Failure> { Ok(Some(order.clone())) };
    go(world, &config, &HostChange { goal: GoalKind::Lock, release: None, order: &order }).await
}

async fn go(world: &World, config: &Config, change: &HostChange<'_>) -> Result<u8, CliError> {
    if world.common.dry_run {
        return dry_run(world, config, change).await;
    }
    let how = RunOptions { secrets: Secrets::new([]), quiet: false, wait: false, reach: None };
    let doing = async |cx: RunContext<'_>| query::change(cx, change).await;
    Ok(world.shown(config, change.goal.word(), how, doing).await)
}

async fn dry_run(world: &World, config: &Config, change: &HostChange<'_>) -> Result<u8, CliError> {
    let (states, code) = world.found(world.look(config).await?);
    let goal = change.goal;
    let step = change.release.map_or_else(|| goal.to_string(), |id| format!("{goal} {id}"));
    let mut shown = HostPlans::default();
    for (host, state) in states {
        match change.on(&state) {
            Ok(Some(_)) => shown.plans.push((host, vec![step.clone()])),
            Ok(None) => shown.plans.push((host, vec!["nothing to do".to_owned()])),
            Err(failure) => shown.failed.push((host, Some(failure))),
        }
    }
    Ok(code.max(shown.print(world, &world.sieve(Secrets::default()))))
}
