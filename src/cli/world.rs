//! The surroundings of the program, read once: environment, clock, terminal, names. Everything
//! below `cli` gets them as values. [`super::output`] writes to the terminal, [`super::run`] runs
//! the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use chrono::{DateTime, FixedOffset, Local, Utc};
use rustix::system::uname;

use super::account::{Account, said_by};
use super::args::{GlobalFlags, StageArg};
use super::aside::Aside;
use super::error::CliError;
use super::place;
use super::reach::Reach;
use super::signals;
use crate::cache::LocalCache;
use crate::config::resolve::{Overrides, load};
use crate::config::{self, Address, Config, PasswordSource};
use crate::deploy::cancel::Cancel;
use crate::deploy::event::Event;
use crate::deploy::outcome::Failure;
use crate::deploy::run::Run;
use crate::model::id::ReleaseId;
use crate::remote::acting::{Password, Rights};
use crate::ssh::connect::{Callbacks, Connector, Weight};
use crate::ssh::expand::LocalEnv;
use crate::ssh::given::GivenTexts;

/// The usual name of the config file.
pub(crate) const CONFIG: &str = "deploy.toml";

/// The surroundings of one execution of the program.
pub(crate) struct World {
    pub(crate) common: GlobalFlags,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) offset: FixedOffset,
    pub(crate) cwd: PathBuf,
    pub(super) started: Instant,
    hostname: String,
    nonce: String,
    pub(super) cache: LocalCache,
    who: OnceLock<String>,
    account: OnceLock<Option<Account>>,
    pub(super) stage: OnceLock<String>,
    pub(super) aside: Aside,
    cancel: OnceLock<Cancel>,
    /// A key and known hosts that variables hold as text.
    given_texts: OnceLock<GivenTexts>,
}

impl World {
    /// Reads what surrounds this process.
    pub(crate) fn of_this_process(common: GlobalFlags) -> Self {
        let env = environment();
        let now = Utc::now();
        Self {
            cache: LocalCache::new(cache(&env).as_deref(), now.into()),
            common,
            env,
            now,
            offset: *Local::now().offset(),
            cwd: std::env::current_dir().unwrap_or_default(),
            started: Instant::now(),
            hostname: uname().nodename().to_string_lossy().into_owned(),
            nonce: nonce(),
            who: OnceLock::new(),
            account: OnceLock::new(),
            stage: OnceLock::new(),
            aside: Aside::default(),
            cancel: OnceLock::new(),
            given_texts: OnceLock::new(),
        }
    }

    /// Returns the value of a variable, unless it is missing or empty.
    pub(crate) fn var(&self, name: &str) -> Option<String> {
        self.env.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Returns the value of a variable, even if it is empty.
    pub(crate) fn given(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    /// Returns the config file that `--config` or `$SHIPIT_CONFIG` names.
    pub(crate) fn named_config(&self) -> Option<PathBuf> {
        self.common.config.clone().or(self.var("SHIPIT_CONFIG").map(PathBuf::from))
    }

    /// Returns the config file: the named one, else the nearest upwards, else `deploy.toml` here.
    pub(crate) fn config_path(&self) -> PathBuf {
        let found = || place::nearest(&self.cwd, CONFIG);
        self.named_config().or_else(found).unwrap_or_else(|| PathBuf::from(CONFIG))
    }

    /// Reads the config of a stage. Flags override variables, which override the file.
    pub(crate) fn config(&self, stage: &StageArg) -> Result<Config, CliError> {
        self.config_with(stage, Overrides::default())
    }

    /// Reads the config of a stage, with flags of one command.
    pub(crate) fn config_with(
        &self,
        stage: &StageArg,
        more: Overrides,
    ) -> Result<Config, CliError> {
        let overrides = Overrides {
            hosts: if more.hosts.is_empty() { words(&self.common.hosts) } else { more.hosts },
            roles: words(&self.common.roles),
            directory: self.cwd.clone(),
            ..more
        };
        let overrides = overrides.or_environment(&|name| self.var(name))?;
        let path = self.config_path();
        let config = load(&path)?.resolve(stage.stage.as_deref(), &overrides)?;
        if self.common.verbose {
            self.tell(&format!("config: {}\n", path.display()));
        }
        let _ = self.given_texts.set(GivenTexts::read(&|name| self.var(name))?);
        let _ = self.stage.set(config.stage.clone());
        Ok(config)
    }

    /// Reads the config of a stage that something comes from: all of its hosts count, whatever
    /// flags and variables say.
    pub(crate) fn whole_stage(&self, stage: &str) -> Result<Config, CliError> {
        let overrides = Overrides { directory: self.cwd.clone(), ..Overrides::default() };
        Ok(load(&self.config_path())?.resolve(Some(stage), &overrides)?)
    }

    /// Returns the account that runs this. It is looked up once: a directory service may be slow.
    fn account(&self) -> Option<&Account> {
        self.account.get_or_init(Account::of_this_process).as_ref()
    }

    /// Returns the home directory that programs here use: `HOME`, else that of the account.
    pub(crate) fn home(&self) -> PathBuf {
        let account = || self.account().map(|account| account.home.clone());
        self.var("HOME").map(PathBuf::from).or_else(account).unwrap_or_default()
    }

    /// Returns the name of the person who runs this, from CI, else the account, else git's
    /// `user.name`.
    pub(crate) fn who(&self) -> &str {
        self.who.get_or_init(|| {
            let names = ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR"];
            let said = names.iter().chain(&["USER", "LOGNAME"]).find_map(|name| self.var(name));
            let account = || self.account().map(|account| account.name.clone());
            let git = || said_by("git", &["config", "user.name"]);
            let git = || Some(git()?.lines().next()?.trim().to_owned());
            let git = || git().filter(|name| !name.is_empty());
            said.or_else(account).or_else(git).unwrap_or_else(|| "unknown".to_owned())
        })
    }

    /// Returns the values of this run that ledgers record.
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

    /// Returns a connector to the hosts; nothing is connected yet.
    pub(crate) fn reach(&self, config: &Config) -> Reach {
        // As in ssh, `HOME` and `USER` count only if the user database has no entry.
        let account = self.account().cloned();
        let (user, home) = account.map(|account| (account.name, account.home)).unzip();
        let around = LocalEnv {
            home: home.or(self.var("HOME").map(PathBuf::from)).unwrap_or_default(),
            cwd: self.cwd.clone(),
            user: user.or(self.var("USER")).or(self.var("LOGNAME")).unwrap_or_default(),
            hostname: self.hostname.clone(),
            env: self.env.clone(),
            ssh: PathBuf::from("ssh"),
            given: self.given_texts.get().cloned().unwrap_or_default(),
        };
        self.warn_of_two_homes(config, &around.home);
        let verbose = self.common.verbose;
        let telling = self.aside.clone();
        let (ask, ask_server) = (self.asking(), self.asking());
        let callbacks = Callbacks {
            passphrase: Arc::new(move |key| {
                ask(&format!("Passphrase for {}: ", key.display()), false)
            }),
            question: Arc::new(move |question, seen| ask_server(question, seen)),
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
        let connector = Connector::new(&config.ssh, around, callbacks, now);
        Reach::new(connector, self.rights(config))
    }

    /// Returns what asks the person at the terminal.
    fn asking(&self) -> impl Fn(&str, bool) -> Option<String> + Send + Sync + 'static {
        let (aside, env) = (self.aside.clone(), self.env.clone());
        move |question, seen| aside.ask(question, seen, &env)
    }

    /// Returns the rights of `[sudo]`; `None` if commands run as the login does.
    fn rights(&self, config: &Config) -> Option<Rights> {
        let sudo = &config.sudo;
        let source = sudo.password.clone();
        let (base, env) = (config.base.clone(), self.env.clone());
        let ask = Arc::new(self.asking());
        let password = source.map(|source| {
            Password::new(Arc::new(move || {
                let (source, base, env, ask) =
                    (source.clone(), base.clone(), env.clone(), ask.clone());
                Box::pin(async move { password(&source, &base, &env, ask).await })
            }))
        });
        let user = sudo.user.clone()?;
        Some(Rights { command: sudo.outer(), user, password })
    }

    /// Warns if `HOME` is not the account's home and holds a `.ssh`, which neither ssh nor we read.
    /// Errors such as "no such host" or "no key" do not show that there are two homes.
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

    /// Remembers the releases of a stage, for shells that complete them.
    pub(crate) fn remember(&self, config: &Config, ids: &BTreeSet<ReleaseId>) {
        self.cache.keep_releases(&cached_stage(config), ids);
    }

    /// Remembers one more release of a stage.
    pub(crate) fn remember_one(&self, config: &Config, id: ReleaseId) {
        let mut known = self.cache.releases(&cached_stage(config));
        known.insert(id);
        self.remember(config, &known);
    }
}

/// Returns names that blanks separate too.
fn words(names: &[String]) -> Vec<String> {
    names.iter().flat_map(|names| names.split_whitespace()).map(str::to_owned).collect()
}

/// Returns the password of sudo, or why there is none.
async fn password(
    source: &PasswordSource,
    base: &Path,
    env: &BTreeMap<String, String>,
    ask: Arc<impl Fn(&str, bool) -> Option<String> + Send + Sync + 'static>,
) -> Result<String, String> {
    let given = match source {
        PasswordSource::Terminal => {
            let asked = tokio::task::spawn_blocking(move || ask("Password for sudo: ", false));
            asked
                .await
                .ok()
                .flatten()
                .ok_or("there is no terminal to ask on, which `{ command = … }` does without")?
        }
        PasswordSource::Elsewhere(source) => {
            let variable = |name: &str| env.get(name).cloned();
            let value = config::env::value("password", source, base, &variable).await;
            value.map_err(|error| Failure::from_error(&error).whole())?
        }
    };
    let line = given.trim_end_matches(['\r', '\n']);
    let whole = !line.is_empty() && !line.contains(['\n', '\0']);
    if whole { Ok(line.to_owned()) } else { Err("it is not one line of text".to_owned()) }
}

/// Returns the variables of this process, as far as they are text.
fn environment() -> BTreeMap<String, String> {
    let text = |value: std::ffi::OsString| value.into_string().ok();
    std::env::vars_os().filter_map(|(k, v)| Some((text(k)?, text(v)?))).collect()
}

/// Returns the cache of this machine, for a shell that completes.
pub(super) fn cache_of_this_process() -> LocalCache {
    LocalCache::new(cache(&environment()).as_deref(), Utc::now().into())
}

/// Returns the name under which the cache has what it knows of a stage.
pub(super) fn cached_stage(config: &Config) -> String {
    format!("{} {} {}", config.app, config.stage, config.layout.root())
}

/// Returns the directory of the cache; none if neither `XDG_CACHE_HOME` nor `HOME` is set.
fn cache(env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let var = |name| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = var("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    Some(cache.or_else(|| Some(var("HOME")?.join(".cache")))?.join("shipit"))
}

/// Parses a release id of the command line.
pub(crate) fn release_id(flag: &'static str, text: &str) -> Result<ReleaseId, CliError> {
    text.parse().map_err(|_| CliError::BadFlag {
        flag,
        value: text.to_owned(),
        expected: "a release id is 14 digits, see `shipit releases`",
    })
}

/// Returns 16 hexadecimal digits that no other run has.
fn nonce() -> String {
    let mut bytes = [0; 8];
    // Without randomness the clock still tells two runs apart.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = Utc::now().timestamp_nanos_opt().unwrap_or_default().to_le_bytes();
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}
