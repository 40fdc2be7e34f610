//! `shipit releases` and `shipit status`: look at every host once and print a table.

use super::args::StageArg;
use super::error::CliError;
use super::output::{styles_of_stdout, width};
use super::world::World;
use crate::config::Config;
use crate::config::resolve::Overrides;
use crate::report::releases::{releases_json, releases_table};
use crate::report::status::{StatusContext, status_json, status_view};

/// Prints the releases on the hosts.
pub(crate) async fn releases(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage, Overrides::default())?;
    let (states, code) = world.found(world.look(&config).await?);
    if code == 0 {
        let ids = states.iter().flat_map(|(_, state)| state.ids());
        world.remember(&config, &ids.collect());
    }
    world.print(
        || releases_json(&states),
        || releases_table(&states, context(world, &config), width(), &styles_of_stdout(world)),
    );
    Ok(code)
}

/// Prints what is live on each host.
pub(crate) async fn status(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage, Overrides::default())?;
    let (states, code) = world.found(world.look(&config).await?);
    let context = context(world, &config);
    world.print(
        || status_json(&states, context),
        || status_view(&states, context, &styles_of_stdout(world)),
    );
    Ok(code)
}

fn context<'c>(world: &World, config: &'c Config) -> StatusContext<'c> {
    StatusContext { stage: &config.stage, now: world.now, offset: world.offset }
}
