//! Errors of the parser and of serde, in our words and with their place.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigPlace, listed, similar};
use super::known::{ONLY_AT_TOP, known_keys};

/// The text of a file, to find places in it.
#[derive(Debug, Clone)]
pub(super) struct ConfigText {
    pub(super) name: String,
    pub(super) text: String,
}

impl ConfigText {
    pub(super) fn place(&self, span: &Range<usize>) -> ConfigPlace {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigPlace::Line {
            file: self.name.as_str().into(),
            line: counted(before.matches('\n').count()),
            column: counted(before[line_start..].chars().count()),
        }
    }

    /// Returns the place of a key that is missing: the file.
    pub(super) fn nowhere(&self) -> ConfigPlace {
        ConfigPlace::File(self.name.as_str().into())
    }

    fn error_place(&self, error: &toml::de::Error) -> ConfigPlace {
        error.span().map_or_else(|| self.nowhere(), |span| self.place(&span))
    }

    pub(super) fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let reason = error.message().lines().collect::<Vec<_>>().join(", ");
        ConfigError::Syntax { place: self.error_place(error), reason }
    }

    /// Returns the error of serde in our words. serde's own texts are fixed: `unknown field`,
    /// `missing field` and `invalid … : found, expected …`.
    pub(super) fn explain(
        &self,
        error: &toml::de::Error,
        tree: &Spanned<DeTable<'_>>,
    ) -> ConfigError {
        let place = self.error_place(error);
        let path = error.span().map(|span| path_at(&span, tree)).unwrap_or_default();
        let message = error.message();
        let mut names = message.split('`').skip(1).step_by(2);
        if message.starts_with("unknown field") {
            let key = names.next().unwrap_or_default();
            let table = path.split_last().map_or(&path[..], |(_, table)| table);
            let hint = meant(key, table, names);
            return ConfigError::UnknownKey {
                place,
                key: key.to_owned(),
                table: within(table),
                hint,
            };
        }
        if message.starts_with("missing field") {
            let key = names.next().unwrap_or_default().to_owned();
            return ConfigError::Missing { place, key, table: within(&path) };
        }
        let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        ConfigError::WrongType {
            place,
            key: dotted(&path),
            expected: plain(expected),
            found: self::found(found, path.iter().any(|part| part == "vars" || part == "headers")),
        }
    }
}

/// Returns a hint about an unknown key in `table`: it belongs to a table nearby, it looks like a
/// key that is `known` there or is a word of one, or it belongs to any other table.
fn meant<'k>(key: &str, table: &[String], known: impl Iterator<Item = &'k str>) -> Option<String> {
    // A stage has the tables of the top level.
    let in_stage = table.first().is_some_and(|first| first == "stages");
    let table = if in_stage { table.get(2..).unwrap_or_default() } else { table };
    let root = table.first().map_or("", String::as_str);
    let asked = |name: &str| format!("did you mean `{name}`?");
    if root == "env" && IMPORTS.contains(&key) {
        return Some("a whole file of values: `files = [\".env.production\"]`".to_owned());
    }
    if table == ["env"] && is_env_name(key) {
        return Some(format!("a value of the env file: `vars.{key} = \"…\"`"));
    }
    if let Some(ours) = ours(root, key, in_stage).filter(|_| table.len() <= 1) {
        return Some(asked(ours));
    }
    let elsewhere = known_keys();
    let owner = |of: &dyn Fn(&str) -> bool| {
        let owners = elsewhere.iter().filter_map(|dotted| dotted.rsplit_once('.'));
        let owner = owners.filter(|(_, name)| *name == key).map(|(owner, _)| owner);
        owner.filter(|owner| of(owner)).map(|owner| belongs(key, owner)).next()
    };
    let near = |owner: &str| !root.is_empty() && owner.split('.').next() == Some(root);
    let known: Vec<_> = known.collect();
    let like = || similar(key, known.iter().copied()).map(asked);
    let rest = || match (longer(key, &known).map(asked), owner(&|_| true)) {
        (Some(asked), Some(owner)) => Some(format!("{asked} {owner}")),
        (asked, owner) => asked.or(owner),
    };
    let all = || (known.len() <= MOST_KEYS).then(|| format!("there are {}", listed(&known)));
    owner(&near).or_else(like).or_else(rest).or_else(all)
}

/// Returns whether people would call a variable so.
fn is_env_name(key: &str) -> bool {
    key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Returns our word for a key that other tools call `key`.
fn ours(table: &str, key: &str, in_stage: bool) -> Option<&'static str> {
    let other = OTHER_WORDS.iter().find(|(of, words, _)| *of == table && words.contains(&key));
    other.map(|(_, _, ours)| *ours).filter(|ours| !(in_stage && ONLY_AT_TOP.contains(ours)))
}

/// Returns the known key of which `key` is a word, if there is one: `keep_releases` for `keep`.
fn longer<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let mut found = known.iter().filter(|name| name.split('_').any(|word| word == key));
    found.next().filter(|_| found.next().is_none()).copied()
}

/// At most this many keys of a table are listed.
const MOST_KEYS: usize = 16;

/// Words of other tools for keys, by the table in which people write them.
const OTHER_WORDS: [(&str, &[&str], &str); 11] = [
    ("", &["application", "name", "project"], "app"),
    ("", &["environments", "targets"], "stages"),
    ("", &["deploy_path", "directory", "path", "root"], "deploy_to"),
    ("", &["servers", "nodes", "machines"], "hosts"),
    ("", &["shared", "shared_dirs", "linked"], "linked_dirs"),
    ("artifact", &["dir", "directory", "file", "folder", "source", "src"], "path"),
    ("service", &["name", "systemd"], "unit"),
    ("service", &["command", "cmd", "run"], "restart"),
    ("hosts", &["host", "hostname", "ip", "name", "server"], "address"),
    ("health", &["address", "endpoint", "url"], "http"),
    ("ssh", &["key", "private_key", "key_file", "keys"], "identity_file"),
];

/// Keys that people write in `[env]` to take in a whole file of values.
const IMPORTS: [&str; 8] =
    ["dotenv", "env_file", "from", "import", "include", "load", "path", "source"];

fn belongs(key: &str, owner: &str) -> String {
    match owner {
        "health.checks" => format!("`{key}` belongs to `[[health.checks]]`"),
        "hosts" => {
            format!("`{key}` belongs to a host: `hosts = [{{ address = \"…\", {key} = … }}]`")
        }
        "env.files" => {
            format!("`{key}` belongs to a file: `files = [{{ file = \"…\", {key} = … }}]`")
        }
        "env.vars" => format!("`{key}` belongs to a value: `vars.NAME = {{ {key} = \"…\" }}`"),
        "linked_dirs" | "linked_files" => {
            format!("`{key}` belongs to an entry: `{owner} = [{{ path = \"…\", {key} = … }}]`")
        }
        "hooks.staged" | "hooks.local.before" => {
            format!("`{key}` belongs to a hook: `{owner} = [{{ run = \"…\", {key} = … }}]`")
        }
        _ => format!("`{key}` belongs to `[{owner}]`"),
    }
}

/// Returns the number, from 1, of a thing that has `before` others before it.
fn counted(before: usize) -> u32 {
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

/// A key or a value of the file, and the keys that lead to it.
struct TomlSpot {
    span: Range<usize>,
    path: Vec<String>,
}

/// Returns the keys that lead to the smallest key or value around `span`.
fn path_at(span: &Range<usize>, tree: &Spanned<DeTable<'_>>) -> Vec<String> {
    let mut spots = Vec::new();
    add_spots_of_table(tree.get_ref(), &[], &mut spots);
    spots.retain(|spot| spot.span.start <= span.start && span.end <= spot.span.end);
    let smallest = spots.into_iter().min_by_key(|spot| spot.span.len());
    smallest.map(|spot| spot.path).unwrap_or_default()
}

fn add_spots_of_table(table: &DeTable<'_>, path: &[String], spots: &mut Vec<TomlSpot>) {
    for (key, value) in table {
        let path = [path, &[key.get_ref().to_string()]].concat();
        spots.push(TomlSpot { span: key.span(), path: path.clone() });
        add_spots(value, &path, spots);
    }
}

fn add_spots(value: &Spanned<DeValue<'_>>, path: &[String], spots: &mut Vec<TomlSpot>) {
    spots.push(TomlSpot { span: value.span(), path: path.to_owned() });
    match value.get_ref() {
        DeValue::Table(table) => add_spots_of_table(table, path, spots),
        DeValue::Array(array) => array.iter().for_each(|item| add_spots(item, path, spots)),
        _ => {}
    }
}

fn within(table: &[String]) -> String {
    if table.is_empty() { "at the top level".to_owned() } else { format!("in [{}]", dotted(table)) }
}

fn dotted(path: &[String]) -> String {
    if path.is_empty() { "the file".to_owned() } else { path.join(".") }
}

/// Returns our words for what serde expected.
fn plain(expected: &str) -> String {
    match expected {
        "a boolean" => "true or false".to_owned(),
        "i64" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        _ if expected.starts_with("struct ") => "a table".to_owned(),
        _ => expected.replace("one of ", ""),
    }
}

/// Returns our words for what serde found; without the value if it may be a secret.
fn found(text: &str, secret: bool) -> String {
    let text = text.split_once(": ").map_or(text, |(_, rest)| rest);
    let (kind, value) = text.split_once(' ').unwrap_or((text, ""));
    let value = value.trim_matches('`');
    match kind {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        "integer" | "floating" if secret => "a number".to_owned(),
        "integer" => format!("the number {value}"),
        "floating" => format!("the number {}", value.trim_start_matches("point `")),
        "string" if secret => "a string".to_owned(),
        "string" | "boolean" => value.to_owned(),
        "unknown" => format!("`{}`", value.trim_start_matches("variant `")),
        _ if secret => kind.to_owned(),
        _ => text.to_owned(),
    }
}
