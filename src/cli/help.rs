//! `shipit help`: commands, and what belongs to no command.

use std::fmt::Write as _;

use super::error::CliError;
use super::output::print;
use super::variables;

/// Every exit code and what it means.
pub(super) const EXIT_CODES: [(u8, &str); 6] = [
    (0, "done"),
    (
        1,
        "not done, or not everywhere, but every host is on a healthy release; with `verify`, \
         something differs",
    ),
    (2, "wrong usage or config; no host was contacted"),
    (3, "a host needs attention"),
    (75, "locked by another run, or by `shipit lock`"),
    (130, "interrupted (the summary says what was left), or not confirmed (nothing was changed)"),
];

/// Variables that stand for no flag.
const OTHERS: [(&str, &str); 10] = [
    ("SHIPIT_PARALLEL", "the key `parallel`"),
    ("SHIPIT_SSH_KEY", "the text of the key that logs in, in place of `ssh.identity_file`"),
    ("SHIPIT_KNOWN_HOSTS", "lines of known_hosts, in place of `ssh.known_hosts`"),
    ("SHIPIT_COMPLETE", "set by the scripts of `shipit completions`"),
    ("NO_COLOR", "no colours, whatever its value"),
    ("SSH_AUTH_SOCK", "the agent that holds keys"),
    ("SSH_ASKPASS", "the program that asks for a passphrase, where ssh would use it"),
    ("XDG_CACHE_HOME", "the directory of the cache is `shipit` in it [default: ~/.cache]"),
    ("GITHUB_ACTIONS, GITHUB_ACTOR, GITHUB_SHA", "set by GitHub: see docs/ci.md"),
    ("GITLAB_CI, GITLAB_USER_LOGIN, CI_COMMIT_SHA", "set by GitLab: see docs/ci.md"),
];

/// Prints the help of a command, or a topic.
pub(crate) fn run(topic: &[String]) -> Result<u8, CliError> {
    let mut command = variables::command();
    command.build();
    match topic.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["exit-codes"] => print(&exit_codes()),
        ["env"] => print(&variables()),
        _ => {
            let asked = topic
                .iter()
                .try_fold(&mut command, |command, name| command.find_subcommand_mut(name));
            let unknown = || CliError::BadFlag {
                flag: "`shipit help`",
                value: topic.join(" "),
                expected: "it explains a command, `env` or `exit-codes`",
            };
            let _ = asked.ok_or_else(unknown)?.print_help();
        }
    }
    Ok(0)
}

fn exit_codes() -> String {
    let mut text = "Exit codes:\n\n".to_owned();
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(text, "  {code:>3}  {meaning}");
    }
    text
}

fn variables() -> String {
    let mut text = "Variables stand for flags. A flag of the command line wins; an empty variable \
                    counts as not set.\nSwitches are 1 or 0, yes or no, true or false.\n\n"
        .to_owned();
    let flags = variables::all().into_iter().map(|it| (it.name, it.meanings.join(", ")));
    let others = OTHERS.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned()));
    for (name, what) in flags.chain(others) {
        let _ = writeln!(text, "  {name:23} {what}");
    }
    text.push_str(
        "\nHooks get variables of their own: docs/configuration.md lists them.\n\
         The command of the same name is explained by `shipit env --help`.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn examples(command: &Command, found: &mut Vec<String>) {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("  shipit "));
        found.extend(lines.map(|line| line.trim().split("   ").next().unwrap_or(line).to_owned()));
        command.get_subcommands().for_each(|inner| examples(inner, found));
    }

    /// Returns the words of a line; what is in single quotes is one.
    fn words(line: &str) -> Vec<&str> {
        let parts = line.split('\'').enumerate();
        let words = parts.map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        });
        words.collect::<Vec<_>>().concat()
    }

    #[test]
    fn examples_of_every_command_are_right() {
        let mut found = Vec::new();
        examples(&variables::command(), &mut found);
        assert!(found.len() > 30, "{found:?}");
        for line in found {
            let parsed = variables::command().try_get_matches_from(words(&line));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }
}
