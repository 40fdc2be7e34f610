//! Output for people and machines: errors, warnings, questions and data, on stderr and stdout.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ColorChoice;
use console::Term;
use futures::future::BoxFuture;
use serde_json::Value;

use super::args::GlobalFlags;
use super::aside::Aside;
use super::error::CliError;
use super::question::is_yes;
use super::world::World;
use crate::config::{Config, Confirm};
use crate::deploy::check::Finding;
use crate::deploy::context::Approve;
use crate::deploy::event::Event;
use crate::deploy::outcome::{Failure, Report, naming_stage};
use crate::deploy::query::Answers;
use crate::report::github::StepFiles;
use crate::report::groups::GroupMarks;
use crate::report::json::Json;
use crate::report::lines::Lines;
use crate::report::live::Live;
use crate::report::redact::Secrets;
use crate::report::sanitizer::{Sanitizer, Sieve, defuse};
use crate::report::styles::Styles;
use crate::report::words::about;
use crate::report::{AnyReporter, Verbosity, error, github};

impl World {
    /// Prints why there was no run, and returns the exit code.
    pub(crate) fn fail(&self, problem: &CliError) -> ExitCode {
        self.print_error(error::text(&self.styles(), problem));
        ExitCode::from(problem.exit_code())
    }

    /// Returns the styles for stderr.
    pub(crate) fn styles(&self) -> Styles {
        self.styles_on(&Term::stderr())
    }

    pub(crate) fn styles_of_stdout(&self) -> Styles {
        self.styles_on(&Term::stdout())
    }

    fn styles_on(&self, term: &Term) -> Styles {
        let coloured = match self.common.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                term.is_term() && self.var("NO_COLOR").is_none() && !self.is_dumb()
            }
        };
        let width = term.is_term().then(|| usize::from(term.size().1));
        Styles { width, ..if coloured { Styles::coloured() } else { Styles::plain() } }
    }

    /// Returns whether the terminal knows no control sequences.
    pub(super) fn is_dumb(&self) -> bool {
        self.var("TERM").as_deref() == Some("dumb")
    }

    /// Returns the reporter that the flags and the terminal ask for.
    pub(super) fn reporter(&self, secrets: Secrets, quiet: bool) -> AnyReporter {
        let (styles, started) = (self.styles(), self.started);
        let verbosity = match (self.common.verbose, self.common.quiet || quiet) {
            (true, _) => Verbosity::Verbose,
            (false, true) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
        };
        let clock = Box::new(move || started.elapsed());
        let shown: AnyReporter = if self.common.json {
            Box::new(Json::new(std::io::stdout()))
        } else if std::io::stderr().is_terminal() && !quiet && !self.is_dumb() {
            let size = Box::new(|| Term::stderr().size());
            Box::new(Live::new(std::io::stderr(), size, clock, styles, verbosity))
        } else {
            Box::new(Lines::new(std::io::stderr(), styles, verbosity, self.marks(), clock))
        };
        Box::new(Sanitizer::new(shown, self.sieve(secrets)))
    }

    /// Returns the answers of the hosts that gave one, and the exit code: 1 if a host failed.
    /// Failures are printed.
    pub(crate) fn found<T>(&self, answers: Answers<T>) -> (Vec<(String, T)>, u8) {
        self.found_in(answers, "nothing was changed")
    }

    /// Does what [`Self::found`] does, and says the state of a host that failed.
    pub(crate) fn found_in<T>(&self, answers: Answers<T>, state: &str) -> (Vec<(String, T)>, u8) {
        let mut found = Vec::new();
        let mut code = 0;
        for (host, answer) in answers {
            match answer {
                Ok(value) => found.push((host, value)),
                Err(failure) => {
                    code = 1;
                    let sieve = self.sieve(Secrets::default());
                    self.print_failure(&sieve, Some(&host), &failure, state);
                }
            }
        }
        (found, code)
    }

    /// Writes text for people to stderr, unless `--quiet` is given.
    pub(crate) fn tell(&self, text: &str) {
        if !self.common.quiet {
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }

    /// Shows a warning outside a run.
    pub(crate) fn warn(&self, warning: &Event) {
        self.reporter(Secrets::new([]), true).on_event(warning);
    }

    /// Writes findings as annotations, if this runs in GitHub Actions.
    pub(crate) fn annotate(&self, found: &[Finding]) {
        if self.in_github() {
            let _ = std::io::stderr().write_all(github::findings(found).as_bytes());
        }
    }

    /// Tells GitHub Actions of a run, if this runs in it. The report holds no secrets any more.
    pub(super) fn annotate_run(&self, report: &Report, digest: Option<&str>) {
        if self.in_github() {
            let path = |name| self.var(name).map(PathBuf::from);
            let (summary, output) = (path("GITHUB_STEP_SUMMARY"), path("GITHUB_OUTPUT"));
            let lines = StepFiles { summary, output }.tell(report, digest);
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
    }

    /// Returns what folds phases in the log of the CI system that this runs in.
    fn marks(&self) -> Option<GroupMarks> {
        if self.in_github() {
            return Some(GroupMarks::Github);
        }
        let began = u64::try_from(self.now.timestamp()).unwrap_or_default();
        let gitlab = self.var("GITLAB_CI").as_deref() == Some("true");
        gitlab.then_some(GroupMarks::Gitlab { began })
    }

    fn in_github(&self) -> bool {
        self.var("GITHUB_ACTIONS").as_deref() == Some("true")
    }

    /// Returns the filter of every text that is shown: it masks secrets and cleans.
    pub(crate) fn sieve(&self, secrets: Secrets) -> Sieve {
        Sieve::new(secrets, self.in_github())
    }

    /// Writes the result of a command to stdout: as JSON with `--json`, else as text.
    pub(crate) fn print(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        let text = if self.common.json { format!("{}\n", json()) } else { text() };
        if self.in_github() { print(&format!("{}\n", defuse(&text))) } else { print(&text) }
    }

    /// Writes an error to stderr, with no line that GitHub's runner would take for a command.
    fn print_error(&self, text: String) {
        let text = if self.in_github() {
            format!("{}\n{}", defuse(&text), github::error(&text))
        } else {
            text
        };
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Prints a failure outside a run, of a host if one is given.
    pub(crate) fn print_failure(
        &self,
        sieve: &Sieve,
        host: Option<&str>,
        failure: &Failure,
        state: &str,
    ) {
        let failure = sieve.failure(failure);
        let what = about(host.unwrap_or_default(), &failure.what);
        let named = self.stage.get().map_or("", String::as_str);
        let hint = failure.hint.as_deref().map(|hint| naming_stage(hint, named));
        let (cause, state, hint) = (&failure.cause, Some(state), hint.as_deref());
        self.print_error(error::parts(&self.styles(), &what, cause, state, hint));
    }

    /// Asks `question` if the config has `confirm = true`, and returns whether to go on.
    pub(crate) fn confirm(&self, config: &Config, question: &str) -> Result<bool, CliError> {
        if config.confirm != Confirm::First || self.common.dry_run {
            return Ok(true);
        }
        self.ask(question, &config.stage)
    }

    /// Returns whether a person is asked before anything is done, and sees the plan.
    pub(crate) fn asks_first(&self, config: &Config) -> bool {
        let GlobalFlags { dry_run, yes, json, .. } = self.common;
        config.confirm == Confirm::First && !dry_run && !yes && !json
    }

    /// Does what [`Self::confirm`] does. With `confirm = "staged"`, the question comes later: fails
    /// if nobody could answer it.
    pub(crate) fn confirm_or_later(
        &self,
        config: &Config,
        question: &str,
    ) -> Result<bool, CliError> {
        if config.confirm == Confirm::Staged && !self.common.dry_run && !self.common.yes {
            terminal_of(&config.stage)?;
        }
        self.confirm(config, question)
    }

    /// Returns who is asked by `confirm = "staged"`.
    pub(super) fn approval(&self) -> Approval {
        Approval { yes: self.common.yes, aside: self.aside.clone() }
    }

    /// Asks a yes-no question and returns the answer; `--yes` answers it. Fails without a terminal,
    /// and names `who` requires the answer.
    pub(crate) fn ask(&self, question: &str, who: &str) -> Result<bool, CliError> {
        if self.common.yes {
            return Ok(true);
        }
        terminal_of(who)?;
        let yes = is_approved(question);
        if !yes {
            self.tell("nothing was changed\n");
        }
        Ok(yes)
    }
}

/// Fails if there is no terminal, and names `who` requires an answer.
pub(super) fn terminal_of(who: &str) -> Result<(), CliError> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return Ok(());
    }
    Err(CliError::Unconfirmed { who: who.to_owned() })
}

/// Asks a yes-no question on the terminal and returns the answer.
fn is_approved(question: &str) -> bool {
    let _ = write!(std::io::stderr(), "{question}? [y/N] ");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    is_yes(&line)
}

/// The person at the terminal, who is asked while a run waits; `--yes` answers.
pub(super) struct Approval {
    yes: bool,
    aside: Aside,
}

impl Approve for Approval {
    fn approve(&self, question: String) -> BoxFuture<'_, bool> {
        let (yes, aside) = (self.yes, self.aside.clone());
        Box::pin(async move {
            let ask = move || aside.alone(|| is_approved(&question));
            yes || tokio::task::spawn_blocking(ask).await.unwrap_or(false)
        })
    }
}

/// Writes to stdout; a closed stdout is ignored.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
