//! Output of a run in plain lines.

use std::time::Duration;

use insta::assert_snapshot;
use shipit::deploy::event::Event;
use shipit::report::lines::Lines;
use shipit::report::styles::Styles;
use shipit::report::{Reporter, Verbosity};

use crate::support::buffer::SharedBuffer;
use crate::support::clock::clock;
use crate::support::reports::{done, every_event, report, tell};

fn told(events: &[Event], verbosity: Verbosity) -> String {
    let paper = SharedBuffer::default();
    let mut lines = Lines::new(paper.clone(), Styles::plain(), verbosity, None, clock().0);
    tell(&mut lines, events);
    paper.text()
}

#[test]
fn run_reads_well() {
    assert_snapshot!(told(&every_event(), Verbosity::Verbose), @"
    deploy production: web1, web2
    artifact dist/: 3 files, 4.2 MB, digest 9f3c9f3c9f3c, revision 71c171c171c1-dirty
    == look
    web1 | connected        live: 20260821090311
    web2 | connected        live: nothing yet
    release 20260822101502
    warning: no revision is known
    == prepare
    web1 | sent             check 20260822101502
    web1 | upload           done  4.2 MB in 1.3s
    web1 | staged           | migrating
    web1 | staged           | 3 tables
    == activate, batch 1 of 2
    web2 | activate         failed  `systemctl restart shop` exited with code 1
    web2 | reverting        20260821090311
    web1 | warning          the clock is 3 min ahead
    interrupted: nothing new is started, and an undecided release is reverted; press Ctrl-C again to stop at once
    == commit
    == clean up
    ");
}

#[test]
fn requests_are_shown_only_if_verbose() {
    assert!(told(&every_event(), Verbosity::Verbose).contains("check 20260822101502"));
    assert!(!told(&every_event(), Verbosity::Normal).contains("check 20260822101502"));
}

#[test]
fn quiet_shows_only_trouble() {
    assert_snapshot!(told(&every_event(), Verbosity::Quiet), @"
    warning: no revision is known
    web2 | activate         failed  `systemctl restart shop` exited with code 1
    web1 | warning          the clock is 3 min ahead
    interrupted: nothing new is started, and an undecided release is reverted; press Ctrl-C again to stop at once
    ");
}

#[test]
fn long_upload_reports_progress_now_and_then() {
    let paper = SharedBuffer::default();
    let (clock, hand) = clock();
    let mut lines = Lines::new(paper.clone(), Styles::plain(), Verbosity::Normal, None, clock);
    for second in 0..40_u64 {
        *hand.lock().unwrap() = Duration::from_secs(second);
        let sent = second * 1_000_000;
        lines.on_event(&Event::Progress { host: "web1".to_owned(), sent, total: 80_000_000 });
    }
    assert_snapshot!(paper.text(), @"
    web1 | upload           18%  15.0 MB of 80.0 MB
    web1 | upload           37%  30.0 MB of 80.0 MB
    ");
}

#[test]
fn warning_before_a_run_is_wrapped_at_words() {
    let paper = SharedBuffer::default();
    let styles = Styles { width: Some(44), ..Styles::plain() };
    let mut lines = Lines::new(paper.clone(), styles, Verbosity::Quiet, None, clock().0);
    let text = "1 file is private here: bin/serve; `chmod o+r` it where it is built".to_owned();
    lines.on_event(&Event::Warning { host: None, text });
    assert_snapshot!(paper.text(), @"
    warning: 1 file is private here: bin/serve;
             `chmod o+r` it where it is built
    ");
}

#[test]
fn shown_warning_is_not_repeated_at_the_end() {
    let paper = SharedBuffer::default();
    let mut lines = Lines::new(paper.clone(), Styles::plain(), Verbosity::Normal, None, clock().0);
    let told = (Some("web1".to_owned()), "the clock is ahead".to_owned());
    lines.on_event(&Event::Warning { host: told.0.clone(), text: told.1.clone() });
    let mut end = report(vec![("web1", done())]);
    end.warnings = vec![told, (None, "nobody heard this yet".to_owned())];
    lines.finish(&end);
    assert_snapshot!(paper.text(), @"
    web1 | warning          the clock is ahead
    warning: nobody heard this yet
    20260822101502 is live on web1 (was 20260821090311); seen running; 4.2 MB sent
    ");
}

#[test]
fn colour_adds_nothing_to_the_words() {
    let paper = SharedBuffer::default();
    let mut lines =
        Lines::new(paper.clone(), Styles::coloured(), Verbosity::Verbose, None, clock().0);
    tell(&mut lines, &every_event());
    let coloured = paper.text();
    assert!(coloured.contains('\u{1b}'));
    let bare = console::strip_ansi_codes(&coloured).into_owned();
    assert_eq!(bare, told(&every_event(), Verbosity::Verbose));
}

#[test]
fn step_that_took_nothing_and_says_nothing_is_no_line() {
    let step = |detail: &str, ms| Event::StepFinished {
        host: "web1".to_owned(),
        step: "env",
        detail: detail.to_owned(),
        took: Duration::from_millis(ms),
    };
    let all = [step("", 0), step("3 files", 0), step("", 10)];
    let told = told(&all, Verbosity::Normal);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains("3 files in 0ms") && told.contains("done  10ms"), "{told}");
}
