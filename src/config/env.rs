//! The bytes of an environment file: each value fetched from where it is, then written as
//! `env_format` says.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::dotenv::{self, DotenvError, DotenvValue};
use super::env_format::{EnvFormat, Unwritable};
use super::secrecy::Secrecy;
use super::{EnvSource, EnvSpec, IfAbsent};
use crate::model::words::count;

/// A command may take this long to give a value; some ask a person to unlock something.
const LIMIT: Duration = Duration::from_mins(1);
/// At most this many lines of a failed command's stderr are shown.
const LINES: usize = 5;

/// The content of an environment file. It holds secrets: `Debug` shows none.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EnvFile {
    bytes: Vec<u8>,
    values: BTreeMap<String, EnvValue>,
}

/// A value, and the place that it was taken from.
#[derive(Clone, PartialEq, Eq)]
struct EnvValue {
    text: String,
    origin: String,
}

impl EnvFile {
    /// Returns the file with this content, of whose values nothing is known.
    pub fn raw(bytes: Vec<u8>) -> Self {
        Self { bytes, values: BTreeMap::new() }
    }

    /// Returns the content of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the keys whose values satisfy `wanted`.
    pub fn keys(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let found = self.values.iter().filter(|(_, value)| wanted(&value.text));
        found.map(|(key, _)| key.clone()).collect()
    }

    /// Returns each key with the place that its value was taken from.
    pub fn origins(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.origin.as_str()))
    }

    /// Returns each key with its value.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.text.as_str()))
    }

    /// Returns the keys of values that no output may show.
    pub fn secret_keys<'f>(&'f self, secrecy: &'f Secrecy) -> impl Iterator<Item = &'f str> {
        self.hidden(secrecy).map(|(key, _)| key)
    }

    /// Returns the values that no output may show.
    pub fn secrets(&self, secrecy: &Secrecy) -> Vec<String> {
        self.hidden(secrecy).map(|(_, value)| value.to_owned()).collect()
    }

    fn hidden<'f>(&'f self, secrecy: &'f Secrecy) -> impl Iterator<Item = (&'f str, &'f str)> {
        self.values().filter(|(key, value)| secrecy.hides(key, value))
    }
}

impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvFile({})", count(self.bytes.len(), "byte"))
    }
}

/// The reason why there is no environment file. `key` is a variable of that file. No text contains
/// a value.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// Variables of this process that are not set, or empty: so CI gives a secret that it lacks.
    #[error("{}", unset(missing))]
    Unset { missing: Vec<Missing> },
    #[error("`{key}` comes from the file {}, which could not be read", path.display())]
    Read { key: String, path: PathBuf, source: io::Error },
    #[error("could not start `sh` for the value of `{key}`")]
    Start { key: String, source: io::Error },
    #[error("the command for the value of `{key}` {}", ended(*status))]
    Failed {
        key: String,
        status: ExitStatus,
        /// The end of what it wrote to its standard error.
        #[source]
        said: Option<CommandStderr>,
    },
    #[error("the command for the value of `{key}` took longer than {}s", after.as_secs())]
    Timeout { key: String, after: Duration },
    /// A value that not every reader would read as it is.
    #[error("the value of `{key}` cannot be written to an environment file: it {reason}")]
    Unwritable {
        key: String,
        reason: Unwritable,
        /// A unit of the stage could read it from a file in the format for systemd.
        systemd: bool,
    },
    /// A whole file of values that cannot be read.
    #[error("{from}:{}: {}", error.line, error.fault)]
    Dotenv {
        /// The file, or words for what gave the text.
        from: String,
        error: DotenvError,
    },
    #[error("`{key}` cannot be set in an environment file: shells reserve it")]
    ReadOnly { key: String },
}

/// A variable that has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The variable of the environment file.
    pub key: String,
    pub variable: String,
    /// It is set, and empty.
    pub empty: bool,
}

fn unset(missing: &[Missing]) -> String {
    let how = |it: &Missing| if it.empty { "is empty" } else { "is not set" };
    if let [it] = missing {
        return format!(
            "`{}` comes from the variable `{}`, which {}",
            it.key,
            it.variable,
            how(it)
        );
    }
    let each = |it: &Missing| format!("`{}` (for `{}`) {}", it.variable, it.key, how(it));
    let all: Vec<_> = missing.iter().map(each).collect();
    format!("{} have no value: {}", count(missing.len(), "variable"), all.join(", "))
}

/// The last lines that a command wrote to its standard error, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandStderr(String);

impl EnvError {
    /// Returns what to do about the error.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unset { missing } => {
                let names: Vec<_> = missing.iter().map(|it| format!("{}=…", it.variable)).collect();
                Some(format!("`export {}`, then run this again", names.join(" ")))
            }
            Self::Unwritable { key, systemd: true, .. } => Some(format!(
                "in [env]: `format = \"systemd\"`, if units read the file by EnvironmentFile=; or \
                 give `{key}` as base64"
            )),
            Self::Dotenv { error, .. } => Some(error.fault.hint().to_owned()),
            Self::Unwritable { reason: Unwritable::CarriageReturn, .. } => {
                Some("if it is a text file, `sed 's/\\r$//'` makes its lines end as on Unix".into())
            }
            Self::Unwritable {
                reason: Unwritable::TooLong | Unwritable::TooLongForDocker, ..
            } => Some("put it into a file below `shared/` and link that".to_owned()),
            Self::Unwritable { key, .. } => {
                Some(format!("give `{key}` as base64 and let the program decode it"))
            }
            Self::Timeout { .. } => Some("it has no terminal and no input to ask on".to_owned()),
            Self::Read { .. } => Some("paths are relative to deploy.toml".to_owned()),
            Self::Failed { .. } => {
                Some("run it by hand with `sh -c`, beside deploy.toml".to_owned())
            }
            Self::ReadOnly { .. } => Some("choose another name".to_owned()),
            Self::Start { .. } => None,
        }
    }
}

/// Fetches every value of `spec` and writes the file. Commands run by `sh` in `base`, one after
/// the other, for some ask a person; files are relative to `base`; variables are `environment`'s.
pub async fn values(
    spec: &EnvSpec,
    base: &Path,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<EnvFile, EnvError> {
    all_set(spec.required(), environment)?;
    let mut values = BTreeMap::new();
    for import in &spec.imports {
        let text = value("files", &import.source, base, environment).await;
        if let Some(text) = or_absent(text, &import.absent)? {
            take_in(&mut values, &import.source, &text)?;
        }
    }
    for (key, var) in &spec.vars {
        let text = value(key, &var.source, base, environment).await;
        let given = text.is_ok();
        let Some(text) = or_absent(text, &var.absent)? else { continue };
        let origin = if given { var.source.to_string() } else { "its default".to_owned() };
        values.insert(key.clone(), EnvValue { text, origin });
    }
    let lines = values.iter().map(|(key, value)| spec.line(key, &value.text));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    Ok(EnvFile { bytes: spec.format.whole(&lines).into_bytes(), values })
}

/// Adds the values of a dotenv text. `${NAME}` stands for one of this text or of one before it.
fn take_in(
    values: &mut BTreeMap<String, EnvValue>,
    source: &EnvSource,
    text: &str,
) -> Result<(), EnvError> {
    let known = values.iter().map(|(key, value)| (key.clone(), value.text.clone())).collect();
    let from = source.to_string();
    let found = match dotenv::parse(text, &known) {
        Ok(found) => found,
        Err(error) => return Err(EnvError::Dotenv { from, error }),
    };
    for DotenvValue { name, value: text, line } in found {
        values.insert(name, EnvValue { text, origin: format!("{from}:{line}") });
    }
    Ok(())
}

/// Returns a value, or what is taken for one that is not there. A command that fails, or a file
/// that cannot be read, is no absent value.
fn or_absent(
    value: Result<String, EnvError>,
    absent: &IfAbsent,
) -> Result<Option<String>, EnvError> {
    let is_absent = match &value {
        Err(EnvError::Unset { .. }) => true,
        Err(EnvError::Read { source, .. }) => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    };
    match absent {
        IfAbsent::LeftOut if is_absent => Ok(None),
        IfAbsent::Text(text) if is_absent => Ok(Some(text.clone())),
        _ => value.map(Some),
    }
}

impl EnvSpec {
    /// Returns the line of a value.
    fn line(&self, key: &str, value: &str) -> Result<String, EnvError> {
        if self.format.reserves(key) {
            return Err(EnvError::ReadOnly { key: key.to_owned() });
        }
        self.format.line(key, value).map_err(|reason| {
            let portable = self.for_unit && self.format == EnvFormat::Portable;
            let systemd = portable && EnvFormat::Systemd.line(key, value).is_ok();
            EnvError::Unwritable { key: key.to_owned(), reason, systemd }
        })
    }
}

/// Fails if a variable that a source names has no value; the error lists all of them.
pub fn all_set<'s>(
    sources: impl Iterator<Item = (&'s str, &'s EnvSource)>,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<(), EnvError> {
    let missing = |(key, source): (&str, &EnvSource)| match source {
        EnvSource::Variable(name) => variable(key, name, environment).err(),
        _ => None,
    };
    let missing: Vec<_> = sources.filter_map(missing).collect();
    if missing.is_empty() { Ok(()) } else { Err(EnvError::Unset { missing }) }
}

/// Returns the value of `key` from its source.
pub async fn value(
    key: &str,
    source: &EnvSource,
    base: &Path,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<String, EnvError> {
    match source {
        EnvSource::Text(text) => Ok(text.clone()),
        EnvSource::Variable(name) => variable(key, name, environment)
            .map_err(|missing| EnvError::Unset { missing: vec![missing] }),
        EnvSource::Command(text) => command(key, text, base, LIMIT).await,
        EnvSource::File(path) => read(key, &base.join(path)).await,
    }
}

fn variable(
    key: &str,
    name: &str,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<String, Missing> {
    let value = environment(name);
    let missing =
        Missing { key: key.to_owned(), variable: name.to_owned(), empty: value.is_some() };
    value.filter(|value| !value.is_empty()).ok_or(missing)
}

async fn read(key: &str, path: &Path) -> Result<String, EnvError> {
    let wrong = |source| EnvError::Read { key: key.to_owned(), path: path.to_owned(), source };
    text(key, tokio::fs::read(path).await.map_err(wrong)?)
}

async fn command(
    key: &str,
    text_of_command: &str,
    base: &Path,
    limit: Duration,
) -> Result<String, EnvError> {
    let mut command = Command::new("sh");
    command.args(["-c", text_of_command]).current_dir(base);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = tokio::time::timeout(limit, command.output()).await;
    let timeout = |_| EnvError::Timeout { key: key.to_owned(), after: limit };
    let start = |source| EnvError::Start { key: key.to_owned(), source };
    let output = ended.map_err(timeout)?.map_err(start)?;
    if output.status.success() {
        return text(key, output.stdout);
    }
    let said = said(&output.stderr, &output.stdout);
    Err(EnvError::Failed { key: key.to_owned(), status: output.status, said })
}

/// Returns bytes as text, without their final newline. Fails if they are not UTF-8.
fn text(key: &str, bytes: Vec<u8>) -> Result<String, EnvError> {
    let mut text = String::from_utf8(bytes).map_err(|_| EnvError::Unwritable {
        key: key.to_owned(),
        reason: Unwritable::NotText,
        systemd: false,
    })?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// Returns how a command ended.
pub(super) fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "did not end".to_owned(),
    }
}

/// Returns the end of a command's stderr, without text that may be the value or a part of it.
fn said(stderr: &[u8], stdout: &[u8]) -> Option<CommandStderr> {
    let mut text = String::from_utf8_lossy(stderr).into_owned();
    for secret in String::from_utf8_lossy(stdout).lines().filter(|line| !line.trim().is_empty()) {
        text = text.replace(secret.trim(), "[hidden]");
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>();
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
    let shown = tail.chars().filter(|c| *c == '\n' || !c.is_control()).collect::<String>();
    (!shown.is_empty()).then_some(CommandStderr(shown))
}
