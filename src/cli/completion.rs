//! `shipit completions`: a shell asks this program what could follow. Nothing here waits for a
//! network, and nothing is said of what is wrong: a person is in the middle of a line.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Command, ValueHint};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate};

use super::error::CliError;
use super::output::print;
use super::place;
use super::variables::{command, each_command};
use super::world::{CONFIG, cache_of_this_process, cached_stage};
use crate::config::Config;
use crate::config::resolve::{Overrides, load};

/// Names the shell that asks.
const VARIABLE: &str = "SHIPIT_COMPLETE";

/// Answers a shell that asks what could follow. Returns `None` if none asks.
pub(super) fn answered() -> Option<ExitCode> {
    let asked = CompleteEnv::with_factory(completing).var(VARIABLE).bin("shipit");
    let here = std::env::current_dir().ok();
    match asked.try_complete(std::env::args_os(), here.as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        Err(error) => {
            let _ = error.print();
            Some(ExitCode::from(2))
        }
    }
}

/// Prints the script that makes a shell ask this program.
pub(crate) fn run(shell: &str) -> Result<u8, CliError> {
    let mut script = Vec::new();
    if let Some(completer) = Shells::builtins().completer(shell) {
        completer
            .write_registration(VARIABLE, "shipit", "shipit", "shipit", &mut script)
            .map_err(|source| CliError::Start { source })?;
    }
    print(&String::from_utf8_lossy(&script));
    Ok(0)
}

/// Returns the commands, with the values that are known here.
fn completing() -> Command {
    each_command(command(), &|command| command.mut_args(with_values))
}

/// Ties an argument to its values, told by its name or by that of its value.
fn with_values(arg: Arg) -> Arg {
    let id = arg.get_id().as_str().to_owned();
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    match (id.as_str(), value.as_deref()) {
        (_, Some("STAGE" | "FROM" | "TO")) => arg.add(ArgValueCandidates::new(stages)),
        ("hosts" | "host", _) => arg.add(ArgValueCandidates::new(hosts)),
        ("roles" | "role", _) => arg.add(ArgValueCandidates::new(roles)),
        ("id", _) | (_, Some("ID")) => arg.add(ArgValueCandidates::new(releases)),
        ("artifact", _) => arg.value_hint(ValueHint::AnyPath),
        ("topic", _) => arg.add(ArgValueCandidates::new(topics)),
        _ => arg,
    }
}

/// Returns the words of the line that a person is typing.
fn line() -> Vec<String> {
    let words = std::env::args_os().map(OsString::into_string).filter_map(Result::ok);
    words.skip_while(|word| word != "--").skip(1).collect()
}

/// Returns the config file of the line, of the variable, or the nearest upwards.
fn config_path() -> Option<PathBuf> {
    let line = line();
    let given = line.iter().enumerate().find_map(|(at, word)| match word.as_str() {
        "-c" | "--config" => line.get(at + 1).cloned(),
        word => word.strip_prefix("--config=").map(ToOwned::to_owned),
    });
    let said = || std::env::var("SHIPIT_CONFIG").ok().filter(|value| !value.is_empty());
    let nearest = || place::nearest(&std::env::current_dir().ok()?, CONFIG);
    given.or_else(said).map(PathBuf::from).or_else(nearest)
}

/// Returns the stages: the one that the line names, else all.
fn configs() -> Vec<Config> {
    let Some(file) = config_path().and_then(|path| load(&path).ok()) else { return Vec::new() };
    let line = line();
    let named: Vec<_> =
        file.stages().into_iter().filter(|name| line.iter().any(|word| word == name)).collect();
    let stages = if named.is_empty() { file.stages() } else { named };
    let all = stages.into_iter();
    all.filter_map(|stage| file.resolve(Some(stage), &Overrides::default()).ok()).collect()
}

fn stages() -> Vec<CompletionCandidate> {
    let file = config_path().and_then(|path| load(&path).ok());
    file.iter().flat_map(|file| file.stages()).map(CompletionCandidate::new).collect()
}

fn hosts() -> Vec<CompletionCandidate> {
    let hosts = configs().into_iter().flat_map(|config| config.hosts);
    candidates(hosts.map(|host| host.name))
}

fn roles() -> Vec<CompletionCandidate> {
    let hosts = configs().into_iter().flat_map(|config| config.hosts);
    candidates(hosts.flat_map(|host| host.roles))
}

/// Returns the releases that this machine has seen, newest first.
fn releases() -> Vec<CompletionCandidate> {
    let cache = cache_of_this_process();
    let ids = configs().into_iter().flat_map(|config| cache.releases(&cached_stage(&config)));
    let all: BTreeSet<_> = ids.collect();
    let newest_first = all.into_iter().rev().enumerate();
    newest_first
        .map(|(at, id)| CompletionCandidate::new(id.to_string()).display_order(Some(at)))
        .collect()
}

fn topics() -> Vec<CompletionCandidate> {
    let commands = command();
    let commands = commands.get_subcommands().map(|inner| inner.get_name().to_owned());
    candidates(commands.chain(["env".to_owned(), "exit-codes".to_owned()]))
}

fn candidates(words: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    words.collect::<BTreeSet<_>>().into_iter().map(CompletionCandidate::new).collect()
}
