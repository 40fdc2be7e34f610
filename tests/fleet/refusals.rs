//! Failures before a release is live: the error names them, and nothing has changed.

use std::process::Command;

use crate::app::{App, Run, Wish};
use crate::hosts::{APPS, Host, dir};

/// Deploys v1, lets `harm` happen, deploys v2: that must end with `code` and say `words`, and v1
/// must run everywhere as before.
#[track_caller]
fn refused(app: &App, code: i32, words: &[&str], harm: impl FnOnce(&App)) -> Run {
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let before: Vec<_> = app.hosts.iter().map(|&host| app.current(host)).collect();
    harm(app);
    let run = app.deploy(&app.tarball("v2", &[])).ends(code).says(words).says(&["state:"]);
    let after: Vec<_> = app.hosts.iter().map(|&host| app.current(host)).collect();
    assert_eq!(after, before, "{}", run.stderr);
    app.answers("v1", "hello");
    run
}

/// The fleet's ssh_config with a change, for one app.
fn with_ssh_config(app: &App, from: &str, to: &str) {
    let config = dir().join("ssh_config");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains(from), "the ssh_config has no {from}");
    let path = app.write("ssh_config", &text.replace(from, to));
    app.edit(&config.display().to_string(), &path.display().to_string());
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn wrong_key_is_refused() {
    let app = App::on(&APPS, "wrongkey");
    refused(&app, 1, &["app1", "no key was accepted"], |app| {
        let key = app.home().join("other");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
        assert!(keygen.status().unwrap().success());
        with_ssh_config(app, &dir().join("key").display().to_string(), key.to_str().unwrap());
    });
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn changed_host_key_is_refused() {
    let app = App::on(&APPS, "wronghost");
    refused(&app, 1, &["app2", "host key", "known_hosts"], |app| {
        let known = std::fs::read_to_string(dir().join("known_hosts")).unwrap();
        let key_of = |host: Host| {
            let line = known.lines().find(|line| line.starts_with(&format!("{} ", host.address())));
            line.unwrap().split_once(' ').unwrap().1.to_owned()
        };
        let changed = known.replace(&key_of(APPS[1]), &key_of(APPS[0]));
        let path = app.write("known_hosts", &changed);
        let real = dir().join("known_hosts").display().to_string();
        with_ssh_config(app, &real, path.to_str().unwrap());
    });
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unreachable_host_is_named() {
    let app = App::on(&APPS, "gone");
    refused(&app, 1, &["app3"], |app| {
        let net = std::env::var("SHIPIT_FLEET_NET").unwrap();
        with_ssh_config(app, &APPS[2].address(), &format!("{net}.250"));
    });
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn full_disk_changes_nothing() {
    let app = App::on(&APPS, "full");
    mount(APPS[1], "full", 8);
    let big = app.home().join("tree-v2");
    std::fs::create_dir_all(&big).unwrap();
    std::fs::write(big.join("too-much"), vec![7; 16_000_000]).unwrap();
    refused(&app, 1, &["app2"], |_| {});
    assert_eq!(app.releases(APPS[1]), 1, "the half of a release was left");
    unmount(APPS[1], "full");
}

/// Puts a small file system where an app is deployed to.
fn mount(host: Host, app: &str, megabytes: u32) {
    host.root(&format!(
        "mount -t tmpfs -o size={megabytes}m,mode=755,uid=$(id -u deploy),gid=$(id -g deploy) none /srv/{app}"
    ));
}

fn unmount(host: Host, app: &str) {
    host.root(&format!("systemctl stop {app}; umount /srv/{app}"));
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn read_only_directory_changes_nothing() {
    let app = App::on(&APPS, "readonly");
    mount(APPS[2], "readonly", 8);
    refused(&app, 1, &["app3"], |_| {
        APPS[2].root("mount -o remount,ro /srv/readonly");
    });
    unmount(APPS[2], "readonly");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn missing_sudo_rule_is_reverted_with_the_rule_named() {
    let app = App::on(&APPS, "nosudo");
    let run = refused(&app, 1, &["app1", "sudo"], |_| {
        APPS[0].root("rm /etc/sudoers.d/shipit-nosudo");
    });
    assert!(run.stderr.contains("hint:"), "{}", run.stderr);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn current_as_a_directory_is_refused() {
    let app = App::on(&APPS, "realdir");
    APPS[1].root("mkdir -p /srv/realdir/current/keep && chown -R deploy: /srv/realdir");
    app.deploy(&app.tarball("v1", &[])).ends(1).says(&["app2", "current", "state:"]);
    APPS[1].root("test -d /srv/realdir/current/keep");
    for host in [APPS[0], APPS[2]] {
        assert_eq!(app.current(host), "", "{} was switched", host.0);
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn missing_linked_file_is_refused() {
    let wish = Wish { top: r#"linked_files = ["config/master.key"]"#, ..Wish::default() };
    let app = App::with(&APPS, "nolink", &wish);
    app.deploy(&app.tarball("v1", &[])).ends(1).says(&["config/master.key", "state:"]);
    for host in APPS {
        assert_eq!(app.current(host), "", "{} was switched", host.0);
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn held_run_lock_exits_75() {
    let app = App::on(&APPS, "held");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let mut slow =
        app.command(&["deploy", "production", "--yes", "--artifact", &app.tarball("v2", &[])]);
    app.edit("[env]", "[hooks]\nstaged = [\"sleep 4\"]\n\n[env]");
    let mut first = slow.spawn().unwrap();
    crate::hosts::until(
        std::time::Duration::from_secs(10),
        "the first run holds the locks",
        || !APPS.iter().any(|&host| app.unlocked(host)),
    );
    app.deploy(&app.tarball("v3", &[])).ends(75).says(&["tester"]);
    app.shipit(&["prune", "production"]).ends(75);
    assert!(first.wait().unwrap().success());
    app.answers("v2", "hello");
}
