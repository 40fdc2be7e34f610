//! Two hosts behind a balancer, one batch each: `before_switch` takes a host out, `committed` and
//! `reverted` bring it back. Whatever happens, at most one host is out at a time, and each comes
//! back exactly once.

use std::time::Duration;

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, until};

/// The balancer's list is a log on each host, with times: all hosts have one clock.
const HOOKS: Wish = Wish {
    provision: &[],
    top: "",
    tables: r#"
[hooks]
before_switch = [
    { run = "echo out $(date +%s%N) >>$SHIPIT_DEPLOY_TO/balancer", timeout = "5s" },
    "test ! -e $SHIPIT_DEPLOY_TO/slow || sleep 4",
]
switched = ["cat VERSION >$SHIPIT_DEPLOY_TO/switched"]
committed = ["echo in $(date +%s%N) >>$SHIPIT_DEPLOY_TO/balancer"]
reverted = [
    "echo in $(date +%s%N) >>$SHIPIT_DEPLOY_TO/balancer",
    "echo \"$SHIPIT_COMMAND: $SHIPIT_FAILED\" >$SHIPIT_DEPLOY_TO/cause",
]

[rollout]
batch = 1
on_failure = "revert-batch"

[timeouts]
deadline = "5s"
"#,
    service: "",
    health: "",
};

/// When a host was out of the balancer: from and until.
type Absences = Vec<[u64; 2]>;

#[track_caller]
fn absences(app: &App, host: Host) -> Absences {
    let log = host.root(&format!("cat /srv/{}/balancer", app.name));
    let lines: Vec<_> = log.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let pair = |pair: &[(&str, &str)]| {
        assert_eq!([pair[0].0, pair[1].0], ["out", "in"], "{}: {log}", host.0);
        [pair[0].1.parse().unwrap(), pair[1].1.parse().unwrap()]
    };
    assert_eq!(lines.len() % 2, 0, "{} is out: {log}", host.0);
    lines.chunks(2).map(pair).collect()
}

/// Fails unless each host was out this often, and never with the other one.
#[track_caller]
fn out_alone(app: &App, hosts: [Host; 2], times: [usize; 2]) {
    let [first, second] = hosts.map(|host| absences(app, host));
    assert_eq!([first.len(), second.len()], times);
    for [from, to] in &first {
        let meets = |[out, back]: &&[u64; 2]| out < to && from < back;
        assert_eq!(second.iter().find(meets), None, "both were out: {first:?} {second:?}");
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn hosts_leave_the_balancer_one_by_one_and_come_back() {
    let hosts = [APPS[0], APPS[1]];
    let app = App::with(&hosts, "balanced", &HOOKS);
    for host in hosts {
        host.root("rm -f /srv/balanced/balancer");
    }
    app.deploy(&app.tarball("v1", &[])).ends(0);
    app.deploy(&app.tarball("v2", &[])).ends(0);
    app.answers("v2", "hello");
    assert_eq!(hosts[0].root("cat /srv/balanced/switched"), "v2");
    out_alone(&app, hosts, [2, 2]);

    // The first batch fails and is reverted; the second is never taken out.
    app.deploy(&app.tarball("v3", &["CRASH"])).ends(1);
    app.answers("v2", "hello");
    let cause = hosts[0].root("cat /srv/balanced/cause");
    assert!(cause.starts_with("deploy: balanced.service "), "{cause}");
    out_alone(&app, hosts, [3, 2]);

    app.shipit(&["rollback", "production", "--yes"]).ends(0);
    app.answers("v1", "hello");
    out_alone(&app, hosts, [4, 3]);

    killed_while_a_host_is_out(&app, hosts);
    app.deploy(&app.tarball("v5", &[])).ends(0);
    app.answers("v5", "hello");
    out_alone(&app, hosts, [6, 4]);
}

/// The deployer dies while `before_switch` runs: the host itself reverts, and comes back.
fn killed_while_a_host_is_out(app: &App, hosts: [Host; 2]) {
    hosts[0].root("touch /srv/balanced/slow");
    let mut child = app.start_deploy(&app.tarball("v4", &[]));
    let is_out = "tail -n 1 /srv/balanced/balancer | grep -q out";
    until(Duration::from_secs(30), "the first host is out", || {
        hosts[0].try_root(is_out).status.success()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    until(Duration::from_secs(15), "the first host is back", || {
        !hosts[0].try_root(is_out).status.success() && app.unlocked(hosts[0])
    });
    hosts[0].root("rm /srv/balanced/slow");
    app.answers("v1", "hello");
    let cause = hosts[0].root("cat /srv/balanced/cause");
    assert_eq!(cause, "deploy: end of input");
    out_alone(app, hosts, [5, 3]);
    let ledger = app.ledger(hosts[0]);
    assert!(ledger.lines().last().unwrap().contains(r#""event":"reverted""#), "{ledger}");
}
