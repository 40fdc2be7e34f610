//! `shipit verify`: compares the release and the running service of every host with what was
//! deployed.

use super::args::VerifyArgs;
use super::error::CliError;
use super::world::{World, release_id};
use crate::deploy::verify::verify;
use crate::report::verify::{verify_json, verify_view};

/// Compares and prints. Returns 1 if anything differs.
pub(crate) async fn run(world: &World, args: &VerifyArgs) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let wanted = args.release.as_deref().map(|id| release_id("--release", id)).transpose()?;
    let answers = world.quietly(&config, "verify", async |cx| verify(cx, wanted).await).await?;
    let (found, code) = world.found(answers);
    world.print(|| verify_json(&found, &config.stage), || verify_view(&found, &world.styles()));
    Ok(if found.iter().all(|(_, verified)| verified.is_clean()) { code } else { 1 })
}
