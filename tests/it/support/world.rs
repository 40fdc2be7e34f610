//! A little fleet in a temporary directory: each host is a directory, reached through the local
//! session.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{TimeZone as _, Utc};
use futures::future::BoxFuture;
use shipit::cache::LocalCache;
use shipit::config::env::EnvFile;
use shipit::config::file::ConfigFile;
use shipit::config::resolve::Overrides;
use shipit::config::{Address, ArtifactSource, ArtifactSpec, Config, Hook, Hooks, Host};
use shipit::deploy::cancel::Cancel;
use shipit::deploy::context::{Approve, Connect, RunContext};
use shipit::deploy::event::{Event, Events};
use shipit::deploy::fleet::{build_and_run, dry_run, run};
use shipit::deploy::goal::{Build, Goal, PruneRule};
use shipit::deploy::outcome::{Failure, Report};
use shipit::deploy::plan::HostPlan;
use shipit::deploy::promote::{LiveRelease, live_release};
use shipit::deploy::query::Answers;
use shipit::deploy::run::Run;
use shipit::deploy::source::Source;
use shipit::deploy::verify::{Verified, verify};
use shipit::remote::local::LocalSession;
use shipit::remote::session::{Session, SessionError};
use shipit::report::json::report_line;
use shipit::report::plan::plan_lines;

use super::archives::open_spec;
use super::bytes::random_text;

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) connect: Box<dyn Connect>,
    pub(crate) events: Mutex<Vec<Event>>,
    /// Size of a further file in every build, in bytes. A large one needs a channel of its own.
    pub(crate) ballast: usize,
    /// The questions that were asked, and the answers to come, the last one first.
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) approved: Mutex<Vec<bool>>,
    /// The path of a unit file in every build.
    pub(crate) unit_file: Option<&'static str>,
    /// Whether every build is a container image, whose id is its version.
    pub(crate) image: bool,
    runs: Mutex<u32>,
}

/// Nobody is asked unless a test wants that: the answer is yes.
impl Approve for World {
    fn approve(&self, question: String) -> BoxFuture<'_, bool> {
        let yes = self.approved.lock().unwrap().pop().unwrap_or(true);
        self.asked.lock().unwrap().push(question);
        Box::pin(async move { yes })
    }
}

pub(crate) struct LocalConnect(pub(crate) LocalSession);

impl Connect for LocalConnect {
    fn connect<'a>(&'a self, _: &'a Host) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        let session: Arc<dyn Session> = Arc::new(self.0.clone());
        Box::pin(async move { Ok(session) })
    }
}

pub(crate) fn host(name: &str) -> Host {
    Host { name: name.to_owned(), address: Address::Local, roles: Vec::new() }
}

/// A hook on all hosts.
pub(crate) fn hook(run: &str) -> Hook {
    let limit = Duration::from_secs(10);
    Hook { run: run.to_owned(), once: false, roles: Vec::new(), limit }
}

/// A deploy of what is in that directory, even if it is live already.
pub(crate) fn goal_of(path: PathBuf, but: impl FnOnce(Build) -> Build) -> Goal {
    let source = ArtifactSource::Path { path, sha256: None };
    let spec = ArtifactSpec::of(source);
    let artifact = Arc::new(open_spec(&spec).unwrap());
    let build = but(Build {
        source: Source::Artifact(Arc::clone(&artifact)),
        name: artifact.name().to_owned(),
        manifest: artifact.manifest().clone(),
        digest: artifact.digest(),
        revision: None,
        env: Vec::new(),
        force: true,
        of_live: None,
    });
    Goal::Deploy(Box::new(build))
}

/// The goal to stage what this deploy would make live.
pub(crate) fn staged(deploy: &Goal) -> Goal {
    let Goal::Deploy(build) = deploy else { panic!("not a deploy") };
    Goal::Stage(build.clone())
}

/// Each restart appends the version that it started to a file.
const CONFIG: &str = r#"
app = "todo"
deploy_to = "ROOT"
keep_releases = 3
parallel = 8

[env]
file = ".env"

[service]
restart = "test ! -e broken && cat VERSION >>../../restarts"
stop = "echo stopped >>restarts"
timeout = "10s"

[hooks]
timeout = "10s"

[stages.test]
hosts = ["local"]
"#;

impl World {
    /// The warnings so far.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Warning { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.events.lock().unwrap().iter().filter_map(text).collect()
    }

    /// Returns a fleet of one host, whose restart command records the version it started.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("srv");
        let text = CONFIG.replace("ROOT", root.to_str().unwrap());
        let file = ConfigFile::parse("deploy.toml", dir.path(), text).unwrap();
        let config = file.resolve(None, &Overrides::default()).unwrap();
        // Less than users may choose, for many tests wait for it.
        let deadline = Duration::from_secs(4);
        let config = Config { hosts: vec![host("web1")], deadline, ..config };
        let connect = Box::new(LocalConnect(LocalSession::new()));
        Self {
            dir,
            config,
            connect,
            events: Mutex::default(),
            ballast: 0,
            asked: Mutex::default(),
            approved: Mutex::default(),
            unit_file: None,
            image: false,
            runs: Mutex::new(0),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        PathBuf::from(self.config.layout.root())
    }

    /// A build whose VERSION says `version`; a `broken` one makes the restart fail.
    pub(crate) fn artifact(&self, version: &str, broken: bool) -> PathBuf {
        let dir = self.dir.path().join("dist");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::write(dir.join("VERSION"), format!("{version}\n")).unwrap();
        fs::write(dir.join("bin/server"), "#!/bin/sh\n").unwrap();
        if self.ballast > 0 {
            fs::write(dir.join("ballast"), random_text(7, self.ballast)).unwrap();
        }
        if let Some(path) = self.unit_file.map(|file| dir.join(file)) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("# {version}\n[Install]\n")).unwrap();
        }
        if self.image {
            fs::write(dir.join("manifest.json"), version).unwrap();
        }
        fs::write(dir.join("with space \\ and 'quote'"), "odd").unwrap();
        fs::set_permissions(dir.join("bin/server"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("server", dir.join("bin/run")).unwrap();
        if broken {
            fs::write(dir.join("broken"), "").unwrap();
        }
        dir
    }

    pub(crate) fn deploy_goal(&self, version: &str, env: &str, broken: bool) -> Goal {
        goal_of(self.artifact(version, broken), |build| Build {
            revision: Some(format!("rev-{version}")),
            env: vec![EnvFile::raw(env.as_bytes().to_vec())],
            force: false,
            ..build
        })
    }

    /// Sets the number of runs that have been.
    pub(crate) fn after_runs(&self, count: u32) {
        *self.runs.lock().unwrap() = count;
    }

    /// Sets the limits of services and hooks.
    pub(crate) fn limits(&mut self, limit: Duration) {
        let Config { services, hooks, .. } = &mut self.config;
        for service in services {
            service.limit = limit;
        }
        let Hooks { before_switch, switched, activated, committed, reverted, .. } = hooks;
        let places = [before_switch, switched, activated, committed, reverted];
        places.into_iter().flatten().for_each(|hook| hook.limit = limit);
    }

    pub(crate) fn run_values(&self, command: &str) -> Run {
        let mut runs = self.runs.lock().unwrap();
        *runs += 1;
        Run {
            nonce: format!("run{:013}", *runs),
            now: Utc.with_ymd_and_hms(2026, 8, 21, 9, 0, *runs % 60).unwrap(),
            who: "ada".to_owned(),
            from: "laptop".to_owned(),
            tool: "shipit test".to_owned(),
            command: command.to_owned(),
        }
    }

    pub(crate) async fn run(&self, goal: &Goal) -> Report {
        self.run_with(goal, &Cancel::never()).await
    }

    pub(crate) async fn run_with(&self, goal: &Goal, cancel: &Cancel) -> Report {
        let values = self.run_values(goal.kind().word());
        let sink = |event| self.events.lock().unwrap().push(event);
        run(self.context(&values, &sink, cancel, &self.cache()), goal).await
    }

    /// Runs the goal after `local.before`.
    pub(crate) async fn build_and_run(&self, goal: Goal) -> Report {
        let values = self.run_values(goal.kind().word());
        let sink = |event| self.events.lock().unwrap().push(event);
        let (cancel, cache) = (Cancel::never(), self.cache());
        let cx = self.context(&values, &sink, &cancel, &cache);
        build_and_run(cx, goal.kind(), async || Ok(goal)).await
    }

    /// Looks for what can be promoted from here; `whole` also compares every byte.
    pub(crate) async fn live_release(&self, whole: bool) -> Result<LiveRelease, Failure> {
        let values = self.run_values("promote");
        live_release(self.context(&values, &|_| {}, &Cancel::never(), &self.cache()), whole).await
    }

    /// Returns the plan of a dry run for the first host, as users see it.
    pub(crate) async fn rehearsed(&self, goal: &Goal) -> Vec<String> {
        let values = self.run_values(goal.kind().word());
        let dry_run =
            dry_run(self.context(&values, &|_| {}, &Cancel::never(), &self.cache()), goal).await;
        plan_lines(dry_run.plans[0].1.as_ref().unwrap())
    }

    /// The plan of a dry run for each host; `None` if it has none, or nothing is to be done.
    pub(crate) async fn planned(&self, goal: &Goal) -> Vec<(String, Option<HostPlan>)> {
        let values = self.run_values(goal.kind().word());
        let dry_run =
            dry_run(self.context(&values, &|_| {}, &Cancel::never(), &self.cache()), goal).await;
        let plan = |plan: Result<_, _>| plan.ok().filter(|_| !dry_run.unchanged);
        dry_run.plans.into_iter().map(|(host, found)| (host, plan(found))).collect()
    }

    /// The directory in which this machine keeps what it knows of releases.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.dir.path().join("cache of this machine")
    }

    /// The cache for one run, which ends when everything is written.
    fn cache(&self) -> LocalCache {
        LocalCache::new(Some(&self.cache_dir()), std::time::SystemTime::now())
    }

    fn context<'a>(
        &'a self,
        run: &'a Run,
        sink: &'a (dyn Fn(Event) + Send + Sync),
        cancel: &'a Cancel,
        cache: &'a LocalCache,
    ) -> RunContext<'a> {
        RunContext {
            config: &self.config,
            run,
            connect: self.connect.as_ref(),
            events: Events::new(sink),
            approve: self,
            told: &report_line,
            cancel,
            cache,
            wait: false,
        }
    }

    /// Does `work` in a run of its own.
    pub(crate) async fn within<T>(&self, work: impl AsyncFnOnce(RunContext<'_>) -> T) -> T {
        let (run, cancel) = (self.run_values("after"), Cancel::never());
        let sink = |event| self.events.lock().unwrap().push(event);
        work(self.context(&run, &sink, &cancel, &self.cache())).await
    }

    pub(crate) async fn verify(&self, id: Option<&str>) -> Answers<Verified> {
        let id = id.map(|id| id.parse().unwrap());
        self.within(async |cx| verify(cx, id).await).await
    }

    pub(crate) async fn verified(&self) -> Verified {
        self.verify(None).await.remove(0).1.unwrap()
    }

    /// Writes to a sealed file.
    pub(crate) fn touch(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o644));
        fs::write(path, text).unwrap();
    }

    pub(crate) async fn deploy(&self, version: &str) -> Report {
        self.run(&self.deploy_goal(version, &format!("V={version}\n"), false)).await
    }

    pub(crate) async fn stage(&self, version: &str) -> Report {
        let deploy = self.deploy_goal(version, &format!("V={version}\n"), false);
        self.run(&staged(&deploy)).await
    }

    pub(crate) async fn activate(&self) -> Report {
        self.run(&Goal::Activate(None)).await
    }

    pub(crate) async fn rollback(&self) -> Report {
        self.run(&Goal::Rollback(None)).await
    }

    pub(crate) async fn prune(&self, keep: usize) -> Report {
        self.run(&Goal::Prune(PruneRule { keep, older_than: None })).await
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| error.to_string())
    }

    pub(crate) fn live(&self) -> String {
        fs::read_link(self.root().join("current"))
            .map_or_else(|_| "nothing".to_owned(), |target| target.display().to_string())
    }

    pub(crate) fn releases(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.root().join("releases"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}
