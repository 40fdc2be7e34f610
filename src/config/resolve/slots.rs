//! Two slots: their names and ports, and how the traffic moves between them.

use std::time::Duration;

use toml::Spanned;

use super::Resolver;
use crate::config::checks::{Check, HealthProbe};
use crate::config::error::ConfigError;
use crate::config::tables::{Length, SlotsTable};
use crate::config::{Config, rules};
use crate::model::service::Service;
use crate::model::slots::{Slot, Slots, Traffic, TrafficFile};

impl Resolver<'_> {
    pub(super) fn slots(&self) -> Result<Option<Slots>, ConfigError> {
        let Some(table) = &self.layer.slots else { return Ok(None) };
        Ok(Some(Slots {
            pair: self.pair(table)?,
            drain: self.seconds("drain", table.drain.as_ref(), Duration::from_secs(10))?,
            keep_warm: self.seconds("keep_warm", table.keep_warm.as_ref(), Duration::ZERO)?,
            traffic: self.traffic(table)?,
        }))
    }

    /// Returns a length of time, which may be zero.
    fn seconds(
        &self,
        key: &'static str,
        written: Option<&Spanned<Length>>,
        usual: Duration,
    ) -> Result<Duration, ConfigError> {
        match written {
            Some(length) if length.get_ref().0.is_zero() => Ok(Duration::ZERO),
            _ => self.whole(key, written, usual),
        }
    }

    fn pair(&self, table: &SlotsTable) -> Result<[Slot; 2], ConfigError> {
        let missing = || ConfigError::missing(self.nowhere(), "ports", "in [slots]");
        let ports = table.ports.as_ref().ok_or_else(missing)?;
        let mut named: Vec<_> = ports.get_ref().iter().collect();
        named.sort_by_key(|(name, _)| name.span().start);
        let mut slots = Vec::new();
        for (name, port) in named {
            let must = "named with letters, digits, `_` and `-`";
            let name = self.text(name, "ports", must, rules::is_slot)?;
            let number = u16::try_from(*port.get_ref()).ok().filter(|number| *number != 0);
            let port = self.need(port, "ports", "a port, 1 to 65535", number)?;
            slots.push(Slot { name, port });
        }
        let all = slots.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>().join(", ");
        let shown = Spanned::new(ports.span(), all);
        let pair = <[Slot; 2]>::try_from(slots).ok();
        let pair = self.need(&shown, "ports", "exactly two slots", pair)?;
        let differ = pair[0].port != pair[1].port;
        self.rule(&shown, "ports", "two different ports", differ)?;
        Ok(pair)
    }

    fn traffic(&self, slots: &SlotsTable) -> Result<Traffic, ConfigError> {
        let table = &slots.traffic;
        let command = table.command.as_ref().map(|text| self.command("command", text));
        let file = match (&table.file, &table.content) {
            (None, content) => {
                self.without("content", content.as_ref(), "file")?;
                None
            }
            (Some(path), None) => {
                self.without("file", Some(path), "content")?;
                None
            }
            (Some(path), Some(content)) => {
                let must = "an absolute path of a file, without `.`, `..` and `//`";
                let fits = |path: &str| rules::is_root(path) && !path.ends_with('/');
                let path = self.text(path, "file", must, fits)?;
                Some(TrafficFile { path, content: self.traffic_content(content)? })
            }
        };
        let traffic = Traffic { file, command: command.transpose()? };
        if traffic == Traffic::default() {
            return Err(self.lacks(slots, "`file` and `content`, or `command`, in [slots.traffic]"));
        }
        Ok(traffic)
    }

    fn traffic_content(&self, content: &Spanned<String>) -> Result<String, ConfigError> {
        self.likely_placeholders("content", content, content.get_ref())?;
        let must = "a text with `{port}` or `{slot}`, and of the others at most with `{release}`";
        self.text(content, "content", must, |text| {
            let names = |words: [&str; 2]| words.iter().any(|word| text.contains(word));
            names(["{port}", "{slot}"]) && !names(["{revision}", "{digest}"])
        })
    }

    /// Refuses slots that no unit or no health check uses, and the other way round.
    pub(super) fn check_slots(&self, config: &Config) -> Result<(), ConfigError> {
        let Some(table) = &self.layer.slots else { return self.check_no_slots(config) };
        if !config.services.iter().any(Service::is_in_slot) {
            return Err(self.lacks(table, "a `unit` with `{slot}`, such as `todo@{slot}.service`"));
        }
        for host in &config.hosts {
            let slotted = config.services_on(host).any(Service::is_in_slot);
            let mut checks = config.health.checks.iter().filter(|check| check.concerns(host));
            match (slotted, checks.any(|check| check.probe.is_in_slot())) {
                (true, false) => {
                    let check = "a health check with `{port}` on each host, such as \
                                 `http = \"http://127.0.0.1:{port}/up\"`";
                    return Err(self.lacks(table, check));
                }
                (false, true) => {
                    let roles = "`roles` in health checks with `{port}`: not every host has slots";
                    return Err(self.lacks(table, roles));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_no_slots(&self, config: &Config) -> Result<(), ConfigError> {
        let place = self.nowhere();
        let needs = "[slots]";
        if config.services.iter().any(Service::is_in_slot) {
            return Err(ConfigError::Needs { place, key: "{slot}", needs });
        }
        let asks = |check: &&Check| check.probe.is_in_slot();
        match config.health.checks.iter().find(asks).map(|check| &check.probe) {
            Some(HealthProbe::Command(_)) | None => Ok(()),
            Some(_) => Err(ConfigError::Needs { place, key: "{port}", needs }),
        }
    }

    fn lacks(&self, table: &SlotsTable, what: &'static str) -> ConfigError {
        let place = table.ports.as_ref().map_or_else(|| self.nowhere(), |it| self.place(it));
        ConfigError::SlotsLack { place, what }
    }
}
