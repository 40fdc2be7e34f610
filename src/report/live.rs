//! Rows that change in place, on a terminal. What is shown is decided by [`super::board`]; here it
//! is only painted, below the lines that stay.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::board::Board;
use super::styles::Styles;
use super::{Clock, Reporter, Size, Verbosity, summary, words};
use crate::deploy::event::Event;
use crate::deploy::outcome::Report;

/// Bytes leave many times a second on many hosts: their rows are not painted more often than this.
const PAINT_EVERY: Duration = Duration::from_millis(80);

/// Where rows are painted, and when.
pub struct Screen {
    /// The terminal.
    pub target: ProgressDrawTarget,
    /// Its size.
    pub size: Size,
    /// Time since the program began.
    pub clock: Clock,
}

/// Paints rows, and writes what stays above them.
pub struct Live<W: Write> {
    out: W,
    rows: MultiProgress,
    bars: Vec<ProgressBar>,
    shown: Vec<String>,
    painted: Option<Duration>,
    board: Board,
    size: Size,
    clock: Clock,
    styles: Styles,
    verbosity: Verbosity,
    warned: BTreeSet<(Option<String>, String)>,
}

impl<W: Write> Live<W> {
    /// Rows go to the screen; what stays goes to `out`, which is the same terminal.
    pub fn new(out: W, screen: Screen, styles: Styles, verbosity: Verbosity) -> Self {
        Self {
            out,
            rows: MultiProgress::with_draw_target(screen.target),
            bars: Vec::new(),
            shown: Vec::new(),
            painted: None,
            board: Board::default(),
            size: screen.size,
            clock: screen.clock,
            styles,
            verbosity,
            warned: BTreeSet::new(),
        }
    }

    /// Writes lines that stay: the rows step aside meanwhile.
    fn put(&mut self, text: &str) {
        let out = &mut self.out;
        self.rows.suspend(|| {
            for line in text.lines() {
                // A closed terminal does not fail a run.
                let _ = writeln!(out, "{line}");
            }
            let _ = out.flush();
        });
    }

    fn paint(&mut self) {
        let now = (self.clock)();
        self.painted = Some(now);
        let lines = self.board.lines((self.size)(), now, &self.styles);
        while self.bars.len() > lines.len() {
            if let Some(bar) = self.bars.pop() {
                self.rows.remove(&bar);
            }
        }
        while self.bars.len() < lines.len() {
            self.bars.push(self.rows.add(row()));
        }
        for (number, (bar, line)) in self.bars.iter().zip(&lines).enumerate() {
            if self.shown.get(number) != Some(line) {
                bar.set_message(line.clone());
            }
        }
        self.shown = lines;
    }

    fn is_fresh(&self) -> bool {
        self.painted.is_some_and(|at| (self.clock)() < at + PAINT_EVERY)
    }

    fn clear(&mut self) {
        for bar in self.bars.drain(..) {
            self.rows.remove(&bar);
        }
        // Rows that cannot be cleared are on a terminal that is gone.
        let _ = self.rows.clear();
        self.shown.clear();
    }

    /// What stays on the screen of an event, if anything.
    fn kept(&self, event: &Event) -> Option<String> {
        let styles = &self.styles;
        match event {
            Event::StepFailed { host, step, error } => {
                Some(format!("{} {host}: {step}: {error}", styles.bad.apply_to("✗")))
            }
            Event::Warning { host, text } => {
                let text = words::about(host.as_deref(), text);
                Some(format!("{} {text}", styles.warn.apply_to("warning:")))
            }
            Event::Interrupted { again } => Some(words::interrupted(*again).to_owned()),
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

/// A row is one message; the board has made it fit.
fn row() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

impl<W: Write> Reporter for Live<W> {
    fn on_event(&mut self, event: &Event) {
        self.board.apply(event, (self.clock)());
        if let Event::Warning { host, text } = event {
            self.warned.insert((host.clone(), text.clone()));
        }
        if let Some(text) = self.kept(event) {
            self.put(&text);
        }
        let may_wait = matches!(event, Event::Progress { .. }) && self.is_fresh();
        if self.verbosity > Verbosity::Quiet && !may_wait {
            self.paint();
        }
    }

    fn finish(&mut self, report: &Report) {
        self.clear();
        let told = |warning: &&(Option<String>, String)| !self.warned.contains(*warning);
        let untold: Vec<_> = report.warnings.iter().filter(told).cloned().collect();
        let _ = summary::warnings(&mut self.out, &self.styles, &untold);
        let _ = summary::print(&mut self.out, &self.styles, report, self.verbosity);
        let _ = self.out.flush();
    }

    fn tick(&mut self) {
        if self.painted.is_some() {
            self.paint();
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
