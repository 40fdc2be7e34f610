//! Opens any artifact: lists all entries, refuses hostile ones, hashes files.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{EntryKind, Item, OWNER_RUNS, readers};
use super::error::ArtifactError;
use super::expected::{Beside, Expected};
use super::fetch::{Download, Fetcher};
use super::kind::{self, ArchiveKind};
use super::known::KnownDigests;
use super::limits::Limits;
use super::spool::{Spool, SpoolPlace, on_all_cores};
use super::stamp::Stamp;
use super::tree::{Spot, Tree};
use super::{address, directory, expected, notes, programs, untar, unzip};
use crate::config::access::FetchEnv;
use crate::config::{ArtifactSource, ArtifactSpec};
use crate::model::digest::Digest;
use crate::model::manifest::{Manifest, Node};
use crate::model::note::Note;
use crate::remote::upload::FileRange;

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
    /// The directory for temporary files.
    pub(super) scratch: Option<PathBuf>,
}

impl Artifact {
    /// Opens the artifact that `spec` names and reads all of it once, except files whose digests
    /// are known. Temporary files have no name and lie in `scratch`, or in the system's directory
    /// for them. `listed` is called as soon as everything is listed and nothing was refused: the
    /// rest can hardly fail. Blocks.
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
        read(spec, scratch, &mut tree, known)?;
        let (mut items, mut notes) = tree.finish()?;
        listed();
        notes.extend(notes::told_restored(&programs::restore(&mut items)));
        let manifest = list(&items, known)?;
        let revision = revision(&items)?;
        let scratch = scratch.map(Path::to_owned);
        Ok(Self { revision, notes, scratch, ..Self::assembled(name, manifest, items) })
    }

    pub(super) fn assembled(
        name: String,
        manifest: Manifest,
        items: BTreeMap<String, Item>,
    ) -> Self {
        let digest = manifest.digest();
        Self { name, manifest, digest, revision: None, notes: Vec::new(), items, scratch: None }
    }

    /// Returns the place of the bytes of the file at `path`, if it has them.
    pub(super) fn place(&self, path: &str) -> Option<&SpoolPlace> {
        self.items.get(path)?.place()
    }

    /// Returns whether it has the bytes of the file at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.place(path).is_some()
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
        let file = |(path, item): (&String, &Item)| match self.manifest.nodes().get(path) {
            Some(Node::File { sha256, .. }) => Some((item.place()?.stamp()?, *sha256)),
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
        let is_program = |path: &&str| self.place(path).is_some_and(programs::begins_like_one);
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

/// Reads the artifact into `tree`, from where it is.
fn read(
    spec: &ArtifactSpec,
    scratch: Option<&Path>,
    tree: &mut Tree<'_>,
    known: &KnownDigests,
) -> Result<(), ArtifactError> {
    let nothing = FetchEnv::default();
    let machine = spec.access.machine.as_ref().unwrap_or(&nothing);
    let (url, path, sha256) = match &spec.source {
        ArtifactSource::Path { path, sha256 } => ("", Some(path.clone()), sha256.as_ref()),
        ArtifactSource::Url { url, sha256 } => (&**url, address::local(url)?, sha256.as_ref()),
    };
    let fetcher = Fetcher::new(url, &spec.access, machine);
    if let Some(path) = path {
        let expected = Expected::new(spec, sha256, &Beside::Path(&path), &fetcher)?;
        return from_path(&path, &expected, scratch, tree, known);
    }
    let expected = Expected::new(spec, sha256, &Beside::Url(url), &fetcher)?;
    let Download { file, hash, html, .. } = fetcher.download(url, scratch, tree.limits)?;
    expected.check(tree.artifact, &file, Some(hash.finish()), html)?;
    from_file(Arc::new(file), &address::file_name(url), scratch, tree)
}

fn from_path(
    path: &Path,
    expected: &Expected<'_>,
    scratch: Option<&Path>,
    tree: &mut Tree<'_>,
    known: &KnownDigests,
) -> Result<(), ArtifactError> {
    let failed = |source| ArtifactError::Open { path: path.to_owned(), source };
    // Opening a fifo would wait for somebody to write to it.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(nonblock).open(path);
    let file = Arc::new(opened.map_err(failed)?);
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        if expected.is_some() {
            return Err(ArtifactError::DigestOfDirectory { path: path.to_owned() });
        }
        return directory::read(path, tree, known.now);
    }
    if !meta.is_file() {
        return Err(ArtifactError::NotAFile { path: path.to_owned() });
    }
    if expected.is_some() {
        let range = FileRange { file: Arc::clone(&file), at: 0, len: meta.len() };
        let whole = SpoolPlace::Open { range, stamp: None };
        let hash = |_| whole.digest(&path.display().to_string());
        let found = expected.sha256.map(hash).transpose()?;
        expected.check(tree.artifact, &file, found, false)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    from_file(file, &name, scratch, tree)
}

/// Reads the file of an artifact into `tree`.
fn from_file(
    file: Arc<File>,
    name: &str,
    scratch: Option<&Path>,
    tree: &mut Tree<'_>,
) -> Result<(), ArtifactError> {
    let artifact = tree.artifact;
    let unreadable = |source| ArtifactError::Open { path: PathBuf::from(artifact), source };
    let kind = kind::tell(&file, name).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    match kind {
        None => Err(ArtifactError::NotAnArchive { artifact: artifact.to_owned() }),
        Some(ArchiveKind::Unread(kind)) => {
            Err(ArtifactError::Unread { artifact: artifact.to_owned(), kind })
        }
        Some(ArchiveKind::Page) => Err(expected::page_in_place_of(artifact, &file)),
        Some(ArchiveKind::Single) => {
            let range = FileRange { file, at: 0, len: meta.len() };
            let head = range.read(0..4).map_err(unreadable)?;
            single(range, &meta, &head, name, tree)
        }
        Some(ArchiveKind::Zip) => {
            tree.packed = meta.len();
            let mut spool = Spool::new(scratch)?;
            unzip::read(&file, tree, &mut spool)?;
            spool.finish()
        }
        Some(ArchiveKind::Tar(packing)) => {
            tree.packed = meta.len();
            let source = kind::unpack(&file, packing).map_err(unreadable)?;
            let mut spool = Spool::new(scratch)?;
            untar::read(source, tree, &mut spool)?;
            spool.finish()
        }
    }
}

/// Lists a file that is deployed as it is, under its own name.
fn single(
    range: FileRange,
    meta: &Metadata,
    head: &[u8],
    name: &str,
    tree: &mut Tree<'_>,
) -> Result<(), ArtifactError> {
    tree.charge(range.len)?;
    let runs = meta.mode() & OWNER_RUNS != 0 || unzip::is_program(head);
    let entered = tree.enter(name.as_bytes())?;
    if let Some(Spot::At(path)) = entered.map(|path| tree.spot(&path, false)).transpose()? {
        let place = SpoolPlace::Open { range, stamp: Some(Stamp::new(meta)) };
        let mtime = u64::try_from(meta.mtime()).ok();
        let readers = readers(false, meta.mode());
        tree.add(&path, Item { what: EntryKind::File { runs, place }, mtime, readers })?;
    }
    Ok(())
}

/// Returns the manifest of these entries. Its modes do not show the umask of the person who packed
/// them. Files that are not known are hashed, on all cores.
fn list(items: &BTreeMap<String, Item>, known: &KnownDigests) -> Result<Manifest, ArtifactError> {
    let files = items.iter().filter_map(|(path, item)| Some((path, item.place()?)));
    let files: Vec<_> = files.collect();
    let digest = |number: usize| {
        let (path, place) = files[number];
        let there = place.stamp().and_then(|stamp| known.find(&stamp));
        there.map_or_else(|| place.digest(path), Ok)
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
fn revision(items: &BTreeMap<String, Item>) -> Result<Option<String>, ArtifactError> {
    let place = items.get("REVISION").and_then(Item::place);
    let Some(place) = place.filter(|place| place.len() <= LONGEST_REVISION) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    place.read("REVISION", |read| {
        bytes.extend_from_slice(read);
        Ok(())
    })?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let line = text.trim();
    let sane = !line.is_empty() && !line.chars().any(char::is_control);
    Ok(sane.then(|| line.to_owned()))
}
