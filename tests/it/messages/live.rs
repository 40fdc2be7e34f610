//! What a terminal shows while a run lasts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressDrawTarget, TermLike};
use insta::assert_snapshot;
use shipit::deploy::event::{Event, Phase};
use shipit::report::board::Board;
use shipit::report::live::{Live, Screen};
use shipit::report::styles::Styles;
use shipit::report::{Reporter, Verbosity};

use super::{NEW, OLD, Paper, clock, done, every_event, report, tell};

const AT: Duration = Duration::from_secs(10);

fn started(hosts: usize) -> Board {
    let hosts = (1..=hosts).map(|number| format!("web{number}")).collect();
    let mut board = Board::default();
    let start = Event::RunStarted { goal: "deploy", stage: "production".to_owned(), hosts };
    board.apply(&start, AT);
    board.apply(&Event::Phase(Phase::Prepare), AT);
    board
}

fn shown(board: &Board, size: (u16, u16), after: u64) -> String {
    board.lines(size, AT + Duration::from_secs(after), &Styles::plain()).join("\n")
}

fn busy() -> Board {
    let mut board = started(5);
    let web = |number: u8| format!("web{number}");
    for second in 0..=3_u64 {
        let (sent, total) = (second * 1_000_000, 42_000_000);
        let at = AT + Duration::from_secs(second);
        board.apply(&Event::Progress { host: web(1), sent, total }, at);
    }
    let took = Duration::from_millis(1300);
    let detail = "4.2 MB".to_owned();
    board.apply(&Event::StepFinished { host: web(2), step: "upload", detail, took }, AT);
    board.apply(&Event::Ready { host: web(2) }, AT);
    board.apply(&Event::StepStarted { host: web(3), step: "check" }, AT);
    let error = "no space left on device".to_owned();
    board.apply(&Event::StepFailed { host: web(4), step: "upload", error }, AT);
    board.apply(&Event::PuttingBack { host: web(5), to: OLD.to_owned() }, AT);
    board
}

#[test]
fn a_row_for_each_host() {
    assert_snapshot!(shown(&busy(), (24, 100), 3), @"
    ⠋ prepare  1/5 prepared  3.0s
      web1 ⠋ upload       [█░░░░░░░░░░░░░░░░░░░░░░░]   7%  3.0 MB of 42.0 MB  1.0 MB/s  39s left
      web2 ✓ upload       4.2 MB in 1.3s
      web3 ⠋ check        3.0s
      web4 ✗ upload       no space left on device
      web5 ↶ putting back 20260821090311
    ");
}

#[test]
fn a_narrow_terminal_loses_bars_and_never_wraps() {
    assert_snapshot!(shown(&busy(), (24, 50), 3), @"
    ⠋ prepare  1/5 prepared  3.0s
      web1 ⠋ upload         7%  1.0 MB/s  39s left
      web2 ✓ upload       4.2 MB in 1.3s
      web3 ⠋ check        3.0s
      web4 ✗ upload       no space left on device
      web5 ↶ putting back 20260821090311
    ");
    for width in 20..120 {
        for line in shown(&busy(), (24, width), 3).lines() {
            assert!(console::measure_text_width(line) < usize::from(width), "{width}: {line}");
        }
    }
}

#[test]
fn an_upload_that_stalls_shows_it() {
    let mut board = started(1);
    let progress = |sent| Event::Progress { host: "web1".to_owned(), sent, total: 40_000_000 };
    for second in 0..=10_u64 {
        board.apply(&progress(second * 1_000_000), AT + Duration::from_secs(second));
    }
    assert_snapshot!(shown(&board, (24, 60), 10), @"
    ⠋ prepare  10.0s
      web1 ⠋ upload        25%  1.0 MB/s  30s left
    ");
    assert_snapshot!(shown(&board, (24, 60), 20), @"
    ⠋ prepare  20.0s
      web1 ⠋ upload        25%  10.0 MB of 40.0 MB  stalled
    ");
    assert_snapshot!(shown(&board, (24, 60), 60), @"
    ⠋ prepare  1m 00s
      web1 ⠋ upload        25%  10.0 MB of 40.0 MB  stalled
    ");
}

#[test]
fn a_large_fleet_is_a_summary() {
    let mut board = started(50);
    for number in 1..=37 {
        board.apply(&Event::Ready { host: format!("web{number}") }, AT);
    }
    for number in 38..=45 {
        for second in 0..=2_u64 {
            let (host, sent) = (format!("web{number}"), second * 1_000_000);
            let at = AT + Duration::from_secs(second);
            board.apply(&Event::Progress { host, sent, total: 4_000_000 }, at);
        }
    }
    let error = "refused".to_owned();
    board.apply(&Event::StepFailed { host: "web46".to_owned(), step: "upload", error }, AT);
    assert_snapshot!(shown(&board, (60, 80), 2), @"
    ⠋ prepare  37/50 prepared  2.0s
      8 working, 1 failed
      upload  [███████████░░░░░░░░░░░░]  50%  16.0 MB of 32.0 MB  8.0 MB/s  2s left
    ");
    board.apply(&Event::Interrupted { again: false }, AT);
    assert_snapshot!(shown(&board, (60, 80), 2).lines().next().unwrap().to_owned(), @"⠋ prepare  37/50 prepared  2.0s  stopping");
}

#[test]
fn a_low_terminal_gets_the_summary_too() {
    assert_eq!(shown(&busy(), (6, 100), 3).lines().count(), 3);
}

#[test]
fn counting_begins_anew_with_each_phase() {
    let mut board = busy();
    assert!(shown(&board, (24, 100), 3).contains("1/5 prepared"));
    board.apply(&Event::Phase(Phase::Switch { batch: 1, of: 2 }), AT);
    assert!(shown(&board, (24, 100), 3).contains("switch, batch 1 of 2  3.0s"));
    board.apply(&Event::Ready { host: "web1".to_owned() }, AT);
    board.apply(&Event::Phase(Phase::Switch { batch: 2, of: 2 }), AT);
    assert!(shown(&board, (24, 100), 3).contains("switch, batch 2 of 2  1/5 switched"));
}

/// A terminal that knows what is on it: enough of one for rows that are painted and cleared.
#[derive(Debug, Clone, Default)]
struct Glass(Arc<Mutex<(Vec<String>, usize)>>);

impl Glass {
    fn change(&self, change: impl FnOnce(&mut Vec<String>, &mut usize)) {
        let mut state = self.0.lock().unwrap();
        let (rows, at) = &mut *state;
        change(rows, at);
        while rows.len() <= *at {
            rows.push(String::new());
        }
    }

    fn text(&self) -> String {
        let rows = self.0.lock().unwrap().0.clone();
        rows.iter().map(|row| row.trim_end()).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }
}

impl TermLike for Glass {
    fn width(&self) -> u16 {
        80
    }
    fn height(&self) -> u16 {
        24
    }
    fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
        self.change(|_, at| *at = at.saturating_sub(n));
        Ok(())
    }
    fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
        self.change(|_, at| *at += n);
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> std::io::Result<()> {
        self.write_str(text)?;
        self.move_cursor_down(1)
    }
    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.change(|rows, at| rows[*at].push_str(text));
        Ok(())
    }
    fn clear_line(&self) -> std::io::Result<()> {
        self.change(|rows, at| rows[*at].clear());
        Ok(())
    }
    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

fn live(glass: &Glass, verbosity: Verbosity) -> (Live<Paper>, Paper) {
    glass.change(|_, _| {});
    let paper = Paper::default();
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(glass.clone()), 255);
    let screen = Screen { target, size: Box::new(|| (24, 80)), clock: clock().0 };
    (Live::new(paper.clone(), screen, Styles::plain(), verbosity), paper)
}

#[test]
fn rows_go_when_the_run_ends_and_words_stay() {
    let glass = Glass::default();
    let (mut live, paper) = live(&glass, Verbosity::Normal);
    tell(&mut live, &every_event());
    live.tick();
    assert!(glass.text().contains("web2"), "{}", glass.text());
    live.finish(&report(vec![("web1", done()), ("web2", done())]));
    assert_eq!(glass.text(), "");
    assert_snapshot!(paper.text(), @"
    deploy production: web1, web2
    artifact dist/: 3 files, 4.2 MB, digest 9f3c9f3c9f3c, revision 71c171c171c1-dirty
    release 20260822101502
    warning: no revision is known
    web1 | staged | migrating
    web1 | staged | 3 tables
    ✗ web2: activate: `systemctl restart shop` exited with code 1
    warning: web1: the clock is 3 min ahead
    stopping: nothing new is started, and a release that is not proven yet is reverted; Ctrl-C again stops at once
    20260822101502 is live on web1, web2 (was 20260821090311); seen running on 2; 4.2 MB sent to each
    ");
    assert!(paper.text().contains(NEW));
}

#[test]
fn rows_go_also_when_nobody_finishes() {
    let glass = Glass::default();
    let (mut live, _) = live(&glass, Verbosity::Normal);
    tell(&mut live, &every_event());
    drop(live);
    assert_eq!(glass.text(), "");
}

#[test]
fn quiet_paints_nothing() {
    let glass = Glass::default();
    let (mut live, paper) = live(&glass, Verbosity::Quiet);
    tell(&mut live, &every_event());
    live.tick();
    assert_eq!(glass.text(), "");
    assert_snapshot!(paper.text(), @"
    warning: no revision is known
    ✗ web2: activate: `systemctl restart shop` exited with code 1
    warning: web1: the clock is 3 min ahead
    stopping: nothing new is started, and a release that is not proven yet is reverted; Ctrl-C again stops at once
    ");
}
