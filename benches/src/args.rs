//! Arguments of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Compares shipit with what people use instead.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the data that a measurement will need; may use the network
    Data {
        #[command(subcommand)]
        command: Measurement,
    },
    /// Measure the rows; within namespaces that `benches/run` makes
    Run(Options),
    /// One run to many hosts; within namespaces that `benches/run` makes
    Hosts(Options),
    /// Take what a link carries
    #[command(hide = true)]
    Sink,
    /// Turn results into plots, and the tables of docs/performance.md
    Plot {
        /// Files that `--out` wrote
        #[arg(required = true)]
        results: Vec<PathBuf>,
    },
}

/// The kind of measurement.
#[derive(Debug, Subcommand)]
pub(crate) enum Measurement {
    /// The rows
    Run(Options),
    /// Many hosts
    Hosts(Options),
}

/// Flags of both measurements.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only rows whose name matches
    #[arg(long, default_value = "")]
    pub(crate) rows: String,
    /// Only tools whose name matches
    #[arg(long, default_value = "")]
    pub(crate) tools: String,
    /// Runs of each tool for each row
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// Numbers of hosts, for `hosts`
    #[arg(long, value_delimiter = ',', default_value = "1,10,50,100,200,500,1000")]
    pub(crate) counts: Vec<usize>,
    /// Results: one JSON object a line, and beside it the tables as `.md`
    #[arg(long, default_value = "benches/results.jsonl")]
    pub(crate) out: PathBuf,
    /// Directory of data and hosts
    #[arg(long, default_value = "/var/tmp/shipit-benches")]
    pub(crate) dir: PathBuf,
    /// Keep what hosts store on the disk of `--dir`, instead of in memory
    #[arg(long)]
    pub(crate) disk: bool,
    /// Before each run, wait at most this many seconds until other work on the machine ends
    #[arg(long, default_value_t = 20)]
    pub(crate) idle: u64,
    /// The control groups' name, which whoever calls removes afterwards
    #[arg(long, hide = true, default_value = "shipit-benches")]
    pub(crate) group: String,
    /// The program under test
    #[arg(long)]
    pub(crate) shipit: PathBuf,
    /// An earlier build of it, measured beside it as `shipit-before`
    #[arg(long)]
    pub(crate) before: Option<PathBuf>,
}
