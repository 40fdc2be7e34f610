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

use self::groups::{GroupMarks, Grouped};
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

/// The CI system that reads the output.
pub enum Ci {
    /// A person, or one that only shows it.
    Plain,
    Github(github::StepFiles),
    Gitlab(groups::WallClock),
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
    /// The CI system that reads the output.
    pub ci: Ci,
    /// Time since the program began.
    pub clock: Clock,
}

/// Returns the reporter of these settings, on this process's stdout and stderr.
pub fn reporter(settings: Settings) -> Box<dyn Reporter + Send> {
    let Settings { mode, styles, verbosity, secrets, ci, clock } = settings;
    let sieve = Sieve::new(secrets, matches!(ci, Ci::Github(_)));
    let folds = verbosity > Verbosity::Quiet;
    match mode {
        Mode::Json => filtered(json::Json::new(io::stdout()), sieve, ci, false),
        Mode::Lines => {
            filtered(lines::Lines::new(io::stderr(), styles, verbosity, clock), sieve, ci, folds)
        }
        Mode::Live(size) => {
            let live = live::Live::new(io::stderr(), size, clock, styles, verbosity);
            filtered(live, sieve, ci, false)
        }
    }
}

/// Returns a reporter that filters, and adds what the CI system understands. With `folds`, phases
/// can be folded.
fn filtered(
    inner: impl Reporter + Send + 'static,
    sieve: Sieve,
    ci: Ci,
    folds: bool,
) -> Box<dyn Reporter + Send> {
    let grouped = |inner, marks| Grouped::new(inner, io::stderr(), marks);
    match ci {
        Ci::Github(files) if folds => {
            let inner = grouped(inner, GroupMarks::Github);
            Box::new(Sanitizer::new(github::Annotated::new(inner, io::stderr(), files), sieve))
        }
        Ci::Github(files) => {
            Box::new(Sanitizer::new(github::Annotated::new(inner, io::stderr(), files), sieve))
        }
        Ci::Gitlab(now) if folds => {
            Box::new(Sanitizer::new(grouped(inner, GroupMarks::Gitlab(now)), sieve))
        }
        Ci::Gitlab(_) | Ci::Plain => Box::new(Sanitizer::new(inner, sieve)),
    }
}
