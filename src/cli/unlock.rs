//! `shipit unlock`: shows who holds the lock, running or crashed, and releases it after
//! confirmation.

use super::args::StageArg;
use super::error::CliError;
use super::run::RunOptions;
use super::world::World;
use crate::deploy::context::RunContext;
use crate::deploy::query;
use crate::model::host_state::{HostState, LockFacts};
use crate::report::redact::Secrets;
use crate::report::unlock::holders;

/// Shows the holders of the lock, asks, and releases it. Returns the exit code.
pub(crate) async fn run(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage)?;
    let (states, code) = world.found(world.look(&config).await?);
    let free = |(_, state): &(String, HostState)| state.lock == LockFacts::default();
    let quiet = states.iter().all(free);
    if !world.common.json {
        world.tell(&holders(&states, world.offset));
    }
    let held = |(_, state): &&(String, HostState)| {
        state.lock.deploy_lock.is_some() || state.lock.owner.is_some()
    };
    let names: Vec<_> = states.iter().filter(held).map(|(host, _)| host.as_str()).collect();
    if code != 0 || world.common.dry_run {
        return Ok(code);
    }
    if !names.is_empty() && !world.ask(&format!("Unlock {}", names.join(", ")), "unlock")? {
        return Ok(130);
    }
    let found: Vec<LockFacts> = states.iter().map(|(_, state)| state.lock.clone()).collect();
    let note = format!("{} unlocked by {}", config.stage, world.who());
    let how = RunOptions { secrets: Secrets::new([]), quiet, wait: false, reach: None };
    let doing = async |cx: RunContext<'_>| query::unlock(cx, &found, &note).await;
    Ok(world.shown(&config, "unlock", how, doing).await)
}
