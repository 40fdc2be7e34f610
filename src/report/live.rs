//! Rows that change in place on a terminal. [`super::progress`] decides what they show; this module
//! paints them below the lines that stay.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use super::human::{self, hanging};
use super::progress::ProgressModel;
use super::styles::Styles;
use super::summary::last_table;
use super::{Clock, Reporter, Size, Verbosity, summary, words};
use crate::deploy::event::Event;
use crate::deploy::outcome::{Report, RunOutcome};

/// Progress of many hosts arrives many times a second: rows are painted at most this often.
const PAINT_EVERY: Duration = Duration::from_millis(80);
/// The last line names phases that took at least this long.
const WORTH_A_WORD: Duration = Duration::from_millis(100);
/// Terminals that know these sequences show a frame only when it is complete.
pub const FRAME: (&str, &str) = ("\x1b[?2026h", "\x1b[?2026l");
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_BELOW: &str = "\x1b[J";

/// A reporter that paints rows, and writes lines that stay above them.
pub struct Live<W: Write> {
    out: W,
    shown: Vec<String>,
    painted: Option<Duration>,
    model: ProgressModel,
    size: Size,
    clock: Clock,
    styles: Styles,
    verbosity: Verbosity,
    warned: BTreeSet<(Option<String>, String)>,
}

impl<W: Write> Live<W> {
    /// Writes to `out`, a terminal of this size.
    pub fn new(out: W, size: Size, clock: Clock, styles: Styles, verbosity: Verbosity) -> Self {
        let (shown, painted, warned) = (Vec::new(), None, BTreeSet::new());
        let model = ProgressModel::default();
        Self { out, shown, painted, model, size, clock, styles, verbosity, warned }
    }

    fn paint(&mut self, above: &str) {
        let now = (self.clock)();
        self.painted = Some(now);
        let size = (self.size)();
        let mut rows = Vec::new();
        if self.verbosity > Verbosity::Quiet {
            rows = self.model.lines(size, now, &self.styles);
            // The cursor needs a line of its own; rows that have scrolled away cannot be erased.
            rows.truncate(usize::from(size.0).saturating_sub(1));
        }
        self.frame(above, rows);
    }

    /// Erases the rows, writes `above`, which stays, and paints `rows`: in one write.
    fn frame(&mut self, above: &str, rows: Vec<String>) {
        let above: String = above.lines().flat_map(|line| [line, "\n"]).collect();
        let text = match (self.shown.is_empty(), rows.is_empty()) {
            (true, true) => above,
            _ if above.is_empty() && rows == self.shown => return,
            (_, gone) => {
                let cursor = if gone { SHOW_CURSOR } else { HIDE_CURSOR };
                let rows: String = rows.iter().flat_map(|row| [row, "\n"]).collect();
                format!("{}{cursor}{}{above}{rows}{}", FRAME.0, self.back(), FRAME.1)
            }
        };
        // A closed terminal does not fail a run.
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
        self.shown = rows;
    }

    /// Returns the sequence that moves from the cursor to the first row and clears from there. The
    /// cursor is below the rows, so that an echoed `^C` has a line of its own. A window that became
    /// narrower has wrapped the rows.
    fn back(&self) -> String {
        let width = usize::from((self.size)().1).max(1);
        let wrapped = |row: &String| console::measure_text_width(row).div_ceil(width).max(1);
        match self.shown.iter().map(wrapped).sum::<usize>() {
            0 => format!("\r{CLEAR_BELOW}"),
            up => format!("\r\x1b[{up}A{CLEAR_BELOW}"),
        }
    }

    /// Writes what runs where, and how long the phases took.
    fn end(&mut self, report: &Report) {
        let mut lines = last_table(report, usize::from((self.size)().1));
        let mut times = self.model.times((self.clock)());
        let total: Duration = times.iter().map(|(_, took)| *took).sum();
        times.retain(|(_, took)| *took >= WORTH_A_WORD);
        let each = times.iter().map(|(name, took)| format!("{name} {}", human::duration(*took)));
        let each: Vec<_> = each.collect();
        let colon = if each.is_empty() { "" } else { ": " };
        lines.push(format!("took {}{colon}{}", human::duration(total), each.join(", ")));
        for line in lines {
            let _ = writeln!(self.out, "{}", self.styles.dim.apply_to(line));
        }
    }

    fn clear(&mut self) {
        self.frame("", Vec::new());
    }

    /// Returns the line of an event that stays on the screen, if it has one.
    fn kept(&self, event: &Event) -> Option<String> {
        let styles = &self.styles;
        let rows = |label: String, indent, text: &str| {
            Some(hanging(&label, indent, text, styles.width).join("\n"))
        };
        match event {
            Event::StepFailed { host, step, error } => {
                let mark = styles.bad.apply_to("✗").to_string();
                rows(mark, 2, &format!("{host}: {step}: {error}"))
            }
            Event::Warning { host, text } => {
                let text = words::about(host.as_deref().unwrap_or_default(), text);
                rows(styles.warn.apply_to("warning:").to_string(), 9, &text)
            }
            Event::Interrupted { again } => rows(String::new(), 2, words::interrupted(*again)),
            _ if self.verbosity == Verbosity::Quiet => None,
            Event::Printed { host, source, text } => {
                let line = |line| styles.dim.apply_to(format!("{host} | {source} | {line}"));
                Some(text.lines().map(|l| line(l).to_string()).collect::<Vec<_>>().join("\n"))
            }
            Event::Sent { host, line } if self.verbosity == Verbosity::Verbose => {
                Some(styles.dim.apply_to(format!("{host} | sent | {line}")).to_string())
            }
            _ => words::of_run(event),
        }
    }
}

impl<W: Write> Reporter for Live<W> {
    fn on_event(&mut self, event: &Event) {
        self.model.apply(event, (self.clock)());
        if let Event::Warning { host, text } = event {
            self.warned.insert((host.clone(), text.clone()));
        }
        let kept = self.kept(event).unwrap_or_default();
        let is_fresh = self.painted.is_some_and(|at| (self.clock)() < at + PAINT_EVERY);
        let may_wait = matches!(event, Event::Progress { .. }) && is_fresh;
        if !may_wait {
            self.paint(&kept);
        }
    }

    fn finish(&mut self, report: &Report) {
        self.clear();
        let text = summary::end(&self.styles, report, self.verbosity, &self.warned);
        let _ = self.out.write_all(text.as_bytes());
        let makes_live = report.goal.makes_live() && report.verdict() == RunOutcome::Done;
        if makes_live && self.verbosity > Verbosity::Quiet {
            self.end(report);
        }
        let _ = self.out.flush();
    }

    fn tick(&mut self) {
        if self.painted.is_some() {
            self.paint("");
        }
    }

    fn pause(&mut self) {
        self.clear();
    }
}

impl<W: Write> Drop for Live<W> {
    fn drop(&mut self) {
        self.clear();
    }
}
