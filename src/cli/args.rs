//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::report::styles::Color;

/// Puts a build on your servers through plain SSH: whole releases, atomic flips, rollbacks that
/// work.
#[derive(Debug, Parser)]
#[command(name = "shipit", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: GlobalFlags,
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

/// Flags of every command.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct GlobalFlags {
    /// The config file; else `$SHIPIT_CONFIG`, else `deploy.toml`
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Show what would be done, from live facts, and do nothing
    #[arg(short = 'n', long, global = true)]
    pub(crate) dry_run: bool,
    /// Only these hosts
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) hosts: Vec<String>,
    /// Only hosts with one of these roles
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) roles: Vec<String>,
    /// Also show what is sent to hosts
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Only warnings and failures
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// One JSON object a line on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: ColorArg,
    /// Do not ask
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
}

/// `--color`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ColorArg {
    Auto,
    Always,
    Never,
}

impl From<ColorArg> for Color {
    fn from(arg: ColorArg) -> Self {
        match arg {
            ColorArg::Auto => Self::Auto,
            ColorArg::Always => Self::Always,
            ColorArg::Never => Self::Never,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Write a commented deploy.toml
    Init,
    /// Prove that a deploy would work, changing nothing
    Check(CheckArgs),
    /// Make a build live
    Deploy(DeployArgs),
    /// Make an earlier release live again
    Rollback(RollbackArgs),
    /// List what lies on the hosts
    Releases(StageArg),
    /// What is live where
    Status(StageArg),
    /// What was done: who, what, when, how long, and what came of it
    History(HistoryArgs),
    /// Compare what lies and runs on the hosts with what was released
    Verify(VerifyArgs),
    /// Keep a release whatever prune says
    Pin(PinArgs),
    /// Leave a pinned release to prune again
    Unpin(PinArgs),
    /// Block deploys, rollbacks and prunes, until unlock
    Lock(LockArgs),
    /// Show who blocks deploys, and end it
    Unlock(StageArg),
    /// Delete old releases; quiet when all is well, for cron
    Prune(PruneArgs),
    /// Show the whole story against a server in this process
    Demo(DemoArgs),
}

/// Which stage.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StageArg {
    /// The stage; may be left out where default_stage or the only stage says it
    pub(crate) stage: Option<String>,
}

/// Which artifact.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ArtifactArg {
    /// Directory, archive, single file or https URL, instead of the config's
    #[arg(long, value_name = "PATH")]
    artifact: Option<String>,
    /// SHA-256 of the artifact file
    #[arg(long, value_name = "HEX", requires = "artifact")]
    sha256: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    #[command(flatten)]
    pub(crate) artifact: ArtifactArg,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    #[command(flatten)]
    pub(crate) artifact: ArtifactArg,
    /// Also where nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait for a lock that somebody else holds
    #[arg(long)]
    pub(crate) wait: bool,
}

impl ArtifactArg {
    /// Returns the artifact as the config floor takes it, its digest at its end.
    pub(crate) fn pinned(&self) -> Option<String> {
        let artifact = self.artifact.clone()?;
        Some(match &self.sha256 {
            Some(sha256) => format!("{artifact}#sha256={sha256}"),
            None => artifact,
        })
    }
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// This release, instead of the newest earlier good one
    #[arg(long, value_name = "ID")]
    pub(crate) to: Option<String>,
    /// Wait for a lock that somebody else holds
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// How many good releases stay, the live one among them
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<usize>,
    /// Only what is older than this goes: 30d, 12h
    #[arg(long, value_name = "AGE")]
    pub(crate) older_than: Option<String>,
    /// Wait for a lock that somebody else holds
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// The newest N; 0 is all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// This release, instead of what is live
    #[arg(long, value_name = "ID")]
    pub(crate) release: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PinArgs {
    /// The release
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) stage: StageArg,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// Why, for those who find it locked
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoArgs {
    /// Leave the directory and the server for playing, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
}
