//! Floor 3: events, reports and errors become text, here only.
//!
//! A reporter hears events while a run lasts and gets its report at the end. [`reporter`] puts one
//! together; whatever it is, it hears nothing that is not cleaned and free of secrets already
//! ([`guard`]). What commands print at their end (tables, findings, plans) are pure functions that
//! return text.

pub mod check;
pub mod clean;
pub mod error;
pub mod github;
pub mod history;
pub mod human;
pub mod json;
pub mod lines;
pub mod live;
pub mod plan;
pub mod progress;
pub mod redact;
pub mod releases;
pub mod sanitizer;
pub mod status;
pub mod styles;
pub mod summary;
pub mod table;
pub mod unlock;
pub mod verify;
pub mod words;

use std::io;
use std::time::Duration;

use self::redact::Secrets;
use self::sanitizer::{Sanitizer, Sieve};
use self::styles::Styles;
use crate::deploy::event::Event;
use crate::deploy::outcome::Report;

/// Shows what happens. Nothing here can fail a run: what cannot be written is dropped.
pub trait Reporter {
    /// Something happened.
    fn on_event(&mut self, event: &Event);

    /// It is over.
    fn finish(&mut self, report: &Report);

    /// Some time passed: a good moment to redraw. Called a few times a second, if at all.
    fn tick(&mut self) {}

    /// Somebody is asked something on the terminal: nothing may be in the way until the next call.
    fn pause(&mut self) {}
}

impl<R: Reporter + ?Sized> Reporter for Box<R> {
    fn on_event(&mut self, event: &Event) {
        (**self).on_event(event);
    }

    fn finish(&mut self, report: &Report) {
        (**self).finish(report);
    }

    fn tick(&mut self) {
        (**self).tick();
    }

    fn pause(&mut self) {
        (**self).pause();
    }
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// `-q`: warnings and failures.
    Quiet,
    /// What happens.
    #[default]
    Normal,
    /// `-v`: also what is sent to hosts.
    Verbose,
}

/// Time since the program began; injected, so that tests need not wait.
pub type Clock = Box<dyn Fn() -> Duration + Send>;

/// The terminal's rows and columns, asked for at each drawing because windows are resized.
pub type Size = Box<dyn Fn() -> (u16, u16) + Send>;

/// Which reporter.
pub enum Mode {
    /// Rows that change in place.
    Live(Size),
    /// Plain lines.
    Lines,
    /// One JSON object a line, on stdout.
    Json,
}

/// All that a reporter is made of.
pub struct Settings {
    /// Which one.
    pub mode: Mode,
    /// For stderr.
    pub styles: Styles,
    /// How much is told.
    pub verbosity: Verbosity,
    /// What may not show.
    pub secrets: Secrets,
    /// Whether this runs in GitHub Actions.
    pub github: bool,
    /// Time since the program began.
    pub clock: Clock,
}

/// The reporter that these settings ask for, on this process's stdout and stderr.
pub fn reporter(settings: Settings) -> Box<dyn Reporter + Send> {
    let Settings { mode, styles, verbosity, secrets, github, clock } = settings;
    let inner: Box<dyn Reporter + Send> = match mode {
        Mode::Json => Box::new(json::Json::new(io::stdout())),
        Mode::Lines => Box::new(lines::Lines::new(io::stderr(), styles, verbosity, clock)),
        Mode::Live(size) => Box::new(live::Live::new(io::stderr(), size, clock, styles, verbosity)),
    };
    let sieve = Sieve::new(secrets, github);
    if github {
        return Box::new(Sanitizer::new(github::Annotated::new(inner, io::stderr()), sieve));
    }
    Box::new(Sanitizer::new(inner, sieve))
}
