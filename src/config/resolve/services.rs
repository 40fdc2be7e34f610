//! Services: units or commands, in the order in which they are restarted.

use std::time::Duration;

use toml::Spanned;

use super::{NAME, Resolver};
use crate::config::error::ConfigError;
use crate::config::tables::{ServiceTable, Units, Words};
use crate::config::{Host, rules};
use crate::model::service::{Action, Image, Scope, Service, ServiceKind, Unit, UnitKind};
use crate::model::slots::SLOT;

const UNIT: &str = "the name of a systemd unit (a service, socket, timer or target), such as \
     `todo.service` or `todo@{1..4}`";

/// One table `[services.NAME]`.
#[derive(Clone, Copy)]
struct NamedTable<'t> {
    name: &'t Spanned<String>,
    table: &'t ServiceTable,
}

impl NamedTable<'_> {
    fn after(&self) -> &[Spanned<String>] {
        self.table.after.as_ref().map_or(&[], |after| after.get_ref())
    }

    fn is(&self, name: &Spanned<String>) -> bool {
        self.name.get_ref() == name.get_ref()
    }
}

impl Resolver<'_> {
    /// Returns the services in their order.
    pub(super) fn services(&self) -> Result<Vec<Service>, ConfigError> {
        let named = self.layer.services.iter();
        let mut named: Vec<_> = named.map(|(name, table)| NamedTable { name, table }).collect();
        named.sort_by_key(|one| one.name.span().start);
        match (&self.layer.service, named.first()) {
            (Some(_), Some(first)) => Err(ConfigError::Both {
                place: self.place(first.name),
                one: "[service]",
                other: "[services]",
            }),
            (Some(service), None) => {
                self.without("roles", service.roles.as_ref(), "[services.NAME]")?;
                self.without("after", service.after.as_ref(), "[services.NAME]")?;
                self.service(&self.app()?, service)
            }
            (None, _) => {
                let mut all = Vec::new();
                for one in self.in_order(named)? {
                    all.extend(self.named_service(one)?);
                }
                Ok(all)
            }
        }
    }

    /// Returns the tables as written, but each after those that its `after` names.
    fn in_order<'t>(&self, named: Vec<NamedTable<'t>>) -> Result<Vec<NamedTable<'t>>, ConfigError> {
        for name in named.iter().flat_map(NamedTable::after) {
            if !named.iter().any(|one| one.is(name)) {
                return Err(ConfigError::NoService {
                    place: self.place(name),
                    name: name.get_ref().clone(),
                    known: named.iter().map(|one| one.name.get_ref().clone()).collect(),
                });
            }
        }
        let (mut waiting, mut ordered) = (named, Vec::<NamedTable<'t>>::new());
        while let Some(first) = waiting.first().copied() {
            let done = |name: &Spanned<String>| ordered.iter().any(|one| one.is(name));
            let next = waiting.iter().position(|one| one.after().iter().all(done));
            let Some(next) = next else {
                let name = first.after().iter().find(|name| !done(name)).unwrap_or(first.name);
                let must = "the name of a service that does not wait for this one";
                return Err(self.refused(name, "after", must));
            };
            ordered.push(waiting.remove(next));
        }
        Ok(ordered)
    }

    /// Fails if a host has a unit twice: it would be restarted twice.
    pub(super) fn units_are_told_apart(
        &self,
        services: &[Service],
        hosts: &[Host],
    ) -> Result<(), ConfigError> {
        for host in hosts {
            let here = services.iter().filter(|service| host.is_one_of(&service.roles));
            let mut seen: Vec<(Scope, &str)> = Vec::new();
            for (service, unit) in here.filter_map(|service| Some((service, service.unit()?))) {
                if !seen.contains(&(unit.scope, unit.name.as_str())) {
                    seen.push((unit.scope, &unit.name));
                    continue;
                }
                let named = self.layer.services.get_key_value(service.name.as_str());
                let place = named.map(|(name, _)| self.place(name));
                return Err(ConfigError::Value {
                    place: place.unwrap_or_else(|| self.nowhere()),
                    key: "unit",
                    value: unit.name.clone(),
                    must: "that of one service only on a host",
                });
            }
        }
        Ok(())
    }

    fn named_service(&self, one: NamedTable<'_>) -> Result<Vec<Service>, ConfigError> {
        let NamedTable { name, table } = one;
        self.rule(name, "services", NAME, rules::is_name(name.get_ref()))?;
        let services = self.service(name.get_ref(), table)?;
        if services.is_empty() {
            let table = format!("(or `restart`) in [services.{}]", name.get_ref());
            return Err(ConfigError::missing(self.place(name), "unit", &table));
        }
        Ok(services)
    }

    /// Returns the services of one table, one for each unit; none if the table is empty.
    fn service(&self, name: &str, table: &ServiceTable) -> Result<Vec<Service>, ConfigError> {
        let roles = table.roles.as_ref().map_or(&[][..], |roles| roles.get_ref());
        let roles = self.known_roles(roles)?;
        let limit = self.whole("timeout", table.timeout.as_ref(), Duration::from_mins(2))?;
        let proof = table.proof.as_ref().map(|proof| *proof.get_ref());
        let image = self.image(table)?;
        let service = |what| Service {
            name: name.to_owned(),
            what,
            roles: roles.clone(),
            limit,
            proof,
            image: image.clone(),
        };
        let named = self.unit_of_file(table)?;
        match (named.as_ref().or(table.unit.as_ref()), &table.restart) {
            (Some(unit), Some(_)) => {
                let place = self.place(unit);
                Err(ConfigError::Both { place, one: "unit", other: "restart" })
            }
            (None, Some(restart)) => {
                self.without_unit(table)?;
                let restart = self.command("restart", restart)?;
                let stop = table.stop.as_ref().map(|stop| self.command("stop", stop));
                let log = table.log.as_ref().map(|log| self.log(log)).transpose()?;
                Ok(vec![service(ServiceKind::Command { restart, stop: stop.transpose()?, log })])
            }
            (unit, None) => {
                self.without("stop", table.stop.as_ref(), "restart")?;
                self.without("log", table.log.as_ref(), "restart")?;
                if let Some(unit) = unit {
                    let units = self.units(table, unit)?.into_iter();
                    return Ok(units.map(|unit| service(ServiceKind::Unit(unit))).collect());
                }
                self.without_unit(table)?;
                self.without("timeout", table.timeout.as_ref(), "unit")?;
                self.without("image", table.image.as_ref(), "unit")?;
                Ok(Vec::new())
            }
        }
    }

    /// Returns the container image that the service runs, if it runs one.
    fn image(&self, table: &ServiceTable) -> Result<Option<Image>, ConfigError> {
        let Some(name) = &table.image else {
            self.without("engine", table.engine.as_ref(), "image")?;
            return Ok(None);
        };
        let must = "the name of an image in lower case, such as `todo` or `ghcr.io/acme/todo`, \
                    without a tag";
        let name = self.text(name, "image", must, rules::is_image)?;
        let engine = match &table.engine {
            Some(words) => self.engine(words)?,
            None => vec!["docker".to_owned()],
        };
        Ok(Some(Image { name, engine }))
    }

    /// Returns the words that start docker or podman, which the shells on hosts split at blanks.
    fn engine(&self, words: &Spanned<Words>) -> Result<Vec<String>, ConfigError> {
        let list = &words.get_ref().0;
        let program = list.last().and_then(|word| word.rsplit('/').next());
        let shown = Spanned::new(words.span(), list.join(" "));
        let must = "`docker` or `podman`, or what starts it, such as \"sudo -n podman\"";
        let fits = matches!(program, Some("docker" | "podman")) && rules::are_plain_words(list);
        self.rule(&shown, "engine", must, fits)?;
        Ok(list.clone())
    }

    /// Returns the unit of a table with `file`: the one with the name of the file.
    fn unit_of_file(&self, table: &ServiceTable) -> Result<Option<Spanned<Units>>, ConfigError> {
        let Some(written) = &table.file else { return Ok(None) };
        let file = written.get_ref();
        let name = file.rsplit('/').next().unwrap_or_default();
        let must = "the path of a unit file in the artifact, such as `deploy/todo.service`, without \
                    spaces, and not of a template (`todo@.service`): systemd would tie an instance \
                    to one release";
        let plain = rules::is_clean(file) && !file.contains(char::is_whitespace);
        let unit = rules::units(name).filter(|units| units == &[name] && !name.contains('@'));
        self.rule(written, "file", must, plain && unit.is_some())?;
        if let Some(unit) = &table.unit {
            let shown = Spanned::new(unit.span(), unit.get_ref().0.join(", "));
            let units = self.need(&shown, "unit", UNIT, rules::units(shown.get_ref()))?;
            let must = "left out beside `file`, or be the name of that file";
            self.rule(&shown, "unit", must, units == [name])?;
        }
        Ok(Some(Spanned::new(written.span(), Units(vec![name.to_owned()]))))
    }

    /// Refuses the keys that only units have.
    fn without_unit(&self, table: &ServiceTable) -> Result<(), ConfigError> {
        self.without("scope", table.scope.as_ref(), "unit")?;
        self.without("action", table.action.as_ref(), "unit")?;
        self.without("proof", table.proof.as_ref(), "unit")
    }

    /// Returns the path of a log: inside the release, where a linked directory may lead out of it,
    /// or absolute.
    fn log(&self, log: &Spanned<String>) -> Result<String, ConfigError> {
        let must = "a path inside the release, or an absolute one, without `.`, `..` and `//`";
        self.text(log, "log", must, |path| rules::is_clean(path.strip_prefix('/').unwrap_or(path)))
    }

    fn units(
        &self,
        table: &ServiceTable,
        written: &Spanned<Units>,
    ) -> Result<Vec<Unit>, ConfigError> {
        let scope = table.scope.as_ref().map_or(Scope::System, |scope| *scope.get_ref());
        let file = table.file.as_ref().map(|file| file.get_ref().clone());
        let mut units: Vec<Unit> = Vec::new();
        for text in &written.get_ref().0 {
            let shown = Spanned::new(written.span(), text.clone());
            for name in self.need(&shown, "unit", UNIT, rules::units(text))? {
                let twice = units.iter().any(|unit| unit.name == name);
                self.rule(&shown, "unit", "a list that names each unit once", !twice)?;
                let action = self.action(table, UnitKind::of(&name))?;
                if let Some(written) = table.action.as_ref().filter(|_| name.contains(SLOT)) {
                    let shown = Spanned::new(written.span(), action.word());
                    let must = "`restart` for a unit in a slot";
                    self.rule(&shown, "action", must, action == Action::Restart)?;
                }
                if let Some(image) = &table.image {
                    let must = "left out where the unit is not restarted (`action = \"restart\"`)";
                    self.rule(image, "image", must, action == Action::Restart)?;
                }
                units.push(Unit { name, scope, action, file: file.clone() });
            }
        }
        let shown = Spanned::new(written.span(), "[]");
        self.rule(&shown, "unit", UNIT, !units.is_empty())?;
        if let Some(proof) = &table.proof {
            let shown = Spanned::new(proof.span(), proof.get_ref().word());
            let must = "left out for sockets and timers, which run no code";
            let runs = |unit: &Unit| matches!(unit.kind(), UnitKind::Service | UnitKind::Target);
            self.rule(&shown, "proof", must, units.iter().all(runs))?;
        }
        Ok(units)
    }

    /// Returns the action for a unit of this kind.
    fn action(&self, table: &ServiceTable, kind: UnitKind) -> Result<Action, ConfigError> {
        let Some(written) = &table.action else {
            return Ok(if kind == UnitKind::Socket { Action::Start } else { Action::Restart });
        };
        let action = *written.get_ref();
        let shown = Spanned::new(written.span(), action.word());
        let must = "`restart`, `start` or `none` for a unit that is no service";
        let holds = kind == UnitKind::Service || !action.reloads();
        self.rule(&shown, "action", must, holds)?;
        Ok(action)
    }
}
