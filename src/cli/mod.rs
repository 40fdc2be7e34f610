//! Floor 4: the commands that people type. One file per command; `world` is the composition root.

mod account;
mod args;
mod aside;
mod check;
mod command;
mod completion;
mod demo;
mod deploy;
mod dry_run;
mod env;
mod error;
mod help;
mod init;
mod logs;
mod look;
mod maintenance;
mod man;
mod notify;
mod output;
mod pin;
mod place;
mod promote;
mod question;
mod reach;
mod run;
mod schema;
mod setup;
mod signals;
mod source;
mod ssh;
mod unlock;
mod variables;
mod world;

use std::env::ArgsOs;
use std::process::ExitCode;

use clap::FromArgMatches as _;

use self::args::{Args, CliCommand, EnvCommand};
use self::error::CliError;
use self::world::World;
use crate::model::goal::GoalKind;
use crate::model::ledger::LedgerEvent;

/// Runs one command line and returns its exit code, one of the table in the README.
///
/// Not generic: a generic function would have the whole program compiled once more for `main`.
pub fn run(line: ArgsOs) -> ExitCode {
    if let Some(code) = completion::answered() {
        return code;
    }
    let args = match parsed(line) {
        Ok(args) => args,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    let mut common = args.common;
    if let CliCommand::Diff(_) = args.command {
        (common.dry_run, common.every_file) = (true, true);
    }
    let world = World::of_this_process(common);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(source) => return world.fail(&CliError::Start { source }),
    };
    let code = runtime.block_on(dispatch(&world, args.command));
    // A task that is left after a second Ctrl-C must not keep the process alive.
    runtime.shutdown_background();
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => world.fail(&error),
    }
}

/// Parses a command line. Variables stand for flags that are not given.
fn parsed(line: ArgsOs) -> Result<Args, clap::Error> {
    let mut command = variables::command();
    let found = command.try_get_matches_from_mut(line).map_err(variables::naming_variable)?;
    Args::from_arg_matches(&found).map_err(|error| error.format(&mut command))
}

async fn dispatch(world: &World, command: CliCommand) -> Result<u8, CliError> {
    match command {
        CliCommand::Init { kind } => init::run(world, kind.as_deref()),
        CliCommand::Setup(args) => setup::run(world, &args).await,
        CliCommand::Check(check) => check::run(world, &check).await,
        CliCommand::Diff(check) => deploy::diff(world, &check).await,
        CliCommand::Deploy(deploy) if deploy.env_only => {
            promote::env_only(world, &deploy, GoalKind::Deploy).await
        }
        CliCommand::Stage(stage) if stage.env_only => {
            promote::env_only(world, &stage, GoalKind::Stage).await
        }
        CliCommand::Promote(promote) => promote::promote(world, &promote).await,
        CliCommand::Deploy(deploy) => deploy::make(world, &deploy, GoalKind::Deploy).await,
        CliCommand::Stage(stage) => deploy::make(world, &stage, GoalKind::Stage).await,
        CliCommand::Activate(activate) => deploy::activate(world, &activate).await,
        CliCommand::Rollback(rollback) => deploy::rollback(world, &rollback).await,
        CliCommand::Prune(prune) => deploy::prune(world, &prune).await,
        CliCommand::Releases(stage) => look::releases(world, &stage).await,
        CliCommand::Status { stage, watch } => look::status(world, &stage, watch).await,
        CliCommand::History { stage, limit } => look::history(world, &stage, limit).await,
        CliCommand::Verify { stage, release } => {
            look::verify(world, &stage, release.as_deref()).await
        }
        CliCommand::Env { stage, what: None } => env::run(world, &stage).await,
        CliCommand::Env { what: Some(EnvCommand::Diff { from, to, stage }), .. } => {
            env::diff(world, &stage, &from, &to).await
        }
        CliCommand::Logs(wanted) => logs::run(world, &wanted).await,
        CliCommand::Run(wanted) => command::run(world, &wanted).await,
        CliCommand::Maintenance(wanted) => maintenance::run(world, &wanted).await,
        CliCommand::Ssh { stage, host } => ssh::run(world, &stage, host.as_deref()),
        CliCommand::Pin(pin) => pin::keep(world, &pin, LedgerEvent::Pinned).await,
        CliCommand::Unpin(pin) => pin::keep(world, &pin, LedgerEvent::Unpinned).await,
        CliCommand::Lock { stage, message } => pin::lock(world, &stage, message.as_deref()).await,
        CliCommand::Unlock(stage) => unlock::run(world, &stage).await,
        CliCommand::Demo { keep } => demo::run(world, keep).await,
        CliCommand::Completions { shell } => completion::run(&shell),
        CliCommand::Man { directory } => man::run(directory.as_deref()),
        CliCommand::Schema { of } => Ok(schema::run(of)),
        CliCommand::Help { topic } => help::run(&topic),
    }
}
