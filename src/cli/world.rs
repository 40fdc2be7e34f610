//! What surrounds the program, read once: environment, clock, terminal, names. The composition
//! root: everything below gets these as values.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use chrono::{DateTime, FixedOffset, Local, Utc};
use console::Term;

use super::account::Account;
use super::args::{GlobalFlags, StageArg};
use super::aside::Aside;
use super::error::CliError;
use super::place;
use super::question::is_yes;
use super::reach::Reach;
use super::signals;
use crate::cache::LocalCache;
use crate::config::resolve::{Overrides, load};
use crate::config::{Address, Config};
use crate::deploy::cancel::Cancel;
use crate::deploy::check::Finding;
use crate::deploy::context::RunContext;
use crate::deploy::event::{Event, Events};
use crate::deploy::fleet::{self, DryRun};
use crate::deploy::goal::Goal;
use crate::deploy::outcome::{Failure, Report, naming_stage};
use crate::deploy::query::{self, Answers};
use crate::deploy::run::Run;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::mutex::lock;
use crate::report::github;
use crate::report::redact::Secrets;
use crate::report::sanitizer::{Sieve, defuse};
use crate::report::styles::Styles;
use crate::report::{Mode, Reporter, Settings, Verbosity, error, reporter};
use crate::ssh::connect::{Callbacks, Connector, Weight};
use crate::ssh::ssh_config::LocalEnv;

/// The usual name of the config file.
pub(crate) const CONFIG: &str = "deploy.toml";

/// All of it.
pub(crate) struct World {
    pub(crate) common: GlobalFlags,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) offset: FixedOffset,
    pub(crate) cwd: PathBuf,
    started: Instant,
    hostname: String,
    nonce: String,
    cache: LocalCache,
    who: OnceLock<String>,
    account: OnceLock<Option<Account>>,
    stage: OnceLock<String>,
    aside: Aside,
    cancel: OnceLock<Cancel>,
}

/// What one run borrows.
struct RunResources {
    cancel: Cancel,
    run: Run,
    connect: Reach,
    cache: LocalCache,
}

impl RunResources {
    fn context<'a>(&'a self, config: &'a Config, events: Events<'a>, wait: bool) -> RunContext<'a> {
        let Self { cancel, run, connect, cache } = self;
        RunContext { config, run, connect, events, cancel, cache, wait }
    }
}

impl World {
    /// Reads what surrounds this process.
    pub(crate) fn of_this_process(common: GlobalFlags) -> Self {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        let env: BTreeMap<_, _> =
            std::env::vars_os().filter_map(|(k, v)| Some((text(k)?, text(v)?))).collect();
        let now = Utc::now();
        Self {
            cache: LocalCache::new(cache(&env).as_deref(), now.into()),
            common,
            env,
            now,
            offset: *Local::now().offset(),
            cwd: std::env::current_dir().unwrap_or_default(),
            started: Instant::now(),
            hostname: gethostname::gethostname().to_string_lossy().into_owned(),
            nonce: nonce(),
            who: OnceLock::new(),
            account: OnceLock::new(),
            stage: OnceLock::new(),
            aside: Aside::default(),
            cancel: OnceLock::new(),
        }
    }

    pub(crate) fn var(&self, name: &str) -> Option<String> {
        self.env.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A variable as it was given, also an empty one.
    pub(crate) fn given(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    /// Prints why there was no run.
    pub(crate) fn fail(&self, problem: &CliError) -> ExitCode {
        self.print_error(|out| error::print(out, &self.styles(), problem));
        ExitCode::from(problem.exit_code())
    }

    pub(crate) fn styles(&self) -> Styles {
        let terminal = std::io::stderr().is_terminal();
        let width = terminal.then(|| usize::from(Term::stderr().size().1));
        let no_color = self.var("NO_COLOR").is_some();
        Styles { width, ..Styles::choose(self.common.color.into(), no_color, terminal) }
    }

    /// The config file that the flag or the variable names.
    pub(crate) fn named_config(&self) -> Option<PathBuf> {
        self.common.config.clone().or(self.var("SHIPIT_CONFIG").map(PathBuf::from))
    }

    /// The config file: the one that is named, else the nearest upwards, else the usual name.
    pub(crate) fn config_path(&self) -> PathBuf {
        let found = || place::nearest(&self.cwd, CONFIG);
        self.named_config().or_else(found).unwrap_or_else(|| PathBuf::from(CONFIG))
    }

    /// The stage that is meant, with flags over variables over the file.
    pub(crate) fn config(&self, stage: &StageArg, more: Overrides) -> Result<Config, CliError> {
        let overrides = Overrides {
            hosts: self.common.hosts.clone(),
            roles: self.common.roles.clone(),
            directory: self.cwd.clone(),
            ..more
        };
        let overrides = overrides.or_environment(&|name| self.var(name))?;
        let path = self.config_path();
        let config = load(&path)?.resolve(stage.stage.as_deref(), &overrides)?;
        if self.common.verbose {
            self.tell(&format!("config: {}\n", path.display()));
        }
        let _ = self.stage.set(config.stage.clone());
        Ok(config)
    }

    /// The account that runs this, looked up once: a directory service may be slow.
    fn account(&self) -> Option<&Account> {
        self.account.get_or_init(Account::of_this_process).as_ref()
    }

    /// Who runs this: as CI says, else the account, else git's `user.name`.
    pub(crate) fn who(&self) -> &str {
        self.who.get_or_init(|| {
            let names = ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR"];
            let said = names.iter().chain(&["USER", "LOGNAME"]).find_map(|name| self.var(name));
            let account = || self.account().map(|account| account.name.clone());
            let git = || said_by("git", &["config", "user.name"]);
            said.or_else(account).or_else(git).unwrap_or_else(|| "unknown".to_owned())
        })
    }

    pub(crate) fn run_values(&self, command: &str, config: &Config) -> Run {
        Run {
            nonce: self.nonce.clone(),
            now: self.now,
            who: self.who().to_owned(),
            from: self.hostname.clone(),
            tool: format!("shipit {}", env!("CARGO_PKG_VERSION")),
            command: format!("{command} {}", config.stage),
        }
    }

    /// The way to the hosts.
    pub(crate) fn reach(&self, config: &Config) -> Reach {
        // As ssh does: `HOME` and `USER` have no say, unless the user database has none.
        let account = self.account().cloned();
        let (user, home) = account.map(|account| (account.name, account.home)).unzip();
        let around = LocalEnv {
            home: home.or(self.var("HOME").map(PathBuf::from)).unwrap_or_default(),
            cwd: self.cwd.clone(),
            user: user.or(self.var("USER")).or(self.var("LOGNAME")).unwrap_or_default(),
            hostname: self.hostname.clone(),
            env: self.env.clone(),
            ssh: PathBuf::from("ssh"),
        };
        self.warn_of_two_homes(config, &around.home);
        let verbose = self.common.verbose;
        let (asking, telling, env) = (self.aside.clone(), self.aside.clone(), self.env.clone());
        let callbacks = Callbacks {
            passphrase: Arc::new(move |key| asking.passphrase(key, &env)),
            notice: Arc::new(move |host: &str, weight, text: &str| {
                let (host, text) = (host.to_owned(), text.to_owned());
                match weight {
                    Weight::Warning => telling.tell(Event::Warning { host: Some(host), text }),
                    Weight::Detail if verbose => {
                        telling.tell(Event::Printed { host, source: "ssh".to_owned(), text });
                    }
                    Weight::Detail => {}
                }
            }),
        };
        let now = u64::try_from(self.now.timestamp()).unwrap_or_default();
        Reach::new(Connector::new(&config.ssh, around, callbacks, now))
    }

    /// Warns where ssh's files lie in `HOME`, which neither ssh nor we look at. Nobody sees from
    /// "no such host" or "no key" that there are two homes.
    fn warn_of_two_homes(&self, config: &Config, home: &Path) {
        let other = self.var("HOME").map(PathBuf::from).filter(|other| other != home);
        let Some(other) = other.filter(|other| other.join(".ssh").is_dir()) else { return };
        if config.hosts.iter().any(|host| host.address != Address::Local) {
            let (other, home) = (other.display(), home.display());
            let text = format!(
                "{other}/.ssh is not read, though HOME is {other}: as ssh does, shipit reads the \
                 account's own, {home}/.ssh"
            );
            self.aside.tell(Event::Warning { host: None, text });
        }
    }

    /// Follows the signals of this process from the first call on.
    pub(crate) fn cancel(&self) -> Cancel {
        self.cancel.get_or_init(signals::follow).clone()
    }

    /// Where what was released is kept on this machine.
    pub(crate) fn cache(&self) -> LocalCache {
        self.cache.clone()
    }

    fn means(&self, config: &Config, command: &str, reach: Option<Reach>) -> RunResources {
        RunResources {
            cancel: self.cancel(),
            run: self.run_values(command, config),
            connect: reach.unwrap_or_else(|| self.reach(config)),
            cache: self.cache(),
        }
    }

    fn reporter(&self, secrets: Secrets, quiet: bool) -> Box<dyn Reporter + Send> {
        let started = self.started;
        let mode = if self.common.json {
            Mode::Json
        } else if std::io::stderr().is_terminal() && !quiet {
            Mode::Live(Box::new(|| Term::stderr().size()))
        } else {
            Mode::Lines
        };
        let verbosity = match (self.common.verbose, self.common.quiet || quiet) {
            (true, _) => Verbosity::Verbose,
            (false, true) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
        };
        reporter(Settings {
            mode,
            styles: self.styles(),
            verbosity,
            secrets,
            github: self.in_github(),
            clock: Box::new(move || started.elapsed()),
        })
    }

    /// Runs the engine with a reporter; the report has been shown when this returns.
    pub(crate) async fn run(&self, config: &Config, goal: &Goal, how: RunOptions) -> Report {
        self.shown(config, goal.kind().word(), how, async |cx| fleet::run(cx, goal).await).await
    }

    /// Does `work` with a reporter; its report has been shown when this returns.
    pub(crate) async fn shown(
        &self,
        config: &Config,
        command: &str,
        how: RunOptions,
        work: impl AsyncFnOnce(RunContext<'_>) -> Report,
    ) -> Report {
        let means = self.means(config, command, how.reach);
        let screen = Mutex::new(self.reporter(how.secrets, how.quiet));
        let with = |act: &mut dyn FnMut(&mut Box<dyn Reporter + Send>)| {
            act(&mut lock(&screen));
        };
        let aside = &self.aside;
        let show =
            || aside.told().iter().for_each(|event| with(&mut |screen| screen.on_event(event)));
        let sink = |event: Event| {
            aside.tell(event);
            show();
        };
        aside.view(true);
        let events = Events::new(&sink);
        let cancel = &means.cancel;
        let ticking = async {
            let mut beats = tokio::time::interval(std::time::Duration::from_millis(120));
            let mut told = 0;
            loop {
                beats.tick().await;
                if aside.wanted() {
                    with(&mut |screen| screen.pause());
                    aside.give();
                } else {
                    show();
                    with(&mut |screen| screen.tick());
                }
                let asked = u8::from(cancel.asked()) + u8::from(cancel.insisted());
                if asked > told {
                    told = asked;
                    events.emit(Event::Interrupted { again: asked > 1 });
                }
            }
        };
        let report = tokio::select! {
            report = work(means.context(config, events, how.wait)) => report,
            () = ticking => unreachable!("the ticking never ends"),
        };
        aside.view(false);
        show();
        let report = report.naming_stage();
        with(&mut |screen| screen.finish(&report));
        report
    }

    /// Plans from live facts and stops there.
    pub(crate) async fn dry_run(&self, config: &Config, goal: &Goal) -> Result<DryRun, CliError> {
        self.quietly(config, goal.kind().word(), async |cx| fleet::dry_run(cx, goal).await).await
    }

    /// Looks at every host, without the lock.
    pub(crate) async fn look(&self, config: &Config) -> Result<Answers<HostState>, CliError> {
        self.quietly(config, "look at", query::look).await
    }

    /// The same, with what `check` wants to know besides.
    pub(crate) async fn probe(
        &self,
        config: &Config,
        goal: Option<&Goal>,
    ) -> Result<Answers<fleet::Probed>, CliError> {
        self.quietly(config, "check", async |cx| fleet::probe(cx, goal).await).await
    }

    /// Does `work` that only looks, and tells nobody about it.
    pub(crate) async fn quietly<T>(
        &self,
        config: &Config,
        command: &str,
        work: impl AsyncFnOnce(RunContext<'_>) -> T,
    ) -> Result<T, CliError> {
        let means = self.means(config, command, None);
        let cx = means.context(config, Events::new(&|_| {}), false);
        let done = unless_stopped(&means.cancel, work(cx)).await;
        self.tell_aside();
        done
    }

    /// Shows what connections noticed where nothing else shows events.
    fn tell_aside(&self) {
        for event in self.aside.told() {
            match event {
                Event::Printed { host, text, .. } => {
                    let _ = writeln!(std::io::stderr(), "{host}: {text}");
                }
                event => self.warn(&event),
            }
        }
    }

    /// The hosts that answered; the others are errors, and the code says so.
    pub(crate) fn found<T>(&self, answers: Answers<T>) -> (Vec<(String, T)>, u8) {
        let mut found = Vec::new();
        let mut code = 0;
        for (host, answer) in answers {
            match answer {
                Ok(value) => found.push((host, value)),
                Err(failure) => {
                    code = 1;
                    let sieve = self.sieve(Secrets::default());
                    self.print_failure(&sieve, Some(&host), &failure, "nothing was changed");
                }
            }
        }
        (found, code)
    }

    /// For a person, before a question.
    pub(crate) fn tell(&self, text: &str) {
        if !self.common.quiet {
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }

    /// A warning from before the run.
    pub(crate) fn warn(&self, warning: &Event) {
        self.reporter(Secrets::new([]), true).on_event(warning);
    }

    /// What was found, where a reviewer sees it, if this is GitHub.
    pub(crate) fn annotate(&self, found: &[Finding]) {
        if self.in_github() {
            let _ = std::io::stderr().write_all(github::findings(found).as_bytes());
        }
    }

    fn in_github(&self) -> bool {
        self.var("GITHUB_ACTIONS").as_deref() == Some("true")
    }

    /// What makes texts fit to be shown here.
    pub(crate) fn sieve(&self, secrets: Secrets) -> Sieve {
        Sieve::new(secrets, self.in_github())
    }

    /// What a command that looks was asked for, on stdout.
    pub(crate) fn print(&self, text: &str) {
        if self.in_github() { print(&format!("{}\n", defuse(text))) } else { print(text) }
    }

    /// An error on stderr, with no line that GitHub's runner would take for a command.
    fn print_error(&self, write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) {
        let mut out = Vec::new();
        let _ = write(&mut out);
        if self.in_github() {
            let text = String::from_utf8_lossy(&out);
            out = format!("{}\n{}", defuse(&text), github::error(&text)).into_bytes();
        }
        let _ = std::io::stderr().write_all(&out);
    }

    /// A host's failure outside a run.
    pub(crate) fn print_failure(
        &self,
        sieve: &Sieve,
        host: Option<&str>,
        failure: &Failure,
        state: &str,
    ) {
        let failure = sieve.failure(failure);
        let what = match host {
            Some(host) => format!("{host}: {}", failure.what),
            None => failure.what.clone(),
        };
        let named = self.stage.get().map_or("", String::as_str);
        let hint = failure.hint.as_deref().map(|hint| naming_stage(hint, named));
        let (cause, hint) = (&failure.cause, hint.as_deref());
        let styles = self.styles();
        self.print_error(|out| error::print_error(out, &styles, &what, cause, Some(state), hint));
    }

    /// Asks; `--yes` answers beforehand.
    pub(crate) fn confirm(&self, config: &Config, question: &str) -> Result<bool, CliError> {
        if !config.confirm || self.common.dry_run {
            return Ok(true);
        }
        self.ask(question, &config.stage)
    }

    /// Asks a question, which `who` wants answered; `--yes` answers beforehand.
    pub(crate) fn ask(&self, question: &str, who: &str) -> Result<bool, CliError> {
        if self.common.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(CliError::Unconfirmed { who: who.to_owned() });
        }
        let _ = write!(std::io::stderr(), "{question}? [y/N] ");
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        let yes = is_yes(&line);
        if !yes {
            self.tell("nothing was changed\n");
        }
        Ok(yes)
    }
}

/// The first line that a program prints, if it ends well and prints one.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

/// Where this program may keep what it can do without.
fn cache(env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let var = |name| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = var("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    Some(cache.or_else(|| Some(var("HOME")?.join(".cache")))?.join("shipit"))
}

/// A release that was named on the command line.
pub(crate) fn release_id(flag: &'static str, text: &str) -> Result<ReleaseId, CliError> {
    text.parse().map_err(|_| CliError::BadFlag {
        flag,
        value: text.to_owned(),
        expected: "a release id is 14 digits, see `shipit releases`",
    })
}

/// How a run is shown.
pub(crate) struct RunOptions {
    /// Never to be shown.
    pub(crate) secrets: Secrets,
    /// Say nothing when all is well.
    pub(crate) quiet: bool,
    /// Wait for the lock.
    pub(crate) wait: bool,
    /// The way to the hosts, if it was begun already.
    pub(crate) reach: Option<Reach>,
}

/// What only looks holds no lock and has nothing to put back, so one Ctrl-C drops it.
pub(super) async fn unless_stopped<T>(
    cancel: &Cancel,
    work: impl Future<Output = T>,
) -> Result<T, CliError> {
    let done = tokio::select! {
        done = work => Some(done),
        () = cancel.wait(1) => None,
    };
    // What was asked while the work ended is asked all the same.
    done.filter(|_| !cancel.asked()).ok_or(CliError::Stopped)
}

/// 16 letters and digits that no other run has.
fn nonce() -> String {
    let mut bytes = [0; 8];
    // Without randomness the clock still tells two runs apart.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = Utc::now().timestamp_nanos_opt().unwrap_or_default().to_le_bytes();
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// Data, on stdout.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// For what goes to stdout.
pub(crate) fn styles_of_stdout(world: &World) -> Styles {
    let terminal = std::io::stdout().is_terminal();
    Styles::choose(world.common.color.into(), world.var("NO_COLOR").is_some(), terminal)
}

/// The width of stdout's terminal, or plenty.
pub(crate) fn width() -> usize {
    let term = Term::stdout();
    if term.is_term() { usize::from(term.size().1) } else { 160 }
}
