//! A deployer that is killed and cables that are cut, at any moment: every host ends on a whole
//! release whose service runs, and the next deploy needs nobody's help.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, SPARE, until};

const KILLS: u32 = 50;
const CUTS: u32 = 20;
const DEADLINE: Duration = Duration::from_secs(4);
const SETTLED: Duration = Duration::from_millis(400);

fn quick(hosts: &[Host; 3], name: &'static str) -> App {
    let wish = Wish {
        top: "keep_releases = 3",
        health: "soak = \"0s\"",
        tables: "\n[timeouts]\ndeadline = \"4s\"\n",
        ..Wish::default()
    };
    App::with(hosts, name, &wish)
}

/// Two versions that replace each other, and how long a deploy of them takes undisturbed.
fn prepare(app: &App) -> ([String; 2], Duration) {
    let versions = [app.tarball("v1", &[]), app.tarball("v2", &[])];
    app.deploy(&versions[0]).ends(0);
    let start = Instant::now();
    app.deploy(&versions[1]).ends(0);
    (versions, start.elapsed())
}

/// The version that is not live, so that there is something to deploy.
fn other<'a>(app: &App, versions: &'a [String; 2]) -> &'a str {
    &versions[usize::from(app.version(app.hosts[0]) == "v1")]
}

/// `current` of each host leads to a whole release, and that is what its service answers.
#[track_caller]
fn whole(app: &App, moment: Duration) {
    for &host in &app.hosts {
        let id = app.current(host);
        let check = format!("cd /srv/{}/current/ && test -x bin/serve && cat VERSION", app.name);
        let version = host.root(&check);
        assert!(id.starts_with("releases/"), "{} after {moment:?}: {id}", host.0);
        app.answers_on(host, &version, "hello");
    }
}

/// Numbers that look random and are the same in every run.
fn random(seed: u32) -> f64 {
    let mixed = (seed + 1).wrapping_mul(2_654_435_761);
    f64::from(mixed ^ (mixed >> 15)) / f64::from(u32::MAX)
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn killed_at_fifty_moments() {
    let app = quick(&APPS, "kills");
    let (versions, length) = prepare(&app);
    let mut slowest = Duration::ZERO;
    for round in 0..KILLS {
        let moment = length.mul_f64(random(round));
        let mut child = app.start_deploy(other(&app, &versions));
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let limit = Duration::from_secs(3);
        slowest =
            slowest.max(free(&app, &APPS, limit, &format!("the locks are free after {moment:?}")));
        whole(&app, moment);
        if round % 5 == 4 {
            let next = app.tarball(&format!("k{round}"), &[]);
            app.deploy(&next).ends(0);
            app.answers(&format!("k{round}"), "hello");
        }
    }
    println!("{KILLS} kills within {length:?}; the slowest host was free after {slowest:?}");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn cut_off_at_twenty_moments() {
    let app = quick(&SPARE, "cuts");
    let (versions, length) = prepare(&app);
    let mut slowest = Duration::ZERO;
    for round in 0..CUTS {
        let moment = length.mul_f64(random(round + 1000));
        let mut child = app.start_deploy(other(&app, &versions));
        std::thread::sleep(moment);
        let cut = &SPARE[..=(round as usize % 3)];
        for host in cut {
            host.cut();
        }
        slowest = slowest.max(free_by_itself(&app, cut, moment));
        for host in cut {
            host.heal();
        }
        let code = ended(&mut child);
        let said = app.said();
        assert!(matches!(code, Some(0 | 1 | 3)), "{code:?} after a cut at {moment:?}: {said}");
        whole(&app, moment);
        if round % 5 == 4 {
            let next = app.tarball(&format!("c{round}"), &[]);
            app.deploy(&next).ends(0);
            app.answers(&format!("c{round}"), "hello");
        }
    }
    println!("{CUTS} cuts within {length:?}; the slowest host was free after {slowest:?}");
}

/// Hosts that nobody can reach let go by themselves. They are asked through the back door, their
/// namespaces, because their cable is out.
#[track_caller]
fn free_by_itself(app: &App, cut: &[Host], moment: Duration) -> Duration {
    // The command then running adds its own time; a restart here takes less than a second.
    let limit = DEADLINE + Duration::from_secs(3);
    free(app, cut, limit, &format!("{cut:?} let go after a cut at {moment:?}"))
}

/// Waits until the locks are free for good: a login that was under way when its client went may
/// still start an agent, which takes the lock, hears nothing and lets go again.
#[track_caller]
fn free(app: &App, hosts: &[Host], limit: Duration, what: &str) -> Duration {
    let mut since = None;
    let took = until(limit + SETTLED, what, || {
        let free = hosts.iter().all(|host| app.unlocked(*host));
        let start = since.take().unwrap_or_else(Instant::now);
        since = free.then_some(start);
        free && start.elapsed() >= SETTLED
    });
    took.saturating_sub(SETTLED)
}

fn ended(child: &mut Child) -> Option<i32> {
    let mut code = None;
    until(Duration::from_mins(1), "the run has ended", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    code.unwrap().code()
}
