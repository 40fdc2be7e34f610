//! The changes of a deploy on a host: the files as a tree, and the configuration.

use std::iter;

use serde_json::{Value, json};

use super::clean;
use super::env_diff::signed_names;
use super::human::{count, size};
use crate::deploy::fleet::{ConfigFate, Difference};
use crate::model::changes::FileChange;
use crate::model::codec::Codec;

/// The files that a plan lists; `shipit diff` lists all.
pub const MOST_FILES: usize = 10;

/// Returns the difference in lines, with at most `most` files.
pub fn difference_lines(of: &Difference, most: usize) -> Vec<String> {
    let mut lines = vec![format!("live now: {}", of.live)];
    let whole = format!("{}, {}", count(of.count, "file"), size(of.size));
    match &of.files {
        None => lines.push(format!("files: {whole}; there is nothing to compare them with")),
        Some(files) if files.is_empty() => lines.push(format!("files: the same {whole}")),
        Some(files) => {
            lines.push(format!("files: {} of {whole}", counts(files)));
            lines.extend(tree(files, most));
        }
    }
    lines.extend(env_lines(of));
    lines.extend(match of.settings {
        Some(false) => None,
        Some(true) => Some("links, hooks or services: not those of the live release".to_owned()),
        None if of.env == ConfigFate::Same || of.files.is_none() => None,
        None => Some("links, hooks, services: unknown while the env file differs".to_owned()),
    });
    if let (Some(free), Some(after)) = (of.free, of.free_after) {
        lines.push(format!("free space: {}, then about {}", size(free), size(after)));
    }
    lines.push(match of.codec {
        Codec::Plain => "uploads: not compressed".to_owned(),
        codec => format!("uploads: compressed by {codec}"),
    });
    lines
}

/// Returns what becomes of the env files, and of which values in them.
fn env_lines(of: &Difference) -> Vec<String> {
    let fate = match of.env {
        ConfigFate::Same => return Vec::new(),
        ConfigFate::Added => "new",
        ConfigFate::Changed => "changed",
        ConfigFate::Removed => "gone",
    };
    let Some(values) = &of.values else {
        let unknown = "; the host cannot tell which values differ";
        let unknown = if of.env == ConfigFate::Changed { unknown } else { "" };
        return vec![format!("env file: {fate}{unknown}")];
    };
    if values.is_empty() {
        return vec![format!("env file: {fate}, with the same values")];
    }
    let lines = signed_names(values).map(|(_, line)| format!("  {line}"));
    iter::once(format!("env file: {fate}")).chain(lines).collect()
}

/// Returns, for example, `2 added, 1 removed`.
fn counts(files: &[FileChange]) -> String {
    let word = |word: &str| match files.iter().filter(|file| file.word() == word).count() {
        0 => None,
        number => Some(format!("{number} {word}")),
    };
    let words = ["added", "changed", "removed"].into_iter().filter_map(word);
    words.collect::<Vec<_>>().join(", ")
}

/// Returns the files below their directories.
fn tree(files: &[FileChange], most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut directory = "";
    for file in files.iter().take(most) {
        let (parent, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        if parent != directory {
            directory = parent;
            lines.push(format!("  {}/", clean::line(parent)));
        }
        let indent = if parent.is_empty() { "  " } else { "    " };
        lines.push(format!("{indent}{}", entry(file, name)));
    }
    if let Some(more @ 1..) = files.len().checked_sub(most) {
        lines.push(format!("  and {}; `shipit diff` lists all", count(more, "more file")));
    }
    lines
}

fn entry(file: &FileChange, name: &str) -> String {
    let name = clean::line(name);
    match (file.before, file.after) {
        (None, Some(after)) => format!("+ {name}  {}", size(after)),
        (Some(before), None) => format!("- {name}  {}", size(before)),
        (Some(before), Some(after)) if before != after => {
            format!("~ {name}  {} -> {}", size(before), size(after))
        }
        (_, after) => format!("~ {name}  {}", size(after.unwrap_or_default())),
    }
}

/// Returns the difference as JSON, with all files.
pub fn difference_json(of: &Difference) -> Value {
    let file = |file: &FileChange| {
        json!({
            "path": file.path,
            "change": file.word(),
            "before": file.before,
            "after": file.after,
        })
    };
    json!({
        "live": of.live,
        "files": of.files.as_ref().map(|files| files.iter().map(file).collect::<Value>()),
        "count": of.count,
        "size": of.size,
        "env": of.env,
        "env_values": of.values,
        "settings_differ": of.settings,
        "codec": of.codec.word(),
        "free": of.free,
        "free_after": of.free_after,
    })
}
