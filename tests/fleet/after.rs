//! After the fact, on hosts with systemd: what was touched is found, and a lock can be taken from
//! a living run without harm.

use std::time::Duration;

use crate::app::{App, Wish};
use crate::hosts::{APPS, until};

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn verify_names_the_file_changed_on_one_host() {
    let app = App::on(&APPS, "drift");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let clean = app.shipit(&["verify", "production"]).ends(0).stdout;
    assert!(clean.starts_with("ok "), "{clean}");
    assert!(clean.contains("(live) is as it was released, and is "), "{clean}");

    APPS[1].root("cd /srv/drift/current/ && echo >>bin/serve && echo X=1 >>.env");
    let found = app.shipit(&["verify", "production"]).ends(1).stdout;
    let (good, bad) = found.split_once("\ndrift ").unwrap();
    assert!(good.contains("app1, app3:"), "{found}");
    assert!(bad.contains("app2:") && bad.contains("bin/serve: changed"), "{found}");
    assert!(bad.contains(".env: changed") && !found.contains("hello"), "{found}");

    let next = app.deploy(&app.tarball("v2", &[])).ends(0);
    let warned = next.says(&["is not as it was released: .env, bin/serve"]).stderr;
    assert!(!warned.contains("app1 | warning"), "{warned}");
    app.shipit(&["verify", "production"]).ends(0);

    APPS[2].root("systemctl stop drift");
    let stopped = app.shipit(&["verify", "production"]).ends(1).stdout;
    assert!(stopped.contains("app3:") && stopped.contains("is not active"), "{stopped}");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn unlock_ends_a_live_run_and_every_host_reverts() {
    let wish = Wish { health: "soak = \"60s\"", ..Wish::default() };
    let app = App::with(&APPS, "unlock", &wish);
    app.edit("soak = \"60s\"", "soak = \"0s\"");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    app.edit("soak = \"0s\"", "soak = \"60s\"");
    let next = app.tarball("v2", &[]);
    let mut child = app.start_deploy(&next);
    until(Duration::from_secs(20), "all hosts are undecided on v2", || {
        APPS.iter().all(|&host| app.version(host) == "v2")
    });
    app.answers("v2", "hello");
    app.shipit(&["unlock", "production"]).ends(2).says(&["held by tester on ", "is alive"]);
    let status = app.shipit(&["status", "production"]).ends(0).stdout;
    assert!(status.contains("locked by: tester on ") && !status.contains("stopped:"), "{status}");

    app.shipit(&["unlock", "production", "--yes"]).ends(0).says(&["unlocked on "]);
    app.answers("v1", "hello");
    let mut code = None;
    until(Duration::from_mins(1), "the run has noticed", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(1));
    for host in APPS {
        assert!(app.unlocked(host) && app.version(host) == "v1", "{}", host.0);
        assert!(app.ledger(host).contains("\"reason\":\"terminated\""), "{}", host.0);
    }
    let told = app.shipit(&["history", "production"]).ends(0).stdout;
    assert!(told.contains("reverted") && told.contains("terminated"), "{told}");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn locked_stage_refuses_every_command() {
    let app = App::on(&APPS, "locked");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    app.shipit(&["lock", "production", "-m", "audit"]).ends(0).says(&["locked on "]);
    let next = app.tarball("v2", &[]);
    app.deploy(&next).ends(75).says(&["locked by tester on ", ": audit, since "]);
    app.shipit(&["rollback", "production"]).ends(75).says(&["`shipit unlock production`"]);
    app.shipit(&["prune", "production"]).ends(75);
    let status = app.shipit(&["status", "production"]).ends(0).stdout;
    // Hosts that went live a second apart are not shown together.
    let times = |words: &str| status.matches(words).count();
    assert!(["app1", "app2", "app3"].iter().all(|host| status.contains(host)), "{status}");
    assert!(times("locked by: tester") == times("live:"), "{status}");
    assert!(times(": audit, since ") == times("live:"), "{status}");
    app.shipit(&["unlock", "production", "--yes"]).ends(0);
    app.deploy(&next).ends(0);
    app.answers("v2", "hello");
}

/// Only root may see where a worker of the service's user works, but everybody when it began.
#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn prune_keeps_a_release_that_a_worker_may_run_from() {
    let wish = Wish {
        provision: &["--run-as", "worker"],
        top: "keep_releases = 1",
        tables: "mode = \"0640\"\ngroup = \"worker\"\n",
        ..Wish::default()
    };
    let host = APPS[0];
    let app = App::with(&[host], "workers", &wish);
    // A restart leaves workers alone, as those that drain their connections.
    host.root(
        "mkdir -p /etc/systemd/system/workers.service.d && printf '[Service]\\nKillMode=process\\n' \
         >/etc/systemd/system/workers.service.d/drain.conf && systemctl daemon-reload",
    );
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let first = host.root("cd /srv/workers/current && pwd -P");
    host.root(
        "group=$(systemctl show -p ControlGroup --value workers); cd /srv/workers/current/ && \
         setpriv --reuid=worker --clear-groups sleep 1000 >/dev/null 2>&1 </dev/null & \
         echo $! >/tmp/workers.pid; echo $! >/sys/fs/cgroup/$group/cgroup.procs",
    );
    app.deploy(&app.tarball("v2", &[])).ends(0);
    // A release that was live within a minute of the start of the main process counts too.
    std::thread::sleep(Duration::from_secs(65));
    app.deploy(&app.tarball("v3", &[])).ends(0);
    app.shipit(&["prune", "production"]).ends(0);
    host.root(&format!("test -d {first}"));
    host.root("kill $(cat /tmp/workers.pid); rm /tmp/workers.pid");
    until(Duration::from_secs(10), "its release is pruned", || {
        app.shipit(&["prune", "production"]).ends(0);
        !host.try_root(&format!("test -d {first}")).status.success()
    });
    host.root("rm -r /etc/systemd/system/workers.service.d && systemctl daemon-reload");
}
