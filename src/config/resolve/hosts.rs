//! Hosts, their roles, and which of them a run is about.

use std::borrow::Cow;
use std::collections::BTreeSet;

use toml::Spanned;

use super::{NAME, Overrides, Resolver};
use crate::config::error::{ConfigError, ConfigPlace};
use crate::config::file::ConfigFile;
use crate::config::inventory::{self, ListedHost};
use crate::config::tables::{HostTable, HostsTable, ListOr, TextOr};
use crate::config::{Address, Host, rules};

/// The form of a range in a name, for messages.
const RANGE: &str = "one name, or a range of at most 1,000 such as `web[1:12].example.net`";

/// A host as it is written.
type HostEntry = Spanned<TextOr<HostTable>>;

/// The hosts of a stage.
pub(super) struct StageHosts {
    pub(super) all: Vec<Host>,
    /// The command or file that listed them.
    pub(super) origin: Option<String>,
}

impl Resolver<'_> {
    pub(super) fn hosts(&self) -> Result<StageHosts, ConfigError> {
        let none = |place| ConfigError::NoHosts { place, stage: self.stage.to_owned() };
        let value = self.layer.hosts.as_ref().ok_or_else(|| none(self.nowhere()))?;
        let (list, origin) = match value.get_ref() {
            ListOr::List(list) => (Cow::Borrowed(list), None),
            ListOr::Table(table) => {
                let (list, origin) = self.elsewhere(value, table)?;
                (Cow::Owned(list), Some(origin))
            }
        };
        let mut all = Vec::<Host>::new();
        for entry in list.iter() {
            let named = |error| self.of_origin(value, origin.as_deref(), error);
            for host in self.entry(entry).map_err(named)? {
                if all.iter().any(|h| h.name == host.name || h.address == host.address) {
                    let place = self.place(entry);
                    return Err(named(ConfigError::HostTwice { place, name: host.name }));
                }
                all.push(host);
            }
        }
        if all.is_empty() { Err(none(self.place(value))) } else { Ok(StageHosts { all, origin }) }
    }

    /// Returns the list that a command prints or a file holds, and which of them. Each of its hosts
    /// has the place of the key `hosts`.
    fn elsewhere<T>(
        &self,
        value: &Spanned<T>,
        table: &HostsTable,
    ) -> Result<(Vec<HostEntry>, String), ConfigError> {
        self.only_one([("command", &table.command), ("file", &table.file)])?;
        let place = self.place(value);
        let (origin, text) = if let Some(command) = &table.command {
            let command = self.command("command", command)?;
            let printed = inventory::printed(&command, &self.file.base, self.stage);
            (format!("`{command}`"), printed)
        } else if let Some(file) = &table.file {
            let file = self.text(file, "file", "the path of a file", |path| !path.is_empty())?;
            let content = inventory::content(&self.file.base.join(&file));
            (file, content)
        } else {
            return Err(ConfigError::NoHosts { place, stage: self.stage.to_owned() });
        };
        let span = value.span();
        let listed = match text.and_then(|text| inventory::listed(&text)) {
            Ok(listed) => listed,
            Err(reason) => return Err(ConfigError::Inventory { place, origin, reason }),
        };
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
        Ok((listed.into_iter().map(entry).collect(), origin))
    }

    /// Says where a wrong host was listed, if that is elsewhere.
    fn of_origin<T>(
        &self,
        value: &Spanned<T>,
        origin: Option<&str>,
        error: ConfigError,
    ) -> ConfigError {
        let Some(origin) = origin else { return error };
        let place = self.place(value);
        let reason = error.to_string();
        let reason = reason.strip_prefix(&format!("{place}: ")).unwrap_or(&reason).to_owned();
        ConfigError::Inventory { place, origin: origin.to_owned(), reason }
    }

    /// Returns the hosts that one entry stands for: several if its name has a range.
    fn entry(&self, entry: &HostEntry) -> Result<Vec<Host>, ConfigError> {
        let name = match entry.get_ref() {
            TextOr::Text(text) => &Spanned::new(entry.span(), text.clone()),
            TextOr::Table(table) => &table.address,
        };
        let names = self.need(name, "hosts", RANGE, inventory::expanded(name.get_ref()))?;
        let host = |each| self.host(entry.get_ref(), &Spanned::new(name.span(), each));
        names.into_iter().map(host).collect()
    }

    fn host(&self, entry: &TextOr<HostTable>, name: &Spanned<String>) -> Result<Host, ConfigError> {
        let (key, table) = match entry {
            TextOr::Text(_) => ("hosts", None),
            TextOr::Table(table) => ("address", Some(table)),
        };
        let address = self.need(name, key, rules::ADDRESS, rules::address(name.get_ref()))?;
        let name = name.get_ref().clone();
        let Some(table) = table else { return Ok(Host { name, address, roles: Vec::new() }) };
        let address = self.refine(table, address)?;
        let roles = table.roles.iter().map(|role| self.text(role, "roles", NAME, rules::is_name));
        Ok(Host { name, address, roles: roles.collect::<Result<_, _>>()? })
    }

    /// Returns an address with the other keys of the host's table.
    fn refine(&self, table: &HostTable, address: Address) -> Result<Address, ConfigError> {
        let Address::Ssh { host, user, port, .. } = address else {
            let given = [
                ("user", table.user.as_ref().map(|user| self.place(user))),
                ("port", table.port.as_ref().map(|port| self.place(port))),
                ("fingerprint", table.fingerprint.as_ref().map(|print| self.place(print))),
            ];
            let given = given.into_iter().find_map(|(key, place)| place.map(|place| (key, place)));
            if let Some((one, place)) = given {
                return Err(ConfigError::Both { place, one, other: "local" });
            }
            return Ok(Address::Local);
        };
        let both = |one, place| Err(ConfigError::Both { place, one, other: "address" });
        let user = match (user, &table.user) {
            (Some(_), Some(also)) => return both("user", self.place(also)),
            (None, Some(user)) => Some(self.user(user)?),
            (user, None) => user,
        };
        let port = match (port, &table.port) {
            (Some(_), Some(also)) => return both("port", self.place(also)),
            (None, Some(port)) => {
                let number = u16::try_from(*port.get_ref()).ok().filter(|number| *number != 0);
                Some(self.need(port, "port", "between 1 and 65535", number)?)
            }
            (port, None) => port,
        };
        let must = "as `ssh-keygen -l` prints it: `SHA256:` and 43 characters";
        let print = table.fingerprint.as_ref();
        let print = print.map(|it| self.text(it, "fingerprint", must, rules::is_fingerprint));
        Ok(Address::Ssh { host, user, port, fingerprint: print.transpose()? })
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
    fn host_lists(&self) -> impl Iterator<Item = Option<&Vec<HostEntry>>> {
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
