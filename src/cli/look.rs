//! `shipit releases`, `status`, `history` and `verify`: ask every host once, and print the answers.

use std::io::IsTerminal as _;
use std::time::Duration;

use chrono::Utc;

use super::args::StageArg;
use super::error::CliError;
use super::output::print;
use super::world::{World, release_id};
use crate::config::Config;
use crate::deploy::context::RunContext;
use crate::deploy::{query, verify};
use crate::report::history::{Page, history_json, history_table};
use crate::report::live::FRAME;
use crate::report::releases::{releases_json, releases_table};
use crate::report::status::{StatusContext, status_json, status_view};
use crate::report::verify::{verify_json, verify_view};

/// The time between two looks of `status --watch`.
const PAUSE: Duration = Duration::from_secs(3);

/// Prints the releases on the hosts.
pub(crate) async fn releases(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage)?;
    let (states, code) = world.found(world.look(&config).await?);
    if code == 0 {
        let ids = states.iter().flat_map(|(_, state)| state.ids());
        world.remember(&config, &ids.collect());
    }
    world.print(
        || releases_json(&states),
        || releases_table(&states, context(world, &config), &world.styles_of_stdout()),
    );
    Ok(code)
}

/// Prints what is live on each host; with `--watch` again and again.
pub(crate) async fn status(world: &World, stage: &StageArg, watch: bool) -> Result<u8, CliError> {
    let config = world.config(stage)?;
    let cancel = world.cancel();
    loop {
        let looked = world.quietly(&config, "look at", query::status).await;
        if watch && cancel.asked() {
            return Ok(0);
        }
        let now = Utc::now();
        let context = StatusContext { now, ..context(world, &config) };
        let is_seen = watch && !world.common.json;
        let is_painted = is_seen && std::io::stdout().is_terminal() && !world.is_dumb();
        if is_seen {
            let clear =
                if is_painted { FRAME.0.to_owned() + "\x1b[H\x1b[J" } else { "\n".to_owned() };
            let at = now.with_timezone(&world.offset).format("%H:%M:%S");
            print(&format!("{clear}{} at {at}, every {}s\n", config.stage, PAUSE.as_secs()));
        }
        let (states, code) = world.found(looked?);
        world.print(
            || status_json(&states, context),
            || status_view(&states, context, &world.styles_of_stdout()),
        );
        if is_painted {
            print(FRAME.1);
        }
        if !watch {
            return Ok(code);
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = cancel.wait(1) => return Ok(0),
        }
    }
}

fn context<'c>(world: &World, config: &'c Config) -> StatusContext<'c> {
    StatusContext { stage: &config.stage, now: world.now, offset: world.offset }
}

/// Reads the ledgers and prints the operations.
pub(crate) async fn history(world: &World, stage: &StageArg, limit: usize) -> Result<u8, CliError> {
    let config = world.config(stage)?;
    let (told, code) = world.found(world.quietly(&config, "history", query::history).await?);
    let page = Page { limit, offset: world.offset };
    world.print(
        || history_json(&told, &config.stage, limit),
        || history_table(&told, page, &world.styles_of_stdout()),
    );
    Ok(code)
}

/// Compares the release and the running service of every host with what was deployed. Returns 1 if
/// anything differs.
pub(crate) async fn verify(
    world: &World,
    stage: &StageArg,
    release: Option<&str>,
) -> Result<u8, CliError> {
    let config = world.config(stage)?;
    let wanted = release.map(|id| release_id("--release", id)).transpose()?;
    let compare = async |cx: RunContext<'_>| verify::verify(cx, wanted).await;
    let (found, code) = world.found(world.quietly(&config, "verify", compare).await?);
    world.print(|| verify_json(&found, &config.stage), || verify_view(&found, &world.styles()));
    Ok(if found.iter().all(|(_, verified)| verified.is_clean()) { code } else { 1 })
}
