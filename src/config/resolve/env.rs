//! Environment files: where their values come from, and how they are written.

use toml::Spanned;

use super::Resolver;
use super::parts::relation;
use crate::config::error::{self, ConfigError};
use crate::config::tables::{Env, ImportTable, ListOr, TextOr, VarTable};
use crate::config::{EnvImport, EnvSource, EnvSpec, EnvVar, IfAbsent, rules};
use crate::model::link::SharedLink;
use crate::model::service::Service;

/// The most environment files of one stage.
const MOST_FILES: usize = 16;

impl Resolver<'_> {
    /// Returns the tables of environment files.
    pub(super) fn env_tables(&self) -> Vec<&Env> {
        match &self.layer.env {
            None => Vec::new(),
            Some(ListOr::Table(env)) => vec![env],
            Some(ListOr::List(all)) => all.iter().map(Spanned::get_ref).collect(),
        }
    }

    pub(super) fn env(
        &self,
        links: &[SharedLink],
        services: &[Service],
    ) -> Result<Vec<EnvSpec>, ConfigError> {
        if let Some(ListOr::Table(env)) = &self.layer.env {
            self.without("roles", env.roles.as_ref(), "[[env]]")?;
        }
        if let Some(ListOr::List(all)) = &self.layer.env
            && let Some(next) = all.get(MOST_FILES)
        {
            let files = Spanned::new(next.span(), all.len());
            return Err(self.refused(&files, "env", "at most 16 files"));
        }
        let for_unit = services.iter().any(|service| service.unit().is_some());
        let mut files = Vec::new();
        for env in self.env_tables() {
            let spec = EnvSpec { number: files.len(), for_unit, ..self.env_spec(env, links)? };
            self.is_another(env, &spec, &files)?;
            files.push(spec);
        }
        Ok(files)
    }

    /// Fails if a file overlaps one of those before it.
    fn is_another(&self, env: &Env, spec: &EnvSpec, files: &[EnvSpec]) -> Result<(), ConfigError> {
        if !files.iter().any(|other| relation(&spec.file, &other.file).is_some()) {
            return Ok(());
        }
        let place = env.file.as_ref().map_or_else(|| self.nowhere(), |at| self.place(at));
        let (path, reason) = (spec.file.clone(), error::OTHER_ENV);
        Err(ConfigError::PathTaken { place, path, reason })
    }

    fn env_spec(&self, env: &Env, links: &[SharedLink]) -> Result<EnvSpec, ConfigError> {
        let must = "octal, such as \"0640\": readable for the owner, without execute bits, and not \
                    for everybody to write";
        let mode = env.mode.as_ref().map_or(Ok(0o600), |text| {
            let bits = rules::mode(text.get_ref()).filter(|bits| bits & 0o7511 == 0o400);
            self.need(text, "mode", must, bits)
        })?;
        let roles = env.roles.as_ref().map_or(&[][..], |roles| roles.get_ref());
        let imports = env.files.iter().map(|file| self.import(file));
        let vars = env.vars.iter().map(|(name, value)| self.variable(name, value));
        Ok(EnvSpec {
            number: 0,
            file: self.env_file(env, links)?,
            is_named: env.file.is_some(),
            mode: format!("{mode:o}"),
            group: env.group.as_ref().map(|group| self.group(group)).transpose()?,
            roles: self.known_roles(roles)?,
            format: env.format,
            imports: imports.collect::<Result<_, _>>()?,
            vars: vars.collect::<Result<_, _>>()?,
            for_unit: false,
        })
    }

    fn env_file(&self, env: &Env, links: &[SharedLink]) -> Result<String, ConfigError> {
        let Some(written) = &env.file else { return Ok(".env".to_owned()) };
        let file = written.get_ref();
        let must = "a path inside a release, without `.`, `..`, `//` and a `/` at either end";
        self.rule(written, "file", must, rules::is_clean(file))?;
        if relation(file, "REVISION").is_some() {
            return Err(self.taken(written, file, error::REVISION));
        }
        if links.iter().any(|link| relation(file, &link.path).is_some()) {
            return Err(self.taken(written, file, error::LINKED));
        }
        Ok(file.clone())
    }

    fn import(&self, file: &Spanned<TextOr<ImportTable>>) -> Result<EnvImport, ConfigError> {
        let table = match file.get_ref() {
            TextOr::Text(path) => {
                let shown = Spanned::new(file.span(), path);
                self.rule(&shown, "files", "a path", !path.is_empty())?;
                let source = EnvSource::File(path.into());
                return Ok(EnvImport { source, absent: IfAbsent::Refused });
            }
            TextOr::Table(table) => table,
        };
        let source = self.source(file, [&table.env, &table.command, &table.file])?;
        let absent = self.absent(&source, table.optional.as_ref(), None)?;
        Ok(EnvImport { source, absent })
    }

    fn variable(
        &self,
        name: &Spanned<String>,
        value: &Spanned<TextOr<VarTable>>,
    ) -> Result<(String, EnvVar), ConfigError> {
        let must = "named with letters, digits and `_`, and not begin with a digit";
        self.rule(name, "vars", must, rules::is_variable(name.get_ref()))?;
        let var = match value.get_ref() {
            TextOr::Text(text) => {
                let source = EnvSource::Text(text.clone());
                EnvVar { source, absent: IfAbsent::Refused, secret: None }
            }
            TextOr::Table(table) => {
                let source = self.written(value, table)?;
                let (optional, default) = (table.optional.as_ref(), table.default.as_ref());
                let absent = self.absent(&source, optional, default)?;
                EnvVar { source, absent, secret: table.secret }
            }
        };
        Ok((name.get_ref().clone(), var))
    }

    /// Returns what is done about an absent value. Text is never absent, and a command that fails
    /// says nothing.
    fn absent(
        &self,
        source: &EnvSource,
        optional: Option<&Spanned<bool>>,
        default: Option<&Spanned<String>>,
    ) -> Result<IfAbsent, ConfigError> {
        let may_lack = matches!(source, EnvSource::Variable(_) | EnvSource::File(_));
        let optional = optional.filter(|optional| *optional.get_ref());
        if !may_lack {
            self.without("optional", optional, "env")?;
            self.without("default", default, "env")?;
        }
        match (optional, default) {
            (Some(optional), Some(_)) => Err(ConfigError::Both {
                place: self.place(optional),
                one: "optional",
                other: "default",
            }),
            (Some(_), None) => Ok(IfAbsent::LeftOut),
            (None, Some(text)) => Ok(IfAbsent::Text(text.get_ref().clone())),
            (None, None) => Ok(IfAbsent::Refused),
        }
    }

    /// Returns the source of a variable, which may be its value itself.
    fn written(
        &self,
        whole: &Spanned<TextOr<VarTable>>,
        table: &VarTable,
    ) -> Result<EnvSource, ConfigError> {
        let VarTable { env, command, file, value, .. } = table;
        self.only_one([("value", value), ("env", env), ("command", command), ("file", file)])?;
        match value {
            Some(text) => Ok(EnvSource::Text(text.get_ref().clone())),
            None => self.source(whole, [env, command, file]),
        }
    }
}
