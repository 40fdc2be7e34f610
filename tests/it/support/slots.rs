//! A host with two slots, whose systemd is a script.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shipit::config::Config;
use shipit::config::checks::{Check, CheckTiming, HealthProbe};
use shipit::deploy::outcome::RunOutcome;
use shipit::model::service::{Action, Scope, ServiceKind, Unit};
use shipit::model::slots::{Slot, Slots, Traffic, TrafficFile};
use shipit::remote::local::LocalSession;

use super::link::{FaultyLinks, LinkFault};
use super::services::service;
use super::tools::program;
use super::world::World;

/// Of each unit there is a file with its state, the number of its start, and the release in which
/// it was started; another one if it is enabled.
pub(crate) const SYSTEMCTL: &str = r#"#!/bin/sh
shift
verb=$1
for unit; do :; done
slot=${unit#*@} slot=${slot%.service}
cd "$HOST/units" || exit 1
state=inactive start=0 release=
[ ! -e "$unit" ] || read -r state start release <"$unit"
begin() {
    echo "active $((start + 1)) $(readlink "$HOST/slots/$slot")" >"$unit.new" && mv "$unit.new" "$unit"
}
case $verb in
show) printf '%s\n' LoadState=loaded "ActiveState=$state" SubState=running "InvocationID=i$start" \
    MainPID=0 NRestarts=0 "WorkingDirectory=$HOST/slots/$slot" "ExecMainStartTimestampMonotonic=$start" ;;
start) [ "$state" = active ] || begin ;;
restart) begin ;;
stop) echo "inactive $start" >"$unit" ;;
enable) : >"$unit.enabled" ;;
disable) rm -f "$unit.enabled" ;;
is-active) [ "$state" = active ] ;;
is-system-running) echo running ;;
esac
"#;

/// Gives the app two slots. The traffic is a file below `root`, the directory of the host.
pub(crate) fn with_slots(config: &mut Config, root: &Path) {
    let name = "todo@{slot}.service".to_owned();
    let unit = Unit { name, scope: Scope::User, action: Action::Restart, file: None };
    config.services = vec![service(ServiceKind::Unit(unit))];
    let slot = |name: &str, port| Slot { name: name.to_owned(), port };
    let file = root.join("shared/up").display().to_string();
    config.slots = Some(Slots {
        pair: [slot("blue", 8081), slot("green", 8082)],
        drain: Duration::ZERO,
        keep_warm: Duration::ZERO,
        traffic: Traffic {
            file: Some(TrafficFile { path: file, content: "{slot} {port} {release}".to_owned() }),
            command: Some("echo \"$SHIPIT_SLOT $(cat ../../shared/up)\" >>../../moves".to_owned()),
        },
    });
    let second = Duration::from_secs(1);
    let pace = CheckTiming { interval: second, timeout: second, total: second, successes: 1 };
    let check = |command: &str| {
        let probe = HealthProbe::Command(command.to_owned());
        Check { probe, pace, roles: Vec::new() }
    };
    config.health.soak = Duration::ZERO;
    config.health.checks = vec![
        check("test -n \"$SHIPIT_PORT\" && ! grep -q sick VERSION"),
        check("! grep -q late VERSION"),
    ];
}

/// A host on which version 1 is live in a slot.
pub(crate) struct SlotHost {
    pub(crate) world: World,
    pub(crate) faults: Arc<Mutex<BTreeMap<String, LinkFault>>>,
    root: PathBuf,
}

impl SlotHost {
    /// Version 1 is deployed through the plain session, everything else through `session`.
    pub(crate) async fn new(session: LocalSession) -> Self {
        let mut host = Self::empty();
        host.reach(LocalSession::new());
        assert_eq!(host.world.deploy("1").await.verdict(), RunOutcome::Done);
        host.is_consistent("at first");
        host.reach(session);
        host
    }

    fn empty() -> Self {
        let mut world = World::new();
        let root = PathBuf::from(format!("{}-web1", world.config.layout.root()));
        fs::create_dir_all(root.join("units")).unwrap();
        fs::create_dir_all(root.join("shared")).unwrap();
        fs::create_dir_all(world.dir.path().join("bin")).unwrap();
        program(&world.dir.path().join("bin/systemctl"), SYSTEMCTL);
        with_slots(&mut world.config, &root);
        Self { world, faults: Arc::default(), root }
    }

    fn reach(&mut self, session: LocalSession) {
        let bin = self.world.dir.path().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let session = session.var("PATH", &path).var("HOST", self.root.to_str().unwrap());
        let links = FaultyLinks::new(self.world.config.layout.root()).over(session);
        self.faults = links.faults();
        self.world.connect = Box::new(links);
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    fn link(&self, path: &str) -> String {
        let target = fs::read_link(self.root.join(path));
        target.map(|target| target.display().to_string()).unwrap_or_default()
    }

    /// Returns the version that is live.
    pub(crate) fn version(&self) -> String {
        self.read("current/VERSION").trim().to_owned()
    }

    /// Returns the moves of the traffic, each with the version that it went to.
    pub(crate) fn moves(&self) -> Vec<String> {
        let version = |line: &str| {
            let release = line.rsplit_once(' ').unwrap().1;
            self.read(&format!("releases/{release}/VERSION")).trim().to_owned()
        };
        self.read("moves").lines().map(version).collect()
    }

    /// The slot that has the traffic runs a whole release.
    #[track_caller]
    pub(crate) fn serves(&self, case: &str) -> String {
        let traffic = self.read("shared/up");
        let words: Vec<_> = traffic.split(' ').collect();
        let unit = self.read(&format!("units/todo@{}.service", words[0]));
        let state: Vec<_> = unit.split_whitespace().collect();
        let target = format!("../releases/{}", words[2]);
        assert_eq!((state[0], state[2]), ("active", &*target), "{case}: {traffic}");
        assert_eq!(self.link(&format!("slots/{}", words[0])), target, "{case}");
        let version = self.read(&format!("releases/{}/VERSION", words[2]));
        assert!(!version.is_empty(), "{case}: {traffic}");
        version.trim().to_owned()
    }

    /// The live release has the traffic, and its slot alone starts at boot and, after a while,
    /// runs.
    #[track_caller]
    pub(crate) fn is_consistent(&self, case: &str) {
        assert_eq!(self.serves(case), self.version(), "{case}: what serves is live");
        let live = self.read("shared/up").split(' ').next().unwrap().to_owned();
        let other = if live == "blue" { "green" } else { "blue" };
        let enabled =
            |slot: &str| self.root.join(format!("units/todo@{slot}.service.enabled")).exists();
        assert!(enabled(&live) && !enabled(other), "{case}: {live} alone is enabled");
        let end = Instant::now() + Duration::from_secs(10);
        while self.read(&format!("units/todo@{other}.service")).starts_with("active") {
            assert!(Instant::now() < end, "{case}: {other} still runs");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.read(".shipit/owed"), "", "{case}");
    }

    /// The lock is free within the deadline.
    pub(crate) async fn is_unlocked(&self, case: &str) {
        let end = Instant::now() + self.world.config.deadline + Duration::from_secs(5);
        let lock = self.root.join(".shipit/lock");
        let held = || {
            let mut flock = std::process::Command::new("flock");
            !flock.arg("-n").arg(&lock).arg("true").status().unwrap().success()
        };
        while held() {
            assert!(Instant::now() < end, "{case}: the lock is still held");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
