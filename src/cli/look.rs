//! `shipit releases` and `shipit status`: one look at every host, and a table.

use super::args::StageArg;
use super::error::CliError;
use super::world::{World, width};
use crate::config::resolve::Overrides;
use crate::model::service::Service;
use crate::report::releases::{releases_json, releases_table};
use crate::report::status::{Context, status_json, status_view};

/// What lies on the hosts.
pub(crate) async fn releases(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage, Overrides::default())?;
    let (states, code) = world.found(world.look(&config).await?);
    let text = if world.common.json {
        format!("{}\n", releases_json(&states))
    } else {
        releases_table(&states, world.now, world.offset, width())
    };
    world.print(&text);
    Ok(code)
}

/// What is live where.
pub(crate) async fn status(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage, Overrides::default())?;
    let (states, code) = world.found(world.look(&config).await?);
    let unit = match &config.service {
        Service::Unit { name, .. } => Some(name.as_str()),
        _ => None,
    };
    let context = Context { stage: &config.stage, unit, now: world.now, offset: world.offset };
    let text = if world.common.json {
        format!("{}\n", status_json(&states, context))
    } else {
        status_view(&states, context)
    };
    world.print(&text);
    Ok(code)
}
