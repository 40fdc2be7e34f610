//! Health checks on real hosts, and units that look healthy but do not run the release: each is
//! reverted and named.

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, SPARE};

/// Deploys v1, then v2 after `bad` has broken it. The deploy must revert it and print `words`.
#[track_caller]
fn caught(app: &App, bad: impl FnOnce() -> String, words: &[&str]) -> String {
    app.deploy(&app.tarball("v1", &[])).ends(0);
    caught_later(app, bad, words)
}

/// Deploys v2 after `bad` has broken it, while v1 is live. The deploy must revert it and print
/// `words`.
#[track_caller]
fn caught_later(app: &App, bad: impl FnOnce() -> String, words: &[&str]) -> String {
    let before: Vec<_> = app.hosts.iter().map(|&host| app.current(host)).collect();
    let run = app.deploy(&bad()).ends(1).says(words).says(&["state:"]);
    let after: Vec<_> = app.hosts.iter().map(|&host| app.current(host)).collect();
    assert_eq!(after, before, "{}", run.stderr);
    app.answers("v1", "hello");
    run.stderr
}

/// The unit is reloaded, which for it means nothing, and may be.
fn reloads_nothing(app: &App, host: Host) {
    drop_in(app, host, "ExecReload=/bin/true");
    let unit = format!("{}.service", app.name);
    let rule = format!("deploy ALL=(root) NOPASSWD: /usr/bin/systemctl reload-or-restart {unit}\n");
    host.put(&format!("/etc/sudoers.d/reload-{}", app.name), &rule);
}

/// Lays a drop-in over the app's unit.
fn drop_in(app: &App, host: Host, lines: &str) {
    let dir = format!("/etc/systemd/system/{}.service.d", app.name);
    host.root(&format!("mkdir -p {dir}"));
    host.put(&format!("{dir}/other.conf"), &format!("[Service]\n{lines}\n"));
    host.root("systemctl daemon-reload");
}

fn no_drop_in(app: &App, host: Host) {
    host.root(&format!(
        "rm -r /etc/systemd/system/{}.service.d && systemctl daemon-reload",
        app.name
    ));
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn http_check_judges_status_body_header_and_name() {
    let wish = Wish {
        health: r#"total = "3s"

[[health.checks]]
http = "http://127.0.0.1:PORT/asked"
host = "todo.example.net"
status = 203
body = "host=todo.example.net key=open"
headers = { X-Key = { env = "USER" } }
"#,
        ..Wish::default()
    };
    let app = App::with(&APPS, "weigh", &wish);
    app.edit("PORT", &app.port().to_string());
    // A value that stands in deploy.toml as a whole is no secret.
    app.edit("key=open", "key=test");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    app.edit("status = 203", "status = 200");
    caught_later(
        &app,
        || app.tarball("v2", &[]),
        &["/asked answered 203, ", "it said: host=todo.example.net key=***"],
    );
    app.edit("status = 200", "status = \"2xx\"");
    app.edit("key=test", "key=other");
    let words = ["answered 203 without \"host=todo.example.net key=other\" in its body, "];
    caught_later(&app, || app.tarball("v3", &[]), &words);
    app.edit("key=other", "key=test");
    app.deploy(&app.tarball("v4", &[])).ends(0);
    app.answers("v4", "hello");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn tcp_and_command_checks_follow_roles() {
    let wish = Wish {
        health: r#"total = "3s"
tcp = "127.0.0.1:PORT"

[[health.checks]]
command = "test ! -e UNHEALTHY || { echo it is sick; exit 4; }"
roles = ["web"]

[[health.checks]]
tcp = "127.0.0.1:1"
roles = ["db"]
"#,
        ..Wish::default()
    };
    let app = App::with(&APPS[..2], "asks", &wish);
    app.edit("http = ", "# http = ");
    app.edit("PORT", &app.port().to_string());
    app.edit("hosts = [", "hosts = [{ address = \"app1\", roles = [\"web\"] }, \"app2\"] # ");
    app.edit(
        "[stages.production]",
        "[stages.other]\nhosts = [{ address = \"app2\", roles = [\"db\"] }]\n[stages.production]",
    );
    let words = [
        "asks.service was not healthy within 3s",
        "`test ! -e UNHEALTHY || { echo it is sick; exit 4; }` exited with code 4, ",
        "it said: it is sick",
        "the journal of asks.service",
    ];
    caught(&app, || app.tarball("v2", &["UNHEALTHY"]), &words);
    app.edit("roles = [\"db\"]\n\n", "\n");
    let words = ["TCP 127.0.0.1:1 did not answer: the server would not connect to 127.0.0.1:1"];
    caught_later(&app, || app.tarball("v3", &[]), &words);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn forbidden_forwarding_makes_the_host_run_the_check() {
    let host = SPARE[0];
    // Long enough for a second try on a busy machine, which the message counts.
    let wish = Wish { health: "total = \"6s\"\ntcp = \"127.0.0.1:PORT\"", ..Wish::default() };
    let app = App::with(&SPARE[..1], "forbids", &wish);
    app.edit("PORT", &app.port().to_string());
    host.put("/etc/ssh/sshd_config.d/forbid.conf", "AllowTcpForwarding no\n");
    host.root("systemctl reload ssh");
    let words = ["/up answered 500, ", "it said: broken", "the journal of forbids.service"];
    caught(&app, || app.tarball("v2", &["UNHEALTHY"]), &words);
    // A host with nothing to ask with says so at once.
    host.root("mv /usr/bin/curl /usr/bin/curl.away");
    let words = [
        "the health of forbids.service could not be checked",
        "the server forbids forwarding, and ",
        "install curl on the host",
    ];
    caught_later(&app, || app.tarball("v3", &[]), &words);
    host.root("mv /usr/bin/curl.away /usr/bin/curl");
    host.root("rm /etc/ssh/sshd_config.d/forbid.conf && systemctl reload ssh");
    app.deploy(&app.tarball("v4", &[])).ends(0);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn crash_loop_shows_the_journal() {
    let app = App::on(&APPS, "crashing");
    let words = [
        "crashing.service did not stay up",
        "the journal of crashing.service since the restart:",
        "this version crashes at once",
    ];
    let said = caught(&app, || app.tarball("v2", &["CRASH"]), &words);
    assert!(!said.contains("within 30s"), "nobody waited for a unit that is down: {said}");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unreadable_journal_is_explained() {
    let wish = Wish { provision: &["--run-as", "silent"], ..Wish::default() };
    let app = App::with(&SPARE[..1], "silent", &wish);
    app.edit("[env]\n", "[env]\nmode = \"0640\"\ngroup = \"silent\"\n");
    SPARE[0].root("gpasswd -d deploy systemd-journal");
    let words =
        ["silent.service did not stay up", "deploy may not read the journal of silent.service"];
    caught(&app, || app.tarball("v2", &["CRASH"]), &words);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unit_still_running_old_code_is_named() {
    let wish = Wish { service: "action = \"reload-or-restart\"", ..Wish::default() };
    let app = App::with(&APPS, "stale", &wish);
    for host in APPS {
        reloads_nothing(&app, host);
    }
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let old = app.current(APPS[0]).replace("releases/", "");
    let told = format!("its main process is in /srv/stale/releases/{old}, which belongs to {old}");
    caught_later(&app, || app.tarball("v2", &[]), &["stale.service runs another release", &told]);
    for host in APPS {
        no_drop_in(&app, host);
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn old_code_of_another_user_is_inferred() {
    let wish = Wish {
        provision: &["--run-as", "hidden"],
        service: "action = \"reload-or-restart\"",
        tables: "mode = \"0640\"\ngroup = \"hidden\"\n",
        ..Wish::default()
    };
    let app = App::with(&APPS, "hidden", &wish);
    for host in APPS {
        reloads_nothing(&app, host);
    }
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let words = [
        "hidden.service may still run what ran before",
        "a reload keeps its main process, and no process of it is in the release",
    ];
    caught_later(&app, || app.tarball("v2", &[]), &words);
    for host in APPS {
        no_drop_in(&app, host);
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unit_running_from_elsewhere_is_named() {
    let wish = Wish { service: "proof = \"inferred\"", ..Wish::default() };
    let app = App::with(&APPS, "stray", &wish);
    app.deploy(&app.tarball("v1", &[])).ends(0);
    for host in APPS {
        host.root("mkdir -p /opt/stray && cp -a /srv/stray/current/. /opt/stray/");
        drop_in(
            &app,
            host,
            "WorkingDirectory=/opt/stray\nExecStart=\nExecStart=/opt/stray/bin/serve",
        );
    }
    let words = [
        "stray.service may not run the release",
        "its main process is in /opt/stray and runs /usr/bin/python3",
        "it is restarted, and `proof` asks for inferred",
        "hint:",
    ];
    caught_later(&app, || app.tarball("v2", &[]), &words);
    for host in APPS {
        no_drop_in(&app, host);
        host.root("rm -r /opt/stray");
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unit_file_changed_on_disk_is_warned_of() {
    let app = App::on(&SPARE[..1], "unread");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    SPARE[0].root("touch -d tomorrow /etc/systemd/system/unread.service");
    let words = ["unread.service runs with its old unit file", "systemctl daemon-reload"];
    app.deploy(&app.tarball("v2", &[])).ends(0).says(&words);
    SPARE[0].root("touch /etc/systemd/system/unread.service && systemctl daemon-reload");
    let said = app.deploy(&app.tarball("v3", &[])).ends(0);
    assert!(!said.stderr.contains("old unit file"), "{}", said.stderr);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn bind_mounted_release_is_proven() {
    let app = App::on(&SPARE[..1], "bound");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    SPARE[0].root("mkdir -p /opt/bound");
    drop_in(
        &app,
        SPARE[0],
        "BindReadOnlyPaths=/srv/bound/current:/opt/bound\nWorkingDirectory=/opt/bound\n\
         ExecStart=\nExecStart=/opt/bound/bin/serve",
    );
    app.deploy(&app.tarball("v2", &[])).ends(0).says(&["seen running"]);
    app.answers("v2", "hello");
    no_drop_in(&app, SPARE[0]);
}
