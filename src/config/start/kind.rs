//! The kinds of projects: facts of each, in a file of their own below `kinds/`.

use std::path::Path;

use serde::Deserialize;

use super::read;

/// The kinds, each with its facts; the first that fits counts.
const KINDS: [(&str, &str); 14] = [
    ("rails", include_str!("kinds/rails.toml")),
    ("ruby", include_str!("kinds/ruby.toml")),
    ("laravel", include_str!("kinds/laravel.toml")),
    ("php", include_str!("kinds/php.toml")),
    ("django", include_str!("kinds/django.toml")),
    ("python", include_str!("kinds/python.toml")),
    ("python-package", include_str!("kinds/python-package.toml")),
    ("rust", include_str!("kinds/rust.toml")),
    ("go", include_str!("kinds/go.toml")),
    ("node", include_str!("kinds/node.toml")),
    ("node-site", include_str!("kinds/node-site.toml")),
    ("site", include_str!("kinds/site.toml")),
    ("docker", include_str!("kinds/docker.toml")),
    ("other", include_str!("kinds/other.toml")),
];

/// The facts of one kind of project. Texts may hold `{app}`, `{image}`,
/// `{root}`, `{program}` and `{folder}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectKind {
    #[serde(skip)]
    pub name: &'static str,
    pub what: String,
    #[serde(default)]
    marks: Vec<Mark>,
    program: Option<Finder>,
    pub(super) artifact: String,
    /// Paths that stay out of the artifact, where the project has them.
    #[serde(default)]
    pub(super) exclude: Vec<String>,
    #[serde(default)]
    pub(super) linked_dirs: Vec<String>,
    #[serde(default)]
    pub(super) linked_files: Vec<String>,
    /// The directory of the unit, with a slash at the end; by default `deploy/`.
    pub(super) unit_place: Option<String>,
    /// Lines of the unit's `[Service]`; none: nothing runs.
    pub(super) unit: Option<String>,
    /// The same where `program` is not found.
    pub(super) unit_else: Option<String>,
    /// Whether the web server hands out the release as it is, so that an env file has no place in
    /// it.
    #[serde(default)]
    pub(super) served: bool,
    /// Lines of tables of deploy.toml; for most there are usual ones.
    #[serde(default)]
    pub(super) env: String,
    pub(super) service: Option<String>,
    pub(super) health: Option<String>,
    pub(super) hooks: Option<String>,
}

/// A sign of a kind: a file, and a text that it holds or lacks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    file: String,
    #[serde(default)]
    holds: String,
    lacks: Option<String>,
}

/// The place of a name in a project: a text in a file, or the first of some files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Finder {
    file: String,
    from: String,
    to: String,
    /// The last part of a path that counts, without a version such as `v2`.
    last: bool,
    any: Vec<String>,
}

impl ProjectKind {
    /// Returns all kinds, in the order in which they are tried. The last fits any project.
    pub fn all() -> Vec<Self> {
        let read = |(name, text): &(&'static str, &str)| {
            toml::from_str(text).map(|kind: Self| Self { name, ..kind }).ok()
        };
        KINDS.iter().filter_map(read).collect()
    }

    /// Returns the names of all kinds.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, _)| *name)
    }

    /// Returns whether a project is of this kind.
    pub fn fits(&self, project: &Path) -> bool {
        let has = |mark: &Mark| {
            let text = read(project, &mark.file);
            let lacks = |text: &String| mark.lacks.as_ref().is_none_or(|it| !text.contains(it));
            text.is_some_and(|text| text.contains(&mark.holds) && lacks(&text))
        };
        self.marks.is_empty() || self.marks.iter().any(has)
    }

    /// Returns the name of the program in a project, if its files say it plainly.
    pub(super) fn program(&self, project: &Path) -> Option<String> {
        let finder = self.program.as_ref()?;
        if let Some(there) = finder.any.iter().find(|path| project.join(path).exists()) {
            return Some(there.clone());
        }
        let text = read(project, &finder.file)?.replace('\'', "\"");
        let found = text.split_once(&finder.from)?.1.split_once(&finder.to)?.0.trim();
        let is_version =
            |part: &&str| part.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
        let last = || found.rsplit('/').find(|part| !is_version(part));
        let found = if finder.last { last()? } else { found };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/ =".contains(c);
        (!found.is_empty() && found.chars().all(plain)).then(|| found.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_every_kind_can_be_read() {
        let names: Vec<_> = ProjectKind::all().iter().map(|kind| kind.name).collect();
        assert_eq!(names, ProjectKind::names().collect::<Vec<_>>());
    }
}
