//! Floor 3: events, reports and errors become text, only here.
//!
//! A reporter gets events during a run and its report at the end. [`reporter`] constructs one;
//! every text it gets is already cleaned and free of secrets ([`sanitizer`]). The output of
//! commands that look (tables, findings, plans) comes from pure functions that return text.

pub mod check;
pub mod clean;
pub mod difference;
pub mod env;
pub mod env_diff;
pub mod error;
pub mod github;
pub mod groups;
pub mod history;
pub mod human;
pub mod json;
pub mod lines;
pub mod live;
pub mod logs;
pub mod markdown;
pub mod notices;
pub mod plan;
pub mod progress;
pub mod redact;
pub mod releases;
pub mod sanitizer;
pub mod setup;
pub mod status;
pub mod stream;
pub mod styles;
pub mod summary;
pub mod table;
pub mod unlock;
pub mod verify;
pub mod words;

use std::io;
use std::time::Duration;

use self::github::{Annotated, StepFiles};
use self::groups::GroupMarks;
use self::json::Json;
use self::lines::Lines;
use self::live::Live;
use self::redact::Secrets;
use self::sanitizer::{Sanitizer, Sieve};
use self::styles::Styles;
use crate::deploy::event::Event;
use crate::deploy::outcome::Report;

/// Shows a run. A reporter cannot fail a run: what cannot be written is dropped.
pub trait Reporter {
    /// Shows an event.
    fn on_event(&mut self, event: &Event);

    /// Shows the report at the end.
    fn finish(&mut self, report: &Report);

    /// Redraws, if the reporter does; called a few times a second at most.
    fn tick(&mut self) {}

    /// Clears the terminal for a question, until the next call.
    fn pause(&mut self) {}
}

/// The amount that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// `-q`: warnings and failures.
    Quiet,
    /// Events, but not requests.
    #[default]
    Normal,
    /// `-v`: also the requests sent to hosts.
    Verbose,
}

/// Time since the program began; injected, so that tests need not wait.
pub type Clock = Box<dyn Fn() -> Duration + Send>;

/// The terminal's rows and columns, read before each drawing because windows are resized.
pub type Size = Box<dyn Fn() -> (u16, u16) + Send>;

/// The kind of a reporter.
pub enum Mode {
    /// Rows that change in place.
    Live(Size),
    /// Plain lines.
    Lines,
    /// One JSON object per line, on stdout.
    Json,
}

/// Everything that a reporter is made of.
pub struct Settings {
    /// The kind of reporter.
    pub mode: Mode,
    /// The styles for stderr.
    pub styles: Styles,
    /// The amount that is shown.
    pub verbosity: Verbosity,
    /// The values to mask.
    pub secrets: Secrets,
    /// In GitHub Actions, the files that it reads after a step.
    pub github: Option<StepFiles>,
    /// What folds phases in the log of a CI system.
    pub marks: Option<GroupMarks>,
    /// Time since the program began.
    pub clock: Clock,
}

/// A reporter of any kind.
pub type AnyReporter = Box<dyn Reporter + Send>;

/// Returns the reporter of these settings, on this process's stdout and stderr.
pub fn reporter(settings: Settings) -> AnyReporter {
    let Settings { mode, styles, verbosity, secrets, github, marks, clock } = settings;
    let sieve = Sieve::new(secrets, github.is_some());
    let shown: AnyReporter = match mode {
        Mode::Json => Box::new(Json::new(io::stdout())),
        Mode::Lines => Box::new(Lines::new(io::stderr(), styles, verbosity, marks, clock)),
        Mode::Live(size) => Box::new(Live::new(io::stderr(), size, clock, styles, verbosity)),
    };
    let shown = match github {
        Some(files) => Box::new(Annotated::new(shown, io::stderr(), files)),
        None => shown,
    };
    Box::new(Sanitizer::new(shown, sieve))
}
