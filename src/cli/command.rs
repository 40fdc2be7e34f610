//! `shipit run`: runs a command in the live release of each host.

use std::io::Write as _;

use serde_json::json;

use super::args::RunArgs;
use super::error::CliError;
use super::output::print;
use super::world::World;
use crate::deploy::outcome::Failure;
use crate::deploy::query::Answers;
use crate::deploy::stream::{CommandEnd, StreamPiece, live, run_command};
use crate::remote::quote::shown_word;
use crate::remote::session::Exit;
use crate::report::human::{group_by, list};
use crate::report::json::VERSION;
use crate::report::redact::Secrets;
use crate::report::stream::HostLines;

/// The state of a host that was lost meanwhile.
const LOST: &str = "the host ends the command soon; nobody knows how far it came";

/// Runs the command and shows what it prints. Returns 1 unless it exited with 0 everywhere.
pub(crate) async fn run(world: &World, args: &RunArgs) -> Result<u8, CliError> {
    let mut config = world.config(&args.stage)?;
    if args.once {
        config.hosts.truncate(1);
    }
    let command = line(&args.command);
    if world.common.dry_run {
        let (states, code) = world.found(world.look(&config).await?);
        for (host, state) in &states {
            match live(state) {
                Ok(id) => print(&format!("{host}: would run `{command}` in {id}\n")),
                Err(failure) => print(&format!("{host}: {}\n", failure.what)),
            }
        }
        return Ok(code);
    }
    let coloured = world.styles_of_stdout().coloured;
    let lines = HostLines::new(config.host_names(), coloured, world.sieve(Secrets::default()));
    let hear = |place: usize, heard: StreamPiece| show(world, &lines, place, heard);
    let work = world.quietly(&config, "run", async |cx| run_command(cx, &command, &hear).await);
    let answers = work.await.map_err(|error| match error {
        CliError::Stopped => CliError::CommandStopped,
        other => other,
    })?;
    Ok(told(world, &config.stage, &answers))
}

/// Returns the words of a command as a line for a shell. One word is such a line already.
fn line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| shown_word(word)).collect::<Vec<_>>().join(" "),
    }
}

fn show(world: &World, lines: &HostLines, place: usize, heard: StreamPiece) {
    let (source, text) = match heard {
        StreamPiece::Out(text) => ("stdout", text),
        StreamPiece::Err(text) => ("stderr", text),
        StreamPiece::End => return,
    };
    if world.common.json {
        let (host, text) = (lines.name(place), lines.fit(&text));
        let line = json!({
            "v": VERSION, "event": "printed", "host": host, "source": source, "text": text,
        });
        print(&format!("{line}\n"));
    } else if source == "stdout" {
        print(&lines.shown(place, &text));
    } else {
        let _ = std::io::stderr().write_all(lines.shown(place, &text).as_bytes());
    }
}

/// Says how the command ended on each host, and returns the exit code.
fn told(world: &World, stage: &str, answers: &Answers<CommandEnd>) -> u8 {
    let code = u8::from(answers.iter().any(|(_, ended)| problem(ended).is_some()));
    if world.common.json {
        let hosts: Vec<_> = answers
            .iter()
            .map(|(host, ended)| {
                let exit = match ended {
                    Ok(CommandEnd::Ended(Exit::Code(code))) => Some(*code),
                    _ => None,
                };
                json!({ "host": host, "code": exit, "failure": problem(ended) })
            })
            .collect();
        let report = json!({
            "v": VERSION, "event": "report", "goal": "run", "stage": stage, "exit_code": code,
            "hosts": hosts,
        });
        print(&format!("{report}\n"));
        return code;
    }
    let sieve = world.sieve(Secrets::default());
    for (host, ended) in answers {
        match ended {
            Err(failure) => {
                world.print_failure(&sieve, Some(host), failure, "the command did not run there");
            }
            Ok(CommandEnd::Lost(failure)) => {
                world.print_failure(&sieve, Some(host), failure, LOST);
            }
            Ok(CommandEnd::Ended(_)) => {}
        }
    }
    let ended = answers.iter().filter_map(|(host, ended)| match ended {
        Ok(CommandEnd::Ended(exit)) => Some((host.as_str(), exit.to_string())),
        _ => None,
    });
    for (exit, hosts) in group_by(ended) {
        if answers.len() > 1 || code != 0 {
            world.tell(&format!("{}: {exit}\n", list(&hosts)));
        }
    }
    code
}

/// Returns why there is no exit code of 0, in one line.
fn problem(ended: &Result<CommandEnd, Failure>) -> Option<String> {
    match ended {
        Ok(CommandEnd::Ended(Exit::Code(0))) => None,
        Ok(CommandEnd::Ended(exit)) => Some(exit.to_string()),
        Ok(CommandEnd::Lost(failure)) | Err(failure) => Some(failure.one_line()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_and_a_line_is_not() {
        let of =
            |words: &[&str]| line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["rake db:migrate && echo $PORT"]), "rake db:migrate && echo $PORT");
        assert_eq!(of(&["echo", "a b", "$PORT"]), "echo 'a b' '$PORT'");
    }
}
