//! Frames of whole runs, as a terminal of 24 rows shows them: one that wraps and scrolls.

use std::io::{self, Write};
use std::num::NonZero;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use insta::assert_snapshot;
use shipit::deploy::event::{Event, Phase};
use shipit::deploy::outcome::{Done, HostResult, Report};
use shipit::model::goal::GoalKind;
use shipit::report::live::Live;
use shipit::report::styles::Styles;
use shipit::report::{Reporter, Verbosity};
use vt100::Parser;

use crate::support::clock::clock;
use crate::support::reports::{NEW, OLD, done, failure, id, report};

const HEIGHT: u16 = 24;
/// Hosts that are worked on at once.
const PARALLEL: usize = 32;
const TOTAL: u64 = 12_000_000;

/// The picture that a person looks at.
#[derive(Clone)]
struct Screen(Arc<Mutex<Parser>>);

impl Screen {
    fn new(width: u16) -> Self {
        let [rows, columns] = [HEIGHT, width].map(|number| NonZero::new(number).unwrap());
        Self(Arc::new(Mutex::new(Parser::new(rows, columns, 0))))
    }

    fn parser(&self) -> MutexGuard<'_, Parser> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        let parser = self.parser();
        let wrapped = (0..HEIGHT).filter(|row| parser.screen().row_wrapped(*row)).count();
        assert_eq!(wrapped, 0, "a row is cut in two: {}", parser.screen().contents());
        parser.screen().contents().trim_end().to_owned()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).unwrap();
        let count = |sequence| text.matches(sequence).count();
        assert_eq!(count("\x1b[?2026h"), count("\x1b[?2026l"), "half a frame: {text:?}");
        let cleared = text.contains("\x1b[J");
        assert!(!cleared || text.starts_with("\x1b[?2026h"), "it would flicker: {text:?}");
        // As a terminal gets it from its driver.
        self.parser().process(text.replace('\n', "\r\n").as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A run that is filmed.
struct Film {
    screen: Screen,
    live: Live<Screen>,
    hand: Arc<Mutex<Duration>>,
    hosts: Vec<String>,
    shots: Vec<String>,
}

impl Film {
    fn new(hosts: usize, width: u16, styles: Styles) -> Self {
        let screen = Screen::new(width);
        let (clock, hand) = clock();
        let seen = screen.clone();
        let size = Box::new(move || {
            let (rows, columns) = seen.parser().screen().size();
            (rows.get(), columns.get())
        });
        let styles = Styles { width: Some(usize::from(width)), ..styles };
        let live = Live::new(screen.clone(), size, clock, styles, Verbosity::Normal);
        let hosts = (1..=hosts).map(|number| format!("web{number}")).collect();
        Self { screen, live, hand, hosts, shots: Vec::new() }
    }

    fn tell(&mut self, event: &Event) {
        self.live.on_event(event);
    }

    /// Tells an event of each of these hosts.
    fn each(&mut self, hosts: &Range<usize>, event: impl Fn(usize, String) -> Event) {
        for place in hosts.clone() {
            let event = event(place, self.hosts[place].clone());
            self.tell(&event);
        }
    }

    /// Tells that a step of each of these hosts has ended.
    fn ended(&mut self, hosts: &Range<usize>, step: &'static str, detail: &str, ms: u64) {
        self.each(hosts, |_, host| {
            let (detail, took) = (detail.to_owned(), Duration::from_millis(ms));
            Event::StepFinished { host, step, detail, took }
        });
    }

    fn began(&mut self, hosts: &Range<usize>, step: &'static str) {
        self.each(hosts, |_, host| Event::StepStarted { host, step });
    }

    /// Lets time pass, as the program does: with a tick every 100 ms.
    fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            *self.hand.lock().unwrap() += Duration::from_millis(100);
            self.live.tick();
        }
    }

    fn shoot(&mut self) {
        self.shots.push(self.screen.text());
    }

    fn begin(&mut self, goal: GoalKind, live: &str) {
        let (stage, hosts) = ("production".to_owned(), self.hosts.clone());
        self.tell(&Event::RunStarted { goal, stage, hosts });
        if goal == GoalKind::Deploy {
            let (name, digest) = ("dist/".to_owned(), "9f3c".repeat(16));
            let revision = Some("71c1".repeat(10));
            let artifact = Event::ArtifactReady { name, digest, files: 1, size: TOTAL, revision };
            self.tell(&artifact);
        }
        self.tell(&Event::Phase(Phase::Look));
        self.wait(300);
        self.shoot();
        let live = live.to_owned();
        self.each(&self.all(), |_, host| Event::Connected { host, live: live.clone() });
    }

    fn all(&self) -> Range<usize> {
        0..self.hosts.len()
    }

    /// Uploads, from the first hosts on; those that are further away are slower.
    fn upload(&mut self) {
        self.tell(&Event::ReleaseNamed { id: id(NEW) });
        self.tell(&Event::Phase(Phase::Prepare));
        let first = 0..self.hosts.len().min(PARALLEL);
        self.began(&first, "upload");
        for moment in 0..=20_u64 {
            self.each(&first, |place, host| {
                let sent = moment * (400_000 - 5_000 * u64::try_from(place).unwrap());
                Event::Progress { host, sent, total: TOTAL }
            });
            self.wait(100);
        }
        self.shoot();
        let last = self.hosts.len() - 1..self.hosts.len();
        let others = 0..last.start;
        self.ended(&others, "upload", "12.0 MB", 2100);
        self.began(&others, "check");
        self.ended(&others, "check", "", 40);
        self.each(&others, |_, host| Event::Ready { host });
        self.each(&last, |_, host| Event::Progress { host, sent: TOTAL / 2, total: TOTAL });
        self.wait(600);
        self.shoot();
        self.ended(&last, "upload", "12.0 MB", 2700);
        self.each(&last, |_, host| Event::Ready { host });
    }

    /// Activates hosts together, and waits until they are well.
    fn activate(&mut self, hosts: &Range<usize>, batch: usize) {
        let of = if self.hosts.len() == 1 { 1 } else { 2 };
        self.tell(&Event::Phase(Phase::Switch { batch, of }));
        self.began(hosts, "activate");
        self.wait(600);
        self.ended(hosts, "activate", "", 540);
        self.began(hosts, "judge");
        self.wait(2400);
        self.shoot();
    }

    fn judged(&mut self, hosts: &Range<usize>) {
        self.ended(hosts, "judge", "", 2400);
        self.each(hosts, |_, host| Event::Ready { host });
    }

    /// Activates all hosts, the first batch before the others.
    fn activate_all(&mut self) {
        let first = self.first();
        self.activate(&first, 1);
        self.judged(&first);
        let rest = first.end..self.hosts.len();
        if !rest.is_empty() {
            self.activate(&rest, 2);
            self.judged(&rest);
        }
        self.tell(&Event::Phase(Phase::Commit));
        self.wait(200);
    }

    /// The first batch.
    fn first(&self) -> Range<usize> {
        0..self.hosts.len().div_ceil(4)
    }

    /// Ends the run, and returns the pictures.
    fn end(mut self, result: impl Fn(usize) -> HostResult, goal: GoalKind) -> String {
        let hosts = self.hosts.iter().enumerate();
        let results = hosts.map(|(place, host)| (host.as_str(), result(place))).collect();
        let report = Report { goal, ..report(results) };
        self.live.finish(&report);
        self.shoot();
        assert!(!self.screen.parser().screen().hide_cursor(), "the cursor is gone");
        self.shots.join("\n\n-----\n\n")
    }
}

fn deploy(mut film: Film) -> String {
    film.begin(GoalKind::Deploy, OLD);
    film.upload();
    film.activate_all();
    let well = |_| {
        let HostResult::Done(done) = done() else { unreachable!() };
        HostResult::Done(Done { sent: TOTAL, ..done })
    };
    film.end(well, GoalKind::Deploy)
}

fn failed(mut film: Film) -> String {
    film.begin(GoalKind::Deploy, OLD);
    film.upload();
    film.shots.clear();
    let first = film.first();
    film.activate(&first, 1);
    let error = "GET http://127.0.0.1:8080/up answered 502 (14 times within 30s); shop.service is \
                 active, and has restarted 3 times since";
    let (step, host) = ("judge", film.hosts[0].clone());
    film.tell(&Event::StepFailed { host, step, error: error.to_owned() });
    film.each(&first, |_, host| Event::Reverting { host, to: OLD.to_owned() });
    film.wait(400);
    film.shoot();
    let result = |place: usize| {
        let unwell = failure("shop.service was not healthy within 30s", &[error], None);
        let (live, why) =
            (OLD.to_owned(), failure("web1 failed, so its batch is reverted", &[], None));
        match place {
            0 => HostResult::Reverted { live, failure: unwell, but: None },
            _ if first.contains(&place) => HostResult::Reverted { live, failure: why, but: None },
            _ => HostResult::Untouched { live: Some(live), failure: None },
        }
    };
    film.end(result, GoalKind::Deploy)
}

fn rollback(mut film: Film) -> String {
    film.begin(GoalKind::Rollback, NEW);
    film.activate_all();
    let back = |_| {
        let HostResult::Done(done) = done() else { unreachable!() };
        let (live, before, sent) = (Some(id(OLD)), Some(NEW.to_owned()), 0);
        HostResult::Done(Done { live, before, sent, ..done })
    };
    film.end(back, GoalKind::Rollback)
}

/// Takes the pictures of a run on one, three and forty hosts, each at 80 and 120 columns.
fn check(name: &str, run: fn(Film) -> String) {
    for hosts in [1, 3, 40] {
        for width in [80, 120] {
            let film = |styles| run(Film::new(hosts, width, styles));
            let shots = film(Styles::plain());
            assert_eq!(shots, film(Styles::coloured()), "colours change no text");
            assert_snapshot!(format!("{name}_on_{hosts}_at_{width}"), shots);
        }
    }
}

#[test]
fn frames_of_a_deploy() {
    check("deploy", deploy);
}

#[test]
fn frames_of_a_failed_deploy() {
    check("failed", failed);
}

#[test]
fn frames_of_a_rollback() {
    check("rollback", rollback);
}

#[test]
fn frames_of_two_hundred_hosts() {
    for (name, run) in [("deploy", deploy as fn(Film) -> String), ("failed", failed)] {
        assert_snapshot!(format!("{name}_on_200_at_80"), run(Film::new(200, 80, Styles::plain())));
    }
}
