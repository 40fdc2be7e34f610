//! The list of everything in a release: path, kind, mode, size and digest of every entry, in one
//! canonical text whose digest does not depend on how the tree was packed.
//!
//! Hosts keep these lines in `.shipit/manifests/<id>`, and the agent's `list_tree` prints them for
//! a tree. There is one line for each entry, sorted by path as bytes:
//!
//! ```text
//! d ./log
//! f 555 1234 <sha256> ./bin/server
//! l ./bin/run -> server
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::digest::Digest;

/// One entry of a release, without its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory (always 0755 on a host).
    Dir,
    File {
        /// From 0400 to 0555: the owner may always read, and nobody may write.
        mode: u32,
        size: u64,
        /// Digest of the content.
        sha256: Digest,
    },
    Link {
        /// Its target, as written.
        target: String,
    },
}

/// The entries of one tree by path: relative, `/`-separated, never empty, no `.` or `..` parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    nodes: BTreeMap<String, Node>,
}

impl Manifest {
    /// Makes a manifest of these entries. The caller has refused hostile paths.
    pub fn new(nodes: BTreeMap<String, Node>) -> Self {
        Self { nodes }
    }

    /// Returns the entries, sorted by path as bytes.
    pub fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    /// Returns the entries and drops the manifest.
    pub fn into_nodes(self) -> BTreeMap<String, Node> {
        self.nodes
    }

    /// Returns whether there is an entry at or below `path`.
    pub fn holds(&self, path: &str) -> bool {
        self.nodes.contains_key(path) || self.nodes.keys().any(|p| is_below(p, path))
    }

    /// Returns the manifest without entries at or below any of `paths`.
    #[must_use]
    pub fn without(&self, paths: &[String]) -> Self {
        let out = |p: &str| paths.iter().any(|cut| p == cut || is_below(p, cut));
        let kept = self.nodes.iter().filter(|(p, _)| !out(p));
        Self { nodes: kept.map(|(p, n)| (p.clone(), n.clone())).collect() }
    }

    /// Returns the number of bytes of all files.
    pub fn size(&self) -> u64 {
        let size = |node: &Node| if let Node::File { size, .. } = node { *size } else { 0 };
        self.nodes.values().map(size).sum()
    }

    /// Returns the number of regular files.
    pub fn files(&self) -> usize {
        self.nodes.values().filter(|node| matches!(node, Node::File { .. })).count()
    }

    /// Returns the canonical text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (path, node) in &self.nodes {
            let _ = writeln!(text, "{}", line(path, node));
        }
        text
    }

    /// Returns the lines sorted as bytes, as hosts keep them.
    pub fn sealed_text(&self) -> String {
        sealed(self.nodes.iter().map(|(path, node)| line(path, node)))
    }

    /// Returns the digest of the canonical text. For an artifact's manifest, it is the artifact's
    /// digest.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }

    /// Reads canonical lines, in any order. `None`: one of them is not canonical.
    pub fn parse(text: &str) -> Option<Self> {
        let mut nodes = BTreeMap::new();
        // `lines` would drop a carriage return, which is part of a name here.
        for read in text.split_terminator('\n') {
            let (path, node) = parse_line(read)?;
            let canonical = stays_inside(&path) && line(&path, &node) == read;
            if !canonical || nodes.insert(path, node).is_some() {
                return None;
            }
        }
        Some(Self { nodes })
    }
}

/// The manifest of a release with the digest of its sealed text, which identifies it on hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub manifest: Manifest,
    /// The digest of its sealed text.
    pub digest: Digest,
}

impl From<Manifest> for Sealed {
    fn from(manifest: Manifest) -> Self {
        let digest = Digest::of(manifest.sealed_text().as_bytes());
        Self { manifest, digest }
    }
}

/// Returns the line of one entry, without a newline.
pub fn line(path: &str, node: &Node) -> String {
    match node {
        Node::Dir => format!("d ./{path}"),
        Node::File { mode, size, sha256 } => format!("f {mode:o} {size} {sha256} ./{path}"),
        Node::Link { target } => format!("l ./{path} -> {target}"),
    }
}

/// Returns lines sorted as bytes, as hosts keep them.
pub fn sealed(lines: impl IntoIterator<Item = String>) -> String {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_unstable();
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Returns whether `path` lies below the directory `top`.
pub fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

fn stays_inside(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn parse_line(line: &str) -> Option<(String, Node)> {
    let (kind, rest) = line.split_once(' ')?;
    match kind {
        "d" => Some((rest.strip_prefix("./")?.to_owned(), Node::Dir)),
        "f" => {
            let mut words = rest.splitn(4, ' ');
            let mode = u32::from_str_radix(words.next()?, 8).ok()?;
            let size = words.next()?.parse().ok()?;
            let sha256 = words.next()?.parse().ok()?;
            let path = words.next()?.strip_prefix("./")?.to_owned();
            Some((path, Node::File { mode, size, sha256 }))
        }
        "l" => {
            let (path, target) = rest.strip_prefix("./")?.split_once(" -> ")?;
            Some((path.to_owned(), Node::Link { target: target.to_owned() }))
        }
        _ => None,
    }
}
