//! Every rule of `deploy.toml` and every error about it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{
    ArtifactTable, ConfigFile, EnvTable, EnvValue, HealthTable, HookTable, HooksTable, HostTable,
    LinkedDir, LinkedFile, RolloutTable, Seconds, ServiceTable, SshTable, StageTable, TextOr,
    TextOrNumber,
};
use super::{
    Address, ArtifactSource, ArtifactSpec, Config, EnvSource, EnvSpec, Health, Hook, Hooks, Host,
    HttpCheck, Rollout, SshSettings,
};
use crate::model::layout::Layout;
use crate::model::link::{SharedKind, SharedLink};
use crate::model::manifest::is_below;
use crate::model::service::{Action, Scope, Service};

/// Keys that the design has and this version does not serve.
const NOT_YET: &[&str] = &[
    "canary",
    "pause",
    "on_failure",
    "on_unreachable",
    "max_failed",
    "tcp",
    "command",
    "checks",
    "upload",
    "link",
    "limit",
    "status",
    "body",
    "headers",
];

/// Why `deploy.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is none.
    #[error("could not read {path}")]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not the TOML we expect.
    #[error("{place}: {problem}")]
    Syntax {
        /// `deploy.toml:14`.
        place: String,
        /// What is wrong there.
        problem: String,
        /// What was perhaps meant.
        suggestion: Option<String>,
    },
    /// A value breaks a rule.
    #[error("{place}: {problem}")]
    Rule {
        /// `deploy.toml:14`.
        place: String,
        /// Which rule, with the value.
        problem: String,
    },
    /// The stage is not there, or none was named.
    #[error("{problem}")]
    Stage {
        /// What is wrong.
        problem: String,
        /// The stages there are.
        known: Vec<String>,
    },
    /// A filter leaves no host.
    #[error("no host of {stage} matches {filter}")]
    NoHost {
        /// The stage.
        stage: String,
        /// As given.
        filter: String,
        /// The hosts there are.
        known: Vec<String>,
    },
}

impl ConfigError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("`shipit init` writes one".to_owned())
            }
            Self::Syntax { suggestion, .. } => {
                suggestion.as_ref().map(|name| format!("did you mean `{name}`?"))
            }
            Self::Stage { known, .. } if known.is_empty() => {
                Some("add a table such as [stages.production] with `hosts = […]`".to_owned())
            }
            Self::Stage { known, .. } => Some(format!("the stages are {}", known.join(", "))),
            Self::NoHost { known, .. } => Some(format!("its hosts are {}", known.join(", "))),
            _ => None,
        }
    }
}

/// What flags and `SHIPIT_*` variables say, flags first.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Path or URL.
    pub artifact: Option<String>,
    /// Of it.
    pub sha256: Option<String>,
    /// Only these hosts.
    pub hosts: Vec<String>,
    /// Only hosts with one of these roles.
    pub roles: Vec<String>,
    /// How many good releases stay.
    pub keep: Option<usize>,
}

/// A file that was read and may be resolved.
#[derive(Debug, Clone)]
pub struct Loaded {
    path: PathBuf,
    text: String,
    file: ConfigFile,
}

/// Reads the file.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// The same, of a text that is at hand; `path` is for messages and relative paths.
pub fn parse(path: &Path, text: &str) -> Result<Loaded, ConfigError> {
    let file = toml::from_str(text).map_err(|error| syntax_error(path, text, &error))?;
    Ok(Loaded { path: path.to_owned(), text: text.to_owned(), file })
}

fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text[..at].matches('\n').count() + 1;
    let place = format!("{}:{line}", shown(path));
    let message = error.message().to_owned();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(key) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return ConfigError::Syntax { place, problem: message, suggestion: None };
    };
    let table = table_at(text, line);
    let close = quoted
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let suggestion = close.map(|(_, known)| known.to_owned());
    if NOT_YET.contains(&key) && suggestion.is_none() {
        let problem = format!("`{key}`{table} is not served by this version");
        return ConfigError::Syntax { place, problem, suggestion: None };
    }
    ConfigError::Syntax { place, problem: format!("unknown key `{key}`{table}"), suggestion }
}

/// ` in [health]`: the header above a line.
fn table_at(text: &str, line: usize) -> String {
    let above: Vec<_> = text.lines().take(line).collect();
    let header = above.iter().rev().find(|line| line.trim_start().starts_with('['));
    header.map(|line| format!(" in {}", line.trim())).unwrap_or_default()
}

fn shown(path: &Path) -> String {
    path.strip_prefix("./").unwrap_or(path).display().to_string()
}

impl Loaded {
    /// The stages, sorted.
    pub fn stages(&self) -> Vec<String> {
        self.file.stages.keys().cloned().collect()
    }

    /// The named stage (or the default, or the only one), with every rule checked.
    pub fn resolve(
        &self,
        stage: Option<&str>,
        overrides: &Overrides,
    ) -> Result<Config, ConfigError> {
        let (name, stage) = self.stage(stage)?;
        let file = &self.file;
        let deploy_to = stage.deploy_to.as_ref().or(file.deploy_to.as_ref());
        let links = self.links(&stage)?;
        let env = self.env(&stage, &links)?;
        let service = self.service(stage.service.as_ref().or(file.service.as_ref()))?;
        let keep = overrides.keep.or(stage.keep_releases).or(file.keep_releases).unwrap_or(5);
        let timeouts = stage.timeouts.as_ref().or(file.timeouts.as_ref());
        let config = Config {
            app: self.named("app", &file.app)?,
            base: self.base(),
            layout: Layout::new(&self.deploy_to(deploy_to)?),
            keep: self.at_least_one("keep_releases", keep)?,
            hosts: self.hosts(&name, &stage, overrides)?,
            links,
            artifact: self
                .artifact(stage.artifact.as_ref().or(file.artifact.as_ref()), overrides)?,
            env,
            health: self.health(stage.health.as_ref().or(file.health.as_ref()), &service)?,
            service,
            hooks: hooks(stage.hooks.as_ref().or(file.hooks.as_ref())),
            rollout: self.rollout(stage.rollout.as_ref().or(file.rollout.as_ref()))?,
            confirm: stage.confirm,
            ssh: self.ssh(stage.ssh.as_ref().or(file.ssh.as_ref()))?,
            parallel: self
                .at_least_one("parallel", stage.parallel.or(file.parallel).unwrap_or(32))?,
            deadline: seconds(timeouts.and_then(|table| table.deadline), 15),
            stage: name,
        };
        Ok(config)
    }

    /// Where `deploy.toml` lies.
    pub fn base(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    fn stage(&self, wanted: Option<&str>) -> Result<(String, StageTable), ConfigError> {
        let known = self.stages();
        let wanted = wanted.or(self.file.default_stage.as_deref());
        let only = if let [only] = known.as_slice() { Some(only.as_str()) } else { None };
        let Some(name) = wanted.or(only) else {
            let problem = "no stage is named".to_owned();
            return Err(ConfigError::Stage { problem, known });
        };
        let Some(stage) = self.file.stages.get(name) else {
            let problem = format!("there is no stage `{name}` in {}", shown(&self.path));
            return Err(ConfigError::Stage { problem, known });
        };
        Ok((self.named("stages", name)?, stage.clone()))
    }

    /// An error about the line that holds `needle`.
    fn rule<T>(&self, needle: &str, problem: String) -> Result<T, ConfigError> {
        let find = |text: &str| self.text.lines().position(|line| line.contains(text));
        let line = find(&format!("\"{needle}\"")).or_else(|| find(needle)).map_or(1, |i| i + 1);
        Err(ConfigError::Rule { place: format!("{}:{line}", shown(&self.path)), problem })
    }

    fn named(&self, key: &str, name: &str) -> Result<String, ConfigError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(fits) {
            let problem =
                format!("{key}: `{name}` may hold letters, digits, `.`, `_` and `-` only");
            return self.rule(name, problem);
        }
        Ok(name.to_owned())
    }

    fn at_least_one(&self, key: &str, number: usize) -> Result<usize, ConfigError> {
        if number == 0 {
            return self.rule(key, format!("{key} must be at least 1"));
        }
        Ok(number)
    }

    fn deploy_to(&self, path: Option<&String>) -> Result<String, ConfigError> {
        let path = match path {
            Some(path) => path.clone(),
            None => format!("/srv/{}", self.file.app),
        };
        let clean = path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
        let trimmed = path.trim_end_matches('/');
        if !path.starts_with('/') || trimmed.is_empty() || path.chars().any(char::is_control) {
            return self.rule("deploy_to", format!("deploy_to must be an absolute path: {path}"));
        }
        if !clean && !path.ends_with('/') {
            return self.rule("deploy_to", format!("deploy_to must be a plain path: {path}"));
        }
        Ok(trimmed.to_owned())
    }

    fn hosts(
        &self,
        name: &str,
        stage: &StageTable,
        overrides: &Overrides,
    ) -> Result<Vec<Host>, ConfigError> {
        let mut all = Vec::new();
        let mut names = BTreeSet::new();
        for entry in &stage.hosts {
            let host = self.host(entry)?;
            if !names.insert(host.name.clone()) {
                return self.rule(&host.name, format!("host {} is there twice", host.name));
            }
            all.push(host);
        }
        if all.is_empty() {
            return self.rule(name, format!("stage `{name}` has no hosts"));
        }
        let known: Vec<_> = all.iter().map(|host| host.name.clone()).collect();
        for wanted in &overrides.hosts {
            if !known.contains(wanted) {
                let filter = format!("--hosts {wanted}");
                return Err(ConfigError::NoHost { stage: name.to_owned(), filter, known });
            }
        }
        all.retain(|host| overrides.hosts.is_empty() || overrides.hosts.contains(&host.name));
        let has_role = |host: &Host| host.roles.iter().any(|role| overrides.roles.contains(role));
        all.retain(|host| overrides.roles.is_empty() || has_role(host));
        if all.is_empty() {
            let filter = format!("--roles {}", overrides.roles.join(","));
            return Err(ConfigError::NoHost { stage: name.to_owned(), filter, known });
        }
        Ok(all)
    }

    fn host(&self, entry: &TextOr<HostTable>) -> Result<Host, ConfigError> {
        let table = match entry {
            TextOr::Text(text) => HostTable { address: text.clone(), ..HostTable::default() },
            TextOr::Table(table) => table.clone(),
        };
        let written = table.address.clone();
        let bad = |c: char| c.is_whitespace() || c.is_control();
        if written.is_empty() || written.starts_with('-') || written.contains(bad) {
            return self.rule(&written, format!("`{written}` is no host"));
        }
        if written == "local" {
            return Ok(Host { name: written, address: Address::Local, roles: table.roles });
        }
        let (user, rest) = match written.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, written.as_str()),
        };
        let Some((host, port)) = split_port(rest) else {
            return self.rule(&written, format!("`{written}` has no port that could be one"));
        };
        if host.is_empty() || host.starts_with('-') {
            return self.rule(&written, format!("`{written}` is no host"));
        }
        let address = Address::Ssh {
            host: host.to_owned(),
            user: table.user.or(user),
            port: table.port.or(port),
            fingerprint: table.fingerprint,
        };
        Ok(Host { name: written, address, roles: table.roles })
    }

    fn links(&self, stage: &StageTable) -> Result<Vec<SharedLink>, ConfigError> {
        let dirs = stage.linked_dirs.as_ref().or(self.file.linked_dirs.as_ref());
        let files = stage.linked_files.as_ref().or(self.file.linked_files.as_ref());
        let mut links = Vec::new();
        for dir in dirs.into_iter().flatten() {
            links.push(self.linked_dir(dir)?);
        }
        for file in files.into_iter().flatten() {
            let table = match file {
                TextOr::Text(path) => LinkedFile { path: path.clone(), optional: false },
                TextOr::Table(table) => table.clone(),
            };
            let path = self.inside("linked_files", &table.path)?;
            links.push(SharedLink { path, kind: SharedKind::File { optional: table.optional } });
        }
        for a in &links {
            let nested = |b: &&SharedLink| is_below(&b.path, &a.path);
            if let Some(b) = links.iter().find(nested) {
                let problem = format!("linked path {} lies below linked path {}", b.path, a.path);
                return self.rule(&b.path, problem);
            }
            if links.iter().filter(|b| b.path == a.path).count() > 1 {
                return self.rule(&a.path, format!("linked path {} is there twice", a.path));
            }
        }
        Ok(links)
    }

    fn linked_dir(&self, dir: &TextOr<LinkedDir>) -> Result<SharedLink, ConfigError> {
        let table = match dir {
            TextOr::Text(path) => LinkedDir { path: path.clone(), ..LinkedDir::default() },
            TextOr::Table(table) => table.clone(),
        };
        let path = self.inside("linked_dirs", &table.path)?;
        if let Some(mode) = &table.mode {
            self.mode("mode", mode)?;
        }
        Ok(SharedLink { path, kind: SharedKind::Dir { mode: table.mode, group: table.group } })
    }

    /// A clean path inside the release.
    fn inside(&self, key: &str, path: &str) -> Result<String, ConfigError> {
        let trimmed = path.trim_end_matches('/');
        let bad = |part: &str| matches!(part, "" | "." | "..");
        if trimmed.split('/').any(bad) || path.chars().any(char::is_control) {
            let problem = format!("{key}: `{path}` must be a plain path inside the release");
            return self.rule(path, problem);
        }
        if trimmed == "REVISION" {
            return self.rule(path, format!("{key}: `{path}` is written by each deploy"));
        }
        Ok(trimmed.to_owned())
    }

    fn mode(&self, key: &str, mode: &str) -> Result<u32, ConfigError> {
        match u32::from_str_radix(mode, 8) {
            Ok(bits) if bits <= 0o7777 && bits & 0o002 == 0 => Ok(bits),
            Ok(bits) if bits <= 0o7777 => {
                self.rule(mode, format!("{key} `{mode}` lets everybody write"))
            }
            _ => self.rule(mode, format!("{key} `{mode}` is not octal, such as \"0640\"")),
        }
    }

    fn env(
        &self,
        stage: &StageTable,
        links: &[SharedLink],
    ) -> Result<Option<EnvSpec>, ConfigError> {
        let empty = EnvTable::default();
        let (top, own) = (self.file.env.as_ref(), stage.env.as_ref());
        if top.is_none() && own.is_none() {
            return Ok(None);
        }
        let (top, own) = (top.unwrap_or(&empty), own.unwrap_or(&empty));
        let file = own.file.clone().or(top.file.clone()).unwrap_or_else(|| ".env".to_owned());
        let file = self.inside("env.file", &file)?;
        if links.iter().any(|link| link.path == file || is_below(&file, &link.path)) {
            return self.rule(&file, format!("env.file `{file}` lies at a linked path"));
        }
        let mode = own.mode.clone().or(top.mode.clone()).unwrap_or_else(|| "0600".to_owned());
        if self.mode("env.mode", &mode)? & 0o007 != 0 {
            return self.rule(&mode, format!("env.mode `{mode}` lets everybody read"));
        }
        let mut vars = BTreeMap::new();
        for (name, value) in top.vars.iter().chain(&own.vars) {
            vars.insert(name.clone(), self.env_source(name, value)?);
        }
        let group = own.group.clone().or(top.group.clone());
        Ok(Some(EnvSpec { file, mode, group, vars }))
    }

    fn env_source(&self, name: &str, value: &TextOr<EnvValue>) -> Result<EnvSource, ConfigError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(fits)
        {
            return self.rule(name, format!("`{name}` is no name of an environment variable"));
        }
        match value {
            TextOr::Text(text) => Ok(EnvSource::Text(text.clone())),
            TextOr::Table(EnvValue { env: Some(variable), command: None, file: None }) => {
                Ok(EnvSource::Variable(variable.clone()))
            }
            TextOr::Table(EnvValue { env: None, command: Some(command), file: None }) => {
                Ok(EnvSource::Command(command.clone()))
            }
            TextOr::Table(EnvValue { env: None, command: None, file: Some(file) }) => {
                Ok(EnvSource::File(PathBuf::from(file)))
            }
            TextOr::Table(_) => {
                self.rule(name, format!("`{name}` needs exactly one of env, command, file"))
            }
        }
    }

    fn service(&self, table: Option<&ServiceTable>) -> Result<Service, ConfigError> {
        let Some(table) = table else { return Ok(Service::None) };
        let limit = seconds(table.timeout, 120);
        match (&table.unit, &table.restart) {
            (Some(_), Some(_)) => {
                self.rule("restart", "service has a unit and a command".to_owned())
            }
            (Some(unit), None) => self.unit(table, unit, limit),
            (None, Some(restart)) => {
                Ok(Service::Command { restart: restart.clone(), stop: table.stop.clone(), limit })
            }
            (None, None) => self.rule("[service]", "service needs `unit` or `restart`".to_owned()),
        }
    }

    fn unit(
        &self,
        table: &ServiceTable,
        unit: &str,
        limit: Duration,
    ) -> Result<Service, ConfigError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-@:\\".contains(c);
        if unit.is_empty() || unit.starts_with('-') || !unit.chars().all(fits) {
            return self.rule(unit, format!("`{unit}` is no name of a unit"));
        }
        let scope = match table.scope.as_deref() {
            None | Some("system") => Scope::System,
            Some("user") => Scope::User,
            Some(other) => {
                return self.rule(other, format!("scope is `system` or `user`, not `{other}`"));
            }
        };
        let action = match table.action.as_deref() {
            None | Some("restart") => Action::Restart,
            Some("reload-or-restart") => Action::ReloadOrRestart,
            Some(other) => {
                let problem = format!("action is `restart` or `reload-or-restart`, not `{other}`");
                return self.rule(other, problem);
            }
        };
        let name = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
        Ok(Service::Unit { name, scope, action, limit })
    }

    fn health(
        &self,
        table: Option<&HealthTable>,
        service: &Service,
    ) -> Result<Health, ConfigError> {
        let default = HealthTable::default();
        let table = table.unwrap_or(&default);
        let soak = seconds(table.soak, if matches!(service, Service::Unit { .. }) { 2 } else { 0 });
        let Some(url) = &table.http else { return Ok(Health { soak, http: None }) };
        let Some((host, port, path)) = split_url(url) else {
            let problem =
                format!("health.http must be an http:// URL as seen from the host: {url}");
            return self.rule(url, problem);
        };
        let http = HttpCheck {
            url: url.clone(),
            host,
            port,
            path,
            interval: seconds(table.interval, 1),
            timeout: seconds(table.timeout, 5),
            total: seconds(table.total, 30),
        };
        Ok(Health { soak, http: Some(http) })
    }

    fn rollout(&self, table: Option<&RolloutTable>) -> Result<Rollout, ConfigError> {
        let batch = match table.and_then(|table| table.batch.as_ref()) {
            None => None,
            Some(TextOrNumber::Text(text)) if text == "all" => None,
            Some(TextOrNumber::Number(number)) => Some(self.at_least_one("batch", *number)?),
            Some(TextOrNumber::Text(text)) => {
                let problem = format!("batch = \"{text}\" is not served by this version");
                return self.rule("batch", problem);
            }
        };
        Ok(Rollout { batch })
    }

    fn ssh(&self, table: Option<&SshTable>) -> Result<SshSettings, ConfigError> {
        let Some(table) = table else { return Ok(SshSettings::default()) };
        let accept_new = match table.host_keys.as_deref() {
            None | Some("strict") => false,
            Some("accept-new") => true,
            Some(other) => {
                let problem = format!("host_keys is `strict` or `accept-new`, not `{other}`");
                return self.rule(other, problem);
            }
        };
        let path = |text: &Option<String>| {
            text.as_ref().map(|text| {
                if text.starts_with('~') { PathBuf::from(text) } else { self.base().join(text) }
            })
        };
        Ok(SshSettings {
            config: path(&table.config),
            user: table.user.clone(),
            identity_file: path(&table.identity_file),
            known_hosts: path(&table.known_hosts),
            connect_timeout: table.connect_timeout.map(|Seconds(time)| time),
            accept_new,
        })
    }

    fn artifact(
        &self,
        table: Option<&ArtifactTable>,
        overrides: &Overrides,
    ) -> Result<Option<ArtifactSpec>, ConfigError> {
        let default = ArtifactTable::default();
        let written = table.unwrap_or(&default);
        let (path, sha256) = match &overrides.artifact {
            Some(path) => (path, overrides.sha256.as_ref()),
            None if table.is_none() => return Ok(None),
            None => (&written.path, overrides.sha256.as_ref().or(written.sha256.as_ref())),
        };
        let Ok(sha256) = sha256.map(|text| text.parse()).transpose() else {
            return self.rule("sha256", "sha256 must be 64 hex digits".to_owned());
        };
        let source = if path.starts_with("https://") {
            let Some(sha256) = sha256 else {
                return self.rule(path, format!("an artifact from a URL needs a sha256: {path}"));
            };
            ArtifactSource::Url { url: path.clone(), sha256 }
        } else if path.starts_with("http://") {
            return self.rule(path, format!("an artifact comes by https only: {path}"));
        } else {
            let plain = path.strip_prefix("file://").unwrap_or(path);
            let from_flag = overrides.artifact.is_some();
            let path = if from_flag { PathBuf::from(plain) } else { self.base().join(plain) };
            ArtifactSource::Path { path, sha256 }
        };
        let (exclude, strip_components) = (written.exclude.clone(), written.strip_components);
        Ok(Some(ArtifactSpec { source, exclude, strip_components }))
    }
}

fn seconds(given: Option<Seconds>, default: u64) -> Duration {
    given.map_or(Duration::from_secs(default), |Seconds(time)| time)
}

fn hooks(table: Option<&HooksTable>) -> Hooks {
    let default = HooksTable::default();
    let table = table.unwrap_or(&default);
    let shell = table.shell.as_deref().unwrap_or("/bin/sh -c");
    let all = |hooks: &[TextOr<HookTable>]| hooks.iter().map(hook).collect();
    Hooks {
        before: all(&table.local.before),
        staged: all(&table.staged),
        activated: all(&table.activated),
        after: all(&table.local.after),
        failed: all(&table.local.failed),
        shell: shell.split_whitespace().map(ToOwned::to_owned).collect(),
        limit: seconds(table.timeout, 600),
    }
}

fn hook(entry: &TextOr<HookTable>) -> Hook {
    match entry {
        TextOr::Text(run) => Hook { run: run.clone(), once: false, roles: Vec::new() },
        TextOr::Table(table) => {
            Hook { run: table.run.clone(), once: table.once, roles: table.roles.clone() }
        }
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, a bare v6 address.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some((host, port));
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

/// Host, port and path of an `http://` URL.
fn split_url(url: &str) -> Option<(String, u16, String)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, "/"),
    };
    let (host, port) = split_port(authority)?;
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    (!host.is_empty() && url.chars().all(plain))
        .then(|| (host.to_owned(), port.unwrap_or(80), path))
}
