//! Hosts, their roles, and which of them a run is about.

use std::borrow::Cow;
use std::collections::BTreeSet;

use toml::Spanned;

use super::{NAME, Overrides, Resolver};
use crate::config::error::{ConfigError, ConfigPlace};
use crate::config::file::ConfigFile;
use crate::config::inventory::{self, ListedHost};
use crate::config::tables::{HostTable, HostsTable, Layer, ListOr, TextOr};
use crate::config::{Address, Host, rules};

/// The form of a range in a name, for messages.
const RANGE: &str = "one name, or a range of at most 1,000 such as `web[1:12].example.net`";

/// A list from elsewhere, and the command or file that it is from.
struct Elsewhere {
    list: Vec<Spanned<TextOr<HostTable>>>,
    origin: String,
}

/// The hosts of a stage.
pub(super) struct StageHosts {
    pub(super) all: Vec<Host>,
    /// The command or file that listed them.
    pub(super) origin: Option<String>,
}

impl Resolver<'_> {
    pub(super) fn hosts(&self, layer: &Layer) -> Result<StageHosts, ConfigError> {
        let none = |place| ConfigError::NoHosts { place, stage: self.stage.to_owned() };
        let value = layer.hosts.as_ref().ok_or_else(|| none(self.file.nowhere()))?;
        let (list, origin) = match value.get_ref() {
            ListOr::List(list) => (Cow::Borrowed(list), None),
            ListOr::Table(table) => {
                let found = self.elsewhere(value, table)?;
                (Cow::Owned(found.list), Some(found.origin))
            }
        };
        let mut all = Vec::<Host>::new();
        for entry in list.iter() {
            let named = |error| self.of_origin(value, origin.as_deref(), error);
            for host in self.entry(entry).map_err(named)? {
                if all.iter().any(|h| h.name == host.name || h.address == host.address) {
                    let place = self.file.place(entry);
                    return Err(named(ConfigError::HostTwice { place, name: host.name }));
                }
                all.push(host);
            }
        }
        if all.is_empty() {
            Err(none(self.file.place(value)))
        } else {
            Ok(StageHosts { all, origin })
        }
    }

    /// Returns the list that a command prints or a file holds. Each of its hosts has the place of
    /// the key `hosts`.
    fn elsewhere<T>(
        &self,
        value: &Spanned<T>,
        table: &HostsTable,
    ) -> Result<Elsewhere, ConfigError> {
        let (origin, text) = match (&table.command, &table.file) {
            (Some(command), None) => {
                let command = self.command("command", command)?;
                let printed = inventory::printed(&command, &self.file.base, self.stage);
                (format!("`{command}`"), printed)
            }
            (None, Some(file)) => {
                let must = "the path of a file";
                self.file.rule(file, "file", must, !file.get_ref().is_empty())?;
                let content = inventory::content(&self.file.base.join(file.get_ref()));
                (file.get_ref().clone(), content)
            }
            (Some(command), Some(_)) => {
                let place = self.file.place(command);
                return Err(ConfigError::Both { place, one: "command", other: "file" });
            }
            (None, None) => {
                let place = self.file.place(value);
                return Err(ConfigError::NoHosts { place, stage: self.stage.to_owned() });
            }
        };
        let span = value.span();
        let place = self.file.place(value);
        let listed = text.and_then(|text| inventory::listed(&text));
        let listed = listed.map_err(|reason| ConfigError::Inventory {
            place,
            origin: origin.clone(),
            reason,
        })?;
        let spanned = |text: String| Spanned::new(span.clone(), text);
        let entry = |host: ListedHost| {
            let table = HostTable {
                address: spanned(host.address),
                user: host.user.map(spanned),
                port: host.port.map(|port| Spanned::new(span.clone(), port)),
                roles: host.roles.into_iter().map(spanned).collect(),
                fingerprint: host.fingerprint.map(spanned),
            };
            Spanned::new(span.clone(), TextOr::Table(table))
        };
        Ok(Elsewhere { list: listed.into_iter().map(entry).collect(), origin })
    }

    /// Says where a wrong host was listed, if that is elsewhere.
    fn of_origin<T>(
        &self,
        value: &Spanned<T>,
        origin: Option<&str>,
        error: ConfigError,
    ) -> ConfigError {
        let Some(origin) = origin else { return error };
        let place = self.file.place(value);
        let reason = error.to_string();
        let reason = reason.strip_prefix(&format!("{place}: ")).unwrap_or(&reason).to_owned();
        ConfigError::Inventory { place, origin: origin.to_owned(), reason }
    }

    /// Returns the hosts that one entry stands for: several if its name has a range.
    fn entry(&self, entry: &Spanned<TextOr<HostTable>>) -> Result<Vec<Host>, ConfigError> {
        let name = match entry.get_ref() {
            TextOr::Text(text) => &Spanned::new(entry.span(), text.clone()),
            TextOr::Table(table) => &table.address,
        };
        let names = inventory::expanded(name.get_ref());
        let names = self.file.need(name, "hosts", RANGE, names)?;
        names.iter().map(|name| self.host(entry, name)).collect()
    }

    fn host(&self, entry: &Spanned<TextOr<HostTable>>, name: &str) -> Result<Host, ConfigError> {
        let table = match entry.get_ref() {
            TextOr::Text(_) => {
                let shown = Spanned::new(entry.span(), name);
                let address = rules::address(name);
                let address = self.file.need(&shown, "hosts", rules::ADDRESS, address)?;
                return Ok(Host { name: name.to_owned(), address, roles: Vec::new() });
            }
            TextOr::Table(table) => table,
        };
        let shown = Spanned::new(table.address.span(), name);
        let address = rules::address(name);
        let address = self.file.need(&shown, "address", rules::ADDRESS, address)?;
        let address = self.refine(table, address)?;
        for role in &table.roles {
            self.file.rule(role, "roles", NAME, rules::is_name(role.get_ref()))?;
        }
        let roles = table.roles.iter().map(|role| role.get_ref().clone()).collect();
        Ok(Host { name: name.to_owned(), address, roles })
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
    /// Returns the lists of hosts of all stages; `None` for one from elsewhere.
    fn host_lists(&self) -> impl Iterator<Item = Option<&Vec<Spanned<TextOr<HostTable>>>>> {
        let hosts = self.stages.values().chain([&self.root]).filter_map(|it| it.hosts.as_ref());
        hosts.map(|hosts| match hosts.get_ref() {
            ListOr::List(list) => Some(list),
            ListOr::Table(_) => None,
        })
    }

    /// Returns whether deploy.toml lists the hosts of all stages, and therefore all roles.
    pub(super) fn lists_all_hosts(&self) -> bool {
        self.host_lists().all(|list| list.is_some())
    }

    /// Returns the roles of all hosts that deploy.toml lists.
    pub(super) fn all_roles(&self) -> BTreeSet<&str> {
        let tables =
            self.host_lists().flatten().flatten().filter_map(|host| match host.get_ref() {
                TextOr::Table(table) => Some(table),
                TextOr::Text(_) => None,
            });
        tables.flat_map(|table| &table.roles).map(|role| role.get_ref().as_str()).collect()
    }
}
