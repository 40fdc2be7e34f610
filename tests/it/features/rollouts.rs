//! Several hosts: batches, canaries, policies, hosts that are away, and fleets that a lost
//! connection splits.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shipit::config::{Batch, Hook, OnFailure, OnUnreachable, Rollout};
use shipit::deploy::event::{Event, Phase};
use shipit::deploy::goal::Goal;
use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::deploy::rollout::batches;

use crate::support::link::{FaultyLinks, LinkFault};
use crate::support::services::command;
use crate::support::world::{World, hook, host};

/// A world of several hosts, and the faults of their links.
struct Hosts {
    world: World,
    faults: Arc<Mutex<BTreeMap<String, LinkFault>>>,
}

impl Hosts {
    fn new(names: &[&str], rollout: Rollout) -> Self {
        let mut world = World::new();
        world.config.hosts = names.iter().map(|name| host(name)).collect();
        world.config.rollout = rollout;
        let links = FaultyLinks::new(world.config.layout.root());
        let faults = links.faults();
        world.connect = Box::new(links);
        Self { world, faults }
    }

    fn break_link(&self, host: &str, fault: LinkFault) {
        self.faults.lock().unwrap().insert(host.to_owned(), fault);
    }

    fn mend(&self) {
        self.faults.lock().unwrap().clear();
    }

    fn path(&self, host: &str, path: &str) -> std::path::PathBuf {
        let root = format!("{}-{host}", self.world.config.layout.root());
        std::path::Path::new(&root).join(path)
    }

    fn read(&self, host: &str, path: &str) -> String {
        fs::read_to_string(self.path(host, path)).unwrap_or_default()
    }

    /// Returns the version in the live release of each host.
    fn live(&self) -> String {
        let hosts = self.world.config.hosts.iter();
        let version = |host: &str| self.read(host, "current/VERSION").trim().to_owned();
        hosts.map(|host| version(&host.name)).collect::<Vec<_>>().join(" ")
    }

    /// Makes the restart command of a host fail or work from now on, for every release.
    fn breaks(&self, host: &str, broken: bool) {
        let path = self.path(host, "shared");
        fs::create_dir_all(&path).unwrap();
        let flag = path.join("sick");
        if broken { fs::write(flag, "").unwrap() } else { fs::remove_file(flag).unwrap() }
    }

    async fn deploy(&self, version: &str) -> Report {
        self.world.deploy(version).await
    }
}

/// Returns one letter per host: done, unchanged, untouched, reverted, skipped, locked, stuck (`!`),
/// unknown.
fn letters(report: &Report) -> String {
    let letter = |(_, result): &(String, HostResult)| match result {
        HostResult::Done(_) => 'd',
        HostResult::Unchanged { .. } => 'n',
        HostResult::Untouched { .. } => 'u',
        HostResult::Reverted { .. } => 'b',
        HostResult::Skipped { .. } => 's',
        HostResult::Locked { .. } => 'l',
        HostResult::Stuck { .. } => '!',
        HostResult::Unknown { .. } => '?',
    };
    report.hosts.iter().map(letter).collect()
}

#[track_caller]
fn splits(hosts: usize, batch: Batch, canary: &[usize], expect: &str) {
    let names: Vec<_> = (1..=hosts).map(|n| host(&format!("web{n}"))).collect();
    let canary = canary.iter().map(|n| format!("web{n}")).collect();
    let rollout = Rollout { batch, canary, ..Rollout::default() };
    let shown: Vec<_> = batches(&rollout, &names)
        .iter()
        .map(|batch| batch.iter().map(|place| (place + 1).to_string()).collect::<String>())
        .collect();
    assert_eq!(shown.join(" "), expect);
}

#[test]
fn batch_never_exceeds_its_size() {
    splits(5, Batch::All, &[], "12345");
    splits(5, Batch::Hosts(2), &[], "12 34 5");
    splits(5, Batch::Percent(50), &[], "12 34 5");
    splits(5, Batch::Percent(10), &[], "1 2 3 4 5");
    splits(5, Batch::All, &[3], "3 1245");
    splits(5, Batch::Hosts(2), &[5, 1, 3], "13 5 24");
    splits(1, Batch::Percent(25), &[1], "1");
}

const SICK: &str = "test ! -e ../../shared/sick && cat VERSION >>../../restarts";

/// A policy, three hosts one by one, the second sick: what happened and what is live then.
async fn second_fails(on_failure: OnFailure, max_failed: usize) -> (String, String, RunOutcome) {
    let rollout = Rollout { batch: Batch::Hosts(1), on_failure, max_failed, ..Rollout::default() };
    let mut hosts = Hosts::new(&["web1", "web2", "web3"], rollout);
    hosts.world.config.services = vec![command(SICK)];
    assert_eq!(hosts.deploy("1").await.verdict(), RunOutcome::Done);
    assert_eq!(hosts.live(), "1 1 1");
    // The old release keeps running: only the new restart fails, and the revert works.
    hosts.world.config.services = vec![command(&format!(
        "if grep -q 2 VERSION; then {SICK}; else cat VERSION >>../../restarts; fi"
    ))];
    hosts.breaks("web2", true);
    let report = hosts.deploy("2").await;
    let ended = (letters(&report), hosts.live(), report.verdict());
    hosts.breaks("web2", false);
    let again = hosts.deploy("3").await;
    assert_eq!((again.verdict(), hosts.live().as_str()), (RunOutcome::Done, "3 3 3"), "{again:?}");
    ended
}

#[tokio::test]
async fn on_failure_revert_all_reverts_earlier_batches() {
    let ended = second_fails(OnFailure::RevertAll, 0).await;
    assert_eq!(ended, ("bbu".to_owned(), "1 1 1".to_owned(), RunOutcome::NotDone));
}

#[tokio::test]
async fn on_failure_revert_batch_keeps_earlier_batches() {
    let ended = second_fails(OnFailure::RevertBatch, 0).await;
    assert_eq!(ended, ("dbu".to_owned(), "2 1 1".to_owned(), RunOutcome::NotDone));
}

#[tokio::test]
async fn on_failure_stop_keeps_healthy_hosts() {
    let ended = second_fails(OnFailure::Stop, 0).await;
    assert_eq!(ended, ("dbu".to_owned(), "2 1 1".to_owned(), RunOutcome::NotDone));
}

#[tokio::test]
async fn failures_within_the_limit_do_not_stop_the_rollout() {
    let ended = second_fails(OnFailure::RevertAll, 1).await;
    assert_eq!(ended, ("dbd".to_owned(), "2 1 2".to_owned(), RunOutcome::NotDone));
}

#[tokio::test]
async fn canaries_go_first_and_a_pause_follows() {
    let rollout = Rollout {
        canary: vec!["web3".to_owned()],
        pause: Duration::from_millis(50),
        ..Rollout::default()
    };
    let hosts = Hosts::new(&["web1", "web2", "web3"], rollout);
    assert_eq!(hosts.deploy("1").await.verdict(), RunOutcome::Done);
    let events = hosts.world.events.lock().unwrap();
    let activations = events.iter().filter_map(|event| match event {
        Event::StepStarted { host, step: "activate" } => Some(host.as_str()),
        Event::Phase(Phase::Switch { .. }) => Some("|"),
        _ => None,
    });
    let order: Vec<_> = activations.collect();
    assert_eq!(order[..3], ["|", "web3", "|"], "{order:?}");
    assert_eq!(order.len(), 5);
}

#[tokio::test]
async fn unreachable_host_ends_the_run_or_is_skipped() {
    let mut hosts = Hosts::new(&["web1", "web2"], Rollout::default());
    hosts.deploy("1").await;
    hosts.break_link("web1", LinkFault::Dead);
    let report = hosts.deploy("2").await;
    assert_eq!((letters(&report).as_str(), hosts.live().as_str()), ("uu", "1 1"));
    hosts.world.config.rollout.on_unreachable = OnUnreachable::Skip;
    let report = hosts.deploy("2").await;
    assert_eq!((letters(&report).as_str(), hosts.live().as_str()), ("sd", "1 2"));
    assert_eq!(report.verdict(), RunOutcome::NotDone, "not all that was asked for is so");
    hosts.mend();
    let report = hosts.deploy("2").await;
    assert_eq!((letters(&report).as_str(), hosts.live().as_str()), ("dd", "2 2"), "caught up");
    hosts.break_link("web1", LinkFault::Dead);
    hosts.break_link("web2", LinkFault::Dead);
    assert_eq!(letters(&hosts.deploy("3").await), "uu", "nobody is left to go on with");
}

#[tokio::test]
async fn once_hook_runs_though_its_first_host_is_unreachable() {
    let rollout = Rollout { on_unreachable: OnUnreachable::Skip, ..Rollout::default() };
    let mut hosts = Hosts::new(&["web1", "web2", "web3"], rollout);
    hosts.world.config.hooks.staged = vec![Hook {
        run: "echo $SHIPIT_HOST of $SHIPIT_ALL_HOSTS >>../../migrated".to_owned(),
        once: true,
        ..hook("")
    }];
    hosts.break_link("web1", LinkFault::Dead);
    assert_eq!(letters(&hosts.deploy("1").await), "sdd");
    let migrated: Vec<_> =
        ["web1", "web2", "web3"].iter().map(|name| hosts.read(name, "migrated")).collect();
    assert_eq!(migrated.concat(), "web2 of web2,web3\n");
}

#[tokio::test]
async fn lost_commit_is_repeated_in_the_same_run() {
    for fault in [LinkFault::CutBefore("commit"), LinkFault::CutAfter("commit")] {
        let hosts = Hosts::new(&["web1", "web2", "web3"], Rollout::default());
        hosts.deploy("1").await;
        hosts.break_link("web2", fault);
        let report = hosts.deploy("2").await;
        assert_eq!(report.verdict(), RunOutcome::Done, "{fault:?}: {report:?}");
        assert_eq!(hosts.live(), "2 2 2");
    }
}

/// A fleet of which one host committed version 2 and the other, cut off, took it back.
async fn split_fleet(on_failure: OnFailure) -> Hosts {
    let hosts = Hosts::new(&["web1", "web2"], Rollout { on_failure, ..Rollout::default() });
    hosts.deploy("1").await;
    hosts.break_link("web2", LinkFault::CutBefore("commit"));
    // Its second conversation, in which the run would finish, is cut off as well.
    let faults = Arc::clone(&hosts.faults);
    let again = tokio::spawn(async move {
        while faults.lock().unwrap().contains_key("web2") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        faults.lock().unwrap().insert("web2".to_owned(), LinkFault::CutBefore("activate"));
    });
    let report = hosts.deploy("2").await;
    again.await.unwrap();
    assert_eq!(report.verdict(), RunOutcome::NeedsAttention, "{report:?}");
    assert!(report.split);
    assert_eq!(letters(&report), "db");
    assert_eq!(hosts.live(), "2 1");
    hosts.mend();
    hosts
}

#[tokio::test]
async fn next_deploy_unites_a_diverged_fleet() {
    let hosts = split_fleet(OnFailure::RevertAll).await;
    let report = hosts.deploy("2").await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    assert_eq!(letters(&report), "nn", "nothing is left to do once the split is finished");
    assert_eq!(hosts.live(), "2 2");
    assert!(report.warnings.iter().any(|(_, text)| text.contains("web2 reverted it")));
}

#[tokio::test]
async fn rollback_unites_a_diverged_fleet() {
    let hosts = split_fleet(OnFailure::RevertAll).await;
    let report = hosts.world.rollback().await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    assert_eq!(hosts.live(), "1 1");
    let report = hosts.world.rollback().await;
    assert_eq!(report.verdict(), RunOutcome::NotDone, "2 was left on both hosts");
}

#[tokio::test]
async fn prune_leaves_a_diverged_fleet_as_it_is() {
    let hosts = split_fleet(OnFailure::RevertAll).await;
    let rule = shipit::deploy::goal::PruneRule { keep: 3, older_than: None };
    hosts.world.run(&Goal::Prune(rule)).await;
    assert_eq!(hosts.live(), "2 1", "a cron job restarts nothing");
}
