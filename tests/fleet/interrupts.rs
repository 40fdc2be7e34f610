//! A deployer that is killed and cables that are cut, at any moment of a deploy in batches: every
//! host ends on a whole release whose service runs, the fleet on one release, and the next deploy
//! needs nobody's help. Where contact went within the commit round, hosts may differ until then.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, SPARE, until};

const DEADLINE: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(400);

/// Returns the number of moments to try: SHIPIT_TEST_MOMENTS, or `usual`.
fn moments(usual: u32) -> u32 {
    std::env::var("SHIPIT_TEST_MOMENTS").map_or(usual, |number| number.parse().unwrap())
}

/// The ways in which the fleet became united again, counted.
#[derive(Default, Debug)]
struct Tally {
    /// By itself.
    alone: u32,
    /// With the next command, which finished what some hosts had committed.
    helped: u32,
    /// The longest time until the last host released its lock.
    slowest: Duration,
}

fn quick(hosts: &[Host; 3], name: &'static str) -> App {
    let wish = Wish {
        top: "keep_releases = 3",
        health: "soak = \"0s\"",
        tables: "\n[timeouts]\ndeadline = \"5s\"\n\n[rollout]\nbatch = 1\n",
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

/// All hosts run one release, if need be after the next command, which names the split.
#[track_caller]
fn converges(app: &App, artifact: &str, moment: Duration, tally: &mut Tally) {
    whole(app, moment);
    let versions: Vec<_> = app.hosts.iter().map(|&host| app.version(host)).collect();
    if versions.iter().all(|version| *version == versions[0]) {
        tally.alone += 1;
        return;
    }
    app.deploy(artifact).ends(0).says(&["contact was lost while", "reverted it"]);
    whole(app, moment);
    let version = app.version(app.hosts[0]);
    app.answers(&version, "hello");
    tally.helped += 1;
}

/// From time to time something quite new is deployed.
fn goes_on(app: &App, round: u32) {
    if round % 5 == 4 {
        let version = format!("n{round}");
        app.deploy(&app.tarball(&version, &[])).ends(0);
        app.answers(&version, "hello");
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn deploy_killed_at_any_moment_recovers() {
    let app = quick(&APPS, "kills");
    let (versions, length) = prepare(&app);
    let mut tally = Tally::default();
    for round in 0..moments(20) {
        let moment = length.mul_f64(random(round));
        let artifact = other(&app, &versions);
        let mut child = app.start_deploy(artifact);
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        killed(&app, artifact, moment, &mut tally);
        goes_on(&app, round);
    }
    println!("kills within {length:?}: {tally:?}");
}

#[track_caller]
fn killed(app: &App, artifact: &str, moment: Duration, tally: &mut Tally) {
    let what = format!("the locks are free after {moment:?}");
    tally.slowest = tally.slowest.max(free(app, &APPS, Duration::from_secs(4), &what));
    converges(app, artifact, moment, tally);
}

/// Everything that sshd does for one host stops when that host has been judged well; so the word
/// that the release stays reaches all hosts but this one. Then the deployer is killed, and the
/// connection with it.
#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn link_cut_during_commit_recovers() {
    let app = quick(&SPARE, "commits");
    app.edit("batch = 1", "batch = 3");
    let (versions, _) = prepare(&app);
    // The others wait for the first host's restart, so that there is time for the cut.
    SPARE[0].root(
        "mkdir -p /etc/systemd/system/commits.service.d && \
         printf '[Service]\\nExecStartPre=/bin/sleep 0.6\\n' \
         > /etc/systemd/system/commits.service.d/slow.conf && systemctl daemon-reload",
    );
    let mut tally = Tally::default();
    let (rounds, mut within) = (moments(20) / 10, 0);
    for round in 0..rounds * 3 {
        if within == rounds {
            break;
        }
        let artifact = other(&app, &versions);
        within += u32::from(committing_without(&app, SPARE[1 + round as usize % 2], artifact));
        let what = "the locks are free after a cut within the commit round";
        tally.slowest = tally.slowest.max(free(&app, &SPARE, Duration::from_secs(4), what));
        converges(&app, artifact, Duration::ZERO, &mut tally);
    }
    SPARE[0].root("rm -r /etc/systemd/system/commits.service.d && systemctl daemon-reload");
    println!("{within} cuts within the commit round: {tally:?}");
    assert_eq!(within, rounds, "so many cuts were within the commit round: {tally:?}");
    assert!(tally.helped > 0, "no cut left the fleet on two releases: {tally:?}");
}

/// Deploys so that the word that the release stays does not reach one host. Returns whether it
/// was so: on a busy machine the others may take longer than the deadline, or the run may be over
/// before this host can be stopped.
fn committing_without(app: &App, lost: Host, artifact: &str) -> bool {
    let sessions = "pkill -STOP -f 'ssh[d].*: deploy@notty'";
    let arguments = ["deploy", "production", "--yes", "--json", "--artifact", artifact];
    let mut command = app.command(&arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let judged = |event: &String| {
        let words = ["step-finished", "\"judge\"", lost.0];
        words.iter().all(|word| event.contains(word))
    };
    assert!(events.any(|event| judged(&event)), "{} was not judged well", lost.0);
    if !lost.try_root(sessions).status.success() {
        child.wait().unwrap();
        return false;
    }
    let committed = events.any(|event| event.contains("\"phase\":\"commit\""));
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    lost.root(&sessions.replace("STOP", "KILL"));
    committed
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn link_cut_at_any_moment_recovers() {
    let app = quick(&SPARE, "cuts");
    let (versions, length) = prepare(&app);
    let mut tally = Tally::default();
    for round in 0..moments(20) * 2 / 5 {
        let moment = length.mul_f64(random(round + 1000));
        let artifact = other(&app, &versions);
        let mut child = app.start_deploy(artifact);
        std::thread::sleep(moment);
        let cut = &SPARE[..=(round as usize % 3)];
        let cables: Vec<_> = cut.iter().map(|host| host.cut()).collect();
        tally.slowest = tally.slowest.max(free_by_itself(&app, cut, moment));
        drop(cables);
        let code = ended(&mut child);
        let said = app.said();
        assert!(matches!(code, Some(0 | 1 | 3)), "{code:?} after a cut at {moment:?}: {said}");
        converges(&app, artifact, moment, &mut tally);
        goes_on(&app, round);
    }
    println!("cuts within {length:?}: {tally:?}");
}

/// Unreachable hosts release their locks by themselves. Their cable is out, so they are asked
/// through their namespaces.
#[track_caller]
fn free_by_itself(app: &App, cut: &[Host], moment: Duration) -> Duration {
    // The command then running adds its own time; a restart here takes less than a second.
    let limit = DEADLINE + Duration::from_secs(3);
    free(app, cut, limit, &format!("{cut:?} released its lock after a cut at {moment:?}"))
}

/// Waits until the locks stay free: a login that was under way when its client died may still
/// start an agent, which takes the lock, hears nothing and releases it.
#[track_caller]
fn free(app: &App, hosts: &[Host], limit: Duration, what: &str) -> Duration {
    let mut since = None;
    let took = until(limit + QUIET, what, || {
        let free = hosts.iter().all(|host| app.unlocked(*host));
        let start = since.take().unwrap_or_else(Instant::now);
        since = free.then_some(start);
        free && start.elapsed() >= QUIET
    });
    took.saturating_sub(QUIET)
}

fn ended(child: &mut Child) -> Option<i32> {
    let mut code = None;
    until(Duration::from_mins(1), "the run has ended", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    code.unwrap().code()
}
