//! From what is written to what it means. Every rule and every error of a configuration is met
//! here; what comes out cannot be invalid.

mod env;
mod health;
mod hosts;
mod notices;
mod parts;
mod runs;
mod services;
mod slots;
mod sources;
mod sudo;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use toml::Spanned;

use self::hosts::StageHosts;
use super::error::{ConfigError, ConfigPlace};
use super::file::ConfigFile;
use super::tables::Layer;
use super::{Config, rules};
use crate::model::layout::Layout;

/// The number of good releases that prune keeps by default.
const KEEP_RELEASES: usize = 5;
const NAME: &str =
    "a name of letters, digits, `.`, `_` and `-` that begins with a letter or a digit";

/// Values of flags and `SHIPIT_*` variables, in place of those of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The stage, where the command line names none.
    pub stage: Option<String>,
    /// A path or an address, perhaps with `#sha256=…` at its end.
    pub artifact: Option<String>,
    /// The directory to which an artifact path is relative; empty: that of the file.
    pub directory: PathBuf,
    /// Hosts by name or address; empty: all of the stage.
    pub hosts: Vec<String>,
    /// Only hosts with one of these roles; empty: all.
    pub roles: Vec<String>,
    /// The number of releases to keep.
    pub keep: Option<usize>,
    /// The number of hosts at once.
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
                place: ConfigPlace::Given(name),
                key,
                value: value.to_owned(),
                must: "a whole number, 1 or more",
            };
            let least = |value: &str| value.parse().ok().filter(|number| *number >= 1);
            text(name).map(|value| least(&value).ok_or_else(|| wrong(&value))).transpose()
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
    /// Returns the names of the stages, sorted.
    pub fn stages(&self) -> Vec<&str> {
        self.stages.keys().map(|name| name.get_ref().as_str()).collect()
    }

    /// One stage as it is after flags, variables, the stage's own keys, those of the top level
    /// and the defaults, in this order.
    pub fn resolve(
        &self,
        stage: Option<&str>,
        overrides: &Overrides,
    ) -> Result<Config, ConfigError> {
        let (stage, layer) = self.stage(stage.or(overrides.stage.as_deref()))?;
        let here = Resolver { file: self, stage };
        let services = here.services(layer)?;
        let StageHosts { all: hosts, origin: hosts_from } = here.hosts(layer)?;
        here.units_are_told_apart(layer, &services, &hosts)?;
        let links = here.links(layer)?;
        let mut config = Config {
            app: here.app()?,
            stage: stage.to_owned(),
            base: self.base.clone(),
            layout: here.layout(layer)?,
            keep: here.count(
                "keep_releases",
                overrides.keep,
                layer.keep_releases.as_ref(),
                KEEP_RELEASES,
            )?,
            artifact: here.artifact(layer, overrides, &links)?,
            links,
            assets: None,
            env: Vec::new(),
            health: here.health(layer, &services)?,
            services,
            slots: here.slots(layer)?,
            hooks: here.hooks(layer)?,
            notices: here.notices(layer)?,
            rollout: here.rollout(layer, &hosts)?,
            upload: here.upload(layer)?,
            maintenance: here.maintenance(layer)?,
            hosts,
            hosts_from,
            confirm: layer.confirm,
            ssh: here.ssh(layer)?,
            sudo: here.sudo(layer)?,
            parallel: here.count("parallel", overrides.parallel, layer.parallel.as_ref(), 32)?,
            deadline: here.deadline(layer)?,
        };
        config.assets = here.assets(layer, &config)?;
        config.env = here.env(layer, &config.links, &config.services)?;
        here.check_slots(layer, &config)?;
        here.check_sudo(layer, &config)?;
        here.filter(&mut config.hosts, overrides)?;
        Ok(config)
    }

    fn stage(&self, asked: Option<&str>) -> Result<(&str, &Layer), ConfigError> {
        let stages = &self.stages;
        if stages.is_empty() {
            return Err(ConfigError::NoStages { place: self.nowhere() });
        }
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
        let found = stages.get_key_value(name).map(|(key, layer)| (key.get_ref().as_str(), layer));
        let missing =
            || ConfigError::UnknownStage { place, stage: name.to_owned(), known: known() };
        found.ok_or_else(missing)
    }

    /// Fails if a rule does not hold for a value.
    fn rule<T: Display>(
        &self,
        value: &Spanned<T>,
        key: &'static str,
        must: &'static str,
        holds: bool,
    ) -> Result<(), ConfigError> {
        self.need(value, key, must, holds.then_some(()))
    }

    /// Returns the result of a rule for a value, or the error with the value's place.
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
struct Resolver<'a> {
    file: &'a ConfigFile,
    stage: &'a str,
}

impl Resolver<'_> {
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
            // A variable was looked at when it was read.
            let place = ConfigPlace::Given("--keep");
            let wrong = ConfigError::Value { place, key, value: given.to_string(), must };
            return if given == 0 { Err(wrong) } else { Ok(given) };
        }
        let Some(written) = written else { return Ok(default) };
        let number = usize::try_from(*written.get_ref()).ok().filter(|number| *number >= 1);
        self.file.need(written, key, must, number)
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
}
