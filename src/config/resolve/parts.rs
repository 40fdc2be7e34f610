//! The parts of a release: the artifact, and links into `shared/`.

use toml::Spanned;

use super::{KEEP_RELEASES, Overrides, Resolver};
use crate::config::error::{self, ConfigError};
use crate::config::tables::{CaseValue, DirTable, FileTable, TextOr};
use crate::config::{ArtifactSpec, Assets, Config, EntryRules, EnvSource, rules};
use crate::model::link::{SharedKind, SharedLink};
use crate::model::manifest::is_below;

impl Resolver<'_> {
    pub(super) fn artifact(
        &self,
        overrides: &Overrides,
        links: &[SharedLink],
    ) -> Result<Option<ArtifactSpec>, ConfigError> {
        let artifact = &self.layer.artifact;
        let Some(source) = self.place_of_artifact(artifact, overrides)? else { return Ok(None) };
        let access = self.access(artifact, &source, overrides)?;
        let exclude = artifact.exclude.iter().map(|glob| self.glob(glob));
        let exclude = exclude.collect::<Result<_, _>>()?;
        let strip = artifact.strip_components.as_ref().map_or(Ok(0), |number| {
            let count = usize::try_from(*number.get_ref()).ok().filter(|count| *count < 64);
            self.need(number, "strip_components", "between 0 and 63", count)
        })?;
        let linked = links.iter().map(|link| link.path.clone()).collect();
        let rules = EntryRules {
            follow_links: artifact.follow_links,
            any_case: matches!(artifact.case, Some(CaseValue::Any)),
            keep_private: artifact.keep_private,
        };
        Ok(Some(ArtifactSpec { source, exclude, strip_components: strip, rules, linked, access }))
    }

    pub(super) fn assets(&self, config: &Config) -> Result<Option<Assets>, ConfigError> {
        let assets = &self.layer.assets;
        let Some(paths) = &assets.keep else {
            self.without("releases", assets.releases.as_ref(), "keep")?;
            return Ok(None);
        };
        for path in paths {
            self.rule(path, "keep", INSIDE, rules::is_clean(path.get_ref()))?;
            let inside = path.get_ref();
            let holds = |link: &SharedLink| *inside == link.path || is_below(inside, &link.path);
            let reason = if config.links.iter().any(holds) {
                error::STAYS
            } else if !config.upload.link {
                error::NO_HARD_LINKS
            } else {
                continue;
            };
            return Err(self.taken(path, inside, reason));
        }
        // `--keep` is about one prune.
        let kept = self
            .layer
            .keep_releases
            .as_ref()
            .and_then(|kept| usize::try_from(*kept.get_ref()).ok());
        let most = kept.unwrap_or(KEEP_RELEASES);
        let releases = assets.releases.as_ref().map_or(Ok(most.min(3)), |number| {
            let releases = usize::try_from(*number.get_ref()).ok();
            let releases = releases.filter(|releases| (1..=most).contains(releases));
            self.need(number, "releases", "between 1 and `keep_releases`", releases)
        })?;
        let keep: Vec<_> = paths.iter().map(|path| path.get_ref().clone()).collect();
        Ok((!keep.is_empty()).then_some(Assets { keep, releases }))
    }

    fn glob(&self, glob: &Spanned<String>) -> Result<String, ConfigError> {
        let pattern = glob.get_ref().clone();
        match globset::Glob::new(&pattern) {
            Ok(_) => Ok(pattern),
            Err(source) => Err(ConfigError::Glob { place: self.place(glob), pattern, source }),
        }
    }

    pub(super) fn links(&self) -> Result<Vec<SharedLink>, ConfigError> {
        let mut links = Vec::<SharedLink>::new();
        for entry in &self.layer.linked_dirs {
            let (path, kind) = self.linked_dir(entry.get_ref())?;
            self.add_link(&mut links, entry, "linked_dirs", path, kind)?;
        }
        for entry in &self.layer.linked_files {
            let (path, optional) = match entry.get_ref() {
                TextOr::Text(path) => (path, false),
                TextOr::Table(FileTable { path, optional }) => (path, *optional),
            };
            let kind = SharedKind::File { optional };
            self.add_link(&mut links, entry, "linked_files", path, kind)?;
        }
        Ok(links)
    }

    pub(super) fn taken<T>(
        &self,
        entry: &Spanned<T>,
        path: &str,
        reason: &'static str,
    ) -> ConfigError {
        ConfigError::PathTaken { place: self.place(entry), path: path.to_owned(), reason }
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
            self.need(text, "mode", must, bits).map(|bits| format!("{bits:o}"))
        });
        let group = table.group.as_ref().map(|group| self.group(group));
        Ok((&table.path, SharedKind::Dir { mode: mode.transpose()?, group: group.transpose()? }))
    }

    pub(super) fn group(&self, group: &Spanned<String>) -> Result<String, ConfigError> {
        self.text(group, "group", "the name of a group", rules::is_account)
    }

    fn add_link<T>(
        &self,
        links: &mut Vec<SharedLink>,
        entry: &Spanned<T>,
        key: &'static str,
        path: &str,
        kind: SharedKind,
    ) -> Result<(), ConfigError> {
        // With a `file` of its own, [env] refuses that file where a link is.
        let unnamed = self.env_tables().iter().any(|env| env.file.is_none());
        if unnamed && relation(path, ".env").is_some() {
            return Err(self.taken(entry, path, error::ENV_FILE));
        }
        let shown = Spanned::new(entry.span(), path);
        self.rule(&shown, key, INSIDE, rules::is_clean(path))?;
        if path == "REVISION" || is_below(path, "REVISION") {
            return Err(self.taken(entry, path, error::REVISION));
        }
        for link in &*links {
            if let Some(relation) = relation(path, &link.path) {
                let (path, other) = (path.to_owned(), link.path.clone());
                let place = self.place(entry);
                return Err(ConfigError::LinksOverlap { place, path, relation, other });
            }
        }
        links.push(SharedLink { path: path.to_owned(), kind });
        Ok(())
    }

    /// Returns the place of a value, by the keys `env`, `command` and `file` of its table.
    pub(super) fn source<T>(
        &self,
        value: &Spanned<T>,
        [env, command, file]: [&Option<Spanned<String>>; 3],
    ) -> Result<EnvSource, ConfigError> {
        self.only_one([("env", env), ("command", command), ("file", file)])?;
        if let Some(name) = env {
            let must = "the name of an environment variable";
            self.text(name, "env", must, rules::is_variable).map(EnvSource::Variable)
        } else if let Some(text) = command {
            self.command("command", text).map(EnvSource::Command)
        } else if let Some(path) = file {
            let path = self.text(path, "file", "a path", |path| !path.is_empty())?;
            Ok(EnvSource::File(path.into()))
        } else {
            let table = "(or `command`, or `file`) in a variable";
            Err(ConfigError::missing(self.place(value), "env", table))
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
