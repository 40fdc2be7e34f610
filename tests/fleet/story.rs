//! The main job: versions come and go, on every host, with one connection each.

use std::process::Command;

use crate::app::{App, Run, Wish};
use crate::hosts::{APPS, Host, SPARE};

/// Ten linked paths and three hooks.
const MANY: Wish = Wish {
    provision: &[],
    top: r#"linked_dirs = ["log", "tmp/pids", "tmp/cache", "uploads", "public/media", "a", "b"]
linked_files = ["config/master.key", "config/one.yml", "config/two.yml"]"#,
    tables: r#"
[hooks]
staged = ["echo staged > made-by-hook", "test -L log"]
activated = ["test -e made-by-hook"]
"#,
    service: "",
    health: "",
};

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn three_hosts_deploy_and_roll_back() {
    let app = App::on(&SPARE, "story");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    app.answers("v1", "hello");

    let second = app.tarball("v2", &[]);
    let arguments = ["deploy", "production", "--yes", "--artifact", &second];
    Run::of(app.command(&arguments).env("GREETING", "goodbye")).ends(0);
    app.answers("v2", "goodbye");

    app.shipit(&["rollback", "production", "--yes"]).ends(0);
    app.answers("v1", "hello");
    app.shipit(&["releases", "production"]).ends(0);
    app.shipit(&["status", "production"]).ends(0);

    let live = app.current(SPARE[1]);
    SPARE[1].reboot();
    app.answers_on(SPARE[1], "v1", "hello");
    assert_eq!(app.current(SPARE[1]), live);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn redeploy_of_the_same_artifact_changes_nothing() {
    let app = App::on(&APPS, "again");
    let artifact = app.tarball("v1", &[]);
    app.deploy(&artifact).ends(0);
    let before = APPS.map(|host| app.ledger(host));
    app.deploy(&artifact).ends(0);
    assert_eq!(APPS.map(|host| app.ledger(host)), before);
    assert_eq!(APPS.map(|host| app.releases(host)), [1, 1, 1]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn crontab_line_prunes_and_keeps_what_it_must() {
    let app = App::with(&APPS, "cron", &Wish { top: "keep_releases = 10", ..Wish::default() });
    for version in ["v1", "v2", "v3", "v4"] {
        app.deploy(&app.tarball(version, &[])).ends(0);
    }
    app.shipit(&["rollback", "production", "--yes"]).ends(0);
    // As cron runs it: next to nothing in the environment, no terminal, any directory.
    let line = format!(
        "{} -c {}/deploy.toml prune production --keep 2",
        env!("CARGO_BIN_EXE_shipit"),
        app.home().display()
    );
    let mut cron = Command::new("env");
    cron.args(["-i", "PATH=/usr/bin:/bin", "LOGNAME=root", "SHELL=/bin/sh"]);
    cron.arg(format!("HOME={}", app.home().display())).args(["sh", "-c", &line]).current_dir("/");
    let run = Run::of(&mut cron).ends(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "cron would send a mail");
    app.answers("v3", "hello");
    for host in APPS {
        assert!(app.releases(host) < 4, "{}: nothing was pruned", host.0);
    }
    // The target of a rollback is still there.
    app.shipit(&["rollback", "production", "--yes"]).ends(0);
    app.answers("v2", "hello");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn deploy_takes_one_connection_and_two_execs() {
    let app = App::with(&SPARE, "count", &MANY);
    for host in SPARE {
        let files = "for f in master.key one.yml two.yml; do echo x > shared/config/$f; done";
        host.root(&format!(
            "cd /srv/count && mkdir -p shared/config && {files} && chown -R deploy: ."
        ));
    }
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let marks = SPARE.map(journal_cursor);
    app.deploy(&app.tarball("v2", &[])).ends(0);
    app.answers("v2", "hello");
    for (host, mark) in SPARE.into_iter().zip(marks) {
        let log = host.root(&format!("journalctl -u ssh -o cat --after-cursor '{mark}'"));
        let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("Accepted publickey for deploy"), 1, "{log}");
        assert!(count("Starting session: command for deploy") <= 2, "{log}");
    }
}

fn journal_cursor(host: Host) -> String {
    let last = host.root("journalctl -u ssh -n 1 --show-cursor -o cat | tail -n 1");
    last.strip_prefix("-- cursor: ").unwrap().to_owned()
}

/// Returns the number of flips: SHIPIT_TEST_FLIPS, or 2,000.
fn flips() -> usize {
    std::env::var("SHIPIT_TEST_FLIPS").map_or(2_000, |number| number.parse().unwrap())
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn reader_sees_whole_releases_through_thousands_of_flips() {
    let flips = flips();
    let app = App::on(&APPS[..1], "flips");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let first = app.current(APPS[0]);
    app.deploy(&app.tarball("v2", &[])).ends(0);
    let second = app.current(APPS[0]);
    // The script that shipit sends, less its last line, which starts it; and a reader beside it
    // that opens `current/VERSION` as fast as it can.
    let agent = shipit::remote::script::SCRIPT;
    let functions = agent.trim_end().rsplit_once('\n').unwrap().0;
    let reader = r#"import os, sys
reads = failures = 0
while not os.path.exists("/tmp/flips-done"):
    reads += 1
    try:
        failures += open("/srv/flips/current/VERSION").read() not in ("v1", "v2")
    except OSError:
        failures += 1
print(reads, failures)
"#;
    let script = format!(
        "{functions}\nroot=/srv/flips run=flips mv_flag=T\nflip_often() {{ {FLIP_LOOP} }}\nflip_often {first} {second} {flips}\n"
    );
    APPS[0].put("/tmp/flips.sh", &script);
    APPS[0].put("/tmp/reader.py", reader);
    let counts = APPS[0].root(
        "cd /tmp; rm -f flips-done; python3 reader.py > reads & sh flips.sh; rc=$?; touch flips-done; \
         wait; cat reads; exit $rc",
    );
    let (reads, failures) = counts.split_once(' ').unwrap();
    assert_eq!(failures, "0", "of {reads} reads of `current` during {flips} flips");
    assert!(reads.parse::<usize>().unwrap() > flips, "the reader was too slow: {reads} reads");
}

/// Calls the agent's own flip: there and back again.
const FLIP_LOOP: &str =
    "i=0; while [ $i -lt $3 ]; do flip $1 && flip $2 || exit 1; i=$((i + 2)); done";
