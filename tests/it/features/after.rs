//! After the fact, through the engine: pins, deploy locks, verify, drift, history, unlocking.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shipit::deploy::event::Event;
use shipit::deploy::outcome::{Failure, HostResult, Report, RunOutcome};
use shipit::deploy::query::{self, HostChange};
use shipit::deploy::run::record;
use shipit::model::goal::GoalKind;
use shipit::model::host_state::HostState;
use shipit::model::id::ReleaseId;
use shipit::model::layout::Layout;
use shipit::model::ledger::LedgerEvent;
use shipit::model::operations::{Outcome, operations};
use shipit::remote::order::Order;

use crate::support::world::{World, goal_of, hook, host};

impl World {
    async fn pin(&self, id: &str, event: LedgerEvent) -> Report {
        let id: ReleaseId = id.parse().unwrap();
        let run = self.run_values("pin");
        let order = |state: &HostState| -> Result<Option<Order>, Failure> {
            if !state.ids().contains(&id) {
                return Err(Failure::new("not there"));
            }
            let record = record(&run.entry(event, &id.to_string()), String::new());
            Ok(Some(Order::Record(record)))
        };
        let change = HostChange { goal: GoalKind::Pin, release: Some(id), order: &order };
        self.within(async |cx| query::change(cx, &change).await).await
    }

    async fn lock(&self) -> Report {
        let order = |_: &HostState| -> Result<Option<Order>, Failure> {
            let record = "ben on desk: audit".to_owned();
            Ok(Some(Order::SetDeployLock { record, note: "locked".to_owned() }))
        };
        let change = HostChange { goal: GoalKind::Lock, release: None, order: &order };
        self.within(async |cx| query::change(cx, &change).await).await
    }

    async fn look(&self) -> Vec<HostState> {
        let looked = self.within(query::look).await;
        looked.into_iter().map(|(_, state)| state.unwrap()).collect()
    }

    async fn unlock(&self) -> Report {
        let found: Vec<_> = self.look().await.into_iter().map(|state| state.lock).collect();
        self.within(async |cx| query::unlock(cx, &found, "unlocked").await).await
    }
}

#[tokio::test]
async fn pinned_release_survives_prune_until_unpinned() {
    let world = World::new();
    for version in ["1", "2", "3"] {
        world.deploy(version).await;
    }
    let oldest = world.releases()[0].clone();
    let pinned = world.pin(&oldest, LedgerEvent::Pinned).await;
    assert_eq!(pinned.verdict(), RunOutcome::Done, "{pinned:?}");
    assert!(matches!(pinned.hosts[0].1, HostResult::Done(_)));
    world.prune(1).await;
    assert!(world.releases().contains(&oldest));
    world.pin(&oldest, LedgerEvent::Unpinned).await;
    world.prune(1).await;
    assert!(!world.releases().contains(&oldest));
    let gone = world.pin(&oldest, LedgerEvent::Pinned).await;
    assert_eq!(gone.verdict(), RunOutcome::NotDone, "{gone:?}");
}

/// Two hosts are one directory: the first one to take the lock holds it for the other too.
#[tokio::test]
async fn pin_changes_all_hosts_or_none() {
    let mut world = World::new();
    world.deploy("1").await;
    world.config.hosts.push(host("web2"));
    let report = world.lock().await;
    assert_eq!(report.verdict(), RunOutcome::Locked, "{report:?}");
    assert!(world.look().await[0].lock.deploy_lock.is_none());
}

#[tokio::test]
async fn deploy_lock_refuses_whatever_wants_the_run_lock() {
    let world = World::new();
    world.deploy("1").await;
    assert_eq!(world.lock().await.verdict(), RunOutcome::Done);
    let before = world.read(".shipit/ledger.jsonl");
    for report in [world.deploy("2").await, world.rollback().await, world.prune(1).await] {
        assert_eq!(report.verdict(), RunOutcome::Locked, "{report:?}");
        let HostResult::Locked { holder } = &report.hosts[0].1 else { panic!("{report:?}") };
        assert!(holder.contains("ben on desk: audit, since 20"), "{holder}");
    }
    assert_eq!(world.lock().await.verdict(), RunOutcome::Locked, "a deploy lock is not replaced");
    assert_eq!(world.read(".shipit/ledger.jsonl"), before);
    let unlocked = world.unlock().await;
    assert!(matches!(unlocked.hosts[0].1, HostResult::Done(_)), "{unlocked:?}");
    assert_eq!(world.deploy("2").await.verdict(), RunOutcome::Done);
    let again = world.unlock().await;
    assert!(matches!(again.hosts[0].1, HostResult::Unchanged { .. }), "{again:?}");
}

/// A process of another program, which left no record.
#[tokio::test]
async fn lock_of_another_program_is_not_broken() {
    let world = World::new();
    world.deploy("1").await;
    let lock = world.root().join(".shipit/lock");
    let mut flock = Command::new("flock");
    let mut holder = flock
        .arg(&lock)
        .args(["sh", "-c", "echo held; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 4];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let report = world.unlock().await;
    assert_eq!(report.verdict(), RunOutcome::Locked, "{report:?}");
    assert!(holder.try_wait().unwrap().is_none(), "it still runs");
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

#[tokio::test]
async fn run_that_loses_its_lock_reverts_and_says_so() {
    let mut world = World::new();
    world.deploy("1").await;
    let gate = world.dir.path().join("gate");
    let run = format!("touch {0}.in; while test ! -e {0}; do sleep 0.1; done", gate.display());
    world.config.hooks.activated = vec![hook(&run)];
    let goal = world.deploy_goal("2", "V=2\n", false);
    let breaking = async {
        let end = Instant::now() + Duration::from_secs(20);
        while !world.dir.path().join("gate.in").exists() {
            assert!(Instant::now() < end, "the hook was not run");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let unlocking = world.unlock();
        let opening = async {
            let is_break =
                |event: &Event| matches!(event, Event::Sent { line, .. } if line == "break");
            while !world.events.lock().unwrap().iter().any(is_break) {
                assert!(Instant::now() < end, "no holder was told to release the lock");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // The host has the word, and needs a moment to pass it on.
            tokio::time::sleep(Duration::from_secs(1)).await;
            fs::write(&gate, "").unwrap();
        };
        tokio::join!(unlocking, opening).0
    };
    let (report, unlocked) = tokio::join!(world.run(&goal), breaking);
    assert!(matches!(unlocked.hosts[0].1, HostResult::Done(_)), "{unlocked:?}");
    assert_eq!(unlocked.warnings, [], "it was not killed");
    assert!(matches!(report.hosts[0].1, HostResult::Reverted { .. }), "{report:?}");
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert!(world.read(".shipit/ledger.jsonl").contains("terminated"));
}

#[tokio::test]
async fn verify_passes_until_a_file_is_touched() {
    let world = World::new();
    let nothing = world.verify(None).await.remove(0).1.unwrap();
    assert_eq!(nothing.problems, ["nothing is live"]);
    world.deploy("1").await;
    world.deploy("2").await;
    let clean = world.verified().await;
    assert!(clean.is_clean() && clean.live, "{clean:?}");
    let older = world.releases()[0].clone();
    let old = world.verify(Some(&older)).await.remove(0).1.unwrap();
    assert!(old.is_clean() && !old.live, "{old:?}");

    world.touch("current/VERSION", "3\n");
    world.touch("current/.env", "p0isoned");
    let found = world.verified().await;
    let told: Vec<_> = found.drift.iter().map(|d| format!("{} {}", d.path, d.change)).collect();
    let expected = [
        "VERSION changed",
        "VERSION mode 644 instead of 444",
        ".env changed",
        ".env mode 644 instead of 600",
    ];
    assert_eq!(told, expected);
    fs::remove_file(world.root().join("current/.env")).unwrap();
    let found = world.verified().await;
    assert!(found.drift.iter().any(|d| d.path == ".env" && d.change.word() == "missing"));
    let gone = world.verify(Some("20200101000000")).await.remove(0).1.unwrap_err();
    assert!(gone.hint.unwrap().contains(&older));
}

/// Links and the env file lie in directories that the build has not; they belong to the release.
#[tokio::test]
async fn directories_made_for_linked_paths_are_no_drift() {
    let mut world = World::new();
    world.config.env[0].file = "conf/deep/env".to_owned();
    world.deploy("1").await;
    let clean = world.verified().await;
    assert!(clean.is_clean(), "{clean:?}");
}

#[tokio::test]
async fn verify_compares_the_ledger_with_the_link() {
    let world = World::new();
    world.deploy("1").await;
    let id = world.releases()[0].clone();
    let ledger = world.read(".shipit/ledger.jsonl");
    let cut: Vec<_> = ledger.lines().filter(|line| !line.contains("committed")).collect();
    fs::write(world.root().join(".shipit/ledger.jsonl"), cut.join("\n") + "\n{torn").unwrap();
    let found = world.verified().await;
    let expected = ["it is live and undecided", "1 line of the ledger cannot be read"];
    assert_eq!(found.problems, expected);
    fs::remove_file(world.root().join(".shipit/manifests").join(&id)).unwrap();
    assert!(
        world
            .verified()
            .await
            .problems
            .contains(&"there is no manifest to compare it with".to_owned())
    );
    fs::remove_file(world.root().join("current")).unwrap();
    std::os::unix::fs::symlink("/tmp", world.root().join("current")).unwrap();
    let found = world.verified().await;
    assert_eq!(found.problems, ["`current` points to /tmp, which is not a release of shipit"]);
}

#[tokio::test]
async fn deploy_names_files_changed_on_the_host() {
    let world = World::new();
    world.deploy("1").await;
    assert_eq!(world.deploy("2").await.warnings, []);
    for n in 0..12 {
        world.touch(&format!("current/x{n:02}"), "");
    }
    let same = world.deploy("2").await;
    let HostResult::Unchanged { live: Some(live) } = same.hosts[0].1 else { panic!("{same:?}") };
    let text = format!(
        "{live} is not as it was released: \
         x00, x01, x02, x03, x04, x05, x06, x07, x08, x09 and 2 more; `shipit verify test` compares it"
    );
    assert_eq!(same.warnings, [(Some("web1".to_owned()), text)]);
    let next = world.deploy("3").await;
    assert_eq!((next.verdict(), next.warnings.len()), (RunOutcome::Done, 1));
    assert_eq!(world.deploy("4").await.warnings, []);
}

#[tokio::test]
async fn deploy_hints_at_bytecode_that_python_writes() {
    let world = World::new();
    world.deploy("1").await;
    fs::create_dir(world.root().join("current/__pycache__")).unwrap();
    world.touch("current/__pycache__/serve.pyc", "");
    let warnings = world.deploy("1").await.warnings;
    let said = "__pycache__ (2, written by Python: PYTHONDONTWRITEBYTECODE=1 in [env] or in the unit \
                stops it); `shipit verify test` compares it";
    assert!(warnings[0].1.ends_with(said), "{warnings:?}");
}

/// Without [env], `.env` is a file like any other.
#[tokio::test]
async fn env_file_of_the_artifact_is_no_drift() {
    let mut world = World::new();
    world.config.env.clear();
    let goal = |version: &str| {
        let dir = world.artifact(version, false);
        fs::write(dir.join(".env"), "A=b\n").unwrap();
        goal_of(dir, |build| build)
    };
    world.run(&goal("1")).await;
    assert_eq!(world.run(&goal("2")).await.warnings, []);
    fs::remove_file(world.root().join("current/.env")).unwrap();
    let warnings = world.run(&goal("3")).await.warnings;
    assert!(warnings[0].1.contains("not as it was released: .env;"), "{warnings:?}");
}

/// Names are no patterns, neither the directory's nor the env file's.
#[tokio::test]
async fn names_that_look_like_patterns_are_taken_literally() {
    let mut world = World::new();
    let root = world.dir.path().join("srv*[x]?");
    world.config.layout = Layout::new(root.to_str().unwrap());
    let env = &mut world.config.env[0];
    (env.file, env.mode) = ("conf[1]*.env".to_owned(), "640".to_owned());
    world.config.hooks.staged = vec![hook("true")];
    world.deploy("1").await;
    world.deploy("2").await;
    let clean = world.verified().await;
    assert!(clean.is_clean(), "{clean:?}");
    assert_eq!(world.warnings(), [""; 0]);
    let mode = fs::metadata(root.join("current/conf[1]*.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let manifest = world.read(format!(".shipit/manifests/{}", world.releases()[1]));
    assert!(!manifest.contains("conf[1]"), "{manifest}");
}

#[tokio::test]
async fn hook_that_writes_to_the_release_is_told_why_not() {
    let mut world = World::new();
    world.config.hooks.staged = vec![hook("echo 'sh: VERSION: Permission denied'; exit 1")];
    let report = world.deploy("1").await;
    let HostResult::Untouched { failure: Some(failure), .. } = &report.hosts[0].1 else {
        panic!("{report:?}")
    };
    assert!(failure.hint.as_ref().unwrap().contains("files of a release are read-only"));
    world.config.hooks.staged = vec![hook("mkfifo pipe")];
    let report = world.deploy("1").await;
    let HostResult::Untouched { failure: Some(failure), .. } = &report.hosts[0].1 else {
        panic!("{report:?}")
    };
    assert!(failure.hint.as_ref().unwrap().contains("have the hook remove them"), "{failure:?}");
}

#[tokio::test]
async fn history_lists_what_was_done() {
    let world = World::new();
    world.deploy("1").await;
    world.run(&world.deploy_goal("2", "", true)).await;
    world.deploy("3").await;
    world.rollback().await;
    let told = world.within(query::history).await.remove(0).1.unwrap();
    let told: Vec<_> = operations(told.ledger.entries())
        .iter()
        .map(|operation| format!("{} {}", operation.kind.word(), operation.outcome.word()))
        .collect();
    assert_eq!(told, ["deploy done", "deploy reverted", "deploy done", "rollback done"]);
    assert_eq!(Outcome::Done.word(), "done");
}
