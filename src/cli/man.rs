//! `shipit man`: the manual pages, made of what `--help` says.

use std::path::Path;

use clap_mangen::Man;

use super::error::CliError;
use super::output::print;
use super::variables::command;

/// Prints the page of the program, or writes the pages of all commands into a directory.
pub(crate) fn run(directory: Option<&Path>) -> Result<u8, CliError> {
    match directory {
        None => {
            let mut page = Vec::new();
            let made = Man::new(command()).render(&mut page);
            made.map_err(|source| CliError::Start { source })?;
            print(&String::from_utf8_lossy(&page));
        }
        Some(directory) => {
            std::fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(command(), directory))
                .map_err(|source| CliError::Write { path: directory.to_owned(), source })?;
        }
    }
    Ok(0)
}
