//! The files that differ between two releases.

use std::collections::BTreeSet;

use super::manifest::{Manifest, Node};

/// A file or a link that is not in both releases, or not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub path: String,
    /// Its bytes before; `None`: it was not there.
    pub before: Option<u64>,
    /// Its bytes after; `None`: it is gone.
    pub after: Option<u64>,
}

impl FileChange {
    /// Returns one word, for people and JSON.
    pub const fn word(&self) -> &'static str {
        match (self.before, self.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }
}

/// Returns what differs, sorted by path. Directories do not count.
pub fn changes(before: &Manifest, after: &Manifest) -> Vec<FileChange> {
    let (before, after) = (before.nodes(), after.nodes());
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differing = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let change = |path: &String| FileChange {
        path: path.clone(),
        before: before.get(path).and_then(bytes),
        after: after.get(path).and_then(bytes),
    };
    let counts = |change: &FileChange| change.before.is_some() || change.after.is_some();
    differing.map(change).filter(counts).collect()
}

/// Returns the size of a file or a link.
fn bytes(node: &Node) -> Option<u64> {
    match node {
        Node::Dir => None,
        Node::File { size, .. } => Some(*size),
        Node::Link { target } => Some(target.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Digest;

    #[test]
    fn changes_are_added_changed_and_removed_files() {
        let file = |content: &str| Node::File {
            mode: 0o444,
            size: content.len() as u64,
            sha256: Digest::of(content.as_bytes()),
        };
        let link = |target: &str| Node::Link { target: target.to_owned() };
        let of = |all: &[(&str, Node)]| {
            Manifest::new(
                all.iter().map(|(path, node)| ((*path).to_owned(), node.clone())).collect(),
            )
        };
        let before =
            of(&[("a", file("1")), ("d", Node::Dir), ("d/b", file("2")), ("l", link("a"))]);
        let after =
            of(&[("a", file("1")), ("c", file("new")), ("d", file("x")), ("l", link("cc"))]);
        let told = |change: &FileChange| {
            format!("{} {} {:?} {:?}", change.word(), change.path, change.before, change.after)
        };
        assert_eq!(
            changes(&before, &after).iter().map(told).collect::<Vec<_>>(),
            [
                "added c None Some(3)",
                "added d None Some(1)",
                "removed d/b Some(1) None",
                "changed l Some(1) Some(2)",
            ]
        );
    }
}
