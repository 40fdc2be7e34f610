//! The rule that says which values of environment files are secret, here and on hosts.

use std::collections::BTreeMap;

use super::checks::HealthProbe;
use super::{Address, Config, EnvSpec, EnvVar};

/// Shorter values are never masked: they would turn up everywhere by chance.
pub const SHORTEST: usize = 6;
/// Names of stages that everybody uses, whatever this one is called.
const USUAL: [&str; 4] = ["production", "staging", "development", "testing"];

/// The values of environment files that are secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrecy {
    /// Variables whose values are always (`true`) or never (`false`) secret.
    variables: BTreeMap<String, bool>,
    /// A value that stands in one of these is no secret.
    names: Vec<String>,
}

impl Secrecy {
    /// Returns the rule that `config` sets.
    pub fn of(config: &Config) -> Self {
        Self { variables: variables(&config.env), names: names(config) }
    }

    /// Returns whether the value of this variable must not be shown.
    pub fn hides(&self, variable: &str, value: &str) -> bool {
        let said = self.variables.get(variable).copied();
        value.trim().len() >= SHORTEST && said.unwrap_or_else(|| !self.names(value))
    }

    /// Returns whether a name of the config contains the value.
    pub fn names(&self, value: &str) -> bool {
        self.names.iter().any(|name| name.contains(value.trim()))
    }

    /// Returns the rule as hosts read it: a line `+NAME` (secret) or `-NAME` for each variable, and
    /// a line `=name` for each name of the config.
    pub fn lines(&self) -> String {
        let mark = |secret: &bool| if *secret { '+' } else { '-' };
        let variables =
            self.variables.iter().map(|(name, secret)| format!("{}{name}", mark(secret)));
        let names = self.names.iter().map(|name| format!("={name}"));
        variables.chain(names).collect::<Vec<_>>().join("\n")
    }
}

/// Returns which variables are secret by `secret = …`, or not, because they are text. A name that
/// is secret in one file is so in all.
fn variables(files: &[EnvSpec]) -> BTreeMap<String, bool> {
    let mut all = BTreeMap::new();
    for name in files.iter().flat_map(|spec| spec.vars.keys()) {
        let said = files.iter().filter_map(|spec| spec.vars.get(name)).map(EnvVar::is_secret);
        let said: Vec<_> = said.collect();
        let mut others = files.iter().filter(|spec| !spec.vars.contains_key(name));
        let may_be_imported = others.any(|spec| !spec.imports.is_empty());
        let secret = said.contains(&Some(true));
        if secret || !(may_be_imported || said.contains(&None)) {
            all.insert(name.clone(), secret);
        }
    }
    all
}

/// Returns the names that a report may have to show, sorted and without duplicates.
fn names(config: &Config) -> Vec<String> {
    let root = config.layout.root();
    let mut names: Vec<&str> = [config.app.as_str(), &config.stage, root].into();
    names.extend(USUAL);
    names.extend(config.ssh.user.as_deref());
    for host in &config.hosts {
        names.push(&host.name);
        names.extend(host.roles.iter().map(String::as_str));
        if let Address::Ssh { host, user, .. } = &host.address {
            names.push(host);
            names.extend(user.as_deref());
        }
    }
    for service in &config.services {
        names.push(&service.name);
        names.extend(service.unit().map(|unit| unit.name.as_str()));
    }
    for check in &config.health.checks {
        if let HealthProbe::Http(http) = &check.probe {
            // A query may hold a token, and the rule stands among the arguments of the agent.
            names.extend(http.url.split('?').next());
            names.extend(http.body.as_deref());
        }
    }
    let mut names: Vec<String> =
        names.iter().flat_map(|name| name.lines()).map(str::to_owned).collect();
    names.retain(|name| name.len() >= SHORTEST);
    names.sort();
    names.dedup();
    names
}
