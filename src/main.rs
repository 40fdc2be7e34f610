//! Hands argv over.

use std::process::ExitCode;

fn main() -> ExitCode {
    shipit::run(std::env::args_os())
}
