//! Changes of a release after it was made: its manifest compared with its tree now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::manifest::{Manifest, Node};

/// One way in which one entry of a release differs from its manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    pub path: String,
    pub change: DriftKind,
}

/// The difference of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriftKind {
    /// It is gone.
    Missing,
    /// It was not part of the release.
    Extra,
    /// Its content differs.
    Changed,
    /// Its mode differs.
    Mode { was: u32, is: u32 },
    /// A link that leads elsewhere.
    Target { was: String, is: String },
    /// A file where a directory or a link was, or the other way round.
    Kind,
}

impl DriftKind {
    /// Returns the word of the change in JSON.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed => "changed",
            Self::Mode { .. } => "mode",
            Self::Target { .. } => "target",
            Self::Kind => "kind",
        }
    }
}

impl fmt::Display for DriftKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { was, is } => write!(f, "mode {is:o} instead of {was:o}"),
            Self::Target { was, is } => write!(f, "points to {is} instead of {was}"),
            Self::Kind => f.write_str("has another type now"),
            _ => f.write_str(self.word()),
        }
    }
}

/// The setting that keeps Python from writing into a release.
pub const NO_PYTHON_CACHE: &str = "PYTHONDONTWRITEBYTECODE=1 in [env] or in the unit";

/// Returns whether Python writes the entry at `path` when it loads a module.
pub fn is_python_cache(path: &str) -> bool {
    path.split('/').any(|part| part == "__pycache__")
}

/// Returns the differences by path. `was` holds the lines of the manifest that do not hold any
/// more, `is` the lines of the tree instead. An unreadable line is an extra entry by its own text.
pub fn drift<'a>(
    was: impl IntoIterator<Item = &'a str>,
    is: impl IntoIterator<Item = &'a str>,
) -> Vec<Drift> {
    let mut both: BTreeMap<String, [Option<Node>; 2]> = BTreeMap::new();
    let mut all = Vec::new();
    for (side, line) in was.into_iter().map(|l| (0, l)).chain(is.into_iter().map(|l| (1, l))) {
        match Manifest::parse(line).and_then(|one| one.into_nodes().into_iter().next()) {
            Some((path, node)) => both.entry(path).or_default()[side] = Some(node),
            None => all.push(Drift { path: line.to_owned(), change: DriftKind::Extra }),
        }
    }
    for (path, [was, is]) in both {
        let changes = changes(was, is).into_iter();
        all.extend(changes.map(|change| Drift { path: path.clone(), change }));
    }
    all.sort();
    all
}

/// Returns the paths that lines of a quick look name: `was` or `is`, then a line of a manifest
/// without its digest, or `w` and the path of a file that was written to.
pub fn paths(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(path).map(|path| path.strip_prefix("./").unwrap_or(path)).collect()
}

fn path(line: &str) -> Option<&str> {
    let (_, entry) = line.split_once(' ')?;
    let (kind, rest) = entry.split_once(' ')?;
    match kind {
        // Mode and size come first.
        "f" => rest.splitn(3, ' ').nth(2),
        "l" => rest.split(" -> ").next(),
        _ => Some(rest),
    }
}

fn changes(was: Option<Node>, is: Option<Node>) -> Vec<DriftKind> {
    match (was, is) {
        (None, None) => Vec::new(),
        (Some(_), None) => vec![DriftKind::Missing],
        (None, Some(_)) => vec![DriftKind::Extra],
        (Some(Node::Link { target: was }), Some(Node::Link { target: is })) => {
            vec![DriftKind::Target { was, is }]
        }
        (
            Some(Node::File { mode: was, sha256: old, .. }),
            Some(Node::File { mode: is, sha256: new, .. }),
        ) => {
            let bytes = (old != new).then_some(DriftKind::Changed);
            bytes.into_iter().chain((was != is).then_some(DriftKind::Mode { was, is })).collect()
        }
        _ => vec![DriftKind::Kind],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(was: &str, is: &str, expect: &str) {
        let found: Vec<_> = drift(was.lines(), is.lines())
            .iter()
            .map(|d| format!("{} {}", d.path, d.change))
            .collect();
        assert_eq!(found.join("; "), expect);
    }

    #[test]
    fn drift_of_a_quick_look_names_a_path_once() {
        let text = "was f 444 12 ./a b\nis f 644 12 ./a b\nis l ./l -> x y\nis d ./d\nis w ./w\n";
        assert_eq!(paths(text), BTreeSet::from(["a b", "l", "d", "w"]));
        assert_eq!(paths("garbage\n"), BTreeSet::new());
    }

    #[test]
    fn drift_names_each_kind_of_change() {
        let a = "0".repeat(64);
        let b = "1".repeat(64);
        let file = |mode, sum: &str| format!("f {mode} 3 {sum} ./x");
        check(&file(444, &a), "", "x missing");
        check("", &file(444, &a), "x extra");
        check(&file(444, &a), &file(444, &b), "x changed");
        check(&file(444, &a), &file(644, &a), "x mode 644 instead of 444");
        check(&file(444, &a), &file(644, &b), "x changed; x mode 644 instead of 444");
        check(&file(444, &a), "d ./x", "x has another type now");
        check("l ./x -> a", "l ./x -> b", "x points to b instead of a");
        check("d ./x\nd ./y", "l ./z -> a", "x missing; y missing; z extra");
        check("", "garbage", "garbage extra");
    }
}
