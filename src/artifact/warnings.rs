//! What may be in a release, but hardly ever should.

use std::collections::BTreeSet;

use super::exclude;
use super::tree::{Item, What};

/// So many entries are named.
const MOST_NAMED: usize = 20;

/// One line for each kind of entry that is hardly meant. `excluded` is what `exclude` holds.
pub(super) fn of<'a>(
    items: impl Iterator<Item = (&'a String, &'a Item)>,
    excluded: &[String],
) -> Vec<String> {
    let (mut private, mut macos, mut own) = (Vec::new(), Vec::new(), Vec::new());
    let mut closed = BTreeSet::new();
    for (path, item) in items {
        let is_dir = matches!(item.what, What::Dir);
        if is_dir && item.private {
            closed.insert(path.as_str());
        }
        if matches!(item.what, What::File { .. }) && (item.private || lies_below(path, &closed)) {
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
    let mut lines = Vec::new();
    if !private.is_empty() {
        let (files, are) = if private.len() == 1 { ("file", "is") } else { ("files", "are") };
        lines.push(format!(
            "{} {files} {are} private here and will be readable by everybody on the host: {}; \
             secrets belong in [env] or `linked_files`, and `chmod o+r` says that it is none",
            private.len(),
            named(&private)
        ));
    }
    if !macos.is_empty() {
        let patterns = ["._*", ".DS_Store", "__MACOSX"].map(str::to_owned);
        let line = exclude::line(excluded, &patterns);
        lines.push(format!("macOS left {} in the artifact; leave it out: `{line}`", named(&macos)));
    }
    for path in own {
        let line = exclude::line(excluded, &[exclude::pattern(path)]);
        lines.push(format!("the artifact holds `{path}`; leave it out: `{line}`"));
    }
    lines
}

fn lies_below(path: &str, closed: &BTreeSet<&str>) -> bool {
    !closed.is_empty() && path.match_indices('/').any(|(at, _)| closed.contains(&path[..at]))
}

fn named(paths: &[&str]) -> String {
    let text = paths.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(MOST_NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
