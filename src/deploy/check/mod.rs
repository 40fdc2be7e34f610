//! The findings of `check`: problems that a deploy would meet, each with its fix. `host` looks at
//! one host, `sudo` at its rules, `unit` at the unit, `runner` at what the service's user may do.

mod host;
mod runner;
mod sudo;
mod unit;

use serde::Serialize;

pub use self::host::Subject;
pub use self::runner::groups;
pub use self::sudo::{sudo_commands, sudo_file};
use super::outcome::Failure;
use crate::model::note::Note;

/// One thing that `check` looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The host that it is about; `None`: this machine, or the config.
    pub host: Option<String>,
    pub level: Level,
    /// One line, lower case, without the host's name.
    pub text: String,
    /// The fix, in one line; `None` for [`Level::Ok`].
    pub fix: Option<String>,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// A deploy works, but somebody should know.
    Warning,
    /// A deploy would not work.
    Problem,
}

/// The findings about one host, or about this machine.
pub struct Findings {
    host: Option<String>,
    /// In the order in which they were found.
    pub found: Vec<Finding>,
}

impl Findings {
    /// Returns no findings, for `host` or for this machine.
    pub fn of(host: Option<String>) -> Self {
        Self { host, found: Vec::new() }
    }

    /// Adds a finding.
    pub fn add(&mut self, level: Level, text: impl Into<String>, fix: Option<String>) {
        self.found.push(Finding { host: self.host.clone(), level, text: text.into(), fix });
    }

    /// Adds that something is as it should be.
    pub fn ok(&mut self, text: impl Into<String>) {
        self.add(Level::Ok, text, None);
    }

    /// Adds what the user should know.
    pub fn warn(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Warning, text, Some(fix.into()));
    }

    /// Adds notes as warnings.
    pub fn noted(&mut self, notes: impl IntoIterator<Item = Note>) {
        for Note { text, fix } in notes {
            self.warn(text, fix);
        }
    }

    /// Adds what would make a deploy fail.
    pub fn problem(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Problem, text, Some(fix.into()));
    }

    /// Adds that the host could not be reached.
    pub fn unreachable(&mut self, failure: &Failure) {
        let host = self.host.as_deref().unwrap_or_default();
        let by_hand = format!("connect by hand and see: `ssh {host} true`");
        let fix = failure.hint.clone().unwrap_or(by_hand);
        self.problem(failure.whole(), fix);
    }
}
