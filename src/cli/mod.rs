//! Floor 4: speaks with the person. One file per command; `world` is the composition root.

mod account;
mod args;
mod aside;
mod attic;
mod bundles;
mod cabinet;
mod check;
mod demo;
mod deploy;
mod error;
mod history;
mod init;
mod look;
mod pin;
mod place;
mod question;
mod reach;
mod signals;
mod unlock;
mod verify;
mod world;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Args, Command};
use self::error::CliError;
use self::world::World;

/// Runs one command line; the exit codes are the table in the README.
pub fn run(line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(line) {
        Ok(args) => args,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    let world = World::of_this_process(args.common);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(source) => return world.fail(&CliError::Start { source }),
    };
    let code = runtime.block_on(dispatch(&world, args.command));
    // A command that a second Ctrl-C left behind must not keep us here.
    runtime.shutdown_background();
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => world.fail(&error),
    }
}

async fn dispatch(world: &World, command: Command) -> Result<u8, CliError> {
    match command {
        Command::Init => init::run(world),
        Command::Check(check) => check::run(world, &check).await,
        Command::Deploy(deploy) => deploy::deploy(world, &deploy).await,
        Command::Rollback(rollback) => deploy::rollback(world, &rollback).await,
        Command::Prune(prune) => deploy::prune(world, &prune).await,
        Command::Releases(stage) => look::releases(world, &stage).await,
        Command::Status(stage) => look::status(world, &stage).await,
        Command::History(history) => history::run(world, &history).await,
        Command::Verify(verify) => verify::run(world, &verify).await,
        Command::Pin(pin) => pin::pin(world, &pin).await,
        Command::Unpin(pin) => pin::unpin(world, &pin).await,
        Command::Lock(lock) => pin::lock(world, &lock).await,
        Command::Unlock(stage) => unlock::run(world, &stage).await,
        Command::Demo(demo) => demo::run(world, demo.keep).await,
    }
}
