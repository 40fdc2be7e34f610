//! Floor 3: events, reports and errors become text, only here.
//!
//! A reporter gets events during a run and its report at the end; every text it gets is already
//! cleaned and free of secrets ([`sanitizer`]). The output of commands that look (tables, findings,
//! plans) comes from pure functions that return text.

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

use std::time::Duration;

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

/// A reporter of any kind.
pub type AnyReporter = Box<dyn Reporter + Send>;
