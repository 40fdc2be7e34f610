//! Two people at once: each with a configuration, a home and a process of their own, and one host.
//! One of them wins, or one comes after the other; what the host holds is never a bit of both.

#![expect(clippy::print_stdout, reason = "how many rounds were races belongs in the log")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::model::ledger::{Ledger, LedgerEvent};
use shipit::model::service::Service;
use shipit::remote::local::LocalSession;

use crate::support::services::command;
use crate::support::world;

use crate::support::effort::effort;
use crate::support::link::FaultyLinks;
use crate::support::project::Project;
use crate::support::tools::program;

/// A person who deploys to a directory that another person uses too.
struct Person {
    name: &'static str,
    world: Project,
}

impl Person {
    fn new(name: &'static str, root: &Path) -> Self {
        let world = Project::new();
        world.write(
            "deploy.toml",
            &format!(
                "app = \"todo\"\ndeploy_to = \"{}\"\nkeep_releases = 3\n\n\
                 [artifact]\npath = \"dist\"\n\n[service]\nrestart = \"test -e VERSION\"\n\n\
                 [stages.here]\nhosts = [\"local\"]\n",
                root.display()
            ),
        );
        Self { name, world }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.world.command(line);
        command.env("USER", self.name).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn builds(&self, version: &str) {
        self.world.write("dist/VERSION", version);
    }
}

/// The ledger, the whole file.
fn ledger(root: &Path) -> Ledger {
    let text = fs::read_to_string(root.join(".shipit/ledger.jsonl")).unwrap();
    let ledger = Ledger::parse(text.lines());
    assert_eq!(ledger.unreadable(), 0, "{text}");
    ledger
}

/// The runs in the order of the ledger. One that comes up again after another has begun was mixed
/// with it.
fn runs(ledger: &Ledger) -> Vec<String> {
    let mut runs: Vec<_> = ledger.entries().iter().map(|entry| entry.run.clone()).collect();
    runs.dedup();
    let mut once = runs.clone();
    once.sort();
    once.dedup();
    assert_eq!(runs.len(), once.len(), "runs are mixed: {ledger:?}");
    runs
}

/// The live release was committed last and is whole, and nothing unfinished is left.
#[track_caller]
fn is_one_thing(root: &Path, round: &str) {
    let ledger = ledger(root);
    runs(&ledger);
    let mut committed =
        ledger.entries().iter().filter(|entry| entry.event == LedgerEvent::Committed);
    let live = fs::read_link(root.join("current")).unwrap();
    let id = &committed.next_back().unwrap().release;
    assert_eq!(live, Path::new("releases").join(id), "{round}: {ledger:?}");
    assert!(root.join("current/VERSION").exists(), "{round}");
    let left = |path: &str, half: fn(&str) -> bool| {
        let names = fs::read_dir(root.join(path)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| half(name)).count()
    };
    let half = left("releases", |name| name.contains('.')) + left(".shipit/run", |_| true);
    assert_eq!(half + left(".shipit/trash", |_| true), 0, "{round}: something is left");
}

/// The two ran in turn, or one of them was refused and named the other. Returns the winner.
#[track_caller]
fn is_one_winner(ends: &[(&Person, Output); 2], round: &str) -> usize {
    let said = |out: &Output| String::from_utf8_lossy(&out.stderr).into_owned();
    let [(first, one), (second, two)] = ends;
    match (one.status.code(), two.status.code()) {
        (Some(0), Some(0)) => 0,
        (Some(0), Some(75)) if said(two).contains(&format!("{} on", first.name)) => 1,
        (Some(75), Some(0)) if said(one).contains(&format!("{} on", second.name)) => 1,
        codes => panic!("{round}: {codes:?}\n{}\n{}", said(one), said(two)),
    }
}

#[test]
fn two_runs_at_once_have_one_winner() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("srv");
    let (ada, bob) = (Person::new("ada", &root), Person::new("bob", &root));
    let mut length = Duration::ZERO;
    for version in ["first", "second"] {
        ada.builds(version);
        let start = Instant::now();
        assert!(ada.command("deploy").status().unwrap().success());
        length = start.elapsed();
    }
    let rounds = effort(4, 6, 200);
    let mut refused = 0;
    for round in 0..rounds {
        let other = ["deploy", "prune --keep 2", "rollback --yes"][round % 3];
        let shown = format!("round {round}: deploy and {other}");
        ada.builds(&format!("a{round}"));
        bob.builds(&format!("b{round}"));
        let mut one = ada.command("deploy");
        let mut two = bob.command(other);
        // The order changes, and the delay: none, or about the length of the other run.
        let head_start = length.mul_f64([0.0, 0.01, 0.9, 0.1, 1.1, 0.5, 0.95][round % 7]);
        let start = |command: &mut Command, head_start| {
            let child = command.spawn().unwrap();
            std::thread::sleep(head_start);
            child
        };
        let (one, two) = if round % 2 == 0 {
            let one = start(&mut one, head_start);
            (one, start(&mut two, Duration::ZERO))
        } else {
            let two = start(&mut two, head_start);
            (start(&mut one, Duration::ZERO), two)
        };
        let (one, two) = (one.wait_with_output().unwrap(), two.wait_with_output().unwrap());
        let lost = one.status.code() == Some(75);
        refused += is_one_winner(&[(&ada, one), (&bob, two)], &shown);
        is_one_thing(&root, &shown);
        if lost {
            let again = ada.command("deploy").output().unwrap();
            assert!(again.status.success(), "{shown}: {}", String::from_utf8_lossy(&again.stderr));
        }
    }
    println!("{rounds} rounds; in {refused} somebody was told to wait");
    assert!(refused * 8 >= rounds, "only {refused} of {rounds} rounds were races");
}

/// One of two who deploy to the same four hosts. The number begins the names of their runs.
fn fleet_of(root: &str, number: u32) -> world::World {
    let mut world = world::World::new();
    world.config.hosts = ["web1", "web2", "web3", "web4"].map(world::host).into();
    world.config.layout = shipit::model::layout::Layout::new(root);
    world.connect = Box::new(FaultyLinks::new(root));
    world.after_runs(number * 1_000_000);
    world
}

/// The run that lost names the winner, and changed no host.
#[track_caller]
fn lost_everywhere(report: &Report, winner: &str, round: &str) {
    let mut holders = 0;
    for (host, result) in &report.hosts {
        match result {
            HostResult::Locked { holder } if holder.contains(winner) => holders += 1,
            HostResult::Untouched { failure: None, .. } => {}
            other => panic!("{round}: {host}: {other:?}"),
        }
    }
    assert!(holders > 0, "{round}: nobody is named: {report:?}");
}

#[tokio::test]
async fn two_fleet_deploys_at_once_have_one_winner_on_all_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("srv").display().to_string();
    let (ada, ben) = (fleet_of(&root, 1), fleet_of(&root, 2));
    let rounds = effort(2, 4, 200);
    let mut refused = 0;
    for round in 0..rounds {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let late = |round: usize| Duration::from_millis([0, 0, 3, 10, 30][round % 5]);
        let (one, two) = tokio::join!(
            async {
                tokio::time::sleep(late(round % 2 * round)).await;
                ada.deploy(&a).await
            },
            async {
                tokio::time::sleep(late((round + 1) % 2 * round)).await;
                ben.deploy(&b).await
            }
        );
        let shown = format!("round {round}");
        match (one.verdict(), two.verdict()) {
            (RunOutcome::Done, RunOutcome::Done) => continue,
            (RunOutcome::Done, RunOutcome::Locked) => {
                lost_everywhere(&two, "run run0000001", &shown);
            }
            (RunOutcome::Locked, RunOutcome::Done) => {
                lost_everywhere(&one, "run run0000002", &shown);
            }
            verdicts => panic!("{shown}: {verdicts:?}\n{one:?}\n{two:?}"),
        }
        refused += 1;
        let won = if one.verdict() == RunOutcome::Done { a } else { b };
        for host in &ada.config.hosts {
            let root = format!("{root}-{}", host.name);
            is_one_thing(Path::new(&root), &shown);
            let live = fs::read_to_string(Path::new(&root).join("current/VERSION")).unwrap();
            assert_eq!(live.trim(), won, "{shown}: {}", host.name);
        }
    }
    println!("{rounds} rounds; in {refused} one fleet deploy was told to wait");
    assert!(refused * 2 >= rounds, "only {refused} of {rounds} rounds were races");
}

/// Each run holds the first of its own hosts, and needs a host that the other may hold.
#[tokio::test]
async fn two_overlapping_deploys_have_one_winner() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("srv").display().to_string();
    let (mut ada, mut ben) = (fleet_of(&root, 1), fleet_of(&root, 2));
    ada.config.hosts.retain(|host| host.name != "web4");
    ben.config.hosts.retain(|host| host.name != "web1");
    ben.config.hosts.reverse();
    for round in 0..effort(2, 4, 200) {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let (one, two) = tokio::join!(ada.deploy(&a), ben.deploy(&b));
        let ends = [one.verdict(), two.verdict()];
        let fair = ends.contains(&RunOutcome::Done)
            && ends.iter().all(|end| [RunOutcome::Done, RunOutcome::Locked].contains(end));
        assert!(fair, "round {round}: {ends:?}\n{one:?}\n{two:?}");
    }
}

/// The holder is named, and releases the lock before anybody can look at it.
#[tokio::test]
async fn lock_released_during_the_look_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("srv").display().to_string();
    let (mut ada, mut ben) = (fleet_of(&root, 1), fleet_of(&root, 2));
    ben.config.hosts.retain(|host| host.name == "web2");
    ben.config.services = waiting(dir.path());
    let (lock, go) = (format!("{root}-web2/.shipit/lock"), dir.path().join("go"));
    let slow = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin\nif [ ! -e {go} ] && [ -s {lock} ]; then\n  touch {go}\n  \
         while [ -s {lock} ]; do sleep 0.05; done\nfi\nexec head \"$@\"\n",
        go = go.display()
    );
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    program(&bin.join("head"), &slow);
    let path = format!("{}:/usr/bin:/bin", bin.display());
    ada.connect = Box::new(FaultyLinks::new(&root).over(LocalSession::new().var("PATH", &path)));
    let (one, two) = tokio::join!(
        async {
            while !dir.path().join("restarts").exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            ada.deploy("a").await
        },
        ben.deploy("b")
    );
    assert_eq!(
        (one.verdict(), two.verdict()),
        (RunOutcome::Done, RunOutcome::Done),
        "{one:?}\n{two:?}"
    );
}

/// A service whose restart lasts until the test has seen it.
fn waiting(dir: &Path) -> Vec<Service> {
    let dir = dir.display();
    let restart = format!("touch {dir}/restarts; while ! test -e {dir}/go; do sleep 0.05; done");
    vec![Service { limit: Duration::from_secs(20), ..command(&restart) }]
}
