//! Facts that must hold after a fault, seen by looking at the directories themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shipit::config::Hook;
use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::model::digest::Digest;
use shipit::model::id::ReleaseId;
use shipit::model::ledger::{Ledger, ReleaseStatus};
use shipit::model::link::{SharedKind, SharedLink};
use shipit::model::service::{Action, Image, Scope, Service, ServiceKind, Unit};
use shipit::remote::local::LocalSession;
use tokio::sync::OnceCell;

use super::docker::with_docker;
use super::fault_table;
use super::link::{FaultyLinks, LinkFault};
use super::services::{command, service};
use super::systemd::with_systemd;
use super::world::{World, host};

/// The command that is tried on a host where version 1 is live and 0 was live before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Deploy,
    Rollback,
    Prune,
}

impl Work {
    pub(crate) async fn in_world(self, world: &World) -> Report {
        match self {
            Self::Deploy => world.deploy("2").await,
            Self::Rollback => world.rollback().await,
            Self::Prune => world.prune(0).await,
        }
    }

    /// The version that is live when it is done.
    pub(crate) const fn aim(self) -> &'static str {
        match self {
            Self::Deploy => "2",
            Self::Rollback => "0",
            Self::Prune => "1",
        }
    }
}

/// Hosts on which version 1 is live and well, 0 the way back and an older one too many.
pub(crate) struct TestFleet {
    pub(crate) world: World,
    pub(crate) faults: Arc<Mutex<BTreeMap<String, LinkFault>>>,
}

pub(crate) fn hook(run: &str) -> Vec<Hook> {
    vec![super::world::hook(run)]
}

impl TestFleet {
    /// One host reached by `session`. A deploy of it sends every order there is.
    pub(crate) async fn new(session: LocalSession) -> Self {
        Self::fleet(session, &["web1"]).await
    }

    /// Returns hosts of these names, reached by `session`.
    pub(crate) async fn fleet(session: LocalSession, names: &[&str]) -> Self {
        static FIRST: OnceCell<TestFleet> = OnceCell::const_new();
        let first = FIRST.get_or_init(Self::first).await.host("web1");
        let mut fleet = Self::empty(session);
        fleet.world.config.hosts = names.iter().map(|name| host(name)).collect();
        for host in fleet.hosts() {
            let copied = Command::new("cp").arg("-a").args([&first.root, &host.root]).status();
            assert!(copied.unwrap().success());
        }
        fleet.world.after_runs(3);
        fleet
    }

    /// Returns the host that all others are copies of.
    async fn first() -> Self {
        let mut fleet = Self::empty(LocalSession::new());
        fleet.world.config.keep = 3;
        for version in ["older", "0", "1"] {
            let report = fleet.world.deploy(version).await;
            assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
        }
        fleet
    }

    fn empty(session: LocalSession) -> Self {
        let mut world = World::new();
        world.config.keep = 1;
        let dir = SharedKind::Dir { mode: None, group: None };
        world.config.links = vec![SharedLink { path: "log".to_owned(), kind: dir }];
        world.config.hooks.staged = hook("test -e VERSION");
        world.config.hooks.activated = hook("test -e VERSION");
        world.config.hooks.before_switch = hook("echo out >>../../balancer");
        world.config.hooks.switched = hook("test -e VERSION");
        world.config.hooks.committed = hook("echo in >>../../balancer");
        world.config.hooks.reverted = hook("echo in >>../../balancer");
        let what = ServiceKind::Command {
            restart: "test ! -e broken && cat VERSION >../../running".to_owned(),
            stop: Some("rm -f running".to_owned()),
            log: None,
        };
        let main = Service { limit: Duration::from_secs(5), ..service(what) };
        let second = command("cat VERSION >../../second");
        world.config.services = vec![main, Service { name: "second".to_owned(), ..second }];
        let links = FaultyLinks::new(world.config.layout.root()).over(session);
        let faults = links.faults();
        world.connect = Box::new(links);
        Self { world, faults }
    }

    /// One host whose systemd is in `dir`; releases from now on bring a socket.
    pub(crate) async fn bringing_a_unit(session: &LocalSession, dir: &Path) -> Self {
        let mut fleet = Self::new(with_systemd(session, dir)).await;
        fleet.world.unit_file = Some("deploy/todo.socket");
        let unit = Unit {
            name: "todo.socket".to_owned(),
            scope: Scope::User,
            action: Action::Start,
            file: fleet.world.unit_file.map(ToOwned::to_owned),
        };
        fleet.world.config.services.push(service(ServiceKind::Unit(unit)));
        fleet
    }

    /// One host whose docker is in `dir`; releases from now on are container images. What the
    /// second service runs is the image with the tag `current`, where there is one.
    pub(crate) async fn with_an_image(session: &LocalSession, dir: &Path) -> Self {
        let mut fleet = Self::new(with_docker(session, dir)).await;
        fleet.world.image = true;
        let second = &mut fleet.world.config.services[1];
        let restart =
            "{ docker image inspect todo:current 2>/dev/null || cat VERSION; } >../../second";
        second.what = ServiceKind::Command { restart: restart.to_owned(), stop: None, log: None };
        second.image = Some(Image { name: "todo".to_owned(), engine: vec!["docker".to_owned()] });
        fleet
    }

    /// The tag `current` names the image of what is live, if that is one, and every other tag a
    /// release that is there.
    pub(crate) async fn image_is_true(&self, case: &str, dir: &Path) {
        self.lock_is_free(case).await;
        let host = self.host("web1");
        let live = host.live(case);
        let tagged = |tag: &str| fs::read_to_string(dir.join("tags").join(tag)).unwrap_or_default();
        let expected = if ["2", "3"].contains(&live.as_str()) { live.as_str() } else { "" };
        assert_eq!(tagged("todo:current").trim(), expected, "{case}: {live}");
    }

    /// Every tag of ours is that of a release that is there.
    pub(crate) fn tags_are_of_releases(&self, case: &str, dir: &Path) {
        let releases = self.host("web1").names("releases");
        for tag in fs::read_dir(dir.join("tags")).unwrap() {
            let tag = tag.unwrap().file_name().into_string().unwrap();
            let Some(id) = tag.strip_prefix("todo:").filter(|tag| *tag != "current") else {
                continue;
            };
            assert!(releases.iter().any(|release| release == id), "{case}: {tag}: {releases:?}");
        }
    }

    /// The unit is linked, listed and started where a release is live that brings it, and only
    /// there.
    pub(crate) async fn unit_is_true(&self, case: &str, dir: &Path) {
        self.lock_is_free(case).await;
        let host = self.host("web1");
        let live = host.live(case);
        let brought = ["2", "3"].contains(&live.as_str());
        let link = dir.join("home/.config/systemd/user/todo.socket");
        assert_eq!(link.exists(), brought, "{case}: {live}: linked");
        assert_eq!(dir.join("running-todo.socket").exists(), brought, "{case}: {live}: started");
        let listed = if brought { "user todo.socket deploy/todo.socket\n" } else { "" };
        assert_eq!(host.read(".shipit/units"), listed, "{case}: {live}");
        let left = host.names(".shipit").into_iter().filter(|name| name.starts_with("units.2"));
        assert!(brought || left.count() == 0, "{case}: {live}");
    }

    /// Removes the staged hook, so that a deploy shares files: root shares none with hooks.
    pub(crate) fn sharing(mut self) -> Self {
        self.world.config.hooks.staged.clear();
        self
    }

    pub(crate) fn break_link(&self, host: &str, fault: LinkFault) {
        self.faults.lock().unwrap().insert(host.to_owned(), fault);
    }

    pub(crate) async fn work(&self, work: Work) -> Report {
        work.in_world(&self.world).await
    }

    pub(crate) fn host(&self, name: &str) -> TestHost {
        let root = format!("{}-{name}", self.world.config.layout.root());
        TestHost { name: name.to_owned(), root: root.into() }
    }

    fn hosts(&self) -> Vec<TestHost> {
        self.world.config.hosts.iter().map(|host| self.host(&host.name)).collect()
    }

    /// Shortens the limits that say how long a host that was lost is asked again.
    pub(crate) fn gives_up_soon(&mut self) {
        self.world.limits(Duration::from_secs(2));
    }

    /// The locks are free within the deadline.
    pub(crate) async fn lock_is_free(&self, case: &str) {
        let end = Instant::now() + self.world.config.deadline + Duration::from_secs(3);
        while self.hosts().iter().any(TestHost::is_held) {
            assert!(Instant::now() < end, "{case}: the lock is still held");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The report is true of every host, and the outcome follows from the hosts.
    pub(crate) fn report_is_true(&self, case: &str, work: Work, report: &Report) {
        let mut lives = Vec::new();
        for (host, (_, result)) in self.hosts().iter().zip(&report.hosts) {
            let live = host.live(case);
            let told = match result {
                HostResult::Done(_) => work.aim(),
                HostResult::Reverted { .. } | HostResult::Untouched { .. } => "1",
                other => panic!("{case}: a host that can be looked at is known: {other:?}"),
            };
            assert_eq!(live, told, "{case}: {}: {report:?}", host.name);
            let ledger = host.read(".shipit/ledger.jsonl");
            assert_eq!(host.status(), ReleaseStatus::Good, "{case}: {}: {ledger}", host.name);
            host.is_back(case);
            let back = host.way_back();
            assert!(back.is_some_and(|back| back.exists()), "{case}: {}: a way back", host.name);
            lives.push(live);
        }
        let all_done = report.hosts.iter().all(|(_, result)| matches!(result, HostResult::Done(_)));
        assert_eq!(report.verdict() == RunOutcome::Done, all_done, "{case}: {report:?}");
        lives.dedup();
        assert!(
            lives.len() == 1 || report.verdict() == RunOutcome::NeedsAttention,
            "{case}: {report:?}"
        );
    }

    /// Version 3 can be deployed, and leaves nothing of the run before it behind.
    pub(crate) async fn next_deploy_works(&self, case: &str) {
        self.lock_is_free(case).await;
        let next = self.world.deploy("3").await;
        assert_eq!(next.verdict(), RunOutcome::Done, "{case}: {next:?}");
        for host in self.hosts() {
            assert_eq!(host.live(case), "3", "{case}");
            host.is_back(case);
            assert_eq!(host.left(), [""; 0], "{case}: left behind");
        }
    }

    /// The row of `docs/faults.md` about this fault and `test` agrees with the report.
    pub(crate) fn matches_table(&self, test: &str, fault: &str, report: &Report) {
        let lives: Vec<_> = self.hosts().iter().map(|host| host.live(fault)).collect();
        fault_table::agrees(test, fault, report, &lives);
    }

    /// The report is true, and the next deploy works.
    pub(crate) async fn is_honest(&self, case: &str, work: Work, report: &Report) {
        self.report_is_true(case, work, report);
        self.next_deploy_works(case).await;
    }
}

/// One host's directory.
pub(crate) struct TestHost {
    name: String,
    root: PathBuf,
}

impl TestHost {
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let found = fs::read_dir(self.root.join(path)).into_iter().flatten();
        found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Fails unless the host came back into the balancer after each `before_switch`; perhaps twice,
    /// if a hook or the agent was killed in the middle.
    #[track_caller]
    pub(crate) fn is_back(&self, case: &str) {
        let seen = self.read("balancer");
        let twice = seen.contains("out\nout\n");
        assert!(!twice && seen.ends_with("in\n"), "{case}: {}: {seen}", self.name);
        // If `rm` failed, an empty file is left, which says that nothing is owed.
        let may_be_empty = case.starts_with("rm failed") && self.read(".shipit/owed").is_empty();
        let there = self.path(".shipit/owed").exists();
        assert!(!there || may_be_empty, "{case}: {}: owed", self.name);
    }

    /// Fails unless the hooks of each activation were undone exactly once.
    #[track_caller]
    pub(crate) fn is_back_once(&self, case: &str) {
        let seen = self.read("balancer");
        let times = seen.matches("out\n").count();
        assert_eq!(seen, "out\nin\n".repeat(times), "{case}: {}", self.name);
    }

    /// Returns the live version. The release is whole, has its own config, and runs.
    #[track_caller]
    pub(crate) fn live(&self, case: &str) -> String {
        let version = self.read("current/VERSION").trim().to_owned();
        assert_eq!(self.read("current/.env"), format!("V={version}\n"), "{case}: its config");
        for service in ["running", "second"] {
            let runs = self.read(service);
            assert_eq!(runs.trim(), version, "{case}: what is live is what runs: {service}");
        }
        let manifest = self.read(&format!(".shipit/manifests/{}", self.live_id()));
        assert!(manifest.contains(" ./VERSION\n"), "{case}: {manifest}");
        for (sum, path) in manifest.lines().filter_map(file) {
            let bytes = fs::read(self.root.join("current").join(path)).unwrap_or_default();
            assert_eq!(Digest::of(&bytes).to_string(), sum, "{case}: {path} is whole");
        }
        version
    }

    fn live_id(&self) -> ReleaseId {
        let target = fs::read_link(self.root.join("current")).unwrap();
        target.file_name().unwrap().to_str().unwrap().parse().unwrap()
    }

    /// The release that was live before what is live.
    fn way_back(&self) -> Option<PathBuf> {
        let live = self.live_id();
        let ledger = Ledger::parse(self.read(".shipit/ledger.jsonl").lines());
        let good = |id: &ReleaseId| {
            *id < live && ledger.history(*id).is_some_and(|h| h.status == ReleaseStatus::Good)
        };
        let ids = ledger.histories().into_keys().filter_map(|id| id.parse().ok());
        let earlier = ids.filter(good).max()?;
        Some(self.root.join("releases").join(earlier.to_string()))
    }

    /// Returns the status of the live release by the ledger.
    fn status(&self) -> ReleaseStatus {
        let ledger = Ledger::parse(self.read(".shipit/ledger.jsonl").lines());
        ledger.history(self.live_id()).unwrap().status
    }

    /// Returns whether a live process holds the lock.
    fn is_held(&self) -> bool {
        let lock = self.root.join(".shipit/lock");
        let free = Command::new("flock").arg("-n").arg(&lock).arg("true").status();
        !free.unwrap().success()
    }

    /// Returns the files that belong to no release and no run.
    fn left(&self) -> Vec<String> {
        let releases = self.names("releases");
        let of_none = |name: &String| {
            let id = name.strip_suffix(".artifact").unwrap_or(name);
            !releases.iter().any(|release| release == id)
        };
        let without_release = self.names(".shipit/manifests").into_iter().filter(of_none);
        let left = [".shipit/run", ".shipit/trash"].into_iter().flat_map(|path| self.names(path));
        left.chain(releases.clone().into_iter().filter(|name| name.starts_with('.')))
            .chain(self.names("").into_iter().filter(|name| name.starts_with(".current")))
            .chain(self.names(".shipit").into_iter().filter(|name| name.starts_with("lock.")))
            .chain(without_release)
            .collect()
    }
}

/// The digest and the path of a manifest's line about a file.
fn file(line: &str) -> Option<(&str, &str)> {
    let mut words = line.strip_prefix("f ")?.splitn(4, ' ').skip(2);
    Some((words.next()?, words.next()?))
}
