//! The bytes of `.env`: each value fetched from where it is, then written so that systemd's
//! `EnvironmentFile=`, a shell's `. ./.env` and the dotenv libraries all read the same bytes back.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::secrecy::Secrecy;
use super::{EnvSource, EnvSpec};
use crate::model::words::count;

/// A command may take this long to give a value; some ask a person to unlock something.
const LIMIT: Duration = Duration::from_mins(1);
/// Linux refuses a longer `NAME=value`, its final NUL included, when it starts a program.
const LONGEST: usize = 128 * 1024;
/// At most this many lines of a failed command's stderr are shown.
const LINES: usize = 5;
/// Names that some shell does not let `. ./.env` set.
const READ_ONLY: [&str; 7] = ["_", "UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO"];

/// The content of an environment file. It holds secrets: `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvFile {
    bytes: Vec<u8>,
    values: Vec<(String, String)>,
}

impl EnvFile {
    /// Returns the content of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the values that no output may show.
    pub fn secrets(&self, secrecy: &Secrecy) -> Vec<String> {
        let hidden = self.values.iter().filter(|(key, value)| secrecy.hides(key, value));
        hidden.map(|(_, value)| value.clone()).collect()
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
    Unwritable { key: String, reason: Unwritable },
    /// A name that a shell keeps for itself.
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

/// The reason why a value cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// It is not UTF-8, which systemd requires.
    #[error("is not UTF-8 text")]
    NotText,
    /// A character that ends every C string.
    #[error("holds a NUL character")]
    Nul,
    /// Dotenv libraries make a newline of it.
    #[error("holds a carriage return")]
    CarriageReturn,
    /// systemd refuses the file.
    #[error("holds a code point that is not a character")]
    Noncharacter,
    /// Neither kind of quotes can hold it.
    #[error("holds `'` together with one of `\"`, `$`, `\\` and a backquote")]
    Quotes,
    /// python-dotenv expands it between single quotes too.
    #[error("holds `${{`")]
    Expansion,
    /// Some readers take the one before the quote, or one of two, for an escape.
    #[error("holds `\\` at its end or twice in a row")]
    Backslashes,
    /// No program could be started with it.
    #[error("is longer than 128 KiB")]
    TooLong,
}

impl EnvError {
    /// Returns what to do about the error.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unset { missing } => {
                let names: Vec<_> = missing.iter().map(|it| format!("{}=…", it.variable)).collect();
                Some(format!("`export {}`, then run this again", names.join(" ")))
            }
            Self::Unwritable { reason: Unwritable::CarriageReturn, .. } => {
                Some("if it is a text file, `sed 's/\\r$//'` makes its lines end as on Unix".into())
            }
            Self::Unwritable { reason: Unwritable::TooLong, .. } => {
                Some("put it into a file below `shared/` and link that".to_owned())
            }
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
    all_set(spec.sources(), environment)?;
    let mut file = EnvFile { bytes: Vec::new(), values: Vec::new() };
    for (key, source) in &spec.vars {
        let value = value(key, source, base, environment).await?;
        file.bytes.extend(line(key, &value)?.into_bytes());
        file.values.push((key.clone(), value));
    }
    Ok(file)
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
pub(super) async fn value(
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

/// Returns the content of a file with these values.
pub fn written(values: &BTreeMap<String, String>) -> Result<String, EnvError> {
    values.iter().map(|(key, value)| line(key, value)).collect()
}

/// Returns the keys in what [`values`] or [`written`] made whose values satisfy `wanted`.
pub fn keys_of(file: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let text = String::from_utf8_lossy(file);
    let (mut rest, mut keys) = (text.as_ref(), Vec::new());
    while let Some((key, quoted)) = rest.split_once('=') {
        let quote = &quoted[..quoted.len().min(1)];
        let Some((value, next)) = quoted[quote.len()..].split_once(&format!("{quote}\n")) else {
            break;
        };
        if wanted(value) {
            keys.push(key.to_owned());
        }
        rest = next;
    }
    keys
}

fn line(key: &str, value: &str) -> Result<String, EnvError> {
    if READ_ONLY.contains(&key) {
        return Err(EnvError::ReadOnly { key: key.to_owned() });
    }
    let quote =
        quote(value).map_err(|reason| EnvError::Unwritable { key: key.to_owned(), reason })?;
    if key.len() + value.len() + 2 > LONGEST {
        return Err(unwritable(key, Unwritable::TooLong));
    }
    Ok(format!("{key}={quote}{value}{quote}\n"))
}

/// Returns the quotes between which every reader takes `value` as it stands. Nothing is ever
/// escaped: no two readers agree on what an escape means. What is left was tried with systemd 252,
/// dash, bash, BusyBox ash, mksh, zsh, npm dotenv 16 and 18, python-dotenv 1.2 and Ruby dotenv 2.4
/// (which knows no newlines in values; from 2.8 on it does).
fn quote(value: &str) -> Result<char, Unwritable> {
    let holds = |c: char| value.contains(c);
    if holds('\0') {
        return Err(Unwritable::Nul);
    }
    if holds('\r') {
        return Err(Unwritable::CarriageReturn);
    }
    if value.contains(is_noncharacter) {
        return Err(Unwritable::Noncharacter);
    }
    if holds('\'') {
        let free = !value.contains(['"', '$', '\\', '`']);
        return if free { Ok('"') } else { Err(Unwritable::Quotes) };
    }
    if value.contains("${") {
        return Err(Unwritable::Expansion);
    }
    if value.ends_with('\\') || value.contains(r"\\") {
        return Err(Unwritable::Backslashes);
    }
    Ok('\'')
}

/// Code points that Unicode keeps for no character at all.
fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

fn unwritable(key: &str, reason: Unwritable) -> EnvError {
    EnvError::Unwritable { key: key.to_owned(), reason }
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
    let mut text = String::from_utf8(bytes).map_err(|_| unwritable(key, Unwritable::NotText))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn ended(status: ExitStatus) -> String {
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
