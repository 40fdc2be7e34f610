//! Hosts, their roles, and which of them a run is about.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::{NAME, Overrides, Resolver};
use crate::config::error::{ConfigError, ConfigPlace};
use crate::config::file::ConfigFile;
use crate::config::tables::{HostTable, Layer, TextOr};
use crate::config::{Address, Host, rules};

impl Resolver<'_> {
    pub(super) fn hosts(&self, layer: &Layer) -> Result<Vec<Host>, ConfigError> {
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

    /// Returns an address with the other keys of the host's table.
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

    pub(super) fn filter(
        &self,
        hosts: &mut Vec<Host>,
        overrides: &Overrides,
    ) -> Result<(), ConfigError> {
        let names = hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>();
        let roles = hosts.iter().flat_map(|host| host.roles.clone()).collect::<BTreeSet<_>>();
        let no_such = |flag, what, name: &String, known| ConfigError::NoSuch {
            place: ConfigPlace::Given(flag),
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

/// Returns whether `name` means `host`: as written, or by its address alone.
pub(super) fn is_called(host: &Host, name: &str) -> bool {
    let alone = match &host.address {
        Address::Local => "local",
        Address::Ssh { host, .. } => host,
    };
    host.name == name || alone == name
}

impl ConfigFile {
    /// Returns the roles of all hosts of all stages.
    pub(super) fn all_roles(&self) -> BTreeSet<&str> {
        let layers = self.root.stages.iter().flat_map(BTreeMap::values).chain([&self.root]);
        let hosts = layers.filter_map(|layer| layer.hosts.as_ref()).flat_map(Spanned::get_ref);
        let tables = hosts.filter_map(|host| match host.get_ref() {
            TextOr::Table(table) => Some(table),
            TextOr::Text(_) => None,
        });
        tables.flat_map(|table| &table.roles).map(|role| role.get_ref().as_str()).collect()
    }
}
