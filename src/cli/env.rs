//! `shipit env`: the names of all values of the environment files, and where each comes from.

use super::args::StageArg;
use super::deploy::env_files;
use super::error::CliError;
use super::output::width;
use super::world::World;
use crate::config::resolve::Overrides;
use crate::report::env::{env_json, env_table};

/// Fetches the values as a deploy would, and prints what is known of them. Asks no host.
pub(crate) async fn run(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage, Overrides::default())?;
    let files = env_files(world, &config).await?;
    world.print(|| env_json(&config, &files), || env_table(&config, &files, width()));
    Ok(0)
}
