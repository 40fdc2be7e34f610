//! `shipit env`: the names of all values of the environment files, and where each comes from;
//! `env diff`: those that differ between two releases.

use super::args::StageArg;
use super::deploy::env_files;
use super::error::CliError;
use super::world::{World, release_id};
use crate::deploy::env_diff::{EnvChange, env_diff};
use crate::report::env::{env_json, env_table};
use crate::report::env_diff::{env_diff_json, env_diff_view};

/// Fetches the values as a deploy would, and prints what is known of them. Asks no host.
pub(crate) async fn run(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage)?;
    let files = env_files(world, &config).await?;
    world.print(
        || env_json(&config, &files),
        || env_table(&config, &files, &world.styles_of_stdout()),
    );
    Ok(0)
}

/// Asks every host. Returns 1 if one of them does not know.
pub(crate) async fn diff(
    world: &World,
    stage: &StageArg,
    from: &str,
    to: &str,
) -> Result<u8, CliError> {
    let config = world.config(stage)?;
    let (from, to) = (release_id("ID", from)?, release_id("ID", to)?);
    let answers = world.quietly(&config, "env", async |cx| env_diff(cx, from, to).await).await?;
    let (found, code) = world.found(answers);
    world.print(
        || env_diff_json(&found, &config.stage, from, to),
        || env_diff_view(&found, from, to, &world.styles()),
    );
    let known = |(_, change): &(String, EnvChange)| matches!(change, EnvChange::Known(_));
    Ok(if found.iter().all(known) { code } else { 1 })
}
