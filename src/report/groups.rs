//! The phases of a run as parts of a CI log that can be folded: groups of GitHub Actions, sections
//! of GitLab.

use std::io::Write;

use super::{Reporter, words};
use crate::deploy::event::Event;
use crate::deploy::outcome::Report;

/// The time of day, in seconds since 1970; injected, so that tests know it.
pub type WallClock = Box<dyn Fn() -> u64 + Send>;

/// The lines that begin and end a part.
pub enum GroupMarks {
    Github,
    Gitlab(WallClock),
}

/// A reporter that puts the phases of another one into parts.
pub struct Grouped<R, W> {
    inner: R,
    out: W,
    marks: GroupMarks,
    /// The part that has begun.
    open: Option<String>,
}

impl<R, W: Write> Grouped<R, W> {
    /// Writes the marks to `out`, around the lines of `inner`.
    pub fn new(inner: R, out: W, marks: GroupMarks) -> Self {
        Self { inner, out, marks, open: None }
    }

    fn begin(&mut self, title: &str) {
        let name = format!("shipit_{}", title.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        let line = match &self.marks {
            GroupMarks::Github => format!("::group::{title}\n"),
            GroupMarks::Gitlab(now) => {
                format!("\x1b[0Ksection_start:{}:{name}\r\x1b[0K{title}\n", now())
            }
        };
        let _ = self.out.write_all(line.as_bytes());
        self.open = Some(name);
    }

    fn end(&mut self) {
        let Some(name) = self.open.take() else { return };
        let line = match &self.marks {
            GroupMarks::Github => "::endgroup::\n".to_owned(),
            GroupMarks::Gitlab(now) => format!("\x1b[0Ksection_end:{}:{name}\r\x1b[0K\n", now()),
        };
        let _ = self.out.write_all(line.as_bytes());
    }
}

impl<R: Reporter, W: Write> Reporter for Grouped<R, W> {
    fn on_event(&mut self, event: &Event) {
        if let Event::Phase(phase) = event {
            self.end();
            self.begin(&words::phase(*phase));
        }
        self.inner.on_event(event);
    }

    fn finish(&mut self, report: &Report) {
        // The summary is never folded.
        self.end();
        self.inner.finish(report);
    }

    fn tick(&mut self) {
        self.inner.tick();
    }

    fn pause(&mut self) {
        self.inner.pause();
    }
}
