//! The formats of environment files. A reader sees the bytes that were meant.

use serde::Deserialize;

/// Linux refuses a longer `NAME=value`, its final NUL included, when it starts a program.
const LONGEST: usize = 128 * 1024;
/// docker and podman read lines by Go's `bufio.Scanner`, which takes fewer bytes than this.
const LONGEST_LINE: usize = 64 * 1024;
/// Names that some shell does not let `. ./.env` set.
const READ_ONLY: [&str; 7] = ["_", "UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO"];

/// The reader that an environment file is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvFormat {
    /// systemd, shells and dotenv libraries alike.
    #[default]
    Portable,
    /// `EnvironmentFile=`.
    Systemd,
    /// `--env-file` of docker and podman.
    Docker,
    /// `set -a; . ./.env`.
    Shell,
    /// A JSON object of strings.
    Json,
}

/// The reason why a value cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// It is not UTF-8, which systemd requires.
    #[error("is not UTF-8 text")]
    NotText,
    /// A character that ends every C string.
    #[error("holds a NUL character")]
    Nul,
    /// Dotenv libraries make a newline of it; docker drops it at the end.
    #[error("holds a carriage return")]
    CarriageReturn,
    /// docker has a line for each value, and knows no quotes.
    #[error("holds a newline, which `--env-file` cannot read")]
    Newline,
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
    /// docker reads no longer line.
    #[error("makes a line longer than 64 KiB, which `--env-file` cannot read")]
    TooLongForDocker,
}

impl EnvFormat {
    /// Returns the word for it in deploy.toml.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Systemd => "systemd",
            Self::Docker => "docker",
            Self::Shell => "shell",
            Self::Json => "json",
        }
    }

    /// Returns whether a shell may read the file, and keeps this name for itself.
    pub fn reserves(self, key: &str) -> bool {
        matches!(self, Self::Portable | Self::Shell) && READ_ONLY.contains(&key)
    }

    /// Returns whether `EnvironmentFile=` reads the file as it is meant.
    pub const fn is_for_systemd(self) -> bool {
        matches!(self, Self::Portable | Self::Systemd | Self::Shell)
    }

    /// Returns the content of a file with these lines.
    pub fn whole(self, lines: &[String]) -> String {
        match self {
            Self::Json if lines.is_empty() => "{}\n".to_owned(),
            Self::Json => format!("{{\n{}\n}}\n", lines.join(",\n")),
            _ => lines.concat(),
        }
    }

    /// Returns the line of a value: for JSON without its comma, else with its newline.
    pub fn line(self, key: &str, value: &str) -> Result<String, Unwritable> {
        if self == Self::Json {
            let text = serde_json::Value::from(value);
            return Ok(format!("  \"{key}\": {text}"));
        }
        if key.len() + value.len() + 2 > LONGEST {
            return Err(Unwritable::TooLong);
        }
        let written = match self {
            Self::Docker => bare(value)?.to_owned(),
            Self::Portable => quoted(value)?,
            // systemd before 240 drops a backslash between single quotes.
            Self::Systemd if value.contains('\\') => self.escaped(value)?,
            _ => quoted(value).or_else(|_| self.escaped(value))?,
        };
        if self == Self::Docker && key.len() + value.len() + 2 >= LONGEST_LINE {
            return Err(Unwritable::TooLongForDocker);
        }
        Ok(format!("{key}={written}\n"))
    }

    /// Returns a value that cannot be portable, between double quotes. Every systemd and every
    /// shell takes a backslash before these four for an escape, and systemd before 240 one before
    /// any other character too; so no other gets one.
    fn escaped(self, value: &str) -> Result<String, Unwritable> {
        if value.contains('\0') {
            return Err(Unwritable::Nul);
        }
        if self == Self::Systemd && value.contains(is_noncharacter) {
            return Err(Unwritable::Noncharacter);
        }
        let mut text = "\"".to_owned();
        for c in value.chars() {
            if "\"\\$`".contains(c) {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
        Ok(text)
    }
}

/// Returns a value for a reader that takes all between `=` and the end of the line.
fn bare(value: &str) -> Result<&str, Unwritable> {
    if value.contains('\0') {
        return Err(Unwritable::Nul);
    }
    if value.contains('\n') {
        return Err(Unwritable::Newline);
    }
    if value.ends_with('\r') {
        return Err(Unwritable::CarriageReturn);
    }
    Ok(value)
}

/// Returns a value between the quotes between which every reader takes it as it stands. Nothing is
/// ever escaped: no two readers agree on what an escape means. This form was tried with systemd
/// 252, dash, bash, BusyBox ash, mksh, zsh, npm dotenv 16 and 18, python-dotenv 1.2 and Ruby dotenv
/// 2.4 (which knows no newlines in values; from 2.8 on it does).
fn quoted(value: &str) -> Result<String, Unwritable> {
    let quote = quote(value)?;
    Ok(format!("{quote}{value}{quote}"))
}

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
