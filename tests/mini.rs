//! Temporary.
#![allow(dead_code, unused, clippy::all)]
#[path = "it/cli/init.rs"]
mod init;
#[path = "it/cli/output.rs"]
mod output;
#[path = "it/readme.rs"]
mod readme;
#[path = "it/cli/setup.rs"]
mod setup;
#[path = "it/support/mod.rs"]
mod support;
#[path = "it/tidy.rs"]
mod tidy;
