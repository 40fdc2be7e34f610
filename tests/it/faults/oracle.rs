//! What must be true after a fault, seen by looking at the directory itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shipit::config::Hook;
use shipit::deploy::outcome::{HostResult, Report, Verdict};
use shipit::model::ledger::{Ledger, Standing};
use shipit::model::link::{SharedKind, SharedLink};
use shipit::model::service::Service;
use shipit::remote::local::LocalSession;
use tokio::sync::OnceCell;

use crate::features::wires::{Wire, Wires};
use crate::features::world::World;

/// One host on which version 1 is live and well, and the way to it.
pub(super) struct Subject {
    pub(super) world: World,
    pub(super) faults: Arc<Mutex<BTreeMap<String, Wire>>>,
}

pub(super) fn hook(run: &str) -> Vec<Hook> {
    vec![Hook { run: run.to_owned(), once: false, roles: Vec::new() }]
}

impl Subject {
    /// A host reached by `session`, with version 1 live. A deploy of it sends every order there is.
    pub(super) async fn new(session: LocalSession) -> Self {
        static FIRST: OnceCell<Subject> = OnceCell::const_new();
        let first = FIRST.get_or_init(Self::first).await;
        let subject = Self::empty(session);
        let copied = Command::new("cp").args(["-a", &first.root(), &subject.root()]).status();
        assert!(copied.unwrap().success());
        subject.world.after_runs(2);
        subject
    }

    /// The one that all others are copies of.
    async fn first() -> Self {
        let subject = Self::empty(LocalSession::new());
        for version in ["0", "1"] {
            let report = subject.world.deploy(version).await;
            assert_eq!(report.verdict(), Verdict::Done, "{report:?}");
        }
        subject
    }

    fn empty(session: LocalSession) -> Self {
        let mut world = World::new();
        world.config.keep = 1;
        let dir = SharedKind::Dir { mode: None, group: None };
        world.config.links = vec![SharedLink { path: "log".to_owned(), kind: dir }];
        world.config.hooks.staged = hook("test -e VERSION");
        world.config.hooks.activated = hook("test -e VERSION");
        world.config.service = Service::Command {
            restart: "test ! -e broken && cat VERSION >../../running".to_owned(),
            stop: Some("rm -f running".to_owned()),
            limit: Duration::from_secs(10),
        };
        let wires = Wires::new(world.config.layout.root()).over(session);
        let faults = wires.faults();
        world.connect = Box::new(wires);
        Self { world, faults }
    }

    pub(super) fn wire(&self, wire: Wire) {
        self.faults.lock().unwrap().insert("web1".to_owned(), wire);
    }

    fn root(&self) -> String {
        format!("{}-web1", self.world.config.layout.root())
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(Path::new(&self.root()).join(path)).unwrap_or_default()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let found = fs::read_dir(Path::new(&self.root()).join(path)).into_iter().flatten();
        found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The version that is live, whole, with its own config, and running.
    #[track_caller]
    fn live(&self, case: &str) -> String {
        let version = self.read("current/VERSION").trim().to_owned();
        assert_eq!(self.read("current/.env"), format!("V={version}\n"), "{case}: its config");
        assert_eq!(self.read("current/bin/server"), "#!/bin/sh\n", "{case}: whole");
        assert_eq!(self.read("current/with space \\ and 'quote'"), "odd", "{case}: whole");
        assert_eq!(self.read("running").trim(), version, "{case}: what is live is what runs");
        version
    }

    /// What the ledger says of what is live.
    fn standing(&self) -> Standing {
        let target = fs::read_link(Path::new(&self.root()).join("current")).unwrap();
        let id = target.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let ledger = Ledger::parse(self.read(".shipit/ledger.jsonl").lines());
        ledger.history(id).unwrap().standing
    }

    /// The lock is free within the deadline: the agent's directory goes with its conversation.
    pub(super) async fn is_let_go(&self, case: &str) {
        let lock = format!("{}/.shipit/lock", self.root());
        let end = Instant::now() + self.world.config.deadline + Duration::from_secs(3);
        let held =
            || !Command::new("flock").args(["-n", &lock, "true"]).status().unwrap().success();
        while held() {
            assert!(Instant::now() < end, "{case}: the lock is still held");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The report of a deploy of version 2 says what is so; then version 3 is deployed as if
    /// nothing had been.
    pub(super) async fn is_honest(&self, case: &str, report: &Report) {
        let live = self.live(case);
        assert!(live == "1" || live == "2", "{case}: {live} is live");
        let (_, result) = &report.hosts[0];
        let shown = match result {
            HostResult::Done(_) => "2",
            HostResult::PutBack { .. } | HostResult::Untouched { .. } => "1",
            other => panic!("{case}: a host that can be looked at is known: {other:?}"),
        };
        assert_eq!(live, shown, "{case}: {report:?}");
        assert_eq!(report.verdict() == Verdict::Done, shown == "2", "{case}: {report:?}");
        assert_eq!(
            self.standing(),
            Standing::Good,
            "{case}: {}",
            self.read(".shipit/ledger.jsonl")
        );
        self.is_let_go(case).await;
        let next = self.world.deploy("3").await;
        assert_eq!(next.verdict(), Verdict::Done, "{case}: {next:?}");
        assert_eq!(self.live(case), "3", "{case}");
        let left: Vec<_> = [".shipit/run", ".shipit/trash"]
            .into_iter()
            .flat_map(|path| self.names(path))
            .chain(self.names("releases").into_iter().filter(|name| name.starts_with('.')))
            .chain(self.names("").into_iter().filter(|name| name.starts_with(".current")))
            .collect();
        assert_eq!(left, [""; 0], "{case}: left behind");
    }
}
