//! Many hosts in one run: each an SSH connection to a server in this process, with an agent and a
//! directory of its own. One is slow, one is dead, one is full and one refuses us. That nobody
//! waits for them is shown by what causes what, never by a clock: the slow host's hook and restart
//! end when all others have come as far, and the dead one is silent until all others were looked
//! at. Should one of them be waited for, neither would come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use shipit::config::{Address, Host, OnUnreachable, SshSettings};
use shipit::deploy::context::Connect;
use shipit::deploy::event::Event;
use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::model::service::Service;
use shipit::remote::session::{ByteStream, Channel, Session, SessionError};
use shipit::ssh::connect::Connector;
use shipit::ssh::embedded::{Embedded, ServerOptions};
use tokio::net::TcpListener;

use crate::support::effort::effort;
use crate::support::fleet::hook;
use crate::support::services::command;
use crate::support::session::dial_and_close_of_inner;
use crate::support::ssh::{User, around, connector, write};
use crate::support::tools::program;
use crate::support::world::World;

/// The number of hosts that are worked on at a time.
const PARALLEL: usize = 16;
/// The time limit of each wait; only a test that fails reaches it.
const HANG: Duration = Duration::from_mins(2);

/// The way to the hosts, which share a server and each think that they are alone.
struct Many {
    connector: Arc<Connector>,
    root: String,
    /// The directory of a tar that finds no space.
    bin: PathBuf,
    full: Arc<AtomicBool>,
}

impl Connect for Many {
    fn connect<'a>(
        &'a self,
        host: &'a Host,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(async move {
            let inner = self.connector.connect(host).await?;
            let (from, to) = (self.root.clone(), format!("{}-{}", self.root, host.name));
            let full = host.name == "full" && self.full.load(Ordering::SeqCst);
            let bin = if full { self.bin.display().to_string() + ":" } else { String::new() };
            let before = format!("export NAME={} PATH={bin}$PATH; ", host.name);
            Ok(Arc::new(Own { inner, before, from, to }) as Arc<dyn Session>)
        })
    }
}

/// A session with one of them.
struct Own {
    inner: Arc<dyn Session>,
    before: String,
    from: String,
    to: String,
}

impl Session for Own {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        let own = self.before.clone() + &command.replace(&self.from, &self.to);
        Box::pin(async move { self.inner.exec(&own).await })
    }

    dial_and_close_of_inner!();
}

/// The hosts, and what keeps them there.
struct Hosts {
    world: World,
    full: Arc<AtomicBool>,
    gate: PathBuf,
    dead: TcpListener,
    _servers: [Embedded; 2],
}

fn at(name: &str, port: u16) -> Host {
    let host = "127.0.0.1".to_owned();
    let user = Some("deploy".to_owned());
    let address = Address::Ssh { host, user, port: Some(port), fingerprint: None };
    Host { name: name.to_owned(), address, roles: Vec::new() }
}

impl Hosts {
    async fn new(count: usize) -> Self {
        let mut world = World::new();
        let home = world.dir.path().to_owned();
        let env = vec![("PATH".to_owned(), std::env::var("PATH").unwrap())];
        let options = ServerOptions { env, ..ServerOptions::default() };
        let server = Embedded::start(options.clone()).await.unwrap();
        let stranger = Embedded::start(options).await.unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        write(&home.join("key"), &server.client_key_file());
        write(&home.join("known"), &(server.known_hosts_line() + &stranger.known_hosts_line()));
        let settings = SshSettings {
            identity_file: Some(home.join("key")),
            known_hosts: Some(home.join("known")),
            connect_timeout: Some(HANG),
            ..SshSettings::default()
        };
        let port = server.address.port();
        // The bad hosts come first, so that each takes a place from the start.
        let mut hosts = vec![at("slow", port), at("full", port)];
        hosts.push(at("dead", dead.local_addr().unwrap().port()));
        hosts.push(at("refusing", stranger.address.port()));
        hosts.extend((hosts.len()..count).map(|number| at(&format!("web{number}"), port)));
        let full = Arc::new(AtomicBool::new(true));
        let gate = home.join("gate");
        world.config.hosts = hosts;
        world.config.parallel = PARALLEL;
        world.config.deadline = HANG;
        world.config.rollout.on_unreachable = OnUnreachable::Skip;
        world.connect = Box::new(Many {
            connector: connector(&User::default(), &settings, around(&home, "/nonexistent/ssh")),
            root: world.config.layout.root().to_owned(),
            bin: home.join("bin"),
            full: Arc::clone(&full),
        });
        let this = Self { world, full, gate, dead, _servers: [server, stranger] };
        this.write_scripts();
        this
    }

    /// Everybody leaves a mark at the gate; the slow host waits there for all.
    fn write_scripts(&self) {
        let home = self.world.dir.path();
        fs::create_dir(home.join("bin")).unwrap();
        program(&home.join("bin/tar"), "#!/bin/sh\nexec cat >/dev/full\n");
        let gate = format!(
            "#!/bin/sh\n: >{gate}/$1.$NAME\n[ $NAME = slow ] || exit 0\nfor tries in $(seq 600)\n\
             do\n  set -- $1 {gate}/$1.*\n  [ $# -le $(cat {gate}/all) ] || exit 0\n  sleep 0.1\n\
             done\nexit 1\n",
            gate = self.gate.display()
        );
        program(&home.join("pass"), &gate);
    }

    /// Deploys one version. The slow host waits until this many hosts have come as far.
    async fn deploy(&mut self, version: &str, all: usize) -> Report {
        let _ = fs::remove_dir_all(&self.gate);
        fs::create_dir(&self.gate).unwrap();
        fs::write(self.gate.join("all"), all.to_string()).unwrap();
        self.world.events.lock().unwrap().clear();
        let pass = self.world.dir.path().join("pass").display().to_string();
        self.world.config.hooks.staged = hook(&format!("{pass} staged"));
        let restart = command(&format!("{pass} live"));
        self.world.config.services = vec![Service { limit: HANG, ..restart }];
        self.world.config.hooks.staged.iter_mut().for_each(|hook| hook.limit = HANG);
        let reached = self.world.config.hosts.len() - 2;
        let hang_up = self.hang_up_on(reached);
        tokio::select! {
            report = self.world.deploy(version) => report,
            () = hang_up => unreachable!("it never ends"),
        }
    }

    /// The dead host accepts connections, and closes them after this many others were looked at.
    async fn hang_up_on(&self, reached: usize) {
        let connected = |event: &&Event| matches!(event, Event::Connected { .. });
        let mut taken = Vec::new();
        loop {
            tokio::select! {
                came = self.dead.accept() => taken.push(came.unwrap()),
                () = tokio::time::sleep(Duration::from_millis(20)) => {
                    if self.world.events.lock().unwrap().iter().filter(connected).count() >= reached {
                        taken.clear();
                    }
                }
            }
        }
    }

    /// Returns the hosts by the version that is live on them.
    fn live(&self) -> BTreeMap<String, Vec<String>> {
        let mut live = BTreeMap::<_, Vec<String>>::new();
        for host in &self.world.config.hosts {
            let root = format!("{}-{}", self.world.config.layout.root(), host.name);
            let path = Path::new(&root).join("current/VERSION");
            let version = fs::read_to_string(path).unwrap_or_default();
            live.entry(version.trim().to_owned()).or_default().push(host.name.clone());
        }
        live
    }

    /// Never are there more hosts with a step under way than may be; and there are that many.
    fn keeps_the_limit(&self) {
        let (mut busy, mut most) = (BTreeSet::new(), 0);
        for event in self.world.events.lock().unwrap().iter() {
            match event {
                Event::StepStarted { host, .. } => busy.insert(host.clone()),
                Event::StepFinished { host, .. } | Event::StepFailed { host, .. } => {
                    busy.remove(host)
                }
                _ => continue,
            };
            most = most.max(busy.len());
        }
        assert!((2..=PARALLEL).contains(&most), "{most} hosts at a time");
    }
}

fn result<'a>(report: &'a Report, name: &str) -> &'a HostResult {
    &report.hosts.iter().find(|(host, _)| host == name).unwrap().1
}

/// The two that cannot be deployed to are skipped, for what is wrong with them.
#[track_caller]
fn skips_two(report: &Report) {
    for (name, why) in [("dead", "handshake"), ("refusing", "no key was accepted")] {
        let HostResult::Skipped { failure } = result(report, name) else { panic!("{report:?}") };
        let said = format!("{}; {}", failure.what, failure.cause.join("; "));
        assert!(said.contains(why), "{name}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_hosts_do_not_delay_the_others() {
    let count = effort(8, 24, 200);
    let mut many = Hosts::new(count).await;

    let report = many.deploy("1", count - 3).await;
    assert_eq!(report.verdict(), RunOutcome::NotDone, "{report:?}");
    skips_two(&report);
    let HostResult::Untouched { failure: Some(failure), .. } = result(&report, "full") else {
        panic!("{report:?}")
    };
    assert!(failure.cause.join("; ").contains("No space left on device"), "{failure:?}");
    let untouched = |(_, result): &&(String, HostResult)| {
        matches!(result, HostResult::Untouched { failure: None, .. })
    };
    assert_eq!(report.hosts.iter().filter(untouched).count(), count - 3, "{report:?}");
    assert_eq!(many.live()[""].len(), count, "nothing is live anywhere");
    many.keeps_the_limit();

    many.full.store(false, Ordering::SeqCst);
    let report = many.deploy("2", count - 2).await;
    assert_eq!(report.verdict(), RunOutcome::NotDone, "two are behind: {report:?}");
    skips_two(&report);
    let done = |(_, result): &&(String, HostResult)| matches!(result, HostResult::Done(_));
    assert_eq!(report.hosts.iter().filter(done).count(), count - 2, "{report:?}");
    assert_eq!(many.live()["2"].len(), count - 2);
    assert_eq!(many.live()[""], ["dead", "refusing"]);
    many.keeps_the_limit();
}
