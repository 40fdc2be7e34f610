//! What of a release a host has already, and so need not be sent: pure, so that a plan can say
//! beforehand what will travel.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use super::digest::Digest;
use super::id::ReleaseId;
use super::layout::Layout;
use super::manifest::{Manifest, Node, line};

/// So many files of one release may share one file of another by their content alone. ext4 ends
/// at 65,000 links, and hosts hold back what has 60,000.
const MOST_COPIES: usize = 1000;

/// A smaller file travels whole when it changed: to put one together, a host runs seven programs,
/// for some 7 ms, in which a link of 400 Mbit/s carries what a third of a MiB is when it is packed.
pub const LARGE: u64 = 1 << 20;

/// So many files are put together at most, the largest.
const MOST_REBUILT: usize = 100;

/// What a host says of the files that a new release may share.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseState {
    /// The live release, and the digest of its sealed manifest.
    pub live: Option<(ReleaseId, Digest)>,
    /// Files of it that must not be shared: touched since, somebody else's, near the limit of links.
    pub apart: BTreeSet<String>,
    /// What an interrupted upload of the same release left.
    pub part: Option<PartialUpload>,
}

/// A release that arrived in part. Nobody has read its files back yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartialUpload {
    /// Where it is, relative to `releases/`.
    pub place: String,
    /// Mode and size of its files, by path.
    pub files: BTreeMap<String, (u32, u64)>,
}

/// What becomes of each entry of a release on one host: shared with files that are there, or sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// The release whose manifest is the base of the new one's; `None`: all of it is sent.
    pub base: Option<ReleaseId>,
    /// Files that are shared: path in the release, and what it is linked to, relative to
    /// `releases/`.
    pub links: BTreeMap<String, String>,
    /// Lines of the base's manifest that are not so in the release.
    pub gone: Vec<String>,
    /// Lines of the release that are not in the base, or whose bytes are written anew: what they
    /// say of bytes is checked on the host.
    pub new: Vec<String>,
    /// The bytes that are shared.
    pub linked: u64,
    /// Large files that the host puts together from their old selves, by path.
    pub rebuilt: BTreeMap<String, Rebuild>,
    /// The part that is made use of.
    pub part: Option<String>,
    /// What tells this one from others that share something.
    pub key: Option<Digest>,
}

/// A large file of the base, and what it became in the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// In the release.
    pub path: String,
    /// The old file, relative to `releases/`.
    pub from: String,
    /// Of its bytes.
    pub old: Digest,
    /// Bytes of the old file.
    pub old_size: u64,
}

/// How a large file comes to be on a host without travelling whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// The old file, relative to `releases/`.
    pub from: String,
    /// Of its bytes.
    pub old: Digest,
    /// Bytes of the new file.
    pub size: u64,
    /// Bytes that are sent instead, before the stream is compressed.
    pub sent: u64,
}

impl Delta {
    /// What `release` has in common with `base`, less what the host holds back, and with a part
    /// of the same release.
    pub fn new(release: &Manifest, base: Option<(ReleaseId, &Manifest)>, host: &BaseState) -> Self {
        let mut twins =
            base.map(|(id, manifest)| BaseIndex::new(id.to_string(), manifest, &host.apart));
        let mut delta = Self::default();
        for (path, node) in release.nodes() {
            let Node::File { mode, size, .. } = node else { continue };
            // Empty files cost nothing to send, and there may be very many of them.
            if *size == 0 {
                continue;
            }
            let twin = twins.as_mut().and_then(|twins| twins.of(path, node));
            let arrived = || {
                let part = host.part.as_ref()?;
                let whole = part.files.get(path) == Some(&(*mode, *size));
                whole.then(|| Layout::unpacked(&part.place, path))
            };
            if let Some(to) = twin.or_else(arrived) {
                delta.linked += size;
                delta.links.insert(path.clone(), to);
            }
        }
        let place = host.part.as_ref().map(|part| part.place.clone());
        delta.part = place.filter(|place| delta.links.values().any(|to| to.starts_with(place)));
        if let (Some((id, manifest)), true) = (base, delta.shares()) {
            delta.differ(release, id, manifest);
        }
        delta
    }

    /// The large files of `release` that would travel whole, though there is an old self of theirs
    /// in `base` that nobody touched: at the same path, or the most likely one that is gone. Of very
    /// many, the largest.
    pub fn changed(
        &self,
        release: &Manifest,
        (id, base): (ReleaseId, &Manifest),
        apart: &BTreeSet<String>,
    ) -> Vec<ChangedFile> {
        let id = id.to_string();
        let change = |(path, node): (&String, &Node)| {
            let size = large(node).filter(|_| !self.links.contains_key(path))?.0;
            let (from, node) = old_self(path, size, release, base)?;
            let (old_size, old) = large(node).filter(|_| !apart.contains(from))?;
            Some(ChangedFile { path: path.clone(), from: Layout::file(&id, from), old, old_size })
        };
        let mut changes: Vec<_> = release.nodes().iter().filter_map(change).collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.old_size));
        changes.truncate(MOST_REBUILT);
        changes
    }

    /// The same with its key, when all else is settled.
    #[must_use]
    pub fn keyed(mut self) -> Self {
        self.key = self.shares().then(|| self.digest());
        self
    }

    /// Bytes that need not travel because files are put together on the host.
    pub fn spared(&self) -> u64 {
        self.rebuilt.values().map(|file| file.size.saturating_sub(file.sent)).sum()
    }

    /// Whether anything is made from what the host has.
    pub fn shares(&self) -> bool {
        !self.links.is_empty() || !self.rebuilt.is_empty()
    }

    fn digest(&self) -> Digest {
        let mut text = format!("{:?}\n", self.base);
        for (path, to) in &self.links {
            let _ = writeln!(text, "{path}\n{to}");
        }
        for (path, file) in &self.rebuilt {
            let _ = writeln!(text, "{path}\n{} {}", file.from, file.old);
        }
        // Lines of manifests hold no newlines, and begin with a letter and a space.
        let lists = [&self.gone, &self.new].map(|list| list.join("\n"));
        Digest::of([text, lists.join("\n\n")].join("\n\n").as_bytes())
    }

    fn differ(&mut self, release: &Manifest, id: ReleaseId, base: &Manifest) {
        let there = id.to_string();
        let kept = |path: &String, node: &Node| match node {
            Node::File { size: 1.., .. } => {
                self.links.get(path).is_some_and(|to| *to == Layout::file(&there, path))
            }
            _ => true,
        };
        let lines = |of: &Manifest, other: &Manifest| {
            let stays = |path, node| other.nodes().get(path) == Some(node) && kept(path, node);
            let changed = of.nodes().iter().filter(|(path, node)| !stays(path, node));
            changed.map(|(path, node)| line(path, node)).collect::<Vec<_>>()
        };
        let (gone, new) = (lines(base, release), lines(release, base));
        (self.base, self.gone, self.new) = (Some(id), gone, new);
    }
}

/// Size and digest of a large file.
fn large(node: &Node) -> Option<(u64, Digest)> {
    match node {
        Node::File { size, sha256, .. } if *size >= LARGE => Some((*size, *sha256)),
        _ => None,
    }
}

/// The file of `base` that became the one at `path`: names often hold a version, so of those that
/// are gone and have the same ending, the one of the most similar size.
fn old_self<'a>(
    path: &str,
    size: u64,
    release: &Manifest,
    base: &'a Manifest,
) -> Option<(&'a String, &'a Node)> {
    if let Some(same) = base.nodes().get_key_value(path) {
        return Some(same);
    }
    let ending = Path::new(path).extension();
    let gone = base.nodes().iter().filter(|(old, node)| {
        let is_gone = large(node).is_some() && !release.nodes().contains_key(*old);
        is_gone && Path::new(old).extension() == ending
    });
    gone.min_by_key(|(_, node)| large(node).map(|(old, _)| old.abs_diff(size)))
}

/// Finds for a file one of the same content and mode in a base.
struct BaseIndex<'a> {
    id: String,
    base: &'a Manifest,
    apart: &'a BTreeSet<String>,
    by_content: HashMap<(Digest, u32), (&'a String, usize)>,
}

impl<'a> BaseIndex<'a> {
    fn new(id: String, base: &'a Manifest, apart: &'a BTreeSet<String>) -> Self {
        let content = |(path, node): (&'a String, &Node)| match node {
            Node::File { mode, sha256, .. } if !apart.contains(path) => {
                Some(((*sha256, *mode), (path, 0)))
            }
            _ => None,
        };
        let by_content = base.nodes().iter().filter_map(content).collect();
        Self { id, base, apart, by_content }
    }

    /// The one at the same path first, so that no two files become one that were not.
    fn of(&mut self, path: &String, node: &Node) -> Option<String> {
        if self.base.nodes().get(path) == Some(node) && !self.apart.contains(path) {
            return Some(Layout::file(&self.id, path));
        }
        let Node::File { mode, sha256, .. } = node else { return None };
        let (twin, copies) = self.by_content.get_mut(&(*sha256, *mode))?;
        *copies += 1;
        (*copies <= MOST_COPIES).then(|| Layout::file(&self.id, twin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a=x b=y!`: paths with their content; `!` makes it run.
    fn manifest(text: &str) -> Manifest {
        let node = |word: &str| {
            let (path, content) = word.split_once('=').unwrap_or((word, ""));
            let (content, mode) = match content.strip_suffix('!') {
                Some(content) => (content, 0o555),
                None => (content, 0o444),
            };
            let sha256 = Digest::of(content.as_bytes());
            (path.to_owned(), Node::File { mode, size: content.len() as u64, sha256 })
        };
        Manifest::new(text.split_whitespace().map(node).collect())
    }

    fn id() -> ReleaseId {
        "20260821090001".parse().unwrap_or_else(|_| unreachable!("an id"))
    }

    fn shown(delta: &Delta) -> String {
        let links: Vec<_> = delta.links.iter().map(|(path, to)| format!("{path}<{to}")).collect();
        let path = |line: &String| line.rsplit("./").next().unwrap_or_default().to_owned();
        let paths = |lines: &[String]| lines.iter().map(path).collect::<Vec<_>>().join(" ");
        let text = format!("{} -{} +{}", links.join(" "), paths(&delta.gone), paths(&delta.new));
        text.replace("20260821090001/", "@")
    }

    #[track_caller]
    fn check(base: &str, release: &str, apart: &str, expect: &str) {
        let apart = apart.split_whitespace().map(str::to_owned).collect();
        let host = BaseState { apart, ..BaseState::default() };
        let delta = Delta::new(&manifest(release), Some((id(), &manifest(base))), &host);
        assert_eq!(shown(&delta), expect);
    }

    #[test]
    fn what_did_not_change_is_shared() {
        check("a=1 b=2", "a=1 b=2", "", "a<@a b<@b - +");
        check("a=1 b=2", "a=1 b=3", "", "a<@a -b +b");
        check("a=1 b=2", "a=1", "", "a<@a -b +");
        check("a=1", "a=1 b=2", "", "a<@a - +b");
        check("a=1", "a=2", "", " - +");
    }

    #[test]
    fn renames_cost_nothing_and_are_read_back() {
        check("a=1", "b=1", "", "b<@a -a +b");
        check("a=1 b=1", "a=1 b=1 c=1", "", "a<@a b<@b c<@b - +c");
    }

    #[test]
    fn a_mode_is_part_of_a_file() {
        check("a=1 b=2", "a=1! b=2", "", "b<@b -a +a");
        check("a=1 b=1!", "a=1! b=1", "", "a<@b b<@a -a b +a b");
    }

    #[test]
    fn what_is_held_back_is_sent() {
        check("a=1 b=2", "a=1 b=2 c=1", "a", "b<@b -a +a c");
    }

    #[test]
    fn empty_files_are_sent_and_known_by_their_size() {
        check("a=1 e=", "a=1 e= f=", "", "a<@a - +f");
    }

    #[test]
    fn what_arrived_is_used_where_the_live_release_has_nothing() {
        let files = BTreeMap::from([
            ("a".to_owned(), (0o444, 1)),
            ("b".to_owned(), (0o444, 1)),
            ("c".to_owned(), (0o444, 7)),
        ]);
        let part = Some(PartialUpload { place: ".x.run".to_owned(), files });
        let host = BaseState { part, ..BaseState::default() };
        let release = manifest("a=1 b=2 c=3");
        let delta = Delta::new(&release, Some((id(), &manifest("a=1"))), &host);
        assert_eq!(shown(&delta), "a<@a b<.x.run/tree/b - +b c");
        let alone = Delta::new(&release, None, &host);
        assert_eq!(shown(&alone), "a<.x.run/tree/a b<.x.run/tree/b - +");
        assert_eq!((alone.base, alone.linked), (None, 2));
    }

    #[test]
    fn of_very_many_large_files_the_largest_are_put_together() {
        let large = |seed: u8| {
            let node = |n: u64| {
                let sha256 = Digest::of(&[seed, u8::try_from(n).unwrap_or_default()]);
                (format!("f{n:03}"), Node::File { mode: 0o444, size: LARGE + n - 10, sha256 })
            };
            Manifest::new((0..MOST_REBUILT as u64 + 15).map(node).collect())
        };
        let (base, release) = (large(1), large(2));
        let delta = Delta::new(&release, Some((id(), &base)), &BaseState::default());
        let changes = delta.changed(&release, (id(), &base), &BTreeSet::new());
        assert_eq!(changes.len(), MOST_REBUILT);
        assert_eq!((&*changes[0].path, &*changes[99].path), ("f114", "f015"));
        let few = delta.changed(&release, (id(), &base), &["f114".to_owned()].into());
        assert_eq!(few[0].path, "f113", "others share it no more");
    }

    #[test]
    fn one_file_is_not_shared_without_end() {
        let many: Vec<_> = (0..MOST_COPIES + 5).map(|n| format!("f{n}=1")).collect();
        let release = manifest(&many.join(" "));
        let base = manifest("a=1");
        let delta = Delta::new(&release, Some((id(), &base)), &BaseState::default());
        assert_eq!(delta.links.len(), MOST_COPIES);
    }
}
