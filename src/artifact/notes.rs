//! Notes about entries that are allowed in a release but hardly meant.

use super::entry::{EntryKind, Item};
use super::exclude_line;
use crate::config::EntryRules;
use crate::model::note::Note;
use crate::model::words;

/// At most this many entries are named.
const MOST_NAMED: usize = 20;
/// From this many files on, if most are private, a umask made them so.
const MANY: usize = 10;

/// Returns one note for each kind of entry that is hardly meant. `excluded` are the patterns of
/// `exclude`.
pub(super) fn of<'a>(
    items: impl Iterator<Item = (&'a String, &'a Item)>,
    rules: EntryRules,
    excluded: &[String],
) -> Vec<Note> {
    let (mut private, mut macos, mut own) = (Vec::new(), Vec::new(), Vec::new());
    let mut files = 0;
    for (path, item) in items {
        let is_dir = matches!(item.what, EntryKind::Dir);
        let is_file = matches!(item.what, EntryKind::File { .. });
        files += usize::from(is_file);
        if is_file && item.is_private() {
            private.push(path.as_str());
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.starts_with("._") || matches!(name, ".DS_Store" | "__MACOSX") {
            macos.push(path.as_str());
        }
        if (name == ".git" && is_dir) || (name == ".env" && !is_dir) {
            own.push(path.as_str());
        }
    }
    let mut notes = Vec::new();
    if !rules.keep_private {
        notes.extend(told_private(&private, files));
    }
    if !macos.is_empty() {
        let patterns = ["._*", ".DS_Store", "__MACOSX"].map(str::to_owned);
        let line = exclude_line::line(excluded, &patterns);
        let text = format!("macOS left {} in the artifact", named(&macos));
        notes.push(Note::new(text, format!("leave it out: `{line}`")));
    }
    for path in own {
        let line = exclude_line::line(excluded, &[exclude_line::pattern(path)]);
        let text = format!("the artifact holds `{path}`");
        notes.push(Note::new(text, format!("leave it out: `{line}`")));
    }
    notes
}

/// Returns the note about programs that were made executable, if there are any.
pub(super) fn told_restored(paths: &[&str]) -> Option<Note> {
    let (programs, are) = match paths.len() {
        0 => return None,
        1 => ("1 program".to_owned(), "is"),
        many => (words::count(many, "program"), "are"),
    };
    let text = format!(
        "nothing in the artifact is executable, as if its modes were lost: {programs} {are} made \
         executable: {}",
        named(paths)
    );
    Some(Note::new(text, "pack it with its modes, as a tar"))
}

/// Returns the note about `private`, which are some of all `files`. If most are private, nobody
/// chose them by hand.
fn told_private(private: &[&str], files: usize) -> Option<Note> {
    let count = private.len();
    let (files, are) = match count {
        0 => return None,
        _ if files >= MANY && count > files / 2 => {
            let files = words::count(files, "file");
            let text = format!(
                "{count} of {files} are private here, as `umask 027` or `umask 077` makes them, \
                 and will be readable by everybody on the host"
            );
            let fix = "put secrets into [env] or `linked_files`, or set `keep_private = true`";
            return Some(Note::new(text, fix));
        }
        1 => ("file", "is"),
        _ => ("files", "are"),
    };
    let text = format!(
        "{count} {files} {are} private here and will be readable by everybody on the host: {}",
        named(private)
    );
    Some(Note::new(
        text,
        "put secrets into [env] or `linked_files` and `chmod o+r` the others, or set \
         `keep_private = true`",
    ))
}

fn named(paths: &[&str]) -> String {
    let text = paths.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(MOST_NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
