//! Every way in which a configuration can be wrong, each with its place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::access::WORDS;
use super::placeholders::PLACEHOLDERS;
use crate::model::id::ReleaseId;

/// The place of a wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigPlace {
    Line {
        /// The file as the user named it.
        file: Box<str>,
        /// From 1.
        line: u32,
        /// In characters, from 1.
        column: u32,
    },
    /// In the file, where something is not.
    File(Box<str>),
    /// In a flag or an environment variable, by its name.
    Given(&'static str),
}

impl fmt::Display for ConfigPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, .. } => write!(f, "{file}:{line}"),
            Self::File(file) => f.write_str(file),
            Self::Given(name) => f.write_str(name),
        }
    }
}

/// The reason why there is no [`super::Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{place}: not valid TOML: {reason}")]
    Syntax {
        place: ConfigPlace,
        /// The parser's message, in one line.
        reason: String,
    },
    #[error("{place}: unknown key `{key}` {table}")]
    UnknownKey {
        place: ConfigPlace,
        key: String,
        /// `in [health]`, `at the top level`.
        table: String,
        /// The key that could be meant instead.
        hint: Option<String>,
    },
    #[error("{place}: `{key}` must be {expected}, not {found}")]
    WrongType {
        place: ConfigPlace,
        key: String,
        /// The types that it may have.
        expected: String,
        found: String,
    },
    #[error("{place}: `{key}` is missing {table}")]
    Missing {
        place: ConfigPlace,
        key: String,
        /// `in [health]`, `at the top level`.
        table: String,
    },
    #[error("{place}: `{key}` must be {must}: {}", visible(value))]
    Value { place: ConfigPlace, key: &'static str, value: String, must: &'static str },
    #[error("{place}: `{key}` holds `{{{word}}}`, which is no placeholder")]
    NoPlaceholder { place: ConfigPlace, key: &'static str, word: String },
    #[error("{place}: `exclude` holds a pattern that is not a glob: {}", pattern.escape_debug())]
    Glob { place: ConfigPlace, pattern: String, source: globset::Error },
    #[error("{place}: `{key}` belongs at the top of the file, not in a stage")]
    OnlyAtTop { place: ConfigPlace, key: &'static str },
    #[error("{place}: `{one}` and `{other}` cannot both be given")]
    Both {
        /// The place of the first one.
        place: ConfigPlace,
        one: &'static str,
        other: &'static str,
    },
    #[error("{place}: `{key}` needs `{needs}`")]
    Needs { place: ConfigPlace, key: &'static str, needs: &'static str },
    #[error("{place}: there is no stage")]
    NoStages { place: ConfigPlace },
    #[error("{place}: there is no stage `{stage}`")]
    UnknownStage {
        /// The argument or variable that asked for it.
        place: ConfigPlace,
        stage: String,
        /// The stages of the file.
        known: Vec<String>,
    },
    /// No stage was named and the file does not say which one is meant.
    #[error("{place}: which stage? there are {}", listed(known))]
    WhichStage {
        place: ConfigPlace,
        /// The ones there are.
        known: Vec<String>,
    },
    #[error("{place}: stage `{stage}` has no hosts")]
    NoHosts {
        /// The list, or the file.
        place: ConfigPlace,
        stage: String,
    },
    #[error("{place}: the hosts cannot be taken from {origin}: {reason}")]
    Inventory {
        place: ConfigPlace,
        /// The command or the file.
        origin: String,
        reason: String,
    },
    #[error("{place}: host `{name}` is listed twice")]
    HostTwice { place: ConfigPlace, name: String },
    #[error("{place}: linked path `{path}` {relation} linked path `{other}`")]
    LinksOverlap {
        place: ConfigPlace,
        path: String,
        /// `is the same as`, `lies below`, `lies above`.
        relation: &'static str,
        /// The one before it.
        other: String,
    },
    /// A linked path or an environment file where shipit or a link puts something else.
    #[error("{place}: `{path}` cannot be used here: {reason}")]
    PathTaken { place: ConfigPlace, path: String, reason: &'static str },
    #[error("{place}: no host of {whose} has the {what} `{name}`")]
    NoSuch {
        /// The flag, or the line of a hook.
        place: ConfigPlace,
        /// `any stage`, or the one in backticks.
        whose: String,
        /// `name` or `role`.
        what: &'static str,
        /// The host or role that was asked for.
        name: String,
        known: Vec<String>,
    },
    #[error("{place}: there is no service `{name}`")]
    NoService {
        place: ConfigPlace,
        name: String,
        /// The services of the file.
        known: Vec<String>,
    },
    #[error("{place}: [slots] needs {what}")]
    SlotsLack { place: ConfigPlace, what: &'static str },
    #[error("--hosts and --roles together leave no host of `{stage}`")]
    NobodyLeft { stage: String },
    /// An artifact from the network that anybody could have swapped.
    #[error("{place}: an artifact with an address needs its `sha256`")]
    NoDigest { place: ConfigPlace },
    #[error("{place}: `{scheme}://` addresses are not supported")]
    NoScheme {
        place: ConfigPlace,
        scheme: String,
        /// Another way to fetch it.
        instead: &'static str,
    },
}

impl ConfigError {
    /// Returns the error about a key that is not there; `table` as in [`Self::Missing`].
    pub(super) fn missing(place: ConfigPlace, key: &str, table: &str) -> Self {
        Self::Missing { place, key: key.to_owned(), table: table.to_owned() }
    }

    /// Returns what to do about the error.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("`shipit init` writes one".to_owned())
            }
            Self::Syntax { reason, .. } => as_toml(reason),
            Self::UnknownKey { hint, .. } => hint.clone(),
            Self::WrongType { key, expected, found, .. } => as_expected(key, expected, found),
            Self::Missing { key, .. } => example(key),
            Self::UnknownStage { stage, .. } if stage.parse::<ReleaseId>().is_ok() => {
                Some(format!("for a release: `shipit rollback --to {stage}`"))
            }
            Self::UnknownStage { stage, known, .. } => Some(meant(stage, known, "stage")),
            Self::NoSuch { name, known, what, .. } => Some(meant(name, known, what)),
            Self::NoService { name, known, .. } => Some(meant(name, known, "service")),
            Self::WhichStage { known, .. } => {
                let first = known.first().map_or("STAGE", String::as_str);
                Some(format!("name one, or set `default_stage = \"{first}\"`"))
            }
            Self::NoStages { .. } => {
                Some("add `[stages.production]` with `hosts = [\"web1\"]`".to_owned())
            }
            Self::NoHosts { stage, .. } => {
                Some(format!("add `hosts = [\"web1\"]` to `[stages.{stage}]`"))
            }
            Self::HostTwice { .. } => {
                Some("two on one address can be written as `name:22` and `name:2222`".to_owned())
            }
            Self::NoPlaceholder { word, key: "artifact" | "url", .. } => {
                let meant = similar(word, WORDS).map(|name| format!("did you mean `{{{name}}}`?"));
                Some(meant.unwrap_or_else(|| "there are `{branch}` and `{revision}`".to_owned()))
            }
            Self::NoPlaceholder { word, .. } => Some(match similar(word, PLACEHOLDERS) {
                Some(name) => format!("did you mean `{{{name}}}`?"),
                None => {
                    "there are `{digest}`, `{release}` and `{revision}`, with slots also `{slot}` \
                         and `{port}`; in an address, `%7B` and `%7D` are braces"
                        .to_owned()
                }
            }),
            Self::NoDigest { place } => {
                let flag = "`--sha256 …`, or `#sha256=…` at the end of the address";
                let key = "`sha256 = \"…\"`, `sha256 = { url = \"…\" }` or a `signature`";
                let given = matches!(place, ConfigPlace::Given(_));
                Some(format!("add {}", if given { flag } else { key }))
            }
            Self::NoScheme { instead, .. } => Some((*instead).to_owned()),
            Self::PathTaken { reason, .. } if *reason == OTHER_ENV => {
                Some("give each `[[env]]` a `file` of its own".to_owned())
            }
            Self::LinksOverlap { .. } => Some("leave one of the two out".to_owned()),
            Self::NobodyLeft { .. } => Some("give one of them".to_owned()),
            Self::PathTaken { reason, .. } if *reason == ENV_FILE => Some(
                "`vars.NAME` in `[env]` puts a value into it; without [env], link it".to_owned(),
            ),
            _ => None,
        }
    }
}

/// Returns how a line is written that TOML does not understand, by the words of its parser.
fn as_toml(reason: &str) -> Option<String> {
    let unquoted = ["invalid boolean", "string values must be quoted"];
    if unquoted.iter().any(|words| reason.starts_with(words)) {
        return Some("text stands between quotes: `\"…\"`".to_owned());
    }
    reason.starts_with("key with no value").then(|| "a setting is `key = value`".to_owned())
}

/// Returns a line for a required key of the top level.
fn example(key: &str) -> Option<String> {
    match key {
        "app" => Some("`app = \"todo\"`".to_owned()),
        "deploy_to" => Some("`deploy_to = \"/srv/todo\"`".to_owned()),
        _ => None,
    }
}

/// Returns how a text is written as what was `expected` in its place, or a number as a text.
fn as_expected(key: &str, expected: &str, found: &str) -> Option<String> {
    let name = key.rsplit('.').next().unwrap_or(key);
    if expected.starts_with("a string") && found.contains("number") {
        return Some(format!("text stands between quotes: `{name} = \"…\"`"));
    }
    let text = found.strip_prefix('"')?.strip_suffix('"')?;
    match expected {
        "a list" => Some(format!("`{name} = [{found}]`")),
        "a whole number" if text.parse::<u64>().is_ok() => Some(format!("`{name} = {text}`")),
        "true or false" if matches!(text, "true" | "false") => Some(format!("`{name} = {text}`")),
        "a table" if key == "artifact" => Some(format!("`artifact.path = {found}`")),
        "a table" if key == "service" => Some(format!("`service.unit = {found}`")),
        "a table" if key.starts_with("stages.") => {
            Some(format!("`[{key}]` with `hosts = [{found}]`"))
        }
        _ => None,
    }
}

/// The reason why no link may have the name of the environment file.
pub(super) const ENV_FILE: &str = "the environment file of a release is written there";
/// The reason why no two environment files may overlap.
pub(super) const OTHER_ENV: &str = "another environment file lies at, above or below it";
/// The reason why no link may be named `REVISION`.
pub(super) const REVISION: &str = "the source revision of a release is written there";
/// The reasons why files of earlier releases are not kept at a path.
pub(super) const STAYS: &str = "it lies at or below a linked path, where files stay anyway";
pub(super) const NO_HARD_LINKS: &str =
    "files are kept by hard links, which `link = false` in [upload] forbids";
/// The reason why the environment file cannot lie at the path of a link.
pub(super) const LINKED: &str = "it lies at, above or below a linked path";

/// Returns the known name that is most like `wrong`, if one is close enough to be meant.
pub(crate) fn similar<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (strsim::damerau_levenshtein(wrong, name), name));
    let near = |distance: usize, name: &str| {
        let shorter = name.len().min(wrong.len());
        distance <= 1 + shorter / 4 && distance < shorter
    };
    scored.filter(|(distance, name)| near(*distance, name)).min().map(|(_, name)| name)
}

/// Returns a hint about a name that is not among those of the file; `what` is their kind, such as
/// `stage`.
fn meant(wrong: &str, known: &[String], what: &str) -> String {
    let begun = |name: &&String| !wrong.is_empty() && name.starts_with(wrong);
    let begun = || known.iter().find(begun).map(String::as_str);
    match (similar(wrong, known.iter().map(String::as_str)).or_else(begun), known) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, []) => format!("there are no {what}s"),
        (None, [only]) => format!("the only {what} is `{only}`"),
        (None, _) => format!("there are the {what}s {}", listed(known)),
    }
}

/// Returns the names in a sentence: `a`, `b` and `c`, each in backticks.
pub(super) fn listed<Name: fmt::Display>(names: &[Name]) -> String {
    let quoted = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

/// Returns a value as it can be shown: control characters are escaped, a blank value is quoted.
fn visible(value: &str) -> String {
    if value.trim().is_empty() { format!("{value:?}") } else { value.escape_debug().to_string() }
}
