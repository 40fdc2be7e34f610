//! The bytes of `.env`: values fetched from where they are, and written so that systemd's
//! EnvironmentFile=, `sh` and dotenv readers all read back the same bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::{EnvSource, EnvSpec};

/// How long a command that prints a value may take: a person may have to unlock a vault.
const COMMAND_LIMIT: Duration = Duration::from_mins(2);

/// The environment file of one release. Its content is never printed.
pub struct EnvFile {
    bytes: Vec<u8>,
    secrets: Vec<String>,
}

impl EnvFile {
    /// What is written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The values that do not stand in `deploy.toml`: never to be shown.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }
}

impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvFile({} bytes, not shown)", self.bytes.len())
    }
}

/// Why there is no environment file. No variant holds a value.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// The variable is not set here.
    #[error("`{name}` needs the environment variable `{variable}`, which is not set")]
    NotSet {
        /// The key.
        name: String,
        /// What it is taken from.
        variable: String,
    },
    /// The file cannot be read.
    #[error("`{name}` could not be read from {path}")]
    File {
        /// The key.
        name: String,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The command cannot be run.
    #[error("the command for `{name}` could not be run")]
    Command {
        /// The key.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The command failed.
    #[error("the command for `{name}` failed: {how}")]
    CommandFailed {
        /// The key.
        name: String,
        /// Its exit status, and the last line of its standard error.
        how: String,
    },
    /// What was fetched is not text.
    #[error("the value of `{name}` is not UTF-8")]
    NotText {
        /// The key.
        name: String,
    },
    /// No reader-independent form.
    #[error("the value of `{name}` cannot be written so that every reader agrees: {reason}")]
    Unwritable {
        /// The key.
        name: String,
        /// What is in the way.
        reason: &'static str,
    },
}

impl EnvError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotSet { variable, .. } => Some(format!("export {variable}=…")),
            Self::Unwritable { .. } | Self::NotText { .. } => {
                Some("encode it, with base64 for one, and decode it in the app".to_owned())
            }
            _ => None,
        }
    }
}

/// Fetches every value and writes the file; `environment` is this process's.
pub async fn values(
    spec: &EnvSpec,
    base: &Path,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<EnvFile, EnvError> {
    let mut all = BTreeMap::new();
    let mut secrets = Vec::new();
    for (name, source) in &spec.vars {
        let value = fetch(name, source, base, environment).await?;
        if !matches!(source, EnvSource::Text(_)) {
            secrets.push(value.clone());
        }
        all.insert(name.as_str(), value);
    }
    let mut bytes = Vec::new();
    for (name, value) in all {
        let quoted = quoted(&value)
            .map_err(|reason| EnvError::Unwritable { name: name.to_owned(), reason })?;
        bytes.extend(format!("{name}={quoted}\n").into_bytes());
    }
    Ok(EnvFile { bytes, secrets })
}

async fn fetch(
    name: &str,
    source: &EnvSource,
    base: &Path,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<String, EnvError> {
    let name = name.to_owned();
    let bytes = match source {
        EnvSource::Text(text) => return Ok(text.clone()),
        EnvSource::Variable(variable) => {
            let variable = variable.clone();
            return environment(&variable).ok_or(EnvError::NotSet { name, variable });
        }
        EnvSource::Command(command) => printed(&name, command, base).await?,
        EnvSource::File(path) => {
            let path = base.join(path);
            let read = tokio::fs::read(&path).await;
            read.map_err(|source| EnvError::File { name: name.clone(), path, source })?
        }
    };
    let text = String::from_utf8(bytes).map_err(|_| EnvError::NotText { name })?;
    Ok(text.strip_suffix('\n').map(ToOwned::to_owned).unwrap_or(text))
}

async fn printed(name: &str, command: &str, base: &Path) -> Result<Vec<u8>, EnvError> {
    let name = name.to_owned();
    let running = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .current_dir(base)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(COMMAND_LIMIT, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(source)) => return Err(EnvError::Command { name, source }),
        Err(_) => {
            let how = format!("it ran longer than {}s", COMMAND_LIMIT.as_secs());
            return Err(EnvError::CommandFailed { name, how });
        }
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    let how = format!("{} {last}", output.status).trim().to_owned();
    Err(EnvError::CommandFailed { name, how })
}

/// The one form that systemd, `sh`, and the dotenv readers of JavaScript, Python and Ruby agree
/// on. Between single quotes all of them take everything literally but: the quote itself;
/// backslashes (Python unescapes some, old systemd all); `${` (Python fills it in everywhere);
/// carriage returns (JavaScript drops them). A value with a single quote goes between double
/// quotes, if it holds nothing that means something there.
fn quoted(value: &str) -> Result<String, &'static str> {
    if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err("it holds a control character");
    }
    if value.contains('\\') {
        return Err("it holds a backslash");
    }
    if value.contains("${") {
        return Err("it holds `${`");
    }
    if !value.contains('\'') {
        return Ok(format!("'{value}'"));
    }
    if value.contains(['"', '$', '`']) {
        return Err("it holds a single quote and one of `\"`, `$`, a backquote");
    }
    Ok(format!("\"{value}\""))
}
