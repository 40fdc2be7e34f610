//! From what is written to what it means. Every rule and every error of a configuration is met
//! here; what comes out cannot be invalid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::error::{self, ConfigError, Place};
use super::file::{self, Batch, ConfigFile, DirTable, FileTable, HookTable, HostTable, Layer};
use super::file::{Length, TextOr, VarTable};
use super::{Address, ArtifactSource, ArtifactSpec, Config, EnvSource, EnvSpec, Health, Hook};
use super::{Hooks, Host, HttpCheck, Rollout, SshSettings, rules};
use crate::model::digest::Digest;
use crate::model::layout::Layout;
use crate::model::link::{SharedKind, SharedLink};
use crate::model::manifest::is_below;
use crate::model::service::{Action, Scope, Service};

/// No single step may take longer than this.
const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);
const NAME: &str =
    "a name of letters, digits, `.`, `_` and `-` that begins with a letter or a digit";

/// What flags and `SHIPIT_*` variables say instead of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The stage, where the command line names none.
    pub stage: Option<String>,
    /// A path or an address, perhaps with `#sha256=…` at its end.
    pub artifact: Option<String>,
    /// What a relative artifact path is relative to; empty: the directory of the file.
    pub directory: PathBuf,
    /// Only these hosts, by name or address; empty: all.
    pub hosts: Vec<String>,
    /// Only hosts with one of these roles; empty: all.
    pub roles: Vec<String>,
    /// How many releases are kept.
    pub keep: Option<usize>,
    /// How many hosts at once.
    pub parallel: Option<usize>,
}

impl Overrides {
    /// Fills what no flag said from `SHIPIT_STAGE`, `SHIPIT_ARTIFACT`, `SHIPIT_HOSTS`,
    /// `SHIPIT_ROLES`, `SHIPIT_KEEP_RELEASES` and `SHIPIT_PARALLEL`. Empty ones count as unset.
    pub fn or_environment(
        self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let text = |name: &str| environment(name).filter(|value| !value.is_empty());
        let number = |key: &'static str, name: &'static str| {
            let wrong = |value: &str| ConfigError::Value {
                place: Place::Given(name),
                key,
                value: value.to_owned(),
                must: "a whole number",
            };
            text(name).map(|value| value.parse().map_err(|_| wrong(&value))).transpose()
        };
        let list = |given: Vec<String>, name: &str| {
            if given.is_empty() { words(&text(name).unwrap_or_default()) } else { given }
        };
        Ok(Self {
            stage: self.stage.or_else(|| text("SHIPIT_STAGE")),
            artifact: self.artifact.or_else(|| text("SHIPIT_ARTIFACT")),
            directory: self.directory,
            hosts: list(self.hosts, "SHIPIT_HOSTS"),
            roles: list(self.roles, "SHIPIT_ROLES"),
            keep: match self.keep {
                None => number("keep_releases", "SHIPIT_KEEP_RELEASES")?,
                keep => keep,
            },
            parallel: match self.parallel {
                None => number("parallel", "SHIPIT_PARALLEL")?,
                parallel => parallel,
            },
        })
    }
}

fn words(text: &str) -> Vec<String> {
    let split = text.split([',', ' ']).filter(|word| !word.is_empty());
    split.map(str::to_owned).collect()
}

/// Reads a `deploy.toml`.
pub fn load(path: &Path) -> Result<ConfigFile, ConfigError> {
    let wrong = |source| ConfigError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(wrong)?;
    let whole = std::path::absolute(path).map_err(wrong)?;
    let base = whole.parent().unwrap_or(Path::new("/"));
    ConfigFile::parse(&path.display().to_string(), base, text)
}

impl ConfigFile {
    /// The names of the stages, sorted.
    pub fn stages(&self) -> Vec<&str> {
        let stages = self.root.stages.iter().flat_map(BTreeMap::keys);
        stages.map(|name| name.get_ref().as_str()).collect()
    }

    /// One stage as it is after flags, variables, the stage's own keys, those of the top level
    /// and the defaults, in this order.
    pub fn resolve(
        &self,
        stage: Option<&str>,
        overrides: &Overrides,
    ) -> Result<Config, ConfigError> {
        let (stage, layer) = self.stage(stage.or(overrides.stage.as_deref()))?;
        let layer = layer.over(&self.root);
        let here = Here { file: self, stage };
        let service = here.service(&layer)?;
        let mut config = Config {
            app: here.app()?,
            stage: stage.to_owned(),
            base: self.base.clone(),
            layout: here.layout(&layer)?,
            keep: here.count("keep_releases", overrides.keep, layer.keep_releases.as_ref(), 5)?,
            hosts: here.hosts(&layer)?,
            links: here.links(&layer)?,
            artifact: here.artifact(&layer, overrides)?,
            env: None,
            health: here.health(&layer, &service)?,
            service,
            hooks: here.hooks(&layer)?,
            rollout: here.rollout(&layer)?,
            confirm: layer.confirm.unwrap_or(false),
            ssh: here.ssh(&layer)?,
            parallel: here.count("parallel", overrides.parallel, layer.parallel.as_ref(), 32)?,
            deadline: here.deadline(&layer)?,
        };
        config.env = here.env(&layer, &config.links)?;
        here.filter(&mut config.hosts, overrides)?;
        Ok(config)
    }

    fn stage(&self, asked: Option<&str>) -> Result<(&str, &Layer), ConfigError> {
        let stages = self.root.stages.as_ref().filter(|stages| !stages.is_empty());
        let stages = stages.ok_or_else(|| ConfigError::NoStages { place: self.nowhere() })?;
        for name in stages.keys() {
            self.rule(name, "stage", NAME, rules::is_name(name.get_ref()))?;
        }
        let known = || self.stages().into_iter().map(str::to_owned).collect();
        let (name, place) = match (asked, &self.root.default_stage, stages.keys().next()) {
            (Some(asked), _, _) => (asked, self.nowhere()),
            (None, Some(default), _) => (default.get_ref().as_str(), self.place(default)),
            (None, None, Some(only)) if stages.len() == 1 => {
                (only.get_ref().as_str(), self.nowhere())
            }
            _ => return Err(ConfigError::WhichStage { place: self.nowhere(), known: known() }),
        };
        let found = stages.iter().find(|(key, _)| key.get_ref() == name);
        let found = found.map(|(key, layer)| (key.get_ref().as_str(), layer));
        let missing =
            || ConfigError::UnknownStage { place, stage: name.to_owned(), known: known() };
        found.ok_or_else(missing)
    }

    /// `Ok` if a rule holds for a value.
    fn rule<T: Display>(
        &self,
        value: &Spanned<T>,
        key: &'static str,
        must: &'static str,
        holds: bool,
    ) -> Result<(), ConfigError> {
        self.need(value, key, must, holds.then_some(()))
    }

    /// What a rule made of a value.
    fn need<T: Display, U>(
        &self,
        value: &Spanned<T>,
        key: &'static str,
        must: &'static str,
        made: Option<U>,
    ) -> Result<U, ConfigError> {
        let wrong = || ConfigError::Value {
            place: self.place(value),
            key,
            value: value.get_ref().to_string(),
            must,
        };
        made.ok_or_else(wrong)
    }
}

/// One stage of one file, while it is resolved.
struct Here<'a> {
    file: &'a ConfigFile,
    stage: &'a str,
}

impl Here<'_> {
    fn app(&self) -> Result<String, ConfigError> {
        let app = self.required(self.file.root.app.as_ref(), "app")?;
        self.file.rule(app, "app", NAME, rules::is_name(app.get_ref()))?;
        Ok(app.get_ref().clone())
    }

    fn required<'v, T>(&self, value: Option<&'v T>, key: &str) -> Result<&'v T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing {
            place: self.file.nowhere(),
            key: key.to_owned(),
            table: "at the top level".to_owned(),
        })
    }

    fn layout(&self, layer: &Layer) -> Result<Layout, ConfigError> {
        let root = self.required(layer.deploy_to.as_ref(), "deploy_to")?;
        let must = "an absolute path below `/`, without `.`, `..` and `//`";
        self.file.rule(root, "deploy_to", must, rules::is_root(root.get_ref()))?;
        Ok(Layout::new(root.get_ref()))
    }

    fn count(
        &self,
        key: &'static str,
        given: Option<usize>,
        written: Option<&Spanned<i64>>,
        default: usize,
    ) -> Result<usize, ConfigError> {
        let must = "1 or more";
        if let Some(given) = given {
            let place = Place::Given(if key == "parallel" { "--parallel" } else { "--keep" });
            let wrong = ConfigError::Value { place, key, value: given.to_string(), must };
            return if given == 0 { Err(wrong) } else { Ok(given) };
        }
        let Some(written) = written else { return Ok(default) };
        let number = usize::try_from(*written.get_ref()).ok().filter(|number| *number >= 1);
        self.file.need(written, key, must, number)
    }

    fn service(&self, layer: &Layer) -> Result<Service, ConfigError> {
        let Some(service) = &layer.service else { return Ok(Service::None) };
        let limit = self.whole("timeout", service.timeout.as_ref(), Duration::from_mins(2))?;
        match (&service.unit, &service.restart) {
            (Some(unit), Some(_)) => {
                let place = self.file.place(unit);
                Err(ConfigError::Both { place, one: "unit", other: "restart" })
            }
            (Some(unit), None) => {
                self.without("stop", service.stop.as_ref(), "restart")?;
                self.unit(service, unit, limit)
            }
            (None, Some(restart)) => {
                self.without("scope", service.scope.as_ref(), "unit")?;
                self.without("action", service.action.as_ref(), "unit")?;
                let restart = self.command("restart", restart)?;
                let stop = service.stop.as_ref().map(|stop| self.command("stop", stop));
                Ok(Service::Command { restart, stop: stop.transpose()?, limit })
            }
            (None, None) => {
                self.without("stop", service.stop.as_ref(), "restart")?;
                self.without("scope", service.scope.as_ref(), "unit")?;
                self.without("action", service.action.as_ref(), "unit")?;
                self.without("timeout", service.timeout.as_ref(), "unit")?;
                Ok(Service::None)
            }
        }
    }

    fn unit(
        &self,
        service: &file::Service,
        unit: &Spanned<String>,
        limit: Duration,
    ) -> Result<Service, ConfigError> {
        let must = "the name of a systemd service, such as `todo.service` or `todo@1`";
        let name = self.file.need(unit, "unit", must, rules::unit(unit.get_ref()))?;
        let scope = match service.scope.as_ref().map(Spanned::get_ref) {
            Some(file::Scope::User) => Scope::User,
            Some(file::Scope::System) | None => Scope::System,
        };
        let action = match service.action.as_ref().map(Spanned::get_ref) {
            Some(file::Action::ReloadOrRestart) => Action::ReloadOrRestart,
            Some(file::Action::Restart) | None => Action::Restart,
        };
        Ok(Service::Unit { name, scope, action, limit })
    }

    /// Refuses a key that means nothing without another one.
    fn without<T>(
        &self,
        key: &'static str,
        value: Option<&Spanned<T>>,
        needs: &'static str,
    ) -> Result<(), ConfigError> {
        let needed = |value| ConfigError::Needs { place: self.file.place(value), key, needs };
        value.map_or(Ok(()), |value| Err(needed(value)))
    }

    fn command(&self, key: &'static str, text: &Spanned<String>) -> Result<String, ConfigError> {
        self.file.rule(text, key, "a command", rules::is_command(text.get_ref()))?;
        Ok(text.get_ref().clone())
    }

    fn health(&self, layer: &Layer, service: &Service) -> Result<Health, ConfigError> {
        let health = layer.health.clone().unwrap_or_default();
        let usual = match service {
            Service::Unit { .. } => Duration::from_secs(2),
            Service::Command { .. } | Service::None => Duration::ZERO,
        };
        let soak = self.span("soak", health.soak.as_ref(), usual, Duration::ZERO)?;
        let Some(url) = &health.http else {
            for (key, value) in [("interval", &health.interval), ("timeout", &health.timeout)] {
                self.without(key, value.as_ref(), "http")?;
            }
            self.without("total", health.total.as_ref(), "http")?;
            return Ok(Health { soak, http: None });
        };
        let must = "an address such as `http://127.0.0.1:8080/up`";
        let (host, port, path) = self.file.need(url, "http", must, rules::http(url.get_ref()))?;
        let length = |key, value: Option<&Spanned<Length>>, usual| {
            self.span(key, value, Duration::from_secs(usual), TENTH)
        };
        let http = HttpCheck {
            url: url.get_ref().clone(),
            host,
            port,
            path,
            interval: length("interval", health.interval.as_ref(), 1)?,
            timeout: length("timeout", health.timeout.as_ref(), 5)?,
            total: length("total", health.total.as_ref(), 30)?,
        };
        Ok(Health { soak, http: Some(http) })
    }

    fn deadline(&self, layer: &Layer) -> Result<Duration, ConfigError> {
        let written = layer.timeouts.as_ref().and_then(|timeouts| timeouts.deadline.as_ref());
        let deadline = self.whole("deadline", written, Duration::from_secs(15))?;
        let Some(written) = written else { return Ok(deadline) };
        // The client says `hold` every three seconds; one that is late must not cost the release.
        let must = "5 seconds or more";
        let fits = deadline >= Duration::from_secs(5);
        self.file.need(&shown(written), "deadline", must, fits.then_some(deadline))
    }

    /// A length of time that a host's `timeout` or `read` is given.
    fn whole(
        &self,
        key: &'static str,
        written: Option<&Spanned<Length>>,
        usual: Duration,
    ) -> Result<Duration, ConfigError> {
        let length = self.span(key, written, usual, SECOND)?;
        let Some(written) = written else { return Ok(length) };
        let whole = (length.subsec_nanos() == 0).then_some(length);
        self.file.need(&shown(written), key, "whole seconds", whole)
    }

    fn span(
        &self,
        key: &'static str,
        written: Option<&Spanned<Length>>,
        usual: Duration,
        least: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(written) = written else { return Ok(usual) };
        let Length(length) = *written.get_ref();
        let must = match (length > DAY, least < SECOND) {
            (true, _) => "24 hours or less",
            (false, true) => "100ms or more",
            (false, false) => "1 second or more",
        };
        let fits = length >= least && length <= DAY;
        self.file.need(&shown(written), key, must, fits.then_some(length))
    }

    fn links(&self, layer: &Layer) -> Result<Vec<SharedLink>, ConfigError> {
        let mut links = Vec::<SharedLink>::new();
        for entry in layer.linked_dirs.iter().flatten() {
            let (path, kind) = self.linked_dir(entry.get_ref())?;
            self.add_link(&mut links, entry, "linked_dirs", path, kind)?;
        }
        for entry in layer.linked_files.iter().flatten() {
            let (path, optional) = match entry.get_ref() {
                TextOr::Text(path) => (path, false),
                TextOr::Table(FileTable { path, optional }) => (path, *optional),
            };
            let kind = SharedKind::File { optional };
            self.add_link(&mut links, entry, "linked_files", path, kind)?;
        }
        Ok(links)
    }

    fn linked_dir<'v>(
        &self,
        entry: &'v TextOr<DirTable>,
    ) -> Result<(&'v String, SharedKind), ConfigError> {
        let table = match entry {
            TextOr::Text(path) => return Ok((path, SharedKind::Dir { mode: None, group: None })),
            TextOr::Table(table) => table,
        };
        let must = "octal, such as \"2775\", for the owner to use and not for everybody to write";
        let mode = table.mode.as_ref().map(|text| {
            let bits = rules::mode(text.get_ref()).filter(|bits| bits & 0o4700 == 0o700);
            self.file.need(text, "mode", must, bits).map(|bits| format!("{bits:o}"))
        });
        let group = table.group.as_ref().map(|group| self.group(group));
        Ok((&table.path, SharedKind::Dir { mode: mode.transpose()?, group: group.transpose()? }))
    }

    fn group(&self, group: &Spanned<String>) -> Result<String, ConfigError> {
        let holds = rules::is_account(group.get_ref());
        self.file.rule(group, "group", "the name of a group", holds)?;
        Ok(group.get_ref().clone())
    }

    fn add_link<T>(
        &self,
        links: &mut Vec<SharedLink>,
        entry: &Spanned<T>,
        key: &'static str,
        path: &str,
        kind: SharedKind,
    ) -> Result<(), ConfigError> {
        let place = self.file.place(entry);
        if !rules::is_clean(path) {
            let must = "paths inside a release, without `.`, `..`, `//` and a `/` at either end";
            return Err(ConfigError::Value { place, key, value: path.to_owned(), must });
        }
        for (taken, reason) in [(".env", error::ENV_FILE), ("REVISION", error::REVISION)] {
            if path == taken || is_below(path, taken) {
                return Err(ConfigError::PathTaken { place, path: path.to_owned(), reason });
            }
        }
        for link in &*links {
            if let Some(relation) = relation(path, &link.path) {
                let (path, other) = (path.to_owned(), link.path.clone());
                return Err(ConfigError::LinksOverlap { place, path, relation, other });
            }
        }
        links.push(SharedLink { path: path.to_owned(), kind });
        Ok(())
    }

    fn env(&self, layer: &Layer, links: &[SharedLink]) -> Result<Option<EnvSpec>, ConfigError> {
        let Some(env) = &layer.env else { return Ok(None) };
        let file = self.env_file(env, links)?;
        let must = "octal, such as \"0640\": readable for the owner, without execute bits, and not \
                    for everybody to write";
        let mode = env.mode.as_ref().map_or(Ok(0o600), |text| {
            let bits = rules::mode(text.get_ref()).filter(|bits| bits & 0o7511 == 0o400);
            self.file.need(text, "mode", must, bits)
        })?;
        let group = env.group.as_ref().map(|group| self.group(group)).transpose()?;
        let vars = env.vars.iter().flatten().map(|(name, value)| self.variable(name, value));
        let vars = vars.collect::<Result<_, _>>()?;
        Ok(Some(EnvSpec { file, mode: format!("{mode:o}"), group, vars }))
    }

    fn env_file(&self, env: &file::Env, links: &[SharedLink]) -> Result<String, ConfigError> {
        let Some(written) = &env.file else { return Ok(".env".to_owned()) };
        let file = written.get_ref();
        let must = "a path inside a release, without `.`, `..`, `//` and a `/` at either end";
        self.file.rule(written, "file", must, rules::is_clean(file))?;
        let taken = |reason| {
            Err(ConfigError::PathTaken {
                place: self.file.place(written),
                path: file.clone(),
                reason,
            })
        };
        if relation(file, "REVISION").is_some() {
            return taken(error::REVISION);
        }
        if links.iter().any(|link| relation(file, &link.path).is_some()) {
            return taken(error::LINKED);
        }
        Ok(file.clone())
    }

    fn variable(
        &self,
        name: &Spanned<String>,
        value: &Spanned<TextOr<VarTable>>,
    ) -> Result<(String, EnvSource), ConfigError> {
        let must = "named with letters, digits and `_`, and not begin with a digit";
        self.file.rule(name, "vars", must, rules::is_variable(name.get_ref()))?;
        let source = match value.get_ref() {
            TextOr::Text(text) => EnvSource::Text(text.clone()),
            TextOr::Table(table) => self.source(value, table)?,
        };
        Ok((name.get_ref().clone(), source))
    }

    fn source(
        &self,
        value: &Spanned<TextOr<VarTable>>,
        table: &VarTable,
    ) -> Result<EnvSource, ConfigError> {
        let both = |place, one, other| {
            Err(ConfigError::Both { place: self.file.place(place), one, other })
        };
        match (&table.env, &table.command, &table.file) {
            (Some(name), None, None) => {
                let must = "the name of an environment variable";
                self.file.rule(name, "env", must, rules::is_variable(name.get_ref()))?;
                Ok(EnvSource::Variable(name.get_ref().clone()))
            }
            (None, Some(text), None) => self.command("command", text).map(EnvSource::Command),
            (None, None, Some(path)) => {
                self.file.rule(path, "file", "a path", !path.get_ref().is_empty())?;
                Ok(EnvSource::File(path.get_ref().into()))
            }
            (Some(name), Some(_), _) => both(name, "env", "command"),
            (Some(name), None, Some(_)) => both(name, "env", "file"),
            (None, Some(text), Some(_)) => both(text, "command", "file"),
            (None, None, None) => Err(ConfigError::Missing {
                place: self.file.place(value),
                key: "env".to_owned(),
                table: "(or `command`, or `file`) in a variable".to_owned(),
            }),
        }
    }

    fn rollout(&self, layer: &Layer) -> Result<Rollout, ConfigError> {
        let written = layer.rollout.as_ref().and_then(|rollout| rollout.batch.as_ref());
        let batch = match written.map(|batch| (batch, *batch.get_ref())) {
            None | Some((_, Batch::All)) => None,
            Some((batch, Batch::Hosts(number))) => {
                let shown = Spanned::new(batch.span(), number);
                let number = usize::try_from(number).ok().filter(|number| *number >= 1);
                Some(self.file.need(&shown, "batch", "1 or more", number)?)
            }
        };
        Ok(Rollout { batch })
    }

    fn ssh(&self, layer: &Layer) -> Result<SshSettings, ConfigError> {
        let ssh = layer.ssh.clone().unwrap_or_default();
        let user = ssh.user.as_ref().map(|user| self.user(user)).transpose()?;
        let connect_timeout = ssh
            .connect_timeout
            .as_ref()
            .map(|written| self.span("connect_timeout", Some(written), Duration::ZERO, TENTH));
        Ok(SshSettings {
            config: ssh.config.map(|path| self.local_path(path.get_ref())),
            user,
            identity_file: ssh.identity_file.map(|path| self.local_path(path.get_ref())),
            known_hosts: ssh.known_hosts.map(|path| self.local_path(path.get_ref())),
            connect_timeout: connect_timeout.transpose()?,
            accept_new: ssh.host_keys == Some(file::HostKeys::AcceptNew),
        })
    }

    fn user(&self, user: &Spanned<String>) -> Result<String, ConfigError> {
        let holds = rules::is_account(user.get_ref());
        self.file.rule(user, "user", "the name of a user", holds)?;
        Ok(user.get_ref().clone())
    }

    /// Relative to the file; `~/…` stays, for whoever knows whose home that is.
    fn local_path(&self, path: &str) -> PathBuf {
        if path.starts_with('~') { PathBuf::from(path) } else { self.file.base.join(path) }
    }

    fn artifact(
        &self,
        layer: &Layer,
        overrides: &Overrides,
    ) -> Result<Option<ArtifactSpec>, ConfigError> {
        let artifact = layer.artifact.clone().unwrap_or_default();
        let source = match (&overrides.artifact, &artifact.path) {
            (Some(given), _) => {
                let base = self.file.base.join(&overrides.directory);
                source(given, None, &base, &|| Place::Given("--artifact"))?
            }
            (None, Some(path)) => {
                let place = || self.file.place(path);
                let sha256 = artifact.sha256.as_ref().map(|text| self.digest(text)).transpose()?;
                source(path.get_ref(), sha256, &self.file.base, &place)?
            }
            (None, None) => {
                self.without("sha256", artifact.sha256.as_ref(), "path")?;
                return Ok(None);
            }
        };
        let exclude = artifact.exclude.iter().flatten().map(|glob| self.glob(glob));
        let exclude = exclude.collect::<Result<_, _>>()?;
        let strip = artifact.strip_components.as_ref().map_or(Ok(0), |number| {
            let count = usize::try_from(*number.get_ref()).ok().filter(|count| *count < 64);
            self.file.need(number, "strip_components", "between 0 and 63", count)
        })?;
        Ok(Some(ArtifactSpec { source, exclude, strip_components: strip }))
    }

    fn digest(&self, text: &Spanned<String>) -> Result<Digest, ConfigError> {
        self.file.need(text, "sha256", HEX, text.get_ref().parse().ok())
    }

    fn glob(&self, glob: &Spanned<String>) -> Result<String, ConfigError> {
        let pattern = glob.get_ref().clone();
        match globset::Glob::new(&pattern) {
            Ok(_) => Ok(pattern),
            Err(source) => Err(ConfigError::Glob { place: self.file.place(glob), pattern, source }),
        }
    }

    fn hooks(&self, layer: &Layer) -> Result<Hooks, ConfigError> {
        let hooks = layer.hooks.clone().unwrap_or_default();
        let local = hooks.local.unwrap_or_default();
        let shell = match &hooks.shell {
            None => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            Some(words) => {
                let list = &words.get_ref().0;
                let fits = list.first().is_some_and(|word| !word.is_empty());
                let fits = fits && !list.iter().any(|word| word.contains(char::is_control));
                let shown = Spanned::new(words.span(), list.join(" "));
                self.file.rule(&shown, "shell", "a shell with its flags", fits)?;
                list.clone()
            }
        };
        Ok(Hooks {
            before: self.local_hooks("before", local.before.as_deref())?,
            after: self.local_hooks("after", local.after.as_deref())?,
            failed: self.local_hooks("failed", local.failed.as_deref())?,
            staged: self.host_hooks("staged", hooks.staged.as_deref())?,
            activated: self.host_hooks("activated", hooks.activated.as_deref())?,
            shell,
            limit: self.whole("timeout", hooks.timeout.as_ref(), Duration::from_mins(10))?,
        })
    }

    fn local_hooks(
        &self,
        key: &'static str,
        hooks: Option<&[Spanned<String>]>,
    ) -> Result<Vec<Hook>, ConfigError> {
        let one = |text| {
            let run = self.command(key, text)?;
            Ok(Hook { run, once: false, roles: Vec::new() })
        };
        hooks.unwrap_or_default().iter().map(one).collect()
    }

    fn host_hooks(
        &self,
        key: &'static str,
        hooks: Option<&[Spanned<TextOr<HookTable>>]>,
    ) -> Result<Vec<Hook>, ConfigError> {
        let one = |hook: &Spanned<TextOr<HookTable>>| {
            let (run, once, roles) = match hook.get_ref() {
                TextOr::Text(run) => (run, false, &[][..]),
                TextOr::Table(table) => (&table.run, table.once, &table.roles[..]),
            };
            let run = self.command(key, &Spanned::new(hook.span(), run.clone()))?;
            Ok(Hook { run, once, roles: self.known_roles(roles)? })
        };
        hooks.unwrap_or_default().iter().map(one).collect()
    }

    /// The roles of a hook, each of which some host of some stage must have.
    fn known_roles(&self, roles: &[Spanned<String>]) -> Result<Vec<String>, ConfigError> {
        let known = self.file.all_roles();
        let one = |role: &Spanned<String>| {
            let name = role.get_ref().clone();
            if known.contains(name.as_str()) {
                return Ok(name);
            }
            Err(ConfigError::NoSuch {
                place: self.file.place(role),
                whose: "any stage".to_owned(),
                what: "role",
                name,
                known: known.iter().map(|role| (*role).to_owned()).collect(),
            })
        };
        roles.iter().map(one).collect()
    }

    fn hosts(&self, layer: &Layer) -> Result<Vec<Host>, ConfigError> {
        let none = |place| ConfigError::NoHosts { place, stage: self.stage.to_owned() };
        let list = layer.hosts.as_ref().ok_or_else(|| none(self.file.nowhere()))?;
        let mut hosts = Vec::<Host>::new();
        for entry in list.get_ref() {
            let host = self.host(entry)?;
            if hosts.iter().any(|h| h.name == host.name || h.address == host.address) {
                let place = self.file.place(entry);
                return Err(ConfigError::HostTwice { place, name: host.name });
            }
            hosts.push(host);
        }
        if hosts.is_empty() { Err(none(self.file.place(list))) } else { Ok(hosts) }
    }

    fn host(&self, entry: &Spanned<TextOr<HostTable>>) -> Result<Host, ConfigError> {
        let table = match entry.get_ref() {
            TextOr::Text(text) => {
                let shown = Spanned::new(entry.span(), text);
                let address = rules::address(text);
                let address = self.file.need(&shown, "hosts", rules::ADDRESS, address)?;
                return Ok(Host { name: text.clone(), address, roles: Vec::new() });
            }
            TextOr::Table(table) => table,
        };
        let text = &table.address;
        let address = rules::address(text.get_ref());
        let address = self.file.need(text, "address", rules::ADDRESS, address)?;
        let address = self.refine(table, address)?;
        for role in &table.roles {
            self.file.rule(role, "roles", NAME, rules::is_name(role.get_ref()))?;
        }
        let roles = table.roles.iter().map(|role| role.get_ref().clone()).collect();
        Ok(Host { name: text.get_ref().clone(), address, roles })
    }

    /// An address with what else the host's table says.
    fn refine(&self, table: &HostTable, address: Address) -> Result<Address, ConfigError> {
        let Address::Ssh { host, user, port, .. } = address else {
            let given = [
                ("user", table.user.as_ref().map(|user| self.file.place(user))),
                ("port", table.port.as_ref().map(|port| self.file.place(port))),
                ("fingerprint", table.fingerprint.as_ref().map(|print| self.file.place(print))),
            ];
            let given = given.into_iter().find_map(|(key, place)| place.map(|place| (key, place)));
            if let Some((one, place)) = given {
                return Err(ConfigError::Both { place, one, other: "local" });
            }
            return Ok(Address::Local);
        };
        let both = |one, place| Err(ConfigError::Both { place, one, other: "address" });
        let user = match (user, &table.user) {
            (Some(_), Some(also)) => return both("user", self.file.place(also)),
            (None, Some(user)) => Some(self.user(user)?),
            (user, None) => user,
        };
        let port = match (port, &table.port) {
            (Some(_), Some(also)) => return both("port", self.file.place(also)),
            (None, Some(port)) => {
                let number = u16::try_from(*port.get_ref()).ok().filter(|number| *number != 0);
                Some(self.file.need(port, "port", "between 1 and 65535", number)?)
            }
            (port, None) => port,
        };
        if let Some(print) = &table.fingerprint {
            let must = "as `ssh-keygen -l` prints it: `SHA256:` and 43 characters";
            self.file.rule(print, "fingerprint", must, rules::is_fingerprint(print.get_ref()))?;
        }
        let fingerprint = table.fingerprint.as_ref().map(|print| print.get_ref().clone());
        Ok(Address::Ssh { host, user, port, fingerprint })
    }

    fn filter(&self, hosts: &mut Vec<Host>, overrides: &Overrides) -> Result<(), ConfigError> {
        let names = hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>();
        let roles = hosts.iter().flat_map(|host| host.roles.clone()).collect::<BTreeSet<_>>();
        let no_such = |flag, what, name: &String, known| ConfigError::NoSuch {
            place: Place::Given(flag),
            whose: format!("`{}`", self.stage),
            what,
            name: name.clone(),
            known,
        };
        for name in &overrides.hosts {
            if !hosts.iter().any(|host| is_called(host, name)) {
                return Err(no_such("--hosts", "name", name, names));
            }
        }
        for role in &overrides.roles {
            if !roles.contains(role) {
                return Err(no_such("--roles", "role", role, roles.into_iter().collect()));
            }
        }
        let (by_name, by_role) = (&overrides.hosts, &overrides.roles);
        hosts.retain(|h| by_name.is_empty() || by_name.iter().any(|name| is_called(h, name)));
        hosts.retain(|h| by_role.is_empty() || h.roles.iter().any(|role| by_role.contains(role)));
        if hosts.is_empty() {
            return Err(ConfigError::NobodyLeft { stage: self.stage.to_owned() });
        }
        Ok(())
    }
}

const HEX: &str = "64 hex digits";

/// Where an artifact is, from a path or an address that may end in `#sha256=…`.
fn source(
    text: &str,
    sha256: Option<Digest>,
    base: &Path,
    place: &dyn Fn() -> Place,
) -> Result<ArtifactSource, ConfigError> {
    let wrong = |must| ConfigError::Value {
        place: place(),
        key: "artifact",
        // An address may hold a password.
        value: text.split_once("://").map_or(text, |(scheme, _)| scheme).to_owned(),
        must,
    };
    let (text, sha256) = match text.rsplit_once("#sha256=") {
        Some((text, hex)) => {
            (text, Some(hex.parse().map_err(|_| wrong("followed by 64 hex digits"))?))
        }
        None => (text, sha256),
    };
    if text.starts_with("https://") {
        let sha256 = sha256.ok_or_else(|| ConfigError::NoDigest { place: place() })?;
        return Ok(ArtifactSource::Url { url: text.to_owned(), sha256 });
    }
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.is_empty() || path.contains("://") {
        return Err(wrong("a path, or an address that begins with https:// or file://"));
    }
    Ok(ArtifactSource::Path { path: base.join(path), sha256 })
}

/// Whether `name` means `host`: as written, or by its address alone.
fn is_called(host: &Host, name: &str) -> bool {
    let alone = match &host.address {
        Address::Local => "local",
        Address::Ssh { host, .. } => host,
    };
    host.name == name || alone == name
}

/// How two paths of which one would be inside the other relate.
fn relation(path: &str, other: &str) -> Option<&'static str> {
    if path == other {
        return Some("is the same as");
    }
    if is_below(path, other) {
        return Some("lies below");
    }
    is_below(other, path).then_some("lies above")
}

/// A length of time as it may be shown.
fn shown(length: &Spanned<Length>) -> Spanned<String> {
    let Length(time) = length.get_ref();
    let text = if time.is_zero() { "0s".to_owned() } else { format!("{time:?}") };
    Spanned::new(length.span(), text)
}

impl ConfigFile {
    /// The roles of all hosts of all stages.
    fn all_roles(&self) -> BTreeSet<&str> {
        let layers = self.root.stages.iter().flat_map(BTreeMap::values).chain([&self.root]);
        let hosts = layers.filter_map(|layer| layer.hosts.as_ref()).flat_map(Spanned::get_ref);
        let tables = hosts.filter_map(|host| match host.get_ref() {
            TextOr::Table(table) => Some(table),
            TextOr::Text(_) => None,
        });
        tables.flat_map(|table| &table.roles).map(|role| role.get_ref().as_str()).collect()
    }
}
