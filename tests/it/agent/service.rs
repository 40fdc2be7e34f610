//! Restarts and reverts of services, on a host whose systemctl and sudo are scripts.

use shipit::deploy::health::{ProofError, ProofRule, prove};
use shipit::model::service::{Proof, Service, Unit};
use shipit::remote::order::{NOT_REVERTED, PARTLY};

use crate::support::services::service;

use super::*;

const BACK: &str = "releases/20260821090000";

/// A systemd of one unit: `unit` holds what `show` says of it; `on-restart` and `on-stop` are
/// scripts that see which release is live. Every start is another one.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/.." || exit 1
live=$(readlink srv/current)
shift
start() {
    count=$(($(cat starts) + 1))
    echo $count >starts
    printf 'LoadState=loaded\nActiveState=active\nInvocationID=i%s\nExecMainStartTimestampMonotonic=%s\nMainPID=0\n' \
        $count $count >unit
}
case $1 in
show) cat unit ;;
restart | reload-or-restart | stop) echo "$1 on ${live:-nothing}" >>verbs; . "./on-$1" ;;
esac
"#;

/// A host with that systemd. `unit` is what its unit is like before.
fn host_with(unit: &str, restart: &str, stop: &str) -> (Host, Arc<LocalSession>) {
    let host = Host::new("dash");
    let write = |name: &str, text: &str| fs::write(host.dir.path().join(name), text).unwrap();
    write("starts", "1");
    write("unit", unit);
    write("on-restart", restart);
    write("on-reload-or-restart", restart);
    write("on-stop", stop);
    let session = host.session_with(&[("systemctl", SYSTEMCTL)]);
    (host, session)
}

fn hello(host: &Host, action: Action) -> Hello {
    Hello { services: vec![unit(Scope::User, action)], ..host.hello("run000000001", "") }
}

const RUNS: &str = "LoadState=loaded\nActiveState=active\nInvocationID=i1\nExecMainStartTimestampMonotonic=1\nMainPID=0\n";
const FAILED: &str = "LoadState=loaded\nActiveState=failed\nInvocationID=i1\nExecMainStartTimestampMonotonic=1\nMainPID=0\n";
const ABSENT: &str = "LoadState=not-found\nActiveState=inactive\nMainPID=0\n";
/// As before version 232.
const NAMELESS: &str =
    "LoadState=loaded\nActiveState=active\nExecMainStartTimestampMonotonic=1\nMainPID=0\n";

/// Activates; gives the code, the last line, and what was done to the unit. `first`: nothing was
/// live.
async fn activated(host: &Host, session: Arc<LocalSession>, action: Action, first: bool) -> String {
    let mut order = activation();
    if first {
        fs::remove_file(host.root().join("current")).unwrap();
        order.back = String::new();
    }
    let (agent, _) = Agent::open(session, hello(host, action)).await.unwrap();
    let answer = agent.ask(&Order::Activate(Box::new(order))).await.unwrap();
    let live = fs::read_link(host.root().join("current")).ok();
    assert_eq!(live.map(|live| live.display().to_string()), (!first).then(|| BACK.to_owned()));
    let verbs = fs::read_to_string(host.dir.path().join("verbs")).unwrap_or_default();
    let last = answer.text.trim_end().lines().next_back().unwrap_or_default().to_owned();
    format!("{} {last}\n{verbs}", answer.code)
}

#[tokio::test]
async fn restart_refused_by_sudo_leaves_what_ran_before() {
    for unit in [RUNS, NAMELESS] {
        let (host, session) = host_with(unit, "exit 1", "exit 1");
        let seen = activated(&host, session, Action::Restart, false).await;
        assert!(seen.starts_with(&format!("{REVERTED} ")), "{seen}");
        assert!(seen.ends_with(&format!("\nrestart on releases/{ID}\n")), "{seen}");
    }
}

#[tokio::test]
async fn unit_that_was_stopped_and_cannot_start_is_not_reverted() {
    let (host, session) = host_with(RUNS, "sed -i s/=active/=failed/ unit; exit 1", "exit 1");
    let seen = activated(&host, session, Action::Restart, false).await;
    assert!(seen.starts_with(&format!("{NOT_REVERTED} ")), "{seen}");
    // Nobody knows what a failed reload did.
    let (host, session) = host_with(RUNS, "exit 1", "exit 1");
    let seen = activated(&host, session, Action::ReloadOrRestart, false).await;
    assert!(seen.starts_with(&format!("{NOT_REVERTED} ")), "{seen}");
}

#[tokio::test]
async fn starts_of_the_old_release_are_forgotten_where_they_may_have_reached_the_limit() {
    let crashed = format!("{RUNS}NRestarts=4\n");
    let sound = format!("{RUNS}NRestarts=0\n");
    let forgotten = format!("reset-failed on releases/{ID}\nrestart on releases/{ID}\n");
    let restarted = format!("restart on releases/{ID}\n");
    for (unit, expected) in
        [(FAILED, &forgotten), (&crashed, &forgotten), (&sound, &restarted), (RUNS, &restarted)]
    {
        let (host, session) = host_with(unit, "start", "exit 1");
        let logged = SYSTEMCTL
            .replace("show) ", "reset-failed) echo \"reset-failed on $live\" >>verbs ;;\nshow) ");
        fs::write(host.dir.path().join("bin/systemctl"), logged).unwrap();
        let (agent, _) = Agent::open(session, hello(&host, Action::Restart)).await.unwrap();
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE);
        assert_eq!(&fs::read_to_string(host.dir.path().join("verbs")).unwrap(), expected);
    }
}

#[tokio::test]
async fn refused_restart_of_a_unit_that_had_crashed_once_is_reverted() {
    let unit = format!("{RUNS}NRestarts=1\n");
    let (host, session) =
        host_with(&unit, "sed -i s/NRestarts=1/NRestarts=0/ unit; exit 1", "exit 1");
    let seen = activated(&host, session, Action::Restart, false).await;
    assert!(seen.starts_with(&format!("{REVERTED} ")), "{seen}");
}

#[tokio::test]
async fn unit_that_did_not_run_before_may_stay_down() {
    let (host, session) = host_with(FAILED, "exit 1", "exit 1");
    let seen = activated(&host, session, Action::Restart, false).await;
    assert!(
        seen.starts_with(&format!("{PARTLY} todo.service does not run, as before\n")),
        "{seen}"
    );
    // A unit that is not there, of a first deploy: nothing was live, and nothing needs attention.
    let (host, session) = host_with(ABSENT, "echo Unit not found.; exit 5", "exit 5");
    let seen = activated(&host, session, Action::Restart, true).await;
    assert!(seen.starts_with(&format!("{REVERTED} ")), "{seen}");
    assert!(seen.ends_with("stop on nothing\n"), "{seen}");
}

#[tokio::test]
async fn unit_that_ran_before_the_first_deploy_runs_again() {
    // It cannot serve the release, and can what was there before.
    let restart = "start; [ -z \"$live\" ] || { sed -i s/=active/=failed/ unit; exit 1; }";
    let (host, session) = host_with(RUNS, restart, "exit 1");
    let seen = activated(&host, session, Action::Restart, true).await;
    assert!(seen.starts_with(&format!("{REVERTED} ")), "{seen}");
    assert!(seen.ends_with("\nrestart on nothing\n"), "{seen}");
    let unit = fs::read_to_string(host.dir.path().join("unit")).unwrap();
    assert!(unit.contains("ActiveState=active"), "{unit}");
}

#[tokio::test]
async fn process_that_stays_in_the_reverted_release_fails_the_revert() {
    // The process stays in the release that was live when it was first started.
    let main = format!("cd srv/releases/{ID} && exec sleep 60");
    let restart = format!(
        "start; [ -s main ] || {{ ({main}) >/dev/null 2>&1 & echo $! >main; }}; \
         sed -i \"s/MainPID=.*/MainPID=$(cat main)/\" unit; [ \"$live\" != releases/{ID} ]"
    );
    let (host, session) = host_with(RUNS, &restart, "exit 1");
    let seen = activated(&host, session, Action::Restart, false).await;
    let main = fs::read_to_string(host.dir.path().join("main")).unwrap();
    Command::new("kill").arg(main.trim()).status().unwrap();
    assert!(seen.starts_with(&format!("{NOT_REVERTED} ")), "{seen}");
    assert!(host.ledger().contains("stuck"), "{}", host.ledger());
}

under_every_shell! {
    async fn commands_of_the_service_and_reverted_hooks_get_the_variables(shell: &str) {
        let host = Host::new(shell);
        let out = host.dir.path().join("out");
        let tell = |what: &str| {
            format!(
                "echo \"{what} $SHIPIT_RELEASE|${{SHIPIT_RELEASE_PATH##*/}}|$SHIPIT_REVERTED_RELEASE|\
                 $SHIPIT_HOST|${{PWD##*/}}\" >>{}",
                out.display()
            )
        };
        let mut hello = host.hello("run000000001", &tell("restart"));
        if let ServiceKind::Command { stop, .. } = &mut hello.services[0].what {
            *stop = Some(tell("stop"));
        }
        let (agent, _) = Agent::open(host.session(), hello).await.unwrap();
        let mut order = activation();
        let reverted = |command: &str| agent_hook(HookPlace::Reverted, command);
        order.hooks = vec![reverted(&tell("reverted")), reverted("echo bad; exit 3")];
        let activate = Order::Activate(Box::new(order.clone()));
        assert_eq!(agent.ask(&activate).await.unwrap().code, DONE, "{shell}");
        let answer = agent.ask(&revert()).await.unwrap();
        assert_eq!(answer.code, PARTLY, "{shell}: {}", answer.text);
        let failed = "bad\n\nthe reverted hook `echo bad; exit 3` exited with code 3\n\
                      the reverted hook `echo bad; exit 3` failed\n";
        assert_eq!(answer.text, failed, "{shell}");
        let old = "20260821090000";
        let host_is = "it's one\n\\ of two";
        let seen = fs::read_to_string(&out).unwrap();
        let expected = format!(
            "restart {ID}|{ID}||{host_is}|{ID}\nrestart {old}|{old}|{ID}|{host_is}|{old}\n\
             reverted {old}|{old}|{ID}|{host_is}|{old}\n"
        );
        assert_eq!(seen, expected, "{shell}");

        fs::remove_file(&out).unwrap();
        fs::remove_file(host.root().join("current")).unwrap();
        (order.back, order.hooks) = (String::new(), Vec::new());
        let activate = Order::Activate(Box::new(order));
        assert_eq!(agent.ask(&activate).await.unwrap().code, DONE, "{shell}");
        let answer = agent.ask(&revert()).await.unwrap();
        assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
        let seen = fs::read_to_string(&out).unwrap();
        assert!(seen.ends_with(&format!("\nstop ||{ID}|{host_is}|srv\n")), "{shell}: {seen}");
    }
}

#[tokio::test]
async fn revert_by_the_agent_runs_the_reverted_hooks() {
    let host = Host::new("dash");
    let (agent, _) = host.open("run000000001", "true").await;
    let mut order = activation();
    let out = format!("echo $SHIPIT_RELEASE >{}/out", host.dir.path().display());
    order.hooks = vec![agent_hook(HookPlace::Reverted, &out)];
    assert_eq!(agent.ask(&Order::Activate(Box::new(order))).await.unwrap().code, DONE);
    drop(agent);
    host.reverts(Duration::from_secs(20)).await;
    let out = host.dir.path().join("out");
    let end = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&out).unwrap_or_default() != "20260821090000\n" {
        assert!(Instant::now() < end, "the hook did not run");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn process_in_the_release_is_seen_by_device_and_inode() {
    let (host, session) = host_with(RUNS, "start", "exit 0");
    let release = host.root().join("releases").join(ID);
    fs::create_dir(release.join("bin")).unwrap();
    let mut main =
        Command::new("sleep").arg("60").current_dir(release.join("bin")).spawn().unwrap();
    let unit = RUNS.replace("MainPID=0", &format!("MainPID={}", main.id()));
    fs::write(host.dir.path().join("unit"), unit).unwrap();
    let (agent, _) = Agent::open(session, hello(&host, Action::Restart)).await.unwrap();
    let inside = agent.judge(ID.parse().unwrap()).await.unwrap()[0].inside;
    let elsewhere = agent.judge("20260821090000".parse().unwrap()).await.unwrap()[0].inside;
    main.kill().unwrap();
    main.wait().unwrap();
    assert_eq!((inside, elsewhere), (true, false));
}

#[tokio::test]
async fn start_of_a_nameless_unit_is_proved_by_its_time() {
    let current = |host: &Host| host.root().join("current").display().to_string();
    for (restart, expected) in [
        ("sed -i s/Monotonic=1/Monotonic=5/ unit", Ok(Some(Proof::Inferred))),
        ("true", Err(ProofError::NotStarted { how: "systemd knows of no later start" })),
    ] {
        let (host, session) = host_with(NAMELESS, restart, "exit 0");
        let unit = format!("{NAMELESS}WorkingDirectory={}\n", current(&host));
        fs::write(host.dir.path().join("unit"), unit).unwrap();
        let (agent, _) = Agent::open(session, hello(&host, Action::Restart)).await.unwrap();
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE);
        let found = agent.judge(ID.parse().unwrap()).await.unwrap();
        let layout = Layout::new(host.root().to_str().unwrap());
        let rule = ProofRule::new(&layout, Action::Restart);
        assert_eq!(prove(&found[0], rule), expected);
    }
}

/// Two units and a timer; the second cannot run the new release.
#[tokio::test]
async fn units_of_one_host_are_restarted_judged_and_reverted_in_their_order() {
    const SEVERAL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/.." || exit 1
live=$(readlink srv/current)
verb=$2
for unit; do :; done
[ -e "$unit" ] || echo 1 >"$unit"
count=$(cat "$unit")
case $verb in
show) printf 'LoadState=loaded\nActiveState=active\nInvocationID=i%s\nMainPID=0\n' "$count" ;;
reset-failed) ;;
*)
    echo "$verb $unit ${live##*/}" >>verbs
    [ "$unit$live" != "b.service$(cat sick)" ] || exit 1
    echo $((count + 1)) >"$unit"
    ;;
esac
"#;
    let host = Host::new("dash");
    fs::write(host.dir.path().join("sick"), format!("releases/{ID}")).unwrap();
    let session = host.session_with(&[("systemctl", SEVERAL)]);
    let service = |name: &str, action| {
        let what = Unit { name: name.to_owned(), scope: Scope::User, action, file: None };
        Service { name: name.to_owned(), ..service(ServiceKind::Unit(what)) }
    };
    let services = vec![
        service("a.service", Action::Restart),
        service("t.timer", Action::None),
        service("b.service", Action::Restart),
        service("c.service", Action::Restart),
    ];
    let (agent, state) =
        Agent::open(session, Hello { services, ..host.hello("run000000001", "") }).await.unwrap();
    let names: Vec<_> = state.units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["a.service", "t.timer", "b.service", "c.service"]);
    let answer = agent.ask(&activate()).await.unwrap();
    assert_eq!(answer.code, REVERTED, "{}", answer.text);
    assert!(answer.text.contains("the restart of b.service exited with code 1"));
    let verbs = fs::read_to_string(host.dir.path().join("verbs")).unwrap();
    let old = "20260821090000";
    let expected =
        format!("restart a.service {ID}\nrestart b.service {ID}\nrestart a.service {old}\n");
    assert_eq!(verbs, expected);

    fs::write(host.dir.path().join("sick"), "").unwrap();
    assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE);
    let found = agent.judge(ID.parse().unwrap()).await.unwrap();
    let starts: Vec<_> = found
        .iter()
        .map(|it| (it.before_invocation.clone(), it.unit.as_ref().unwrap().invocation.clone()))
        .collect();
    let pair = |before: &str, now: &str| (before.to_owned(), now.to_owned());
    let expected = [pair("i3", "i4"), pair("i1", "i1"), pair("i1", "i2"), pair("i1", "i2")];
    assert_eq!(starts, expected);
}
