//! The project's own comparison kit: shipit beside what people use instead, on one machine, every
//! run verified. `benches/run` builds it and calls it within namespaces of its own.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

mod args;
mod capacity;
mod data;
mod document;
mod group;
mod hosts;
mod links;
mod measure;
mod plot;
mod random;
mod relay;
mod rows;
mod run;
mod shell;
mod table;
mod verify;

use anyhow::Result;
use clap::Parser as _;

use args::{Args, CliCommand};

fn main() -> Result<()> {
    match Args::parse().command {
        CliCommand::Data { command } => data::make(&command),
        CliCommand::Run(options) => run::rows(&options),
        CliCommand::Hosts(options) => run::many(&options),
        CliCommand::Sink => capacity::sink(),
        CliCommand::Plot { results } => document::rewrite(&results),
    }
}
