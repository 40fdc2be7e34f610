//! The parts of a release: the artifact, and links into `shared/`.

use toml::Spanned;

use super::env::env_tables;
use super::{KEEP_RELEASES, Overrides, Resolver};
use crate::config::error::{self, ConfigError};
use crate::config::tables::{CaseValue, DirTable, FileTable, Layer, SourceTable, TextOr};
use crate::config::{ArtifactSpec, Assets, Config, EntryRules, EnvSource, rules};
use crate::model::link::{SharedKind, SharedLink};
use crate::model::manifest::is_below;

impl Resolver<'_> {
    pub(super) fn artifact(
        &self,
        layer: &Layer,
        overrides: &Overrides,
        links: &[SharedLink],
    ) -> Result<Option<ArtifactSpec>, ConfigError> {
        let artifact = &layer.artifact;
        let Some(source) = self.place_of_artifact(artifact, overrides)? else { return Ok(None) };
        let access = self.access(artifact, &source, overrides)?;
        let exclude = artifact.exclude.iter().map(|glob| self.glob(glob));
        let exclude = exclude.collect::<Result<_, _>>()?;
        let strip = artifact.strip_components.as_ref().map_or(Ok(0), |number| {
            let count = usize::try_from(*number.get_ref()).ok().filter(|count| *count < 64);
            self.file.need(number, "strip_components", "between 0 and 63", count)
        })?;
        let linked = links.iter().map(|link| link.path.clone()).collect();
        let rules = EntryRules {
            follow_links: artifact.follow_links,
            any_case: matches!(artifact.case, Some(CaseValue::Any)),
            keep_private: artifact.keep_private,
        };
        Ok(Some(ArtifactSpec { source, exclude, strip_components: strip, rules, linked, access }))
    }

    pub(super) fn assets(
        &self,
        layer: &Layer,
        config: &Config,
    ) -> Result<Option<Assets>, ConfigError> {
        let assets = &layer.assets;
        let Some(paths) = &assets.keep else {
            self.without("releases", assets.releases.as_ref(), "keep")?;
            return Ok(None);
        };
        for path in paths {
            self.file.rule(path, "keep", INSIDE, rules::is_clean(path.get_ref()))?;
            let inside = path.get_ref();
            let holds = |link: &SharedLink| *inside == link.path || is_below(inside, &link.path);
            let reason = if config.links.iter().any(holds) {
                error::STAYS
            } else if !config.upload.link {
                error::NO_HARD_LINKS
            } else {
                continue;
            };
            let (place, path) = (self.file.place(path), inside.clone());
            return Err(ConfigError::PathTaken { place, path, reason });
        }
        // `--keep` is about one prune.
        let kept =
            layer.keep_releases.as_ref().and_then(|kept| usize::try_from(*kept.get_ref()).ok());
        let most = kept.unwrap_or(KEEP_RELEASES);
        let releases = assets.releases.as_ref().map_or(Ok(most.min(3)), |number| {
            let releases = usize::try_from(*number.get_ref()).ok();
            let releases = releases.filter(|releases| (1..=most).contains(releases));
            self.file.need(number, "releases", "between 1 and `keep_releases`", releases)
        })?;
        let keep: Vec<_> = paths.iter().map(|path| path.get_ref().clone()).collect();
        Ok((!keep.is_empty()).then_some(Assets { keep, releases }))
    }

    fn glob(&self, glob: &Spanned<String>) -> Result<String, ConfigError> {
        let pattern = glob.get_ref().clone();
        match globset::Glob::new(&pattern) {
            Ok(_) => Ok(pattern),
            Err(source) => Err(ConfigError::Glob { place: self.file.place(glob), pattern, source }),
        }
    }

    pub(super) fn links(&self, layer: &Layer) -> Result<Vec<SharedLink>, ConfigError> {
        let mut links = Vec::<SharedLink>::new();
        // With a `file` of its own, [env] refuses that file where a link is.
        let unnamed = env_tables(layer).any(|env| env.file.is_none());
        let written = unnamed.then_some(".env");
        for entry in &layer.linked_dirs {
            let (path, kind) = self.linked_dir(entry.get_ref())?;
            self.is_free(entry, path, written)?;
            self.add_link(&mut links, entry, "linked_dirs", path, kind)?;
        }
        for entry in &layer.linked_files {
            let (path, optional) = match entry.get_ref() {
                TextOr::Text(path) => (path, false),
                TextOr::Table(FileTable { path, optional }) => (path, *optional),
            };
            let kind = SharedKind::File { optional };
            self.is_free(entry, path, written)?;
            self.add_link(&mut links, entry, "linked_files", path, kind)?;
        }
        Ok(links)
    }

    /// Fails if a linked path and the environment file that is `written` overlap.
    fn is_free<T>(
        &self,
        entry: &Spanned<T>,
        path: &str,
        written: Option<&str>,
    ) -> Result<(), ConfigError> {
        let clash = written.is_some_and(|file| relation(path, file).is_some());
        let (place, reason) = (self.file.place(entry), error::ENV_FILE);
        let taken = || ConfigError::PathTaken { place, path: path.to_owned(), reason };
        if clash { Err(taken()) } else { Ok(()) }
    }

    fn linked_dir<'v>(
        &self,
        entry: &'v TextOr<DirTable>,
    ) -> Result<(&'v String, SharedKind), ConfigError> {
        let table = match entry {
            TextOr::Text(path) => return Ok((path, SharedKind::Dir { mode: None, group: None })),
            TextOr::Table(table) => table,
        };
        let must = "octal, such as \"2775\", for the owner to use and not for everybody to write";
        let mode = table.mode.as_ref().map(|text| {
            let bits = rules::mode(text.get_ref()).filter(|bits| bits & 0o4700 == 0o700);
            self.file.need(text, "mode", must, bits).map(|bits| format!("{bits:o}"))
        });
        let group = table.group.as_ref().map(|group| self.group(group));
        Ok((&table.path, SharedKind::Dir { mode: mode.transpose()?, group: group.transpose()? }))
    }

    pub(super) fn group(&self, group: &Spanned<String>) -> Result<String, ConfigError> {
        let holds = rules::is_account(group.get_ref());
        self.file.rule(group, "group", "the name of a group", holds)?;
        Ok(group.get_ref().clone())
    }

    fn add_link<T>(
        &self,
        links: &mut Vec<SharedLink>,
        entry: &Spanned<T>,
        key: &'static str,
        path: &str,
        kind: SharedKind,
    ) -> Result<(), ConfigError> {
        let place = self.file.place(entry);
        if !rules::is_clean(path) {
            let (value, must) = (path.to_owned(), INSIDE);
            return Err(ConfigError::Value { place, key, value, must });
        }
        if path == "REVISION" || is_below(path, "REVISION") {
            let (path, reason) = (path.to_owned(), error::REVISION);
            return Err(ConfigError::PathTaken { place, path, reason });
        }
        for link in &*links {
            if let Some(relation) = relation(path, &link.path) {
                let (path, other) = (path.to_owned(), link.path.clone());
                return Err(ConfigError::LinksOverlap { place, path, relation, other });
            }
        }
        links.push(SharedLink { path: path.to_owned(), kind });
        Ok(())
    }

    pub(super) fn source<T>(
        &self,
        value: &Spanned<T>,
        table: &SourceTable,
    ) -> Result<EnvSource, ConfigError> {
        let both = |place, one, other| {
            Err(ConfigError::Both { place: self.file.place(place), one, other })
        };
        match (&table.env, &table.command, &table.file) {
            (Some(name), None, None) => {
                let must = "the name of an environment variable";
                self.file.rule(name, "env", must, rules::is_variable(name.get_ref()))?;
                Ok(EnvSource::Variable(name.get_ref().clone()))
            }
            (None, Some(text), None) => self.command("command", text).map(EnvSource::Command),
            (None, None, Some(path)) => {
                self.file.rule(path, "file", "a path", !path.get_ref().is_empty())?;
                Ok(EnvSource::File(path.get_ref().into()))
            }
            (Some(name), Some(_), _) => both(name, "env", "command"),
            (Some(name), None, Some(_)) => both(name, "env", "file"),
            (None, Some(text), Some(_)) => both(text, "command", "file"),
            (None, None, None) => Err(ConfigError::Missing {
                place: self.file.place(value),
                key: "env".to_owned(),
                table: "(or `command`, or `file`) in a variable".to_owned(),
            }),
        }
    }
}

const INSIDE: &str = "paths inside a release, without `.`, `..`, `//` and a `/` at either end";

/// Returns the relation of two paths if they overlap: `is the same as`, `lies below`, `lies above`.
pub(super) fn relation(path: &str, other: &str) -> Option<&'static str> {
    if path == other {
        return Some("is the same as");
    }
    if is_below(path, other) {
        return Some("lies below");
    }
    is_below(other, path).then_some("lies above")
}
