//! `shipit promote` and `deploy --env-only`: the artifact comes from hosts.

use std::sync::Arc;

use super::args::{DeployArgs, PromoteArgs, StageArg};
use super::deploy::{as_expected, given, go, goal_of, named, notes};
use super::error::CliError;
use super::question;
use super::run::RunOptions;
use super::world::World;
use crate::config::Config;
use crate::config::env::EnvFile;
use crate::deploy::goal::Build;
use crate::deploy::promote::{LiveRelease, live_release};
use crate::model::digest::Digest;
use crate::model::goal::GoalKind;
use crate::report::redact::Secrets;

/// The release that is made of a live one.
struct Promotion<'a> {
    world: &'a World,
    /// The stage that gets it.
    config: Config,
    /// The stage that runs it, if that is another one.
    from: Option<Config>,
    /// `Deploy` or `Stage`.
    kind: GoalKind,
    force: bool,
    wait: bool,
    /// The digest that its artifact must have, if one was named.
    expected: Option<Digest>,
}

/// Deploys the artifact that another stage runs, with the config of this one.
pub(crate) async fn promote(world: &World, args: &PromoteArgs) -> Result<u8, CliError> {
    let to = StageArg { stage: Some(args.to.clone()) };
    let config = world.config(&to)?;
    let from = world.whole_stage(&args.from)?;
    if from.stage == config.stage {
        return Err(CliError::SameStage { stage: from.stage });
    }
    if from.app != config.app {
        return Err(CliError::OtherApp { from: from.app, to: config.app });
    }
    let question = question::promote(&config, &from);
    let (force, wait, expected) = (args.force, args.wait, args.expect_digest);
    let kind = GoalKind::Deploy;
    let wanted = Promotion { world, config, from: Some(from), kind, force, wait, expected };
    wanted.run(&question).await
}

/// Makes a release of the live artifact with the config as it is now.
pub(crate) async fn env_only(
    world: &World,
    args: &DeployArgs,
    kind: GoalKind,
) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let question = question::env_only(&config, kind);
    let (force, wait, expected) = (args.force, args.wait, None);
    let wanted = Promotion { world, config, from: None, kind, force, wait, expected };
    wanted.run(&question).await
}

impl Promotion<'_> {
    async fn run(mut self, question: &str) -> Result<u8, CliError> {
        let world = self.world;
        if !world.confirm_or_later(&self.config, question)? {
            return Ok(130);
        }
        // The artifact of the config is another one.
        self.config.artifact = None;
        named(world, &self.config)?;
        let (env, secrets) = given(world, &mut self.config, Vec::new()).await?;
        let from = self.from.as_ref().unwrap_or(&self.config);
        let whole = self.from.is_some();
        let found = world.quietly(from, "promote", async |cx| live_release(cx, whole).await);
        let fits = |live: LiveRelease| live.check(&self.config).map(|()| live);
        let live = match found.await?.and_then(fits) {
            Ok(live) => live,
            Err(failure) => {
                let sieve = world.sieve(Secrets::default());
                world.print_failure(&sieve, None, &failure, "nothing was changed");
                return Ok(1);
            }
        };
        as_expected(&live.name, live.digest, self.expected)?;
        let source = live.source(Arc::new(world.reach(from)));
        let goal = goal_of(self.kind, self.build(&live, env), source);
        let config = &self.config;
        let how = RunOptions { secrets, quiet: false, wait: self.wait, reach: None };
        go(world, config, &goal, how, notes(config).collect()).await
    }

    fn build(&self, live: &LiveRelease, env: Vec<EnvFile>) -> Build {
        Build {
            name: live.name.clone(),
            manifest: live.manifest.clone(),
            digest: live.digest,
            revision: live.revision.clone(),
            env,
            force: self.force,
            of_live: self.from.is_none().then_some(live.id),
        }
    }
}
