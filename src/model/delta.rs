//! The files of a new release that a host lacks, compared with its base. A pure computation, so a
//! plan can say which bytes will travel.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use super::digest::Digest;
use super::id::ReleaseId;
use super::layout::Layout;
use super::manifest::{Manifest, Node, line};

/// At most this many files of one release share one file of the base by content alone. ext4 ends
/// at 65,000 links, and hosts hold back files that have 60,000.
const MOST_COPIES: usize = 1000;

/// Size in bytes from which a changed file is patched. A smaller one travels whole: to apply a
/// patch, a host runs seven programs, for some 7 ms, in which a link of 400 Mbit/s carries a third
/// of a MiB.
pub const LARGE: u64 = 1 << 20;

/// At most this many files of a release are patched, the largest.
const MOST_PATCHED: usize = 100;

/// The report of a host about the files that a new release may share.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseState {
    /// The live release, and the digest of its sealed manifest.
    pub live: Option<(ReleaseId, Digest)>,
    /// Files of it that must not be shared: touched since it was made, owned by another user, or
    /// near the file system's limit of links.
    pub unshareable: BTreeSet<String>,
    /// The files that an interrupted upload of the same release left.
    pub partial: Option<PartialUpload>,
    /// Whether it has zstd, which decodes patches.
    pub patches: bool,
}

/// A release of which only a part arrived. Its files were not read back yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartialUpload {
    /// The directory it is in, relative to `releases/`.
    pub place: String,
    /// Mode and size of its files, by path.
    pub files: BTreeMap<String, (u32, u64)>,
}

/// The way of each file of a release to one host: shared with a file that is there, patched, or
/// sent. The default one sends everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// The release whose manifest the host changes into the new one's; `None`: the new manifest is
    /// sent.
    pub base: Option<ReleaseId>,
    /// Files that are shared: path in the release, and the file it is linked to, relative to
    /// `releases/`.
    pub links: BTreeMap<String, String>,
    /// Lines of the base's manifest that the new one lacks.
    pub gone: Vec<String>,
    /// Lines that the base's manifest lacks, and those of files that are sent again: the host
    /// checks their digests.
    pub new: Vec<String>,
    /// Bytes of the files that are shared.
    pub linked: u64,
    /// Large files that the host makes from their old versions, by path in the release.
    pub patched: BTreeMap<String, PatchedFile>,
    /// The directory of the partial upload that is used, relative to `releases/`.
    pub partial: Option<String>,
}

/// A large file that is made from its old version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchedFile {
    /// The old file, relative to `releases/`.
    pub from: String,
    /// Digest of the old file.
    pub old: Digest,
    /// Bytes of the old file.
    pub old_size: u64,
    /// Bytes of the new file.
    pub size: u64,
    /// Bytes of its patch, before the stream is compressed.
    pub sent: u64,
    /// The lines by which the host makes it.
    pub steps: String,
}

impl Delta {
    /// Compares `release` with `base`, the manifest of the live release of `host`, less the files
    /// that must not be shared, and with a partial upload of the same release. Nothing is patched
    /// yet.
    pub fn new(release: &Manifest, base: Option<&Manifest>, host: &BaseState) -> Self {
        let base = host.live.zip(base).map(|((id, _), base)| (id, base));
        let mut index = base.map(|(id, base)| BaseIndex::new(id, base, &host.unshareable));
        let mut delta = Self::default();
        for (path, node) in release.nodes() {
            let Node::File { mode, size, .. } = node else { continue };
            // Empty files cost nothing to send, and there may be very many of them.
            if *size == 0 {
                continue;
            }
            let twin = index.as_mut().and_then(|index| index.find(path, node));
            let arrived = || {
                let partial = host.partial.as_ref()?;
                let whole = partial.files.get(path) == Some(&(*mode, *size));
                whole.then(|| Layout::unpacked(&partial.place, path))
            };
            if let Some(to) = twin.or_else(arrived) {
                delta.linked += size;
                delta.links.insert(path.clone(), to);
            }
        }
        let place = host.partial.as_ref().map(|partial| partial.place.clone());
        delta.partial = place.filter(|place| delta.links.values().any(|to| to.starts_with(place)));
        if let Some((id, base)) = base.filter(|_| !delta.links.is_empty()) {
            delta.base = Some(id);
            delta.gone = delta.lines_of(base, release, id);
            delta.new = delta.lines_of(release, base, id);
        }
        delta
    }

    /// Returns the large files that would travel whole though `base` holds an old version of them
    /// that may be shared: at the same path, or else the most likely file that is gone. At most
    /// `MOST_PATCHED`, the largest. No patch is made yet.
    pub fn changed(
        &self,
        release: &Manifest,
        base: &Manifest,
        host: &BaseState,
    ) -> BTreeMap<String, PatchedFile> {
        let Some((id, _)) = host.live else { return BTreeMap::new() };
        let id = id.to_string();
        let change = |(path, node): (&String, &Node)| {
            let size = large(node).filter(|_| self.sends(path))?.0;
            let (from, node) = old_version(path, size, release, base)?;
            let shared = !host.unshareable.contains(from);
            let (old_size, old) = large(node).filter(|_| shared)?;
            let from = Layout::file(&id, from);
            let file = PatchedFile { from, old, old_size, size, sent: 0, steps: String::new() };
            Some((path.clone(), file))
        };
        let mut changes: Vec<_> = release.nodes().iter().filter_map(change).collect();
        changes.sort_by_key(|(_, file)| std::cmp::Reverse(file.old_size));
        changes.into_iter().take(MOST_PATCHED).collect()
    }

    /// Returns how many bytes patches save.
    pub fn spared(&self) -> u64 {
        self.patched.values().map(|file| file.size.saturating_sub(file.sent)).sum()
    }

    /// Returns whether anything is made from files that the host has.
    pub fn shares(&self) -> bool {
        !self.links.is_empty() || !self.patched.is_empty()
    }

    /// Returns whether the file at `path` travels with all its bytes.
    pub fn sends(&self, path: &str) -> bool {
        !self.links.contains_key(path) && !self.patched.contains_key(path)
    }

    /// Identifies this delta among all that share something. `None`: everything is sent.
    pub fn key(&self) -> Option<Digest> {
        if !self.shares() {
            return None;
        }
        let mut text = format!("{:?}\n", self.base);
        for (path, to) in &self.links {
            let _ = writeln!(text, "{path}\n{to}");
        }
        for (path, file) in &self.patched {
            let _ = writeln!(text, "{path}\n{} {}", file.from, file.old);
        }
        // Lines of manifests hold no newlines, and begin with a letter and a space.
        let lists = [&self.gone, &self.new].map(|list| list.join("\n"));
        Some(Digest::of([text, lists.join("\n\n")].join("\n\n").as_bytes()))
    }

    /// Returns the lines of `manifest` that `other` lacks, and those of files whose bytes are not
    /// shared at the same path of the base.
    fn lines_of(&self, manifest: &Manifest, other: &Manifest, base: ReleaseId) -> Vec<String> {
        let there = base.to_string();
        let kept = |path: &String, node: &Node| match node {
            Node::File { size: 1.., .. } => {
                self.links.get(path).is_some_and(|to| *to == Layout::file(&there, path))
            }
            _ => true,
        };
        let stays = |path, node| other.nodes().get(path) == Some(node) && kept(path, node);
        let changed = manifest.nodes().iter().filter(|(path, node)| !stays(path, node));
        changed.map(|(path, node)| line(path, node)).collect()
    }
}

/// Returns size and digest of a large file.
fn large(node: &Node) -> Option<(u64, Digest)> {
    match node {
        Node::File { size, sha256, .. } if *size >= LARGE => Some((*size, *sha256)),
        _ => None,
    }
}

/// Returns the file of `base` that became the one at `path`. Names often hold a version: if there
/// is no file at this path, of those that are gone and have the same ending it is the one of the
/// most similar size.
fn old_version<'a>(
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

/// Finds files of a base by path, and by content and mode.
struct BaseIndex<'a> {
    id: String,
    base: &'a Manifest,
    unshareable: &'a BTreeSet<String>,
    by_content: HashMap<(Digest, u32), (&'a String, usize)>,
}

impl<'a> BaseIndex<'a> {
    fn new(id: ReleaseId, base: &'a Manifest, unshareable: &'a BTreeSet<String>) -> Self {
        let content = |(path, node): (&'a String, &Node)| match node {
            Node::File { mode, sha256, .. } if !unshareable.contains(path) => {
                Some(((*sha256, *mode), (path, 0)))
            }
            _ => None,
        };
        let by_content = base.nodes().iter().filter_map(content).collect();
        Self { id: id.to_string(), base, unshareable, by_content }
    }

    /// Returns a file with the content and mode of `node`, relative to `releases/`. The one at the
    /// same path goes first, so that two files of the release share one only where they must.
    fn find(&mut self, path: &String, node: &Node) -> Option<String> {
        if self.base.nodes().get(path) == Some(node) && !self.unshareable.contains(path) {
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

    fn compare(release: &Manifest, base: Option<&Manifest>, host: &BaseState) -> Delta {
        Delta::new(release, base, &BaseState { live: Some(live()), ..host.clone() })
    }

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

    fn live() -> (ReleaseId, Digest) {
        let id = "20260821090001".parse().unwrap_or_else(|_| unreachable!("an id"));
        (id, Digest::of(b""))
    }

    fn shown(delta: &Delta) -> String {
        let links: Vec<_> = delta.links.iter().map(|(path, to)| format!("{path}<{to}")).collect();
        let path = |line: &String| line.rsplit("./").next().unwrap_or_default().to_owned();
        let paths = |lines: &[String]| lines.iter().map(path).collect::<Vec<_>>().join(" ");
        let text = format!("{} -{} +{}", links.join(" "), paths(&delta.gone), paths(&delta.new));
        text.replace("20260821090001/", "@")
    }

    #[track_caller]
    fn check(base: &str, release: &str, unshareable: &str, expect: &str) {
        let unshareable = unshareable.split_whitespace().map(str::to_owned).collect();
        let host = BaseState { unshareable, ..BaseState::default() };
        let delta = compare(&manifest(release), Some(&manifest(base)), &host);
        assert_eq!(shown(&delta), expect);
    }

    #[test]
    fn unchanged_file_is_shared() {
        check("a=1 b=2", "a=1 b=2", "", "a<@a b<@b - +");
        check("a=1 b=2", "a=1 b=3", "", "a<@a -b +b");
        check("a=1 b=2", "a=1", "", "a<@a -b +");
        check("a=1", "a=1 b=2", "", "a<@a - +b");
        check("a=1", "a=2", "", " - +");
    }

    #[test]
    fn renamed_file_is_shared_and_read_back() {
        check("a=1", "b=1", "", "b<@a -a +b");
        check("a=1 b=1", "a=1 b=1 c=1", "", "a<@a b<@b c<@b - +c");
    }

    #[test]
    fn file_with_another_mode_is_sent() {
        check("a=1 b=2", "a=1! b=2", "", "b<@b -a +a");
        check("a=1 b=1!", "a=1! b=1", "", "a<@b b<@a -a b +a b");
    }

    #[test]
    fn unshareable_file_is_sent() {
        check("a=1 b=2", "a=1 b=2 c=1", "a", "b<@b -a +a c");
    }

    #[test]
    fn empty_file_is_sent() {
        check("a=1 e=", "a=1 e= f=", "", "a<@a - +f");
    }

    #[test]
    fn uploaded_file_is_used_if_the_base_has_none() {
        let files = BTreeMap::from([
            ("a".to_owned(), (0o444, 1)),
            ("b".to_owned(), (0o444, 1)),
            ("c".to_owned(), (0o444, 7)),
        ]);
        let partial = Some(PartialUpload { place: ".x.run".to_owned(), files });
        let host = BaseState { partial, ..BaseState::default() };
        let release = manifest("a=1 b=2 c=3");
        let delta = compare(&release, Some(&manifest("a=1")), &host);
        assert_eq!(shown(&delta), "a<@a b<.x.run/tree/b - +b c");
        let alone = compare(&release, None, &host);
        assert_eq!(shown(&alone), "a<.x.run/tree/a b<.x.run/tree/b - +");
        assert_eq!((alone.base, alone.linked), (None, 2));
    }

    #[test]
    fn many_large_files_patch_only_the_largest() {
        let large = |seed: u8| {
            let node = |n: u64| {
                let sha256 = Digest::of(&[seed, u8::try_from(n).unwrap_or_default()]);
                (format!("f{n:03}"), Node::File { mode: 0o444, size: LARGE + n - 10, sha256 })
            };
            Manifest::new((0..MOST_PATCHED as u64 + 15).map(node).collect())
        };
        let (base, release) = (large(1), large(2));
        let host = BaseState { live: Some(live()), ..BaseState::default() };
        let changed = |host: &BaseState| {
            let changes = compare(&release, Some(&base), host).changed(&release, &base, host);
            changes.into_keys().collect::<Vec<_>>()
        };
        let paths = changed(&host);
        assert_eq!(paths.len(), MOST_PATCHED);
        assert_eq!((&*paths[0], &*paths[99]), ("f015", "f114"));
        let host = BaseState { unshareable: ["f114".to_owned()].into(), ..host.clone() };
        assert_eq!(changed(&host)[99], "f113", "others share it no more");
    }

    #[test]
    fn copies_of_one_file_are_shared_up_to_a_limit() {
        let many: Vec<_> = (0..MOST_COPIES + 5).map(|n| format!("f{n}=1")).collect();
        let release = manifest(&many.join(" "));
        let base = manifest("a=1");
        let delta = compare(&release, Some(&base), &BaseState::default());
        assert_eq!(delta.links.len(), MOST_COPIES);
    }
}
