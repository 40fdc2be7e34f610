//! Unit files that come with the release, on a real systemd.

use std::fs;

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, SPARE};

const WEB: &str = "[unit]\nfile = \"deploy/NAME-web.service\"\n";
const TIMER: &str = "\n[services.job]\nfile = \"deploy/NAME-job.service\"\n\
                     \n[services.timer]\nfile = \"deploy/NAME-job.timer\"\n";

/// An app whose unit files come with its releases: `NAME-web.service`, and a timer with its job.
fn app(host: Host, name: &'static str, scope: &str) -> App {
    let provision: &[&str] = match scope {
        "user" => &["--scope", "user"],
        _ => &["--scope", "none", "--no-sudo"],
    };
    let wish = Wish { provision, health: "total = \"4s\"", ..Wish::default() };
    host.try_root(&format!(
        "for unit in web.service job.timer job.service; do \
             systemctl disable --now {name}-$unit; runuser -u deploy -- env \
             XDG_RUNTIME_DIR=/run/user/$(id -u deploy) systemctl --user disable --now {name}-$unit; \
         done; rm -rf /srv/{name}/* /srv/{name}/.shipit /etc/sudoers.d/*{name}"
    ));
    let app = App::with(&[host], name, &wish);
    if scope == "user" {
        // A user manager that starts now tries this one again and again, on the same port.
        host.root(&format!("{} disable --now {name}.service", systemctl(scope)));
    }
    let web = WEB.replace("[unit]", "[services.web]").replace("NAME", name);
    app.edit(&format!("[service]\nunit = \"{name}.service\"\n"), &web);
    app.edit("[health]", &format!("{}\n[health]", TIMER.replace("NAME", name)));
    if scope == "user" {
        app.edit(".service\"\n", ".service\"\nscope = \"user\"\n");
        app.edit(".timer\"\n", ".timer\"\nscope = \"user\"\n");
    }
    app
}

/// A build with its unit files; `more` are further lines of the web unit.
fn build(app: &App, version: &str, more: &str, marks: &[&str]) -> String {
    let (name, port) = (app.name, app.port());
    let user = if marks.contains(&"user") { "" } else { "User=deploy\n" };
    let target = if marks.contains(&"user") { "default" } else { "multi-user" };
    let tree = app.home().join(format!("tree-{version}/deploy"));
    fs::create_dir_all(&tree).unwrap();
    let unit = format!(
        "[Service]\n{user}WorkingDirectory=/srv/{name}/current\nEnvironment=PORT={port}\n\
         ExecStart=/srv/{name}/current/bin/serve\n{more}\n[Install]\nWantedBy={target}.target\n"
    );
    fs::write(tree.join(format!("{name}-web.service")), unit).unwrap();
    let job = "[Service]\nType=oneshot\nExecStart=/bin/true\n";
    fs::write(tree.join(format!("{name}-job.service")), job).unwrap();
    let timer = "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n";
    fs::write(tree.join(format!("{name}-job.timer")), timer).unwrap();
    app.tarball(version, marks)
}

/// Returns the state of a unit: `active enabled`.
fn state(app: &App, scope: &str, unit: &str) -> String {
    let (name, systemctl) = (app.name, systemctl(scope));
    let asked =
        format!("{systemctl} is-active {name}-{unit}; {systemctl} is-enabled {name}-{unit}");
    let said = app.hosts[0].try_root(&asked).stdout;
    String::from_utf8_lossy(&said).trim().replace('\n', " ")
}

fn systemctl(scope: &str) -> &'static str {
    match scope {
        "user" => {
            "runuser -u deploy -- env XDG_RUNTIME_DIR=/run/user/$(id -u deploy) systemctl --user"
        }
        _ => "systemctl",
    }
}

/// All units are there, run, and will after a boot.
#[track_caller]
fn all_run(app: &App, scope: &str) {
    for unit in ["web.service", "job.timer"] {
        assert_eq!(state(app, scope, unit), "active enabled", "{unit}");
    }
}

/// Nothing of the unit is left.
#[track_caller]
fn is_gone(app: &App, unit: &str) {
    let name = app.name;
    let find = format!("find /etc/systemd/system -name '{name}-{unit}'");
    assert_eq!(app.hosts[0].root(&find), "");
    assert!(state(app, "system", unit).starts_with("inactive"), "{unit}");
}

/// Pastes what `check` says about sudo until it says nothing more.
fn mend(app: &App, host: Host) {
    for _ in 0..4 {
        let said = app.shipit(&["check", "production"]).stdout;
        let fix = said.lines().find_map(|line| line.split_once("fix: on the host: `echo "));
        let Some((_, fix)) = fix else { return };
        host.put("/tmp/mend", &format!("echo {}", fix.split('`').next().unwrap()));
        host.root("sh /tmp/mend </dev/null");
    }
    panic!("check does not end: {}", app.shipit(&["check", "production"]).stdout);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn rules_that_unit_files_need_are_those_that_check_prints() {
    let (host, name) = (SPARE[1], "unitrule");
    let app = app(host, name, "system");
    let sick = build(&app, "v0", "", &["UNHEALTHY"]);
    let said = app.deploy(&sick).ends(1).stderr;
    assert!(said.contains("sudo does not let deploy run"), "{said}");
    mend(&app, host);
    let rule = |command: &str| format!("/usr/bin/systemctl {command}");
    let mut needed = vec![rule("daemon-reload")];
    for unit in ["web.service", "job.service", "job.timer"] {
        needed.push(rule(&format!("link /srv/{name}/current/deploy/{name}-{unit}")));
        for verb in ["restart", "stop", "reset-failed", "enable", "disable --now"] {
            needed.push(rule(&format!("{verb} {name}-{unit}")));
        }
    }
    let rules = host.root(&format!(
        "visudo -cqf /etc/sudoers.d/shipit-{name} && cat /etc/sudoers.d/shipit-{name}"
    ));
    let allowed =
        rules.lines().flat_map(|line| line.split_once("NOPASSWD: ").unwrap().1.split(", "));
    let mut allowed: Vec<_> = allowed.collect();
    allowed.sort_unstable();
    allowed.dedup();
    needed.sort_unstable();
    assert_eq!(allowed, needed);
    // A first release that is sick leaves nothing behind, and a good one then works.
    app.deploy(&sick).ends(1);
    for unit in ["web.service", "job.service", "job.timer"] {
        is_gone(&app, unit);
    }
    app.deploy(&build(&app, "v1", "", &[])).ends(0);
    all_run(&app, "system");
    host.try_root(&format!(
        "systemctl disable --now {name}-web.service {name}-job.timer {name}-job.service"
    ));
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unit_files_come_and_go_with_releases() {
    let (host, name) = (SPARE[0], "unitfile");
    let app = app(host, name, "system");
    mend(&app, host);
    app.deploy(&build(&app, "v1", "", &[])).ends(0);
    all_run(&app, "system");
    let first = host.root(&format!("readlink /srv/{name}/current"));
    // A unit file that changed is read before the service is restarted.
    app.deploy(&build(&app, "v2", "Environment=MARK=second\n", &[])).ends(0);
    let show = format!("systemctl show {name}-web.service -p Environment -p NeedDaemonReload");
    let shown = host.root(&show);
    assert!(shown.contains("MARK=second") && shown.contains("NeedDaemonReload=no"), "{shown}");
    let pid = host.root(&format!("systemctl show {name}-web.service -p MainPID --value"));
    assert!(host.root(&format!("tr '\\0' '\\n' </proc/{pid}/environ")).contains("MARK=second"));
    // A sick one brings the old one back.
    app.deploy(&build(&app, "v3", "Environment=MARK=third\n", &["UNHEALTHY"])).ends(1);
    assert!(host.root(&show).contains("MARK=second"));
    all_run(&app, "system");
    // One that systemd would not start is refused while nothing is live yet.
    let said = app.deploy(&build(&app, "v4", "ExecStart=bin/x\n", &[])).ends(1).stderr;
    assert!(said.contains("systemd would not take the unit files"), "{said}");
    assert!(said.contains(&format!("{name}-web.service")), "{said}");
    assert_eq!(app.version(host), "v2");
    // The timer goes with the release whose config has it no more, and comes back with the config.
    let timer = TIMER.replace("NAME", name);
    app.edit(&timer, "");
    app.deploy(&build(&app, "v5", "", &[])).ends(0);
    is_gone(&app, "job.timer");
    assert_eq!(state(&app, "system", "web.service"), "active enabled");
    app.edit("[health]", &format!("{timer}\n[health]"));
    let id = first.rsplit('/').next().unwrap();
    app.shipit(&["rollback", "production", "--yes", "--to", id]).ends(0);
    assert_eq!(app.version(host), "v1");
    all_run(&app, "system");
    app.deploy(&build(&app, "v6", "", &[])).ends(0);
    // systemd's own links may name a release that is gone: a boot starts all nevertheless.
    app.shipit(&["prune", "production", "--yes", "--keep", "1"]).ends(0);
    host.reboot();
    all_run(&app, "system");
    assert_eq!(app.version(host), "v6");
    host.root(&format!("test ! -e /srv/{name}/{first}"));
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unit_files_of_a_user_come_and_go_with_releases() {
    let (host, name, scope) = (APPS[1], "unituser", "user");
    let app = app(host, name, scope);
    app.deploy(&build(&app, "v1", "", &[scope])).ends(0);
    all_run(&app, scope);
    let said = app.deploy(&build(&app, "v2", "ExecStart=bin/x\n", &[scope])).ends(1).stderr;
    assert!(said.contains("systemd would not take the unit files"), "{said}");
    app.deploy(&build(&app, "v3", "Environment=MARK=third\n", &[scope])).ends(0);
    let systemctl = systemctl(scope);
    let show = format!("{systemctl} show {name}-web.service -p Environment");
    assert!(host.root(&show).contains("MARK=third"));
    let scoped = |text: &str| text.replace("\"\n", "\"\nscope = \"user\"\n");
    app.edit(&scoped(&TIMER.replace("NAME", name)), "");
    app.deploy(&build(&app, "v4", "", &[scope])).ends(0);
    assert!(state(&app, scope, "job.timer").starts_with("inactive"));
    assert_eq!(state(&app, scope, "web.service"), "active enabled");
    host.root(&format!("{systemctl} disable --now {name}-web.service"));
}
