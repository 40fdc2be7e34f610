//! Six hosts, one verdict: a release that is sick on one of them is live on none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, SPARE};

/// Ten requests a second.
const BEAT: Duration = Duration::from_millis(100);
/// A restart takes this long at most, the sample service's Python and a busy machine included.
const RESTART: Duration = Duration::from_secs(3);

/// The answers of one host with their times.
struct Answers {
    host: Host,
    all: Vec<(Instant, Option<String>)>,
}

impl Answers {
    /// The times without an answer: when each began, and how long it lasted.
    fn gaps(&self) -> Vec<(Instant, Duration)> {
        let mut gaps = Vec::new();
        let mut since: Option<Instant> = None;
        for (at, answer) in &self.all {
            match (answer, since) {
                (None, None) => since = Some(*at),
                (Some(_), Some(start)) => {
                    gaps.push((start, *at - start));
                    since = None;
                }
                _ => {}
            }
        }
        assert!(since.is_none(), "{} does not answer any more", self.host.0);
        gaps
    }
}

/// Asks a host ten times a second until it is stopped.
fn ask(app: &App, host: Host, done: &AtomicBool) -> Answers {
    let mut all = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let at = Instant::now();
        all.push((at, app.answer(host).ok().filter(|answer| answer.starts_with("version="))));
        thread::sleep(BEAT.saturating_sub(at.elapsed()));
    }
    Answers { host, all }
}

/// Runs `work` while all hosts are asked; every answer, and when `work` began and ended.
fn asked_while(app: &App, work: impl FnOnce()) -> (Vec<Answers>, Instant, Instant) {
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let hosts = app.hosts.iter().map(|&host| scope.spawn(move || ask(app, host, done)));
        let hosts: Vec<_> = hosts.collect();
        thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        work();
        let ended = Instant::now();
        thread::sleep(Duration::from_secs(1));
        done.store(true, Ordering::Relaxed);
        (hosts.into_iter().map(|host| host.join().unwrap()).collect(), began, ended)
    })
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn one_unhealthy_host_of_six_reverts_all_without_downtime() {
    let six: Vec<Host> = APPS.into_iter().chain(SPARE).collect();
    let wish =
        Wish { health: "total = \"4s\"", tables: "\n[rollout]\nbatch = 2\n", ..Wish::default() };
    let app = App::with(&six, "six", &wish);
    app.deploy(&app.tarball("v1", &[])).ends(0);
    app.answers("v1", "hello");
    // On the last host alone the second version is sick.
    six[5].root(
        "mkdir -p /etc/systemd/system/six.service.d && printf '[Service]\\nExecStartPre=/bin/sh -c \
         \"! grep -q v2 /srv/six/current/VERSION || touch /srv/six/current/UNHEALTHY\"\\n' \
         > /etc/systemd/system/six.service.d/sick.conf && systemctl daemon-reload",
    );
    let (answers, began, ended) = asked_while(&app, || {
        app.deploy(&app.tarball("v2", &[])).ends(1).says(&["app6", "was not healthy", "state:"]);
    });
    app.answers("v1", "hello");
    for answers in answers {
        let (count, gaps) = (answers.all.len(), answers.gaps());
        let missed = answers.all.iter().filter(|(_, answer)| answer.is_none()).count();
        println!(
            "{}: {missed} of {count} requests failed, in {} spells",
            answers.host.0,
            gaps.len()
        );
        assert!(gaps.len() <= 2, "one restart there and one back: {}", gaps.len());
        for (at, length) in gaps {
            assert!(at >= began && at <= ended, "{} before or after the run", answers.host.0);
            assert!(length < RESTART, "{} was away for {length:?}", answers.host.0);
        }
    }
    let lives: Vec<_> = six.iter().map(|&host| app.version(host)).collect();
    assert_eq!(lives, ["v1"; 6]);
    six[5].root("rm -r /etc/systemd/system/six.service.d && systemctl daemon-reload");
    app.deploy(&app.tarball("v2", &[])).ends(0);
    app.answers("v2", "hello");
}
