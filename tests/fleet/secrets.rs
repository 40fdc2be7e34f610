//! A poisoned secret: a marker in every place that may hold a secret, and nowhere else.

use std::panic::AssertUnwindSafe;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::app::{App, Run, Wish};
use crate::hosts::{APPS, Host};

const MARKERS: [&str; 3] = ["poisonVariable7Q", "poisonCommand8R", "poisonFile9S"];

const WISH: Wish = Wish {
    provision: &[],
    top: "",
    tables: r#"vars.FROM_VARIABLE = { env = "POISON" }
vars.FROM_COMMAND = { command = "cat poison-command" }
vars.FROM_FILE = { file = "poison-file" }

[hooks]
staged = ["cat .env"]
activated = ["cat .env; ls"]
"#,
    service: "",
    health: "",
};

/// Records every command line on this machine or a host until it is stopped.
const WATCH: &str = "while [ ! -e /tmp/watched ]; do cat /proc/[0-9]*/cmdline 2>/dev/null; sleep 0.02; done \
                     | tr '\\0' ' ' | grep -ao 'poison[A-Z][A-Za-z]*[0-9][A-Z]' | sort | uniq -c";

/// Secrets of the scenario whose unit logs them; the journal of its host holds them.
const LEAKED: [&str; 3] = ["leakedVariable7Q", "leakedCommand8R", "leakedFile9S"];

#[track_caller]
fn clean(place: &str, text: &str) {
    nothing_of(&MARKERS, place, text);
}

#[track_caller]
fn nothing_of(markers: &[&str], place: &str, text: &str) {
    for marker in markers {
        assert!(!text.contains(marker), "{marker} shows in {place}:\n{text}");
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn secrets_show_nowhere() {
    let app = App::with(&APPS, "poison", &WISH);
    app.write("poison-command", MARKERS[1]);
    app.write("poison-file", MARKERS[2]);
    let watchers = APPS.map(|host| {
        host.root("rm -f /tmp/watched");
        host.enter(WATCH).stdout(Stdio::piped()).spawn().unwrap()
    });
    let here = watched(|| runs(&app));
    clean("a command line here", &here);
    left_here(&app);
    for (host, watcher) in APPS.into_iter().zip(watchers) {
        host.root("touch /tmp/watched");
        let seen = watcher.wait_with_output().unwrap();
        clean(&format!("a command line on {}", host.0), &String::from_utf8_lossy(&seen.stdout));
        on_host(&app, host);
    }
}

/// Deploys in every way of reporting, once with a failure.
fn runs(app: &App) {
    let broken = app.tarball("v4", &["CRASH"]);
    for (version, flags, code) in
        [("v1", &[][..], 0), ("v2", &["-v"], 0), ("v3", &["--json", "-v"], 0), ("v4", &["-v"], 1)]
    {
        let artifact = if version == "v4" { broken.clone() } else { app.tarball(version, &[]) };
        let fixed = ["deploy", "production", "--yes", "--artifact", &artifact];
        let mut command = app.command(&[&fixed[..], flags].concat());
        let run = Run::of(command.env("POISON", MARKERS[0])).ends(code);
        clean(&format!("the output of {version}"), &(run.stdout + &run.stderr));
    }
    let run = app.shipit(&["releases", "production", "--json"]).ends(0);
    clean("releases", &(run.stdout + &run.stderr));
}

/// No file of ours here holds one, but those that it came from.
fn left_here(app: &App) {
    for file in walkdir::WalkDir::new(app.home()).into_iter().map(Result::unwrap) {
        let source = file.file_name().to_str().is_some_and(|name| name.starts_with("poison-"));
        if file.file_type().is_file() && !source {
            let bytes = std::fs::read(file.path()).unwrap();
            clean(&file.path().display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

/// All command lines of this machine while something runs.
fn watched(work: impl FnOnce()) -> String {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = String::new();
            while !done.load(Ordering::Relaxed) {
                seen.extend(command_lines().filter(|line| line.contains("poison")));
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        // The watcher ends also when the work fails.
        let worked = std::panic::catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let seen = watcher.join().unwrap();
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
        seen
    })
}

fn command_lines() -> impl Iterator<Item = String> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.filter_map(|process| {
        let bytes = std::fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
    })
}

/// The service has its secrets; no other user can read them, and no record holds them.
fn on_host(app: &App, host: Host) {
    let environment =
        host.root("tr '\\0' '\\n' < /proc/$(systemctl show --value -p MainPID poison)/environ");
    for marker in MARKERS {
        assert!(environment.contains(marker), "the service of {} did not get {marker}", host.0);
    }
    clean("the ledger", &app.ledger(host));
    clean("revisions.log", &host.root("cat /srv/poison/revisions.log"));
    clean("the journal", &host.root("journalctl -b --no-pager"));
    let readable =
        "grep -rlsE 'poison(Variable|Command|File)[0-9]' /srv /tmp /var /home /run /etc || true";
    assert_eq!(host.root(&format!("su -s /bin/sh nobody -c \"{readable}\"")), "");
    let kept = host.root(&format!("({readable}) | grep -v '/\\.env$' || true"));
    assert_eq!(kept, "", "files of {} beside .env", host.0);
}

/// Both releases log their environment when they end in failure: the one that is new, and the one
/// that a rollback finds changed on the host.
#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn secrets_in_the_unit_log_are_masked() {
    let app = App::with(&APPS[..1], "leak", &WISH);
    app.write("poison-command", LEAKED[1]);
    app.write("poison-file", LEAKED[2]);
    let run = |args: &[&str], code: i32| {
        let mut command = app.command(args);
        let run = Run::of(command.env("POISON", LEAKED[0])).ends(code);
        run.stdout + &run.stderr
    };
    let deploy = |version: &str, marks: &[&str], flags: &[&str], code: i32| {
        let artifact = app.tarball(version, marks);
        let fixed = ["deploy", "production", "--yes", "--artifact", &artifact];
        run(&[&fixed[..], flags].concat(), code)
    };
    nothing_of(&LEAKED, "a deploy", &deploy("v1", &[], &[], 0));
    let first = app.current(APPS[0]);
    nothing_of(&LEAKED, "a deploy", &deploy("v2", &[], &[], 0));
    for flags in [&[][..], &["-v"], &["--json"]] {
        let said = deploy("v3", &["LEAK"], flags, 1);
        assert!(said.contains("tells what it was given") && said.contains("***"), "{said}");
        nothing_of(&LEAKED, "a failed deploy", &said);
    }
    APPS[0].root(&format!("touch /srv/leak/{first}/LEAK"));
    for flags in [&[][..], &["--json", "-v"]] {
        let fixed = ["rollback", "production", "--yes"];
        let said = run(&[&fixed[..], flags].concat(), 1);
        assert!(said.contains("tells what it was given") && said.contains("***"), "{said}");
        nothing_of(&LEAKED, "a failed rollback", &said);
    }
    let journal = APPS[0].root("journalctl -b --no-pager -u leak");
    assert!(journal.contains(LEAKED[0]), "the unit did log it: {journal}");
}
