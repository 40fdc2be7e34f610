//! Variables that stand for flags: `SHIPIT_` and the name of the flag in capitals.

use std::ffi::OsStr;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::args::Args;

/// A variable and everything that it stands for.
pub(super) struct FlagVariable {
    pub(super) name: String,
    /// Such as `--to ID of rollback`.
    pub(super) meanings: Vec<String>,
}

/// Returns the commands and flags, each flag with its variable.
pub(super) fn command() -> Command {
    each_command(Args::command(), &|command| command.mut_args(with_variable))
}

/// Returns the command and all commands below it, each changed by `change`.
pub(super) fn each_command(command: Command, change: &dyn Fn(Command) -> Command) -> Command {
    change(command).mut_subcommands(|inner| each_command(inner, change))
}

/// Returns every variable of a flag, in the order of the commands.
pub(super) fn all() -> Vec<FlagVariable> {
    let mut found = Vec::new();
    collect(&Args::command(), "", &mut found);
    found
}

fn collect(command: &Command, of: &str, found: &mut Vec<FlagVariable>) {
    for arg in command.get_arguments() {
        let Some(name) = name(arg) else { continue };
        let value = arg.get_value_names().and_then(|names| names.first());
        let value = value.filter(|_| arg.get_action().takes_values());
        let value = value.map(|value| format!(" {value}")).unwrap_or_default();
        let meaning = match arg.get_long() {
            Some(flag) => format!("--{flag}{value}{of}"),
            None => "the stage, where the command names none".to_owned(),
        };
        match found.iter_mut().find(|known| known.name == name) {
            Some(known) if known.meanings.contains(&meaning) => {}
            Some(known) => known.meanings.push(meaning),
            None => found.push(FlagVariable { name, meanings: vec![meaning] }),
        }
    }
    for inner in command.get_subcommands() {
        let of = if of.is_empty() { " of".to_owned() } else { of.to_owned() };
        collect(inner, &format!("{of} {}", inner.get_name()), found);
    }
}

/// Returns the variable of a flag, or of the stage.
fn name(arg: &Arg) -> Option<String> {
    let declared = arg.get_env().map(|name| name.to_string_lossy().into_owned());
    let id = Some("stage").filter(|stage| arg.get_id() == stage && !arg.is_required_set());
    let derived = |id: &str| format!("SHIPIT_{}", id.to_uppercase().replace('-', "_"));
    declared.or_else(|| arg.get_long().or(id).map(derived))
}

/// Ties a flag to its variable, unless that is empty or says no.
fn with_variable(arg: Arg) -> Arg {
    let Some(name) = name(&arg) else { return arg };
    let switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let arg = if switch { arg.value_parser(BoolishValueParser::new()) } else { arg };
    let said = std::env::var_os(&name);
    if said.is_some_and(|value| value.is_empty() || switch && is_no(&value)) {
        return arg.env(None::<&'static str>);
    }
    arg.env(name).hide_env(true)
}

fn is_no(value: &OsStr) -> bool {
    let no = ["n", "no", "f", "false", "off", "0"];
    value.to_str().is_some_and(|value| no.contains(&value.to_lowercase().as_str()))
}

/// Returns the error with the variable that holds the wrong value, where one does.
pub(super) fn naming_variable(mut error: clap::Error) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return error;
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (flag, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let mut known = all().into_iter();
    let holds = |variable: &FlagVariable| {
        let flag = flag.split(' ').next().unwrap_or_default();
        let stands = |meaning: &String| meaning.split(' ').next() == Some(flag);
        let said = std::env::var(&variable.name);
        said.is_ok_and(|said| !said.is_empty() && said.split(',').any(|part| part == value))
            && variable.meanings.iter().any(stands)
    };
    if let Some(variable) = known.find(holds) {
        let tip = format!("{} has this value", variable.name).into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}
