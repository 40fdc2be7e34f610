//! Opens any artifact: lists all entries, refuses hostile ones, hashes files.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::address::ArtifactAddress;
use super::entry::{EntryKind, Item, readers};
use super::error::{ArtifactError, LimitHit};
use super::expected::{Beside, Expected};
use super::fetch::{Fetched, Fetcher};
use super::kind::{self, ArchiveKind};
use super::known::KnownDigests;
use super::limits::Limits;
use super::spool::{self, Spool, SpoolPlace, on_all_cores};
use super::stamp::Stamp;
use super::tree::{Spot, Tree};
use super::{address, directory, expected, notes, programs, untar, unzip};
use crate::config::access::FetchEnv;
use crate::config::{ArtifactSource, ArtifactSpec};
use crate::model::digest::Digest;
use crate::model::manifest::{Manifest, Node};
use crate::model::note::Note;

/// Bytes of a file REVISION; a longer one names no revision.
const LONGEST_REVISION: u64 = 200;

/// An artifact that has been opened: what it holds, and where the bytes are.
#[derive(Debug)]
pub struct Artifact {
    name: String,
    manifest: Manifest,
    digest: Digest,
    revision: Option<String>,
    notes: Vec<Note>,
    /// Every entry, by path.
    pub(super) items: BTreeMap<String, Item>,
    /// The bytes that came out of an archive, or the file that is the artifact.
    pub(super) spool: File,
    /// Stamp of the spool, before anything was read.
    pub(super) stamp: Stamp,
    /// The directory for temporary files.
    pub(super) scratch: Option<PathBuf>,
}

impl Artifact {
    /// Opens the artifact that `spec` names and reads all of it once, except files whose digests are
    /// known. Temporary files have no name and lie in `scratch`, or in the system's directory for
    /// them. `listed` is called as soon as everything is listed and nothing was refused: the rest can
    /// hardly fail. Blocks.
    ///
    /// # Errors
    /// If it cannot be read, holds an entry that is refused, or exceeds `limits`.
    pub fn open(
        spec: &ArtifactSpec,
        scratch: Option<&Path>,
        limits: &Limits,
        known: &KnownDigests,
        listed: impl FnOnce(),
    ) -> Result<Self, ArtifactError> {
        let name = shown(&spec.source);
        let mut tree = Tree::new(&name, spec, limits, known.now)?;
        let spool = read(spec, scratch, limits, &mut tree, known)?;
        let (mut items, mut notes) = tree.finish(&spool)?;
        listed();
        let meta = spool.metadata().map_err(|source| ArtifactError::Scratch { source })?;
        let stamp = Stamp::new(&meta);
        notes.extend(notes::told_restored(&programs::restore(&mut items, &spool, stamp)));
        let manifest = list(&items, &spool, stamp, known)?;
        let digest = manifest.digest();
        let revision = revision(&items, &spool)?;
        let scratch = scratch.map(Path::to_owned);
        Ok(Self { name, manifest, digest, revision, notes, items, spool, stamp, scratch })
    }

    /// Returns an artifact with these entries, whose bytes are in `spool`.
    pub(super) fn assembled(
        name: String,
        manifest: Manifest,
        items: BTreeMap<String, Item>,
        spool: File,
    ) -> Result<Self, ArtifactError> {
        let meta = spool.metadata().map_err(|source| ArtifactError::Scratch { source })?;
        let (digest, stamp) = (manifest.digest(), Stamp::new(&meta));
        let (revision, notes, scratch) = (None, Vec::new(), None);
        Ok(Self { name, manifest, digest, revision, notes, items, spool, stamp, scratch })
    }

    /// Returns whether it has the bytes of the file at `path`.
    pub fn has(&self, path: &str) -> bool {
        let kind = self.items.get(path).map(|item| &item.what);
        matches!(kind, Some(EntryKind::File { .. }))
    }

    /// Returns what the user calls it, without the secret parts of an address.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns everything it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the digest of the manifest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the source revision, if a file `REVISION` holds one line that can be one.
    pub fn revision(&self) -> Option<String> {
        self.revision.clone()
    }

    /// Returns the text that [`KnownDigests::new`] reads the next time. `None`: `before` knew all.
    pub fn known(&self, before: &KnownDigests) -> Option<String> {
        let file =
            |(path, item): (&String, &Item)| match (&item.what, self.manifest.nodes().get(path)) {
                (EntryKind::File { place, .. }, Some(Node::File { sha256, .. })) => {
                    Some((place.stamp(self.stamp)?, *sha256))
                }
                _ => None,
            };
        before.text(&self.items.iter().filter_map(file).collect::<Vec<_>>())
    }

    /// Returns notes for the user.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Returns the paths of files that look like programs and are not executable.
    pub fn not_executable(&self) -> Vec<&str> {
        let inert = |(path, node): &(&String, &Node)| {
            matches!(node, Node::File { mode, .. } if mode & 0o111 == 0)
                && programs::is_program_place(path)
        };
        let is_program = |path: &&str| match self.items.get(*path).map(|item| &item.what) {
            Some(EntryKind::File { place, .. }) => {
                programs::begins_like_one(place, &self.spool, self.stamp)
            }
            _ => false,
        };
        let inert = self.manifest.nodes().iter().filter(inert);
        inert.map(|(path, _)| path.as_str()).filter(is_program).collect()
    }
}

fn shown(source: &ArtifactSource) -> String {
    match source {
        ArtifactSource::Path { path, .. } => path.display().to_string(),
        ArtifactSource::Url { url, .. } => address::shown(url),
    }
}

/// Reads the artifact into `tree`, from where it is. Returns the file in which the bytes are.
fn read(
    spec: &ArtifactSpec,
    scratch: Option<&Path>,
    limits: &Limits,
    tree: &mut Tree<'_>,
    known: &KnownDigests,
) -> Result<File, ArtifactError> {
    let nothing = FetchEnv::default();
    let machine = spec.access.machine.as_ref().unwrap_or(&nothing);
    let (url, sha256) = match &spec.source {
        ArtifactSource::Path { path, sha256 } => {
            let fetcher = Fetcher::new("", &spec.access, machine);
            let beside = Beside::Path(path);
            let expected = Expected::new(spec, sha256.as_ref(), &beside, &fetcher)?;
            return from_path(path, &expected, scratch, tree, known);
        }
        ArtifactSource::Url { url, sha256 } => (url, sha256.as_ref()),
    };
    let fetcher = Fetcher::new(url, &spec.access, machine);
    match address::target(url)? {
        ArtifactAddress::Local(path) => {
            let expected = Expected::new(spec, sha256, &Beside::Path(&path), &fetcher)?;
            from_path(&path, &expected, scratch, tree, known)
        }
        ArtifactAddress::Remote => {
            let expected = Expected::new(spec, sha256, &Beside::Url(url), &fetcher)?;
            let Fetched { file, sha256, html } = fetcher.download(url, scratch, limits)?;
            expected.check(tree.artifact(), &file, Some(sha256), html)?;
            from_file(file, &address::file_name(url), false, scratch, tree)
        }
    }
}

fn from_path(
    path: &Path,
    expected: &Expected<'_>,
    scratch: Option<&Path>,
    tree: &mut Tree<'_>,
    known: &KnownDigests,
) -> Result<File, ArtifactError> {
    let failed = |source| ArtifactError::Open { path: path.to_owned(), source };
    // Opening a fifo would wait for somebody to write to it.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(nonblock).open(path);
    let file = opened.map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        if expected.is_some() {
            return Err(ArtifactError::DigestOfDirectory { path: path.to_owned() });
        }
        directory::read(path, tree, known.now)?;
        return spool::nameless(scratch);
    }
    if !meta.is_file() {
        return Err(ArtifactError::NotAFile { path: path.to_owned() });
    }
    if expected.is_some() {
        let whole = SpoolPlace::Spool { at: 0, len: meta.len() };
        let hash = || whole.digest(&file, &path.display().to_string());
        let found = expected.sha256.map(|_| hash()).transpose()?;
        expected.check(tree.artifact(), &file, found, false)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    from_file(file, &name, meta.mode() & 0o100 != 0, scratch, tree)
}

/// Reads the file of an artifact into `tree`. Returns the file in which the bytes are from now on.
fn from_file(
    file: File,
    name: &str,
    runs: bool,
    scratch: Option<&Path>,
    tree: &mut Tree<'_>,
) -> Result<File, ArtifactError> {
    let unreadable = |source| ArtifactError::Open { path: PathBuf::from(tree.artifact()), source };
    let kind = kind::tell(&file, name).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    match kind {
        None => Err(ArtifactError::NotAnArchive { artifact: tree.artifact().to_owned() }),
        Some(ArchiveKind::Unread(kind)) => {
            Err(ArtifactError::Unread { artifact: tree.artifact().to_owned(), kind })
        }
        Some(ArchiveKind::Page) => Err(expected::page_in_place_of(tree.artifact(), &file)),
        Some(ArchiveKind::Single) => single(file, name, runs, tree),
        Some(ArchiveKind::Zip) => {
            let mut spool = Spool::new(scratch)?;
            unzip::read(&file, len, tree, &mut spool)?;
            spool.finish()
        }
        Some(ArchiveKind::Tar(packing)) => {
            let source = kind::unpack(&file, packing).map_err(unreadable)?;
            let mut spool = Spool::new(scratch)?;
            untar::read(source, len, tree, &mut spool)?;
            spool.finish()
        }
    }
}

/// Lists a file that is deployed as it is, under its own name. Returns that file.
fn single(file: File, name: &str, runs: bool, tree: &mut Tree<'_>) -> Result<File, ArtifactError> {
    let failed = |source| ArtifactError::Open { path: PathBuf::from(tree.artifact()), source };
    let meta = file.metadata().map_err(failed)?;
    let most = tree.limits().bytes;
    if meta.len() > most {
        return Err(tree.too_much(LimitHit::Bytes { most }));
    }
    let mut head = [0; 4];
    let got = file.read_at(&mut head, 0).map_err(failed)?;
    let runs = runs || unzip::is_program(&head[..got]);
    let entered = tree.enter(name.as_bytes())?;
    if let Some(Spot::At(path)) = entered.map(|path| tree.spot(&path, false)).transpose()? {
        let place = SpoolPlace::Spool { at: 0, len: meta.len() };
        let mtime = u64::try_from(meta.mtime()).ok();
        let readers = readers(false, meta.mode());
        tree.add(&path, Item { what: EntryKind::File { runs, place }, mtime, readers })?;
    }
    Ok(file)
}

/// Returns the manifest of these entries. Its modes do not show the umask of the person who packed
/// them. Files that are not known are hashed, on all cores.
fn list(
    items: &BTreeMap<String, Item>,
    spool: &File,
    stamp: Stamp,
    known: &KnownDigests,
) -> Result<Manifest, ArtifactError> {
    let place = |(path, item)| match item {
        &Item { what: EntryKind::File { ref place, .. }, .. } => Some((path, place)),
        _ => None,
    };
    let files: Vec<(&str, &SpoolPlace)> =
        items.iter().map(|(path, item)| (path.as_str(), item)).filter_map(place).collect();
    let digest = |number: usize| {
        let (path, place) = files[number];
        let there = place.stamp(stamp).and_then(|stamp| known.find(&stamp));
        there.map_or_else(|| place.digest(spool, path), Ok)
    };
    let mut digests = on_all_cores(files.len(), digest)?.into_iter();
    let mut nodes = BTreeMap::new();
    for (path, item) in items {
        let node = match &item.what {
            EntryKind::Dir => Node::Dir,
            EntryKind::Link { target } => Node::Link { target: target.clone() },
            EntryKind::File { runs, place } => {
                let Some(sha256) = digests.next() else { unreachable!("one digest for each file") };
                Node::File { mode: mode(*runs, item.readers), size: place.len(), sha256 }
            }
        };
        nodes.insert(path.clone(), node);
    }
    Ok(Manifest::new(nodes))
}

/// Returns the mode of a file on hosts: nobody may write it, and who may read it may execute it too
/// if it runs.
fn mode(runs: bool, readers: u32) -> u32 {
    let mode = 0o400 | readers;
    if runs { mode | mode >> 2 } else { mode }
}

/// Returns the line in the file REVISION, if it may be a revision.
fn revision(items: &BTreeMap<String, Item>, spool: &File) -> Result<Option<String>, ArtifactError> {
    let Some(EntryKind::File { place, .. }) = items.get("REVISION").map(|item| &item.what) else {
        return Ok(None);
    };
    if place.len() > LONGEST_REVISION {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    place.read(spool, "REVISION", |read| {
        bytes.extend_from_slice(read);
        Ok(())
    })?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let line = text.trim();
    let sane = !line.is_empty() && !line.chars().any(char::is_control);
    Ok(sane.then(|| line.to_owned()))
}
