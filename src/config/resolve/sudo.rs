//! `[sudo]`: the way to rights that the login does not have.

use toml::Spanned;

use super::Resolver;
use crate::config::error::ConfigError;
use crate::config::tables::{SourceTable, TextOr, Words};
use crate::config::{Config, PasswordSource, SudoSettings, rules};
use crate::model::service::{Scope, Service, Unit};

/// The programs whose ways are known: of these, only sudo reads a password from standard input.
const PROGRAMS: [&str; 4] = ["sudo", "sudo-rs", "doas", "run0"];

impl Resolver<'_> {
    pub(super) fn sudo(&self) -> Result<SudoSettings, ConfigError> {
        let table = &self.layer.sudo;
        let command = match &table.command {
            Some(words) => self.sudo_command(words)?,
            None => SudoSettings::default().command,
        };
        let user = table.user.as_ref().map(|user| self.user(user)).transpose()?;
        let password = table.password.as_ref().map(|value| self.password(value)).transpose()?;
        let sudo = SudoSettings { command, user, password };
        if let Some(value) = &table.password {
            if sudo.user.is_none() {
                let place = self.place(value);
                return Err(ConfigError::Needs { place, key: "password", needs: "user" });
            }
            let must = "left out: doas and run0 read one from a terminal only";
            let shown = Spanned::new(value.span(), "a password");
            self.rule(&shown, "password", must, sudo.tells())?;
        }
        Ok(sudo)
    }

    /// Fails if a unit file is to be linked by what cannot be asked beforehand whether it may.
    pub(super) fn check_sudo(&self, config: &Config) -> Result<(), ConfigError> {
        let command = self.layer.sudo.command.as_ref();
        let Some(words) = command.filter(|_| !config.sudo.tells()) else { return Ok(()) };
        let linked = |unit: &Unit| unit.file.is_some() && unit.scope == Scope::System;
        let any = config.services.iter().filter_map(Service::unit).any(linked);
        let shown = Spanned::new(words.span(), words.get_ref().0.join(" "));
        let must = "sudo where a release brings unit files (`file` of a service)";
        self.rule(&shown, "command", must, !any)
    }

    /// Returns the words of the command, which the shells on hosts split at blanks.
    fn sudo_command(&self, words: &Spanned<Words>) -> Result<Vec<String>, ConfigError> {
        let list = &words.get_ref().0;
        let whole = rules::are_plain_words(list);
        let shown = Spanned::new(words.span(), list.join(" "));
        let must = "`sudo`, `sudo-rs`, `doas` or `run0` with flags, such as \"doas -n\"";
        self.rule(&shown, "command", must, whole && PROGRAMS.contains(&program(list)))?;
        Ok(list.clone())
    }

    fn password(
        &self,
        value: &Spanned<TextOr<SourceTable>>,
    ) -> Result<PasswordSource, ConfigError> {
        match value.get_ref() {
            TextOr::Text(text) => {
                // A password that stands there is not repeated.
                let shown = Spanned::new(value.span(), "a text");
                let must = "\"ask\", `{ command = … }`, `{ env = … }` or `{ file = … }`";
                self.rule(&shown, "password", must, text == "ask")?;
                Ok(PasswordSource::Terminal)
            }
            TextOr::Table(table) => self.source(value, table.keys()).map(PasswordSource::Elsewhere),
        }
    }
}

/// Returns the name of the program.
fn program(words: &[String]) -> &str {
    words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default()
}
