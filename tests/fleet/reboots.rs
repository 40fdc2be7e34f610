//! A host that is rebooted in every phase of a deploy, and clocks that are wrong.
//!
//! All hosts share one kernel, and so one clock. A wrong one is libfaketime's: every program that a
//! login on the host runs sees it, and so does ours. Only the time of day is wrong then; the
//! monotonic clock stays right, as it does when a real clock is set.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::app::{App, Run, Wish};
use crate::hosts::{Host, SPARE, until};

/// The host that is rebooted.
const FALLS: Host = SPARE[1];

/// The moments of a reboot, each with words of the event that is waited for.
const MOMENTS: [(&str, &[&str]); 6] = [
    ("stage", &["step-started", "\"staged\"", FALLS.0]),
    ("flip", &["step-started", "\"activate\"", FALLS.0]),
    ("hold", &["step-started", "\"judge\"", FALLS.0]),
    ("judged", &["step-finished", "\"judge\"", FALLS.0]),
    ("commit", &["\"phase\":\"commit\""]),
    ("prune", &["\"phase\":\"tidy\""]),
];

/// The way in which a host goes down.
type Way = (&'static str, fn(Host));
const WAYS: [Way; 2] = [("reboot", Host::reboot), ("crash", Host::crash)];

fn slow(name: &'static str) -> App {
    let wish = Wish {
        top: "keep_releases = 2",
        health: "soak = \"1s\"",
        tables: "\n[timeouts]\ndeadline = \"5s\"\n\n[hooks]\nstaged = [\"sleep 1\"]\n",
        ..Wish::default()
    };
    App::with(&SPARE, name, &wish)
}

/// Deploys, and takes the host away when that moment has come. The exit code, and all that was
/// said.
fn deploy_and_lose(
    app: &App,
    artifact: &str,
    words: &[&str],
    lose: fn(Host),
) -> (Option<i32>, String) {
    let arguments = ["deploy", "production", "--yes", "--json", "--artifact", artifact];
    let mut command = app.command(&arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let due = |event: &String| words.iter().all(|word| event.contains(word));
    assert!(events.any(|event| due(&event)), "there was no {words:?}");
    lose(FALLS);
    let said = events.collect::<Vec<_>>().join("\n");
    (child.wait().unwrap().code(), said)
}

/// The live release of each host is whole and its service answers from it. Returns the versions.
#[track_caller]
fn whole(app: &App) -> [String; 3] {
    SPARE.map(|host| {
        let check = format!("cd /srv/{}/current/ && test -x bin/serve && cat VERSION", app.name);
        let version = host.root(&check);
        app.answers_on(host, &version, "hello");
        version
    })
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn reboot_in_any_phase_recovers() {
    let app = slow("reboots");
    // One host takes longer, so that the others wait for its verdict.
    SPARE[0].root(
        "mkdir -p /etc/systemd/system/reboots.service.d && \
         printf '[Service]\\nExecStartPre=/bin/sleep 1\\n' \
         > /etc/systemd/system/reboots.service.d/slow.conf && systemctl daemon-reload",
    );
    app.deploy(&app.tarball("v0", &[])).ends(0);
    // Each way in every second phase, unless all is wanted.
    let all = std::env::var("SHIPIT_TEST_FAULTS").is_ok_and(|effort| effort == "all");
    for (number, (way, lose)) in WAYS.into_iter().enumerate() {
        let moments = MOMENTS.into_iter().skip(if all { 0 } else { number });
        for (moment, words) in moments.step_by(if all { 1 } else { WAYS.len() }) {
            let case = format!("{way} in {moment}");
            let before = whole(&app);
            let version = format!("{way}-{moment}");
            let artifact = app.tarball(&version, &[]);
            let (code, said) = deploy_and_lose(&app, &artifact, words, lose);
            until(Duration::from_secs(10), "all locks are free", || {
                SPARE.iter().all(|host| app.unlocked(*host))
            });
            let after = whole(&app);
            println!("{case}: exit {code:?}, {before:?} to {after:?}");
            let new = after.iter().filter(|live| **live == version).count();
            match code {
                Some(0) => assert_eq!(new, 3, "{case}: {said}"),
                Some(1) => assert_eq!(after, before, "{case}: {said}"),
                Some(3) => assert!(said.contains(FALLS.0), "{case}: {said}"),
                other => panic!("{case}: {other:?}: {said}"),
            }
            let next = format!("after-{version}");
            app.deploy(&app.tarball(&next, &[])).ends(0);
            app.answers(&next, "hello");
            app.shipit(&["status", "production"]).ends(0);
        }
    }
}

/// Debian's libfaketime on this machine.
fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap();
    let places = places.map(|place| place.unwrap().path().join("faketime/libfaketime.so.1"));
    places.into_iter().find(|path| path.exists()).expect("libfaketime is not installed")
}

/// Returns the variables that make a program see the clock that a file names.
fn wrong_clock(library: &Path, clock: &Path) -> [(&'static str, String); 5] {
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}

/// A host whose logins see a wrong clock until this is dropped.
struct Clock(Host);

impl Clock {
    fn new(host: Host, offset: &str) -> Self {
        let path = Path::new("/usr/local/lib/libfaketime.so.1");
        let mut copy = host.enter(&format!("cat >{}", path.display()));
        assert!(copy.stdin(File::open(library()).unwrap()).status().unwrap().success());
        let clock = Self(host);
        clock.set(offset);
        let lines = wrong_clock(path, Path::new("/etc/wrong-clock"));
        let lines = lines.map(|(name, value)| format!("{name}={value}\n"));
        host.put("/etc/environment", &lines.concat());
        clock
    }

    /// From now on.
    fn set(&self, offset: &str) {
        self.0.put("/etc/wrong-clock", offset);
        self.0.root("chmod 644 /etc/wrong-clock");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.try_root("rm -f /etc/environment /etc/wrong-clock; touch /etc/environment");
    }
}

/// The program on a machine whose clock is wrong.
fn wrongly(app: &App, arguments: &[&str], offset: &str) -> Command {
    let clock = app.write("wrong-clock", offset);
    let mut command = app.command(arguments);
    command.envs(wrong_clock(&library(), &clock));
    command
}

fn deploy(artifact: &str) -> [&str; 5] {
    ["deploy", "production", "--yes", "--artifact", artifact]
}

/// The one release that all hosts run.
#[track_caller]
fn live(app: &App) -> String {
    let [one, two, three] = SPARE.map(|host| app.current(host));
    assert!(one == two && two == three, "{one}, {two}, {three}");
    one
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn clocks_apart_and_set_back_still_order_releases() {
    let app = slow("clocks");
    let early = Clock::new(SPARE[0], "-300s");
    let _late = Clock::new(SPARE[2], "+300s");
    let hours = |host: Host| {
        let ledger = app.ledger(host);
        let last = ledger.lines().last().unwrap();
        last.split("\"at\":\"").nth(1).unwrap()[..19].to_owned()
    };

    app.deploy(&app.tarball("v1", &[])).ends(0);
    let (first, at) = (live(&app), SPARE.map(hours));
    assert!(at[0] < at[1] && at[1] < at[2], "the clocks differ: {at:?}");
    let check = app.shipit(&["check", "production"]);
    assert!(check.stdout.contains("clock"), "{}", check.stdout);

    // Ours is set back: the next release is newer nevertheless.
    let artifact = app.tarball("v2", &[]);
    Run::of(&mut wrongly(&app, &deploy(&artifact), "-1d")).ends(0);
    let second = live(&app);
    assert!(second > first, "{second} is not newer than {first}");
    app.answers("v2", "hello");

    // A host's is set back: what counts is the order of the ledger.
    early.set("-1d");
    app.deploy(&app.tarball("v3", &[])).ends(0);
    let third = live(&app);
    assert!(third > second, "{third} is not newer than {second}");
    app.shipit(&["rollback", "production", "--yes"]).ends(0);
    assert_eq!(live(&app), second);
    app.answers("v2", "hello");
    app.shipit(&["verify", "production"]).ends(0);
}

/// Both clocks are set back while a release is judged: neither side takes the other for dead.
#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn clock_set_back_moves_no_deadline() {
    let app = slow("setback");
    let clock = Clock::new(SPARE[0], "+0s");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    app.edit("soak = \"1s\"", "soak = \"6s\"");
    let set_back = |offset: &str| {
        clock.set(offset);
        app.write("wrong-clock", offset);
    };

    let artifact = app.tarball("v2", &[]);
    let mut child = wrongly(&app, &deploy(&artifact), "+0s").spawn().unwrap();
    until(Duration::from_secs(20), "v2 is live", || app.version(SPARE[0]) == "v2");
    set_back("-1h");
    sleep(Duration::from_secs(1));
    set_back("+1h");
    assert!(child.wait().unwrap().success());
    app.answers("v2", "hello");

    // A host that hears nothing any more reverts in time.
    let artifact = app.tarball("v3", &[]);
    let mut child = wrongly(&app, &deploy(&artifact), "+0s").spawn().unwrap();
    until(Duration::from_secs(20), "v3 is live", || app.version(SPARE[0]) == "v3");
    let cable = SPARE[0].cut();
    set_back("-1h");
    until(Duration::from_secs(10), "v3 is reverted", || app.version(SPARE[0]) == "v2");
    drop(cable);
    let code = child.wait().unwrap().code();
    assert_ne!(code, Some(0));
    until(Duration::from_secs(10), "all locks are free", || {
        SPARE.iter().all(|host| app.unlocked(*host))
    });
    app.deploy(&app.tarball("v4", &[])).ends(0);
    app.answers("v4", "hello");
}
