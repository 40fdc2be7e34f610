//! Several services of one release: a web server, workers, a timer and a socket on one host, only
//! workers on another.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::app::{App, Wish};
use crate::hosts::{Host, SPARE, until};

/// The host with all services, and the one with workers only.
const ALL: Host = SPARE[0];
const WORKERS: Host = SPARE[1];

const WORKER: &str = r#"#!/bin/sh
cat VERSION >/srv/team/shared/worker-$1
if [ -e DIES ] && [ "$1" = 2 ] && [ "$(hostname)" = app5 ]; then sleep 1; exit 1; fi
while :; do sleep 1; done
"#;

const UNITS: [(&str, &str); 5] = [
    (
        "team-worker@.service",
        "[Service]\nUser=deploy\nWorkingDirectory=/srv/team/current\n\
         ExecStart=/srv/team/current/bin/worker %i\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "team-beat.service",
        "[Service]\nType=oneshot\nUser=deploy\nWorkingDirectory=/srv/team/current\n\
         ExecStart=/bin/cp -f VERSION /srv/team/shared/beat\n",
    ),
    (
        "team-beat.timer",
        "[Timer]\nOnActiveSec=1s\nOnUnitActiveSec=3s\nAccuracySec=100ms\n[Install]\n\
         WantedBy=timers.target\n",
    ),
    (
        "team-say.socket",
        "[Socket]\nListenStream=7001\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
    ),
    (
        "team-say@.service",
        "[Service]\nExecStart=/bin/cat /srv/team/current/VERSION\nStandardOutput=socket\n",
    ),
];

const SERVICES: &str = r#"[services.web]
unit = "team.service"
after = ["say"]
roles = ["web"]

[services.workers]
unit = "team-worker@{1..2}"

[services.beat]
unit = "team-beat.timer"
roles = ["web"]

[services.say]
unit = "team-say.socket"
roles = ["web"]
"#;

/// The app on both hosts, with all units in place and none that was started.
fn team() -> App {
    let wish = Wish { top: "keep_releases = 3", health: "soak = \"2s\"", ..Wish::default() };
    let app = App::with(&SPARE[..2], "team", &wish);
    app.edit("[service]\nunit = \"team.service\"\n", SERVICES);
    let http = format!("http = \"http://127.0.0.1:{}/up\"\n", app.port());
    app.edit(&http, "");
    app.edit("[ssh]", &format!("[[health.checks]]\n{http}roles = [\"web\"]\n\n[ssh]"));
    app.edit("\"app4\"", "{ address = \"app4\", roles = [\"web\"] }");
    for host in [ALL, WORKERS] {
        clear(host);
        for (name, text) in UNITS {
            host.put(&format!("/etc/systemd/system/{name}"), text);
        }
        host.root("systemctl daemon-reload; systemctl -q enable team-worker@1 team-worker@2");
    }
    ALL.root("systemctl -q enable team-beat.timer team-say.socket");
    WORKERS.root("systemctl -q disable team.service");
    app
}

/// Removes the units, the rules for sudo and the releases, which an earlier run may have left.
fn clear(host: Host) {
    host.root(
        "systemctl disable -q --now team team-beat.timer team-say.socket team-worker@1 \
         team-worker@2 2>/dev/null; rm -rf /etc/systemd/system/team-* /etc/sudoers.d/*team* \
         /srv/team/* /srv/team/.[a-z]*; systemctl -q enable team; \
         systemctl daemon-reload",
    );
}

fn build(app: &App, version: &str, marks: &[&str]) -> String {
    let bin = app.home().join(format!("tree-{version}/bin"));
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("worker"), WORKER).unwrap();
    fs::set_permissions(bin.join("worker"), fs::Permissions::from_mode(0o755)).unwrap();
    app.tarball(version, marks)
}

/// Returns the answer of the socket: the version of the live release.
fn said(host: Host) -> String {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect((host.address(), 7001)) {
        let _ = stream.read_to_string(&mut text);
    }
    text.trim().to_owned()
}

/// Every service runs this version, where it has to.
#[track_caller]
fn runs(app: &App, version: &str) {
    app.answers_on(ALL, version, "hello");
    until(Duration::from_secs(10), "the socket serves it", || said(ALL) == version);
    until(Duration::from_secs(10), "the timer has run it", || {
        ALL.root("cat /srv/team/shared/beat") == version
    });
    for host in [ALL, WORKERS] {
        assert_eq!(app.version(host), version, "{}", host.0);
        for worker in ["1", "2"] {
            let main = format!("$(systemctl show --value -p MainPID team-worker@{worker})");
            let file = format!("cat /proc/{main}/cwd/VERSION /srv/team/shared/worker-{worker}");
            assert_eq!(host.root(&file), format!("{version}{version}"), "{}", host.0);
        }
    }
}

/// The start of the socket, which no deploy may change.
fn socket_start() -> String {
    ALL.root("systemctl show -p ActiveEnterTimestampMonotonic team-say.socket")
}

/// Runs the commands that `check` proposes for sudo, on their hosts. Returns how many.
fn allow(app: &App) -> usize {
    let found = app.shipit(&["check", "production"]).stdout;
    let mut host = ALL;
    let mut count = 0;
    for line in found.lines() {
        if line.contains("app4") || line.contains("app5") {
            host = if line.contains("app5") { WORKERS } else { ALL };
        }
        if let Some((_, command)) = line.split_once("`echo 'deploy ALL=") {
            let command = command.rsplit_once('`').unwrap().0;
            host.root(&format!("echo 'deploy ALL={command}"));
            count += 1;
        }
    }
    count
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn services_of_two_hosts_deploy_revert_and_boot_together() {
    let app = team();
    // The hosts have the workers in common, so their findings may stand together.
    let proposed: Vec<_> = (0..3).map(|_| allow(&app)).collect();
    assert_eq!(proposed.last(), Some(&0), "{proposed:?}");
    app.shipit(&["check", "production"]).ends(0);

    let first = app.deploy(&build(&app, "v1", &[])).ends(0);
    let told = "seen running: workers, web; active: beat, say";
    assert!(first.stderr.contains(told), "{}", first.stderr);
    runs(&app, "v1");
    let socket = socket_start();
    app.deploy(&build(&app, "v2", &[])).ends(0);
    runs(&app, "v2");

    // One worker of one host dies after a second: all is reverted on both.
    let sick = app.deploy(&build(&app, "v3", &["DIES"])).ends(1);
    sick.says(&["app5: team-worker@2.service did not stay up", "state:"]);
    runs(&app, "v2");

    app.shipit(&["rollback", "production", "--yes"]).ends(0);
    runs(&app, "v1");
    assert_eq!(socket_start(), socket, "the socket was restarted");
    let status = app.shipit(&["status", "production"]).ends(0).stdout;
    for line in ["web: team.service is active", "say: team-say.socket is active (listening)"] {
        assert!(status.contains(line), "{status}");
    }
    app.shipit(&["verify", "production"]).ends(0);

    ALL.reboot();
    runs(&app, "v1");
    app.shipit(&["prune", "production", "--keep", "1", "--yes"]).ends(0);
    // The release that was rolled back stays; it may be wanted again.
    assert_eq!([ALL, WORKERS].map(|host| app.releases(host)), [2, 2]);
    runs(&app, "v1");
    for host in [ALL, WORKERS] {
        clear(host);
    }
}
