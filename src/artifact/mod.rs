//! Floor 2: the local side: open any artifact, list it, pack it.
//! Artifacts of every kind become one manifest; hostile ones are refused.
//!
//! A source (`directory`, `untar`, `unzip`, or a single file) gives entries to a `tree`, which
//! holds the rules; bytes go to a `spool` that has no name. Nothing in an artifact can choose
//! where on this machine anything is written.

mod ahead;
mod chunks;
mod directory;
mod error;
mod exclude;
mod fetch;
mod kind;
mod known;
mod limits;
mod name;
mod pack;
mod pieces;
mod programs;
mod rebuild;
mod sample;
mod spool;
mod tree;
mod untar;
mod unzip;
mod warnings;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub use self::error::{ArtifactError, LimitHit, Malformed, Offender, Refusal, Refused};
pub use self::known::KnownDigests;
pub use self::limits::Limits;
pub use self::pieces::{FileRange, PackOptions, PackProgress, Packed};

use self::ahead::{Ahead, FileToRead};
use self::kind::ArchiveKind;
use self::pack::{NO_TIME, TarWriter};
use self::pieces::Pieces;
use self::rebuild::Rebuilt;
use self::spool::{Spool, SpoolPlace, Stamp};
use self::tree::{EntryKind, Item, Spot, Tree};
use crate::config::{ArtifactSource, ArtifactSpec};
use crate::model::codec::Codec;
use crate::model::delta::Delta;
use crate::model::digest::Digest;
use crate::model::manifest::{Manifest, Node, Sealed, sealed};

/// Files from so many bytes on are read back on the host while they arrive. Of smaller ones there are
/// several, which all its cores read afterwards.
const READ_ALONG: u64 = 64 << 20;
const RUNS: u32 = 0o555;
const READS: u32 = 0o444;
/// A longer first line is not a revision.
const LONGEST_REVISION: u64 = 200;

/// An artifact that has been opened: what it holds, and where the bytes are.
#[derive(Debug)]
pub struct Artifact {
    name: String,
    manifest: Manifest,
    digest: Digest,
    revision: Option<String>,
    warnings: Vec<String>,
    items: BTreeMap<String, Item>,
    spool: File,
    /// Of the spool, before anything was read.
    stamp: Stamp,
    scratch: Option<PathBuf>,
    rebuilt: Mutex<BTreeMap<Making, Arc<Rebuilt>>>,
}

/// What is made from what: a path, and the digest of the old file.
type Making = (String, Digest);

impl Artifact {
    /// Opens what `spec` names and reads all of it once. Temporary files have no name and lie in
    /// `scratch`, or where the system keeps such. Blocks: to be called where that is allowed.
    pub fn open(
        spec: &ArtifactSpec,
        scratch: Option<&Path>,
        limits: &Limits,
    ) -> Result<Self, ArtifactError> {
        Self::open_knowing(spec, scratch, limits, &KnownDigests::default(), || ())
    }

    /// The same, but files whose digests are known are not read. `listed` is called as soon as all is
    /// listed and nothing refused: what is left to do can hardly fail.
    pub fn open_knowing(
        spec: &ArtifactSpec,
        scratch: Option<&Path>,
        limits: &Limits,
        known: &KnownDigests,
        listed: impl FnOnce(),
    ) -> Result<Self, ArtifactError> {
        let name = shown(&spec.source);
        let mut tree = Tree::new(&name, spec, limits, known.now)?;
        let spool = match &spec.source {
            ArtifactSource::Path { path, sha256 } => {
                from_path(path, *sha256, scratch, (&mut tree, known))?
            }
            ArtifactSource::Url { url, sha256 } => match fetch::target(url)? {
                fetch::ArtifactAddress::Local(path) => {
                    from_path(&path, Some(*sha256), scratch, (&mut tree, known))?
                }
                fetch::ArtifactAddress::Remote => {
                    let file = fetch::fetch(url, *sha256, scratch, limits)?;
                    from_file(file, &fetch::file_name(url), false, scratch, &mut tree)?
                }
            },
        };
        let (items, warnings) = tree.finish(&spool)?;
        listed();
        let stamp = Stamp::new(&spool.metadata().map_err(scratch_failed)?);
        let manifest = list(&items, (&spool, stamp), known)?;
        let digest = manifest.digest();
        let revision = revision(&items, &spool)?;
        let scratch = scratch.map(Path::to_owned);
        let rebuilt = Mutex::default();
        Ok(Self {
            name,
            manifest,
            digest,
            revision,
            warnings,
            items,
            spool,
            stamp,
            scratch,
            rebuilt,
        })
    }

    /// What the user calls it, without what may be secret in an address.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The source revision, if a file `REVISION` holds one line that can be one.
    pub fn revision(&self) -> Option<String> {
        self.revision.clone()
    }

    /// What [`KnownDigests`] may know the next time, unless it knew all of it.
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

    /// What the user should know, one line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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

    /// Packs every entry of `release`, part of this artifact's manifest, as `<prefix>/tree/…`:
    /// as a hard link where `delta` has one, empty where it is put together on the host, else with
    /// its bytes. First goes `<prefix>/meta/of`,
    /// the digest of the sealed manifest, by which a part of the release is known; last
    /// `meta/manifest`, or `meta/gone` and `meta/new` where there is a base, and before it the
    /// steps in `meta/recipe` and what they need in `meta/fresh`. Does not end the
    /// archive: what [`pack_bytes`] makes must follow, with the same codec, as [`Self::worth`] says.
    /// `told` hears of each piece as soon as it is there. Every file that is packed must still be what
    /// it was: it has not been written to, or, where that might not show, has the digest that it had.
    pub fn pack(
        &self,
        Sealed { manifest: release, digest: of }: &Sealed,
        prefix: &str,
        how: PackOptions,
        delta: &Delta,
        told: PackProgress<'_>,
    ) -> Result<Packed, ArtifactError> {
        let sent = self.sent(release, delta);
        let packed = Packed::new(&how);
        let mut pieces = Pieces::new(spool::nameless(self.scratch.as_deref())?, packed, told);
        let spool = pieces.spool();
        let mut stream = TarWriter::new(how.codec, how.quick, &*spool).map_err(scratch_failed)?;
        for (dir, mode) in [("", 0o755), ("/tree", 0o755), ("/meta", 0o700)] {
            stream.dir(&format!("{prefix}{dir}"), mode, NO_TIME).map_err(scratch_failed)?;
        }
        let meta = |name: &str, stream: &mut TarWriter<&File>, text: &str| {
            let path = format!("{prefix}/meta/{name}");
            member(stream, &path, 0o600, text.as_bytes()).map_err(scratch_failed)
        };
        meta("of", &mut stream, &of.to_string())?;
        if how.large {
            meta("large", &mut stream, &large(&sent))?;
        }
        let mut ahead = Ahead::new(&self.spool, sent.into_iter());
        for (path, node) in release.nodes() {
            let name = format!("{prefix}/tree/{path}");
            match delta.links.get(path) {
                Some(to) => stream.twin(&name, to).map_err(scratch_failed)?,
                None if delta.rebuilt.contains_key(path) => {
                    self.pack_place(&mut stream, &name, path, node).map_err(scratch_failed)?;
                }
                None => {
                    self.pack_node(&mut stream, (&mut pieces, &mut ahead), (&name, path, node))?;
                }
            }
            pieces.offer(stream.written())?;
        }
        self.pack_rebuilt(&mut stream, prefix, release, delta)?;
        if delta.base.is_some() {
            meta("gone", &mut stream, &sealed(delta.gone.iter().cloned()))?;
            meta("new", &mut stream, &sealed(delta.new.iter().cloned()))?;
        } else {
            meta("manifest", &mut stream, &release.to_text())?;
        }
        let (_, unpacked) = stream.finish().map_err(scratch_failed)?;
        pieces.finish(unpacked)
    }

    /// How to pack: with `codec`, or none where that would not save a twentieth.
    pub fn worth(
        &self,
        release: &Manifest,
        codec: Codec,
        delta: &Delta,
    ) -> Result<PackOptions, ArtifactError> {
        let sent = self.sent(release, delta);
        let all = tar_of(release, &sent);
        let large = sent.iter().any(is_large);
        let plain = PackOptions { codec: Codec::Plain, likely: all, quick: false, large };
        if codec == Codec::Plain {
            return Ok(plain);
        }
        let files: Vec<_> = sent.into_iter().map(|(path, place, _)| (path, place)).collect();
        Ok(match sample::left(&files, &self.spool)? {
            Some(951..) => plain,
            left => PackOptions { codec, likely: all / 1000 * left.unwrap_or(1000), ..plain },
        })
    }

    /// The files that travel with all their bytes.
    fn sent<'a>(&'a self, release: &'a Manifest, delta: &Delta) -> Vec<FileToRead<'a>> {
        let nodes = release.nodes().iter().filter(|(path, _)| {
            !delta.links.contains_key(*path) && !delta.rebuilt.contains_key(*path)
        });
        nodes.filter_map(|(path, node)| self.wanted(path, node)).collect()
    }

    fn pack_node(
        &self,
        stream: &mut TarWriter<&File>,
        (pieces, ahead): (&mut Pieces<'_>, &mut Ahead<'_>),
        (member, path, node): (&str, &str, &Node),
    ) -> Result<(), ArtifactError> {
        let item = self.items.get(path);
        let mtime = item.and_then(|item| item.mtime).unwrap_or(NO_TIME);
        let done = match node {
            Node::Dir => stream.dir(member, 0o755, mtime),
            Node::Link { target } => stream.link(member, target, mtime),
            Node::File { mode, size, .. } => {
                let Some((_, place, sha256)) = self.wanted(path, node) else {
                    return Err(ArtifactError::NotHeld { path: path.to_owned() });
                };
                stream.file(member, *mode, *size, mtime).map_err(scratch_failed)?;
                if stream.is_plain() && pieces.takes(*size) {
                    self.leave_content(stream, pieces, path, place)?;
                } else if Ahead::takes(place) {
                    stream.content(&ahead.next()?).map_err(scratch_failed)?;
                } else {
                    place.read_same(&self.spool, path, sha256, |bytes| {
                        stream.content(bytes).map_err(scratch_failed)
                    })?;
                }
                stream.pad()
            }
        };
        done.map_err(scratch_failed)
    }

    /// The bytes of a file, if this artifact holds it.
    fn wanted<'a>(&'a self, path: &'a str, node: &Node) -> Option<FileToRead<'a>> {
        match (&self.items.get(path)?.what, node) {
            (EntryKind::File { place, .. }, Node::File { size, sha256, .. }) => {
                (place.len() == *size).then_some((path, place, *sha256))
            }
            _ => None,
        }
    }

    /// The content stays where it is until it is sent. Should somebody write to it in the meantime,
    /// the host finds other bytes than the manifest says.
    fn leave_content(
        &self,
        stream: &mut TarWriter<&File>,
        pieces: &mut Pieces<'_>,
        path: &str,
        place: &SpoolPlace,
    ) -> Result<(), ArtifactError> {
        let unread = |source| ArtifactError::Read { path: PathBuf::from(path), source };
        let source = place.source(&self.spool, self.stamp).map_err(unread)?;
        let changed = || ArtifactError::Changed { path: path.to_owned() };
        let (file, at) = source.ok_or_else(changed)?;
        stream.elsewhere(place.len()).map_err(scratch_failed)?;
        pieces.insert(file, at, place.len())
    }
}

/// The large files of those that are sent, in the order in which they travel: bytes and path.
fn large(sent: &[FileToRead<'_>]) -> String {
    let line = |(path, place, _): &FileToRead<'_>| format!("{} {path}\n", place.len());
    sent.iter().filter(|one| is_large(one)).map(line).collect()
}

fn is_large((_, place, _): &FileToRead<'_>) -> bool {
    place.len() >= READ_ALONG
}

/// About how much tar a release is of which these files are sent.
fn tar_of(release: &Manifest, sent: &[FileToRead<'_>]) -> u64 {
    let content: u64 = sent.iter().map(|(_, place, _)| place.len().next_multiple_of(512)).sum();
    content + 512 * release.nodes().len() as u64
}

/// A small last frame of the same stream: `(path below prefix, mode, content)` each, then the end
/// of the archive. What it holds never touches the disk, so secrets may travel in it.
pub fn pack_bytes(
    prefix: &str,
    members: &[(&str, u32, &[u8])],
    codec: Codec,
) -> Result<Vec<u8>, ArtifactError> {
    let pack = || -> io::Result<Vec<u8>> {
        let mut stream = TarWriter::new(codec, false, Vec::new())?;
        for (path, mode, content) in members {
            member(&mut stream, &format!("{prefix}/{path}"), *mode, content)?;
        }
        stream.end_of_archive()?;
        Ok(stream.finish()?.0)
    };
    pack().map_err(scratch_failed)
}

fn member<W: io::Write>(
    stream: &mut TarWriter<W>,
    path: &str,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    stream.file(path, mode, content.len() as u64, NO_TIME)?;
    stream.content(content)?;
    stream.pad()
}

fn shown(source: &ArtifactSource) -> String {
    match source {
        ArtifactSource::Path { path, .. } => path.display().to_string(),
        ArtifactSource::Url { url, .. } => fetch::shown(url),
    }
}

fn scratch_failed(source: io::Error) -> ArtifactError {
    ArtifactError::Scratch { source }
}

fn from_path(
    path: &Path,
    sha256: Option<Digest>,
    scratch: Option<&Path>,
    (tree, known): (&mut Tree<'_>, &KnownDigests),
) -> Result<File, ArtifactError> {
    let failed = |source| ArtifactError::Open { path: path.to_owned(), source };
    // Opening a fifo would wait for somebody to write to it.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(nonblock).open(path);
    let file = opened.map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        if sha256.is_some() {
            return Err(ArtifactError::DigestOfDirectory { path: path.to_owned() });
        }
        directory::read(path, tree, known.now)?;
        return spool::nameless(scratch);
    }
    if !meta.is_file() {
        return Err(ArtifactError::NotAFile { path: path.to_owned() });
    }
    if let Some(expected) = sha256 {
        let whole = SpoolPlace::Spool { at: 0, len: meta.len() };
        let found = whole.digest(&file, &path.display().to_string())?;
        fetch::check(tree.artifact(), expected, found)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    from_file(file, &name, meta.mode() & 0o100 != 0, scratch, tree)
}

/// Reads the file of an artifact into `tree`. Gives the file in which the bytes are from now on.
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
        Some(ArchiveKind::Page) => {
            Err(ArtifactError::Page { artifact: tree.artifact().to_owned() })
        }
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

/// One file, deployed as it is, under its own name.
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
        let private = tree::is_private(false, meta.mode());
        tree.add(&path, Item { what: EntryKind::File { runs, place }, mtime, private })?;
    }
    Ok(file)
}

/// The manifest of these entries. Modes are reduced to two, so that no umask of whoever packed
/// them can show in the digest.
fn list(
    items: &BTreeMap<String, Item>,
    spool: (&File, Stamp),
    known: &KnownDigests,
) -> Result<Manifest, ArtifactError> {
    let place = |(path, item)| match item {
        &Item { what: EntryKind::File { ref place, .. }, .. } => Some((path, place)),
        _ => None,
    };
    let files: Vec<(&str, &SpoolPlace)> =
        items.iter().map(|(path, item)| (path.as_str(), item)).filter_map(place).collect();
    let mut digests = spool::digests(&files, spool, known)?.into_iter();
    let mut nodes = BTreeMap::new();
    for (path, item) in items {
        let node = match &item.what {
            EntryKind::Dir => Node::Dir,
            EntryKind::Link { target } => Node::Link { target: target.clone() },
            EntryKind::File { runs, place } => {
                let Some(sha256) = digests.next() else { unreachable!("one digest for each file") };
                Node::File { mode: if *runs { RUNS } else { READS }, size: place.len(), sha256 }
            }
        };
        nodes.insert(path.clone(), node);
    }
    Ok(Manifest::new(nodes))
}

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
