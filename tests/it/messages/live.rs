//! Output of a run on a terminal.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use insta::assert_snapshot;
use shipit::deploy::event::{Event, Phase};
use shipit::model::goal::GoalKind;
use shipit::report::live::Live;
use shipit::report::progress::ProgressModel;
use shipit::report::styles::Styles;
use shipit::report::{Reporter, Verbosity};

use crate::support::clock::clock;
use crate::support::reports::{NEW, OLD, done, every_event, report, tell};

const AT: Duration = Duration::from_secs(10);

fn started(hosts: usize) -> ProgressModel {
    let hosts = (1..=hosts).map(|number| format!("web{number}")).collect();
    let mut model = ProgressModel::default();
    let start = Event::RunStarted { goal: GoalKind::Deploy, stage: "production".to_owned(), hosts };
    model.apply(&start, AT);
    model.apply(&Event::Phase(Phase::Prepare), AT);
    model
}

fn shown(model: &ProgressModel, size: (u16, u16), after: u64) -> String {
    model.lines(size, AT + Duration::from_secs(after), &Styles::plain()).join("\n")
}

fn busy() -> ProgressModel {
    let mut model = started(5);
    let web = |number: u8| format!("web{number}");
    for second in 0..=3_u64 {
        let (sent, total) = (second * 1_000_000, 42_000_000);
        let at = AT + Duration::from_secs(second);
        model.apply(&Event::Progress { host: web(1), sent, total }, at);
    }
    let took = Duration::from_millis(1300);
    let detail = "4.2 MB".to_owned();
    model.apply(&Event::StepFinished { host: web(2), step: "upload", detail, took }, AT);
    model.apply(&Event::Ready { host: web(2) }, AT);
    model.apply(&Event::StepStarted { host: web(3), step: "check" }, AT);
    let error = "no space left on device".to_owned();
    model.apply(&Event::StepFailed { host: web(4), step: "upload", error }, AT);
    model.apply(&Event::Reverting { host: web(5), to: OLD.to_owned() }, AT);
    model
}

#[test]
fn each_host_has_a_row() {
    assert_snapshot!(shown(&busy(), (24, 100), 3), @"
    ⠋ prepare  1/5 prepared  3.0s
      web1 ⠋ upload       [█░░░░░░░░░░░░░░░░░░░░░░░]   7%  3.0 MB of 42.0 MB  1.0 MB/s  39s left
      web2 ✓ upload       4.2 MB in 1.3s
      web3 ⠋ check        3.0s
      web4 ✗ upload       no space left on device
      web5 ↶ reverting to 20260821090311
    ");
}

#[test]
fn narrow_terminal_drops_bars_and_never_wraps() {
    assert_snapshot!(shown(&busy(), (24, 50), 3), @"
    ⠋ prepare  1/5 prepared  3.0s
      web1 ⠋ upload         7%  1.0 MB/s  39s left
      web2 ✓ upload       4.2 MB in 1.3s
      web3 ⠋ check        3.0s
      web4 ✗ upload       no space left on device
      web5 ↶ reverting to 20260821090311
    ");
    for width in 20..120 {
        for line in shown(&busy(), (24, width), 3).lines() {
            assert!(console::measure_text_width(line) < usize::from(width), "{width}: {line}");
        }
    }
}

#[test]
fn stalled_upload_says_so() {
    let mut model = started(1);
    let progress = |sent| Event::Progress { host: "web1".to_owned(), sent, total: 40_000_000 };
    for second in 0..=10_u64 {
        model.apply(&progress(second * 1_000_000), AT + Duration::from_secs(second));
    }
    assert_snapshot!(shown(&model, (24, 60), 10), @"
    ⠋ prepare  10.0s
      web1 ⠋ upload        25%  1.0 MB/s  30s left
    ");
    assert_snapshot!(shown(&model, (24, 60), 20), @"
    ⠋ prepare  20.0s
      web1 ⠋ upload        25%  10.0 MB of 40.0 MB  stalled
    ");
    assert_snapshot!(shown(&model, (24, 60), 60), @"
    ⠋ prepare  1m 00s
      web1 ⠋ upload        25%  10.0 MB of 40.0 MB  stalled
    ");
}

#[test]
fn new_upload_is_not_called_stalled() {
    let mut model = started(1);
    let progress = |sent| Event::Progress { host: "web1".to_owned(), sent, total: 40_000_000 };
    model.apply(&progress(0), AT);
    for second in 0..4 {
        assert!(!shown(&model, (24, 60), second).contains("stalled"), "after {second} s");
    }
    assert!(shown(&model, (24, 60), 4).contains("stalled"));
    model.apply(&progress(1_000_000), AT + Duration::from_secs(5));
    assert!(!shown(&model, (24, 60), 8).contains("stalled"));
}

#[test]
fn large_fleet_is_a_summary() {
    let mut model = started(50);
    for number in 1..=37 {
        model.apply(&Event::Ready { host: format!("web{number}") }, AT);
    }
    for number in 38..=45 {
        for second in 0..=2_u64 {
            let (host, sent) = (format!("web{number}"), second * 1_000_000);
            let at = AT + Duration::from_secs(second);
            model.apply(&Event::Progress { host, sent, total: 4_000_000 }, at);
        }
    }
    let error = "refused".to_owned();
    model.apply(&Event::StepFailed { host: "web46".to_owned(), step: "upload", error }, AT);
    assert_snapshot!(shown(&model, (60, 80), 2), @"
    ⠋ prepare  37/50 prepared  2.0s
      web38 ⠋ upload       [██████░░░░░░]  50%  2.0 MB of 4.0 MB  1.0 MB/s  2s left
      web39 ⠋ upload       [██████░░░░░░]  50%  2.0 MB of 4.0 MB  1.0 MB/s  2s left
      web40 ⠋ upload       [██████░░░░░░]  50%  2.0 MB of 4.0 MB  1.0 MB/s  2s left
      web41 ⠋ upload       [██████░░░░░░]  50%  2.0 MB of 4.0 MB  1.0 MB/s  2s left
      web42 ⠋ upload       [██████░░░░░░]  50%  2.0 MB of 4.0 MB  1.0 MB/s  2s left
      web43 ⠋ upload       [██████░░░░░░]  50%  2.0 MB of 4.0 MB  1.0 MB/s  2s left
      web44 ⠋ upload       [██████░░░░░░]  50%  2.0 MB of 4.0 MB  1.0 MB/s  2s left
      web45 ⠋ upload       [██████░░░░░░]  50%  2.0 MB of 4.0 MB  1.0 MB/s  2s left
      web46 ✗ upload       refused
      and 41 more hosts
      upload  [███████████░░░░░░░░░░░░]  50%  16.0 MB of 32.0 MB  8.0 MB/s  2s left
    ");
    model.apply(&Event::Interrupted { again: false }, AT);
    assert_snapshot!(shown(&model, (60, 80), 2).lines().next().unwrap().to_owned(), @"⠋ prepare  37/50 prepared  2.0s  stopping");
}

#[test]
fn low_terminal_gets_the_summary() {
    assert_eq!(shown(&busy(), (6, 100), 3).lines().count(), 3);
}

#[test]
fn counts_restart_with_each_phase() {
    let mut model = busy();
    assert!(shown(&model, (24, 100), 3).contains("1/5 prepared"));
    model.apply(&Event::Phase(Phase::Switch { batch: 1, of: 2 }), AT);
    assert!(shown(&model, (24, 100), 3).contains("activate, batch 1 of 2  3.0s"));
    model.apply(&Event::Ready { host: "web1".to_owned() }, AT);
    model.apply(&Event::Phase(Phase::Switch { batch: 2, of: 2 }), AT);
    assert!(shown(&model, (24, 100), 3).contains("activate, batch 2 of 2  1/5 activated"));
}

/// A terminal that knows its content, and wraps it again when its width changes.
#[derive(Debug, Default)]
struct Tube {
    /// The text between line ends, unwrapped.
    lines: Vec<Vec<char>>,
    /// The cursor: a line, and a place in it.
    at: (usize, usize),
    width: usize,
    hidden: bool,
    in_frame: bool,
    frames: usize,
}

impl Tube {
    fn take(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\x1b' => {
                    let rest: String = chars.by_ref().skip(1).take_until_letter();
                    self.obey(&rest);
                }
                '\r' => self.at.1 -= self.at.1 % self.width,
                '\n' => self.at = (self.at.0 + 1, 0),
                other => self.put(other),
            }
            while self.lines.len() <= self.at.0 {
                self.lines.push(Vec::new());
            }
        }
    }

    fn put(&mut self, char: char) {
        let (line, at) = (&mut self.lines[self.at.0], self.at.1);
        line.truncate(at);
        line.push(char);
        self.at.1 += 1;
    }

    fn obey(&mut self, order: &str) {
        match order {
            "J" => {
                assert!(self.in_frame, "cleared outside a frame");
                self.lines.truncate(self.at.0 + 1);
                self.lines[self.at.0].truncate(self.at.1);
            }
            "?25l" | "?25h" => self.hidden = order == "?25l",
            "?2026h" | "?2026l" => {
                self.in_frame = order == "?2026h";
                self.frames += usize::from(self.in_frame);
            }
            up => self.up(up.strip_suffix('A').unwrap().parse().unwrap()),
        }
    }

    /// Moves up this many rows of the screen, to the first column.
    fn up(&mut self, rows: usize) {
        let width = self.width;
        let starts = |(number, line): (usize, &Vec<char>)| {
            let rows = line.len().div_ceil(width).max(1);
            (0..rows).map(move |row| (number, row * width)).collect::<Vec<_>>()
        };
        let all: Vec<_> = self.lines.iter().enumerate().flat_map(starts).collect();
        let here = all.iter().rposition(|start| *start <= self.at).unwrap();
        self.at = all[here.saturating_sub(rows)];
    }
}

trait TakeUntilLetter: Iterator<Item = char> + Sized {
    fn take_until_letter(self) -> String {
        let mut text = String::new();
        for char in self {
            text.push(char);
            if char.is_ascii_alphabetic() {
                break;
            }
        }
        text
    }
}

impl<I: Iterator<Item = char>> TakeUntilLetter for I {}

#[derive(Debug, Clone, Default)]
struct Glass(Arc<Mutex<Tube>>);

impl Glass {
    fn tube(&self) -> MutexGuard<'_, Tube> {
        self.0.lock().unwrap()
    }

    fn text(&self) -> String {
        let lines: Vec<String> =
            self.tube().lines.iter().map(|line| line.iter().collect()).collect();
        lines.join("\n").trim_end().to_owned()
    }
}

impl Write for Glass {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tube().take(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the reporter that paints on it, and the hand of its clock.
fn live(glass: &Glass, verbosity: Verbosity) -> (Live<Glass>, Arc<Mutex<Duration>>) {
    *glass.tube() = Tube { lines: vec![Vec::new()], width: 80, ..Tube::default() };
    let (clock, hand) = clock();
    let (paper, seen) = (glass.clone(), glass.clone());
    let size = Box::new(move || (24, u16::try_from(seen.tube().width).unwrap()));
    (Live::new(paper, size, clock, Styles::plain(), verbosity), hand)
}

const STORY: &str = "\
deploy production: web1, web2
artifact dist/: 3 files, 4.2 MB, digest 9f3c9f3c9f3c, revision 71c171c171c1-dirty
release 20260822101502
warning: no revision is known
web1 | staged | migrating
web1 | staged | 3 tables
✗ web2: activate: `systemctl restart shop` exited with code 1
warning: web1: the clock is 3 min ahead
interrupted: nothing new is started, and an undecided release is reverted; press Ctrl-C again to stop at once";

#[test]
fn rows_vanish_at_the_end_and_messages_stay() {
    let glass = Glass::default();
    let (mut live, _) = live(&glass, Verbosity::Normal);
    tell(&mut live, &every_event());
    live.tick();
    assert!(
        glass.text().starts_with(STORY) && glass.text().len() > STORY.len(),
        "{}",
        glass.text()
    );
    assert!(glass.tube().hidden, "the cursor would jump about");
    live.finish(&report(vec![("web1", done()), ("web2", done())]));
    let last =
        format!("{NEW} is live on web1, web2 (was {OLD}); seen running on 2; 4.2 MB sent to each");
    let text = glass.text();
    let table = text.strip_prefix(&format!("{STORY}\n{last}\n")).unwrap_or(&text);
    assert_eq!(table, "took 0ms");
    assert!(!glass.tube().hidden && !glass.tube().in_frame && glass.tube().frames > 5);
}

#[test]
fn rows_vanish_without_a_finish() {
    let glass = Glass::default();
    let (mut live, _) = live(&glass, Verbosity::Normal);
    tell(&mut live, &every_event());
    drop(live);
    assert_eq!(glass.text(), STORY);
    assert!(!glass.tube().hidden);
}

#[test]
fn echoed_interrupt_leaves_nothing_behind() {
    let glass = Glass::default();
    let (mut live, hand) = live(&glass, Verbosity::Normal);
    tell(&mut live, &every_event());
    for _ in 0..3 {
        glass.tube().take("^C");
        *hand.lock().unwrap() += Duration::from_millis(100);
        live.tick();
    }
    glass.tube().take("^C");
    drop(live);
    assert_eq!(glass.text(), STORY);
}

#[test]
fn resized_window_keeps_nothing_of_old_frames() {
    let glass = Glass::default();
    let (mut live, hand) = live(&glass, Verbosity::Normal);
    glass.tube().width = 120;
    tell(&mut live, &every_event());
    for width in [120, 60, 30, 25, 120, 41, 200] {
        let progress =
            Event::Progress { host: "web1".to_owned(), sent: 1_000_000, total: 40_000_000 };
        live.on_event(&progress);
        *hand.lock().unwrap() += Duration::from_millis(100);
        live.tick();
        glass.tube().width = width;
    }
    drop(live);
    assert_eq!(glass.text(), STORY);
}

#[test]
fn quiet_paints_nothing() {
    let glass = Glass::default();
    let (mut live, _) = live(&glass, Verbosity::Quiet);
    tell(&mut live, &every_event());
    live.tick();
    assert_eq!(glass.tube().frames, 0);
    let told = ["warning:", "✗", "interrupted:"];
    let loud = STORY.lines().filter(|line| told.iter().any(|word| line.starts_with(word)));
    assert_eq!(glass.text(), loud.collect::<Vec<_>>().join("\n"));
}
