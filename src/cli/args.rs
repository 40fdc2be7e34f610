//! The commands and their flags.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ColorChoice, Parser, Subcommand, ValueEnum};

use crate::config::start::ProjectKind;
use crate::model::digest::{Digest, NotADigest};

/// Puts a build on your servers through plain SSH: whole releases, atomic flips, rollbacks that
/// work.
#[derive(Debug, Parser)]
#[command(name = "shipit", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: GlobalFlags,
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

/// Shown below the list of commands.
const HELP: &str = "\
Examples:
  shipit init                          write deploy.toml
  shipit check production              prove that a deploy would work
  shipit deploy production --dry-run   show what a deploy would do
  shipit deploy production
  shipit rollback production

Each flag has a variable, such as SHIPIT_DRY_RUN: `shipit help env` lists them.
`shipit help exit-codes` explains what a command exits with.";

/// Flags of every command.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct GlobalFlags {
    /// Config file [default: `$SHIPIT_CONFIG`, else `deploy.toml`]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Look at the hosts and show the plan; change nothing
    #[arg(short = 'n', long, global = true)]
    pub(crate) dry_run: bool,
    /// Only these hosts, separated by commas
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) hosts: Vec<String>,
    /// Only hosts with one of these roles
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) roles: Vec<String>,
    /// Also show the requests sent to hosts
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Show only warnings and failures
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print one JSON object per line to stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use of colour
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    /// Do not ask for confirmation
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Whether a dry run lists every file that changes, as `diff` does.
    #[arg(skip)]
    pub(crate) every_file: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Write a commented deploy.toml, and a unit, for the project that is here
    #[command(after_help = "\
Examples:
  shipit init
  shipit init --kind docker
  shipit init -c ops/deploy.toml")]
    Init {
        /// Kind of the project [default: what its files show]
        #[arg(long, value_name = "NAME")]
        #[arg(value_parser = PossibleValuesParser::new(ProjectKind::names()))]
        kind: Option<String>,
    },
    /// Prepare hosts, as root: user, directories, linked files, sudo; run again, it changes nothing
    #[command(after_help = "\
Examples:
  shipit setup production --dry-run
  shipit setup production --as root
  shipit setup production --check")]
    Setup(SetupArgs),
    /// Check that a deploy would work; change nothing
    #[command(after_help = "\
Examples:
  shipit check production
  shipit check production --artifact dist/todo.tar.gz
  shipit check production --json")]
    Check(CheckArgs),
    /// Show what a deploy would change: files, config, steps
    #[command(after_help = "\
Examples:
  shipit diff production
  shipit diff production --artifact dist/todo.tar.gz --json")]
    Diff(CheckArgs),
    /// Make a build live
    #[command(after_help = "\
Examples:
  shipit deploy production
  shipit deploy production --dry-run
  shipit deploy production --hosts web1,web2 --wait
  shipit deploy production --env-only
  shipit deploy production --artifact https://example.net/todo.tar.gz --sha256 9f86d081…")]
    Deploy(DeployArgs),
    /// Make a release of a build on every host; what is live stays
    #[command(after_help = "\
Examples:
  shipit stage production
  shipit stage production --artifact dist/todo.tar.gz --wait")]
    Stage(DeployArgs),
    /// Make a staged release live
    #[command(after_help = "\
Examples:
  shipit activate production
  shipit activate production 20260102030405")]
    Activate(ActivateArgs),
    /// Deploy exactly the artifact that another stage runs
    #[command(after_help = "\
Examples:
  shipit promote staging production
  shipit promote staging production --dry-run")]
    Promote(PromoteArgs),
    /// Make an earlier release live again
    #[command(after_help = "\
Examples:
  shipit rollback production
  shipit rollback production --to 20260102030405")]
    Rollback(RollbackArgs),
    /// List the releases on the hosts
    #[command(after_help = "\
Examples:
  shipit releases production
  shipit releases production --json")]
    Releases(StageArg),
    /// Show what is live on each host
    #[command(after_help = "\
Examples:
  shipit status production
  shipit status production --roles web
  shipit status production --watch")]
    Status {
        #[command(flatten)]
        stage: StageArg,
        /// Look again every few seconds, until Ctrl-C
        #[arg(short, long)]
        watch: bool,
    },
    /// Show past operations: who, what, when, how long, and the outcome
    #[command(after_help = "\
Examples:
  shipit history production
  shipit history production --limit 0 --json")]
    History {
        #[command(flatten)]
        stage: StageArg,
        /// Show the newest N operations; 0 shows all
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Compare a release and the running service with what was deployed
    #[command(after_help = "\
Examples:
  shipit verify production
  shipit verify production --release 20260102030405")]
    Verify {
        #[command(flatten)]
        stage: StageArg,
        /// The release to compare [default: the live one]
        #[arg(long, value_name = "ID")]
        release: Option<String>,
    },
    /// List the values of env files: names, and where each comes from
    #[command(after_help = "\
Examples:
  shipit env production
  shipit env diff 20260102030405 20260103040506 production")]
    #[command(disable_help_subcommand = true)]
    Env {
        #[command(flatten)]
        stage: StageArg,
        #[command(subcommand)]
        what: Option<EnvCommand>,
    },
    /// Show the logs of all hosts, merged by time
    #[command(after_help = "\
Examples:
  shipit logs production --since 10m
  shipit logs production -f --service web,worker")]
    Logs(LogsArgs),
    /// Run a command in the live release of each host
    #[command(after_help = "\
Examples:
  shipit run production -- bin/migrate --check
  shipit run production --once -- 'echo $PORT && uptime'
  shipit run production --roles worker -- free -m")]
    Run(RunArgs),
    /// Put a maintenance page or flag in place, or remove it
    #[command(after_help = "\
Examples:
  shipit maintenance on production -m 'Back at 14:00.'
  shipit maintenance off production")]
    Maintenance(MaintenanceArgs),
    /// Open a shell in the live release of a host
    #[command(after_help = "\
Examples:
  shipit ssh production
  shipit ssh production web2")]
    #[command(visible_alias = "console")]
    Ssh {
        #[command(flatten)]
        stage: StageArg,
        /// The host [default: the first of the stage]
        host: Option<String>,
    },
    /// Protect a release from prune
    #[command(after_help = "\
Examples:
  shipit pin 20260102030405 production")]
    Pin(PinArgs),
    /// Let prune delete a pinned release again
    #[command(after_help = "\
Examples:
  shipit unpin 20260102030405 production")]
    Unpin(PinArgs),
    /// Block deploys, rollbacks and prunes until `shipit unlock`
    #[command(after_help = "\
Examples:
  shipit lock production -m moving")]
    Lock {
        #[command(flatten)]
        stage: StageArg,
        /// Reason, shown to whoever is blocked
        #[arg(short, long, value_name = "TEXT")]
        message: Option<String>,
    },
    /// Show who holds the lock, and release it
    #[command(after_help = "\
Examples:
  shipit unlock production")]
    Unlock(StageArg),
    /// Delete old releases; quiet on success, for cron
    #[command(after_help = "\
Examples:
  shipit prune production
  shipit prune production --keep 3 --older-than 30d")]
    Prune(PruneArgs),
    /// Show a whole deployment against a server inside this process
    #[command(after_help = "\
Examples:
  shipit demo
  shipit demo --keep")]
    Demo {
        /// Keep the directory and the server to play with, until Ctrl-C
        #[arg(long)]
        keep: bool,
    },
    /// Print the script that completes commands, flags, stages, hosts and releases in a shell
    #[command(after_help = "\
Examples:
  shipit completions bash   # > ~/.local/share/bash-completion/completions/shipit
  shipit completions zsh    # > a directory of $fpath, as _shipit
  shipit completions fish   # > ~/.config/fish/completions/shipit.fish")]
    Completions {
        /// The shell
        #[arg(value_parser = ["bash", "zsh", "fish", "powershell"])]
        shell: String,
    },
    /// Print the manual page, or write the pages of all commands
    #[command(after_help = "\
Examples:
  shipit man                # | man -l -
  shipit man ~/.local/share/man/man1")]
    Man {
        /// Directory for the pages of all commands
        #[arg(value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
    /// Print the JSON Schema of deploy.toml, or of what `--json` prints
    #[command(after_help = "\
Examples:
  shipit schema             # > deploy.schema.json
  shipit schema output")]
    Schema {
        /// The subject of the schema
        #[arg(default_value = "config")]
        of: SchemaArg,
    },
    /// Explain a command, the variables or the exit codes
    #[command(after_help = "\
Examples:
  shipit help deploy
  shipit help env
  shipit help exit-codes")]
    Help {
        /// A command, `env` or `exit-codes`
        #[arg(value_name = "COMMAND")]
        topic: Vec<String>,
    },
}

/// The stage.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct StageArg {
    /// The stage [default: `default_stage`, or the only stage]
    pub(crate) stage: Option<String>,
}

/// The commands below `env`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum EnvCommand {
    /// Name the values that differ between two releases; no value is shown
    Diff {
        /// The earlier release
        #[arg(value_name = "ID")]
        from: String,
        /// The later release
        #[arg(value_name = "ID")]
        to: String,
        #[command(flatten)]
        stage: StageArg,
    },
}

/// The artifact.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ArtifactArg {
    /// Directory, archive, single file or https URL to use instead of the config's
    #[arg(long, value_name = "PATH")]
    artifact: Option<String>,
    /// SHA-256 of the artifact file
    #[arg(long, value_name = "HEX", requires = "artifact")]
    sha256: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SetupArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// Change nothing; exit with 1 if something differs
    #[arg(long)]
    pub(crate) check: bool,
    /// Log in as root, or as a user who may use sudo; the user who deploys is made if missing
    #[arg(long = "as", value_name = "USER")]
    pub(crate) login: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    #[command(flatten)]
    pub(crate) artifact: ArtifactArg,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    #[command(flatten)]
    pub(crate) artifact: ArtifactArg,
    /// Refuse any other artifact than the one with this digest
    #[arg(long, value_name = "sha256:HEX", value_parser = digest)]
    pub(crate) expect_digest: Option<Digest>,
    /// Keep the artifact that is live and change only the config
    #[arg(long, conflicts_with_all = ["artifact", "expect_digest"])]
    pub(crate) env_only: bool,
    /// Make a release even if nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait until the lock is released, also one set by `shipit lock`
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

/// Reads the digest of an artifact, as `sha256:HEX` or `HEX`.
fn digest(text: &str) -> Result<Digest, NotADigest> {
    text.strip_prefix("sha256:").unwrap_or(text).parse()
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PromoteArgs {
    /// The stage whose live release is taken
    pub(crate) from: String,
    /// The stage that gets it
    pub(crate) to: String,
    /// Refuse any other artifact than the one with this digest
    #[arg(long, value_name = "sha256:HEX", value_parser = digest)]
    pub(crate) expect_digest: Option<Digest>,
    /// Make a release even if nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait until the lock is released, also one set by `shipit lock`
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ActivateArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// The staged release [default: the newest that all hosts have]
    pub(crate) id: Option<String>,
    /// Wait until the lock is released, also one set by `shipit lock`
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// The release to go live [default: the newest earlier good one]
    #[arg(long, value_name = "ID")]
    pub(crate) to: Option<String>,
    /// Wait until the lock is released, also one set by `shipit lock`
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// Number of good releases to keep, including the live one
    #[arg(long, value_name = "N", env = "SHIPIT_KEEP_RELEASES")]
    pub(crate) keep: Option<usize>,
    /// Delete only releases older than this, such as 30d or 12h
    #[arg(long, value_name = "AGE")]
    pub(crate) older_than: Option<String>,
    /// Wait until the lock is released, also one set by `shipit lock`
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show what was written within this time, such as 10m or 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only these services, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) service: Vec<String>,
    /// Show the last N lines of each journal and file [default: 100]; not with `--since`
    #[arg(long, alias = "tail", value_name = "N", conflicts_with = "since")]
    pub(crate) lines: Option<u32>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MaintenanceArgs {
    /// `on` puts the page or flag in place, `off` takes it away
    #[arg(value_name = "on|off", value_parser = ["on", "off"])]
    pub(crate) switch: String,
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// The text in place of `{message}` in the template
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) stage: StageArg,
    /// Only on the first host
    #[arg(long)]
    pub(crate) once: bool,
    /// The command: one line for a shell, or a program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PinArgs {
    /// The release
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) stage: StageArg,
}

/// The subject of a schema.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SchemaArg {
    /// deploy.toml
    Config,
    /// The output of `--json`
    Output,
}
