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
        let number = |given: Option<usize>, key: &'static str, name: &'static str| {
            let wrong = |value: &str| ConfigError::Value {
                place: ConfigPlace::Given(name),
                key,
                value: value.to_owned(),
                must: "a whole number, 1 or more",
            };
            let least = |value: &str| value.parse().ok().filter(|number| *number >= 1);
            let value = text(name).filter(|_| given.is_none());
            let read = value.map(|value| least(&value).ok_or_else(|| wrong(&value))).transpose();
            read.map(|read| given.or(read))
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
            keep: number(self.keep, "keep_releases", "SHIPIT_KEEP_RELEASES")?,
            parallel: number(self.parallel, "parallel", "SHIPIT_PARALLEL")?,
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
        let here = Resolver { file: self, stage, layer };
        let services = here.services()?;
        let StageHosts { all: hosts, origin: hosts_from } = here.hosts()?;
        here.units_are_told_apart(&services, &hosts)?;
        let links = here.links()?;
        let mut config = Config {
            app: here.app()?,
            stage: stage.to_owned(),
            base: self.base.clone(),
            layout: here.layout()?,
            keep: here.count(
                "keep_releases",
                overrides.keep,
                layer.keep_releases.as_ref(),
                KEEP_RELEASES,
            )?,
            artifact: here.artifact(overrides, &links)?,
            links,
            assets: None,
            env: Vec::new(),
            health: here.health(&services)?,
            services,
            slots: here.slots()?,
            hooks: here.hooks()?,
            notices: here.notices()?,
            rollout: here.rollout(&hosts)?,
            upload: here.upload()?,
            maintenance: here.maintenance()?,
            hosts,
            hosts_from,
            confirm: layer.confirm,
            ssh: here.ssh()?,
            sudo: here.sudo()?,
            parallel: here.count("parallel", overrides.parallel, layer.parallel.as_ref(), 32)?,
            deadline: here.deadline()?,
        };
        config.assets = here.assets(&config)?;
        config.env = here.env(&config.links, &config.services)?;
        here.check_slots(&config)?;
        here.check_sudo(&config)?;
        here.filter(&mut config.hosts, overrides)?;
        Ok(config)
    }

    fn stage(&self, asked: Option<&str>) -> Result<(&str, &Layer), ConfigError> {
        let stages = &self.stages;
        if stages.is_empty() {
            return Err(ConfigError::NoStages { place: self.source.nowhere() });
        }
        for name in stages.keys() {
            if !rules::is_name(name.get_ref()) {
                let (place, value) = (self.source.place(&name.span()), name.get_ref().clone());
                return Err(ConfigError::Value { place, key: "stage", value, must: NAME });
            }
        }
        let known = || self.stages().into_iter().map(str::to_owned).collect();
        let (name, place) = match (asked, &self.root.default_stage, stages.keys().next()) {
            (Some(asked), _, _) => (asked, self.source.nowhere()),
            (None, Some(default), _) => {
                (default.get_ref().as_str(), self.source.place(&default.span()))
            }
            (None, None, Some(only)) if stages.len() == 1 => {
                (only.get_ref().as_str(), self.source.nowhere())
            }
            _ => {
                return Err(ConfigError::WhichStage {
                    place: self.source.nowhere(),
                    known: known(),
                });
            }
        };
        let found = stages.get_key_value(name).map(|(key, layer)| (key.get_ref().as_str(), layer));
        let missing =
            || ConfigError::UnknownStage { place, stage: name.to_owned(), known: known() };
        found.ok_or_else(missing)
    }
}

/// One stage of one file, while it is resolved.
struct Resolver<'a> {
    file: &'a ConfigFile,
    stage: &'a str,
    layer: &'a Layer,
}

impl Resolver<'_> {
    fn place<T>(&self, value: &Spanned<T>) -> ConfigPlace {
        self.file.source.place(&value.span())
    }

    fn nowhere(&self) -> ConfigPlace {
        self.file.source.nowhere()
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
        made.ok_or_else(|| self.refused(value, key, must))
    }

    fn refused<T: Display>(
        &self,
        value: &Spanned<T>,
        key: &'static str,
        must: &'static str,
    ) -> ConfigError {
        let (place, value) = (self.place(value), value.get_ref().to_string());
        ConfigError::Value { place, key, value, must }
    }

    /// Returns a text for which a rule holds.
    fn text(
        &self,
        value: &Spanned<String>,
        key: &'static str,
        must: &'static str,
        holds: impl FnOnce(&str) -> bool,
    ) -> Result<String, ConfigError> {
        self.rule(value, key, must, holds(value.get_ref()))?;
        Ok(value.get_ref().clone())
    }

    /// Fails if two of these keys are given.
    fn only_one<const N: usize>(
        &self,
        keys: [(&'static str, &Option<Spanned<String>>); N],
    ) -> Result<(), ConfigError> {
        let mut given = keys.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        match (given.next(), given.next()) {
            (Some((one, value)), Some((other, _))) => {
                Err(ConfigError::Both { place: self.place(value), one, other })
            }
            _ => Ok(()),
        }
    }

    fn app(&self) -> Result<String, ConfigError> {
        let app = self.required(self.layer.app.as_ref(), "app")?;
        self.text(app, "app", NAME, rules::is_name)
    }

    fn required<'v, T>(&self, value: Option<&'v T>, key: &str) -> Result<&'v T, ConfigError> {
        value.ok_or_else(|| ConfigError::missing(self.nowhere(), key, "at the top level"))
    }

    fn layout(&self) -> Result<Layout, ConfigError> {
        let root = self.required(self.layer.deploy_to.as_ref(), "deploy_to")?;
        let must = "an absolute path below `/`, without `.`, `..` and `//`";
        self.rule(root, "deploy_to", must, rules::is_root(root.get_ref()))?;
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
        self.need(written, key, must, number)
    }

    /// Refuses a key that means nothing without another one.
    fn without<T>(
        &self,
        key: &'static str,
        value: Option<&Spanned<T>>,
        needs: &'static str,
    ) -> Result<(), ConfigError> {
        let needed = |value| ConfigError::Needs { place: self.place(value), key, needs };
        value.map_or(Ok(()), |value| Err(needed(value)))
    }

    fn command(&self, key: &'static str, text: &Spanned<String>) -> Result<String, ConfigError> {
        self.text(text, key, "a command", rules::is_command)
    }
}
