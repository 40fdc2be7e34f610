//! A release that does not prove itself is reverted, and the release before it runs again.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::app::{App, Wish};
use crate::hosts::{APPS, SPARE, until};

/// Deploys v1, then v2 that is bad in some way: v1 must run again on every host.
#[track_caller]
fn reverted(app: &App, marks: &[&str]) {
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let before: Vec<_> = app.hosts.iter().map(|&host| app.current(host)).collect();
    app.deploy(&app.tarball("v2", marks)).ends(1).says(&["cause:", "state:"]);
    let after: Vec<_> = app.hosts.iter().map(|&host| app.current(host)).collect();
    assert_eq!(after, before);
    app.answers("v1", "hello");
    assert!(app.hosts.iter().any(|&host| app.ledger(host).contains(r#""event":"reverted""#)));
    // And the next deploy is a plain one.
    app.deploy(&app.tarball("v3", &[])).ends(0);
    app.answers("v3", "hello");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unhealthy_release_is_reverted() {
    let app = App::with(&APPS, "sick", &Wish { health: "total = \"5s\"", ..Wish::default() });
    reverted(&app, &["UNHEALTHY"]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn crashing_release_is_reverted() {
    reverted(&App::on(&APPS, "crash"), &["CRASH"]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unit_over_the_start_limit_is_reverted_and_runs() {
    let app = App::on(&APPS, "loop");
    for host in APPS {
        let drop_in = "[Unit]\\nStartLimitIntervalSec=10\\nStartLimitBurst=5\\n[Service]\\nRestart=always\\nRestartSec=0\\n";
        host.root(&format!(
            "mkdir -p /etc/systemd/system/loop.service.d && \
             printf '{drop_in}' > /etc/systemd/system/loop.service.d/loop.conf && systemctl daemon-reload"
        ));
    }
    reverted(&app, &["CRASH"]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn release_that_crashed_up_to_the_start_limit_is_replaced_and_returned_to() {
    let (app, host) = (App::on(&APPS[..1], "worn"), APPS[0]);
    host.root(
        "mkdir -p /etc/systemd/system/worn.service.d && \
         printf '[Unit]\\nStartLimitIntervalSec=300\\nStartLimitBurst=5\\n[Service]\\nRestart=always\\nRestartSec=0\\n' \
         > /etc/systemd/system/worn.service.d/loop.conf && systemctl daemon-reload",
    );
    let wear_out = || {
        host.root(
            "until systemctl is-failed -q worn; do systemctl kill -s KILL worn; sleep 0.1; done",
        );
    };
    app.deploy(&app.tarball("v1", &[])).ends(0);
    wear_out();
    app.deploy(&app.tarball("v2", &[])).ends(0);
    app.answers("v2", "hello");
    wear_out();
    app.shipit(&["rollback", "production", "--yes"]).ends(0);
    app.answers("v1", "hello");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn failed_first_deploy_leaves_no_link_and_nothing_running() {
    let app = App::on(&APPS, "first");
    app.deploy(&app.tarball("v1", &["CRASH"])).ends(1).says(&["state:"]);
    for host in APPS {
        assert_eq!(app.current(host), "");
        let state = host.root("systemctl show --value -p ActiveState first");
        assert!(state == "inactive" || state == "failed", "{}: {state}", host.0);
    }
    app.deploy(&app.tarball("v2", &[])).ends(0);
    app.answers("v2", "hello");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn failed_batch_reverts_the_batches_before() {
    let wish = Wish { tables: "\n[rollout]\nbatch = 1\n", ..Wish::default() };
    let app = App::with(&APPS, "batch", &wish);
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let before = APPS.map(|host| app.current(host));
    // On the second host alone the unit cannot run another version.
    APPS[1].root(
        "mkdir -p /etc/systemd/system/batch.service.d && \
         printf '[Service]\\nExecStartPre=/usr/bin/grep -q v1 /srv/batch/current/VERSION\\n' \
         > /etc/systemd/system/batch.service.d/picky.conf && systemctl daemon-reload",
    );
    app.deploy(&app.tarball("v2", &[])).ends(1).says(&["app2", "app1", "app3", "state:"]);
    assert_eq!(APPS.map(|host| app.current(host)), before);
    app.answers("v1", "hello");
    APPS[1].root("rm -r /etc/systemd/system/batch.service.d && systemctl daemon-reload");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unit_that_dies_during_soak_reverts_the_fleet() {
    let wish = Wish { tables: "\n[rollout]\nbatch = 1\npause = \"2s\"\n", ..Wish::default() };
    let app = App::with(&APPS, "late", &wish);
    app.deploy(&app.tarball("v1", &[])).ends(0);
    APPS[0].root(
        "mkdir -p /etc/systemd/system/late.service.d && \
         printf '[Service]\\nRuntimeMaxSec=4\\n' > /etc/systemd/system/late.service.d/short.conf && \
         systemctl daemon-reload",
    );
    app.deploy(&app.tarball("v2", &[])).ends(1).says(&["app1", "did not stay up", "state:"]);
    for host in APPS {
        assert_eq!(app.version(host), "v1", "{}", host.0);
    }
    APPS[0].root("rm -r /etc/systemd/system/late.service.d && systemctl daemon-reload");
}

/// A release that is stopped may print much, within the second in which the next one fails.
#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn words_of_the_release_before_do_not_hide_why_a_release_failed() {
    let app = App::on(&APPS[..1], "words");
    let serving = |version: &str, script: &str| {
        app.tarball_of(version, &[], |tree| {
            let path = tree.join("bin/serve");
            fs::create_dir_all(tree.join("bin")).unwrap();
            fs::copy("vagrant/service/bin/serve", tree.join("bin/listen")).unwrap();
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        })
    };
    let talks = "trap 'seq -f \"goodbye %g\" 60; kill $!; exit 0' TERM; bin/listen & wait";
    app.deploy(&serving("v1", talks)).ends(0);
    let fails = serving("v2", "echo no database here; exit 3");
    app.deploy(&fails).ends(1).says(&["no database here", "state:"]);
    assert_eq!(app.version(APPS[0]), "v1");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn user_unit_starts_again_after_a_reboot() {
    let wish =
        Wish { provision: &["--scope", "user"], service: "scope = \"user\"", ..Wish::default() };
    let app = App::with(&SPARE[..2], "mine", &wish);
    app.deploy(&app.tarball("v1", &[])).ends(0);
    app.deploy(&app.tarball("v2", &[])).ends(0);
    app.answers("v2", "hello");
    app.shipit(&["rollback", "production", "--yes"]).ends(0);
    app.answers("v1", "hello");
    SPARE[0].reboot();
    app.answers_on(SPARE[0], "v1", "hello");
    for host in &SPARE[..2] {
        host.root("loginctl disable-linger deploy; loginctl terminate-user deploy || true");
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn service_of_another_user_is_proven_by_inference() {
    let wish = Wish {
        provision: &["--run-as", "other"],
        tables: "mode = \"0640\"\ngroup = \"other\"\n",
        ..Wish::default()
    };
    let app = App::with(&APPS, "other", &wish);
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let run = app.deploy(&app.tarball("v2", &[])).ends(0);
    app.answers("v2", "hello");
    let said = run.stdout + &run.stderr;
    assert!(
        said.contains("running, according to systemd")
            || said.contains("running according to systemd"),
        "{said}"
    );
    for host in APPS {
        assert_eq!(host.root("stat -c '%a %G' /srv/other/current/.env"), "640 other");
        host.root("su -s /bin/sh other -c 'test -r /srv/other/current/.env'");
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn stalled_client_does_not_delay_a_revert() {
    let wish = Wish {
        tables: "\n[hooks]\nactivated = [\"yes | head -c 10000000; sleep 1\"]\n\n[timeouts]\ndeadline = \"5s\"\n",
        ..Wish::default()
    };
    let app = App::with(&APPS[..1], "deaf", &wish);
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let before = app.current(APPS[0]);
    let mut command =
        app.command(&["deploy", "production", "--yes", "--artifact", &app.tarball("v2", &[])]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until(Duration::from_secs(30), "the second version is live", || app.current(APPS[0]) != before);
    // Stopped, it neither reads nor sends `hold`.
    signal("STOP", child.id());
    let start = Instant::now();
    until(Duration::from_secs(10), "the host has put itself back", || {
        app.current(APPS[0]) == before
    });
    println!("reverted {:?} after the client stopped", start.elapsed());
    signal("CONT", child.id());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(!child.wait().unwrap().success(), "{errors}");
    app.answers("v1", "hello");
}

fn signal(name: &str, pid: u32) {
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}
