//! `shipit promote` and `deploy --env-only`: the artifact comes from hosts.

use std::sync::Arc;

use super::args::{DeployArgs, PromoteArgs, StageArg};
use super::deploy::{as_expected, given, go, goal_of, named, notes};
use super::error::CliError;
use super::question;
use super::run::RunOptions;
use super::world::World;
use crate::config::Config;
use crate::deploy::goal::Build;
use crate::deploy::promote::{LiveRelease, live_release};
use crate::model::goal::GoalKind;
use crate::report::redact::Secrets;

/// Deploys the artifact that another stage runs, with the config of this one.
pub(crate) async fn promote(world: &World, args: &PromoteArgs) -> Result<u8, CliError> {
    let stage = StageArg { stage: Some(args.to.clone()) };
    let config = world.config(&stage)?;
    let from = world.whole_stage(&args.from)?;
    if from.stage == config.stage {
        return Err(CliError::SameStage { stage: from.stage });
    }
    if from.app != config.app {
        return Err(CliError::OtherApp { from: from.app, to: config.app });
    }
    let question = question::promote(&config, &from);
    let PromoteArgs { expect_digest, force, wait, .. } = *args;
    let args = DeployArgs { stage, expect_digest, force, wait, ..DeployArgs::default() };
    remake(world, config, Some(from), GoalKind::Deploy, &args, &question).await
}

/// Makes a release of the live artifact with the config as it is now.
pub(crate) async fn env_only(
    world: &World,
    args: &DeployArgs,
    kind: GoalKind,
) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let question = question::env_only(&config, kind);
    remake(world, config, None, kind, args, &question).await
}

/// Makes a release of what is live on the stage `from`, or on the same stage if that is `None`.
async fn remake(
    world: &World,
    mut config: Config,
    from: Option<Config>,
    kind: GoalKind,
    args: &DeployArgs,
    question: &str,
) -> Result<u8, CliError> {
    if !world.confirm_or_later(&config, question)? {
        return Ok(130);
    }
    // The artifact of the config is another one.
    config.artifact = None;
    named(world, &config)?;
    let (env, secrets) = given(world, &mut config, Vec::new()).await?;
    let whole = from.is_some();
    let from = from.as_ref().unwrap_or(&config);
    let found = world.quietly(from, "promote", async |cx| live_release(cx, whole).await);
    let fits = |live: LiveRelease| live.check(&config).map(|()| live);
    let live = match found.await?.and_then(fits) {
        Ok(live) => live,
        Err(failure) => {
            let sieve = world.sieve(Secrets::default());
            world.print_failure(&sieve, None, &failure, "nothing was changed");
            return Ok(1);
        }
    };
    as_expected(&live.name, live.digest, args.expect_digest)?;
    let (force, of_live) = (args.force, (!whole).then_some(live.id));
    let build = live.build(Arc::new(world.reach(from)));
    let goal = goal_of(kind, Build { env, force, of_live, ..build });
    let how = RunOptions { secrets, quiet: false, wait: args.wait, reach: None };
    go(world, &config, &goal, how, notes(&config).collect()).await
}
