//! `shipit history`: past operations, from the ledgers of all hosts.

use super::args::HistoryArgs;
use super::error::CliError;
use super::output::width;
use super::world::World;
use crate::deploy::query;
use crate::report::history::{Page, history_json, history_table};

/// Reads the ledgers and prints the operations.
pub(crate) async fn run(world: &World, args: &HistoryArgs) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let answers = world.quietly(&config, "history", query::history).await?;
    let (told, code) = world.found(answers);
    let page = Page { limit: args.limit, offset: world.offset, width: width() };
    world.print(
        || history_json(&told, &config.stage, args.limit),
        || history_table(&told, page, &world.styles_of_stdout()),
    );
    Ok(code)
}
