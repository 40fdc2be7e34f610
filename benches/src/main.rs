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

use args::{Args, Command};

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Data { command } => data::make(&command),
        Command::Run(options) => run::rows(&options),
        Command::Hosts(options) => run::many(&options),
        Command::Sink => capacity::sink(),
        Command::Plot { results } => document::rewrite(&results),
    }
}
