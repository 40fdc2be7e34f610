//! Packs a release for hosts that lack the same of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use super::entry::EntryKind;
use super::error::ArtifactError;
use super::open::Artifact;
use super::packed::{ChunkWriter, PackProgress, Packed};
use super::patch::{FilePatch, PreparedDelta};
use super::sample;
use super::spool::{self, ByteRange, SpoolPlace, on_all_cores};
use super::tar::{NO_TIME, TarWriter};
use crate::model::codec::Codec;
use crate::model::delta::{ChangedFile, Delta};
use crate::model::digest::Digest;
use crate::model::manifest::{Manifest, Node, Sealed, sealed};

/// Size from which a file is read back on the host while it arrives. There are several smaller
/// ones, which all its cores read afterwards.
const READ_ALONG: u64 = 64 << 20;
/// Files up to this size are read on all cores, ahead of the thread that packs them.
const SMALL: u64 = 1 << 20;
/// Bytes that are read ahead, and held in memory.
const BATCH: u64 = 4 << 20;
/// Thousandths of the bytes that compression must leave at most, to be worth its time.
const WORTHWHILE: u64 = 950;

/// Settings of packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackOptions {
    /// The compression, unless that would save less than a twentieth.
    pub codec: Codec,
    /// From this size on, rather sooner than smaller.
    pub quick_from: u64,
}

/// One entry of a release that is packed.
struct PackedEntry<'a> {
    path: &'a str,
    node: &'a Node,
    mtime: u64,
    body: Body<'a>,
}

/// The bytes of an entry.
enum Body<'a> {
    /// There are none, or the host makes them.
    Empty,
    /// They are those of a file that the host has.
    Shared(&'a str),
    /// They are sent.
    Sent { place: &'a SpoolPlace, sha256: Digest },
}

impl PackedEntry<'_> {
    /// Returns where the bytes are, if they are sent.
    fn sent(&self) -> Option<&SpoolPlace> {
        if let Body::Sent { place, .. } = self.body { Some(place) } else { None }
    }

    /// Returns how many bytes of it are read ahead.
    fn small(&self) -> u64 {
        self.sent().map(SpoolPlace::len).filter(|len| *len <= SMALL).unwrap_or(0)
    }
}

impl Artifact {
    /// Packs every entry of `release`, part of this artifact's manifest, as `<prefix>/tree/…`: as a
    /// hard link where `prepared` shares it, empty where the host makes it, else with its bytes.
    /// `<prefix>/meta/…` holds what the host needs besides (docs/protocol.md). The archive is not
    /// ended: [`pack_tail`] must follow, compressed alike.
    ///
    /// Blocks. `progress` is called with each chunk. Fails if a file is no longer the one that was
    /// listed: it was written to, or, where that might not show, its digest differs.
    pub fn pack(
        &self,
        release: &Sealed,
        prefix: &str,
        options: PackOptions,
        prepared: &PreparedDelta,
        progress: PackProgress<'_>,
    ) -> Result<Packed, ArtifactError> {
        let delta = &prepared.delta;
        let members = self.members(&release.manifest, delta)?;
        let packed = self.estimate(&members, options.codec)?;
        let quick = packed.likely >= options.quick_from;
        let (codec, has_large) = (packed.codec, packed.large);
        let spool = spool::nameless(self.scratch.as_deref())?;
        let mut chunks = ChunkWriter::new(packed, spool, progress)?;
        let file = chunks.spool();
        let mut stream = TarWriter::new(codec, quick, &*file)?;
        for (dir, mode) in [("", 0o755), ("/tree", 0o755), ("/meta", 0o700)] {
            stream.dir(&format!("{prefix}{dir}"), mode, NO_TIME)?;
        }
        let meta = |name: &str, stream: &mut TarWriter<&File>, text: &str| {
            stream.whole_file(&format!("{prefix}/meta/{name}"), 0o600, text.as_bytes())
        };
        meta("of", &mut stream, &release.digest.to_string())?;
        if has_large {
            meta("large", &mut stream, &large_files(&members))?;
        }
        for batch in batches(&members) {
            let contents = on_all_cores(batch.len(), |number| self.small(&batch[number]))?;
            for (member, content) in batch.iter().zip(contents) {
                let name = format!("{prefix}/tree/{}", member.path);
                self.pack_member(&mut stream, &mut chunks, &name, member, &content)?;
                chunks.advance(stream.written())?;
            }
        }
        pack_patches(&mut stream, prefix, &release.manifest, prepared)?;
        if delta.base.is_some() {
            meta("gone", &mut stream, &sealed(delta.gone.iter().cloned()))?;
            meta("new", &mut stream, &sealed(delta.new.iter().cloned()))?;
        } else {
            meta("manifest", &mut stream, &release.manifest.to_text())?;
        }
        let unpacked = stream.written();
        stream.finish()?;
        chunks.finish(unpacked)
    }

    /// Returns the patch that makes the file at `change.path` from its old version, all of which is
    /// in `old`. `None`: it would save little. Blocks, on all cores.
    pub fn patch(
        &self,
        change: &ChangedFile,
        old: &File,
    ) -> Result<Option<FilePatch>, ArtifactError> {
        let Some(place) = self.place(&change.path) else { return Ok(None) };
        let data = spool::nameless(self.scratch.as_deref())?;
        let work = |new: ByteRange<'_>| FilePatch::new(ByteRange::whole(old)?, new, data);
        let made = place.with_source(&self.spool, work);
        made.map_err(|source| ArtifactError::Scratch { source })
    }

    /// Writes the bytes of the file at `path` to `to`. Fails if it is no longer the file that was
    /// listed.
    pub fn copy(&self, path: &str, to: &mut dyn Write) -> Result<(), ArtifactError> {
        let place = self.place(path).ok_or_else(|| not_held(path))?;
        place.read(&self.spool, path, |bytes| {
            to.write_all(bytes).map_err(|source| ArtifactError::Scratch { source })
        })
    }

    fn place(&self, path: &str) -> Option<&SpoolPlace> {
        match &self.items.get(path)?.what {
            EntryKind::File { place, .. } => Some(place),
            _ => None,
        }
    }

    /// Returns all entries of a release. Fails if this artifact lacks a file that is to be sent.
    fn members<'a>(
        &'a self,
        release: &'a Manifest,
        delta: &'a Delta,
    ) -> Result<Vec<PackedEntry<'a>>, ArtifactError> {
        let member = |(path, node): (&'a String, &'a Node)| {
            let mtime = self.items.get(path).and_then(|item| item.mtime).unwrap_or(NO_TIME);
            let body = match (node, delta.links.get(path)) {
                (Node::File { .. }, Some(to)) => Body::Shared(to),
                (Node::File { size, sha256, .. }, None) if delta.sends(path) => {
                    let place = self.place(path).filter(|place| place.len() == *size);
                    let place = place.ok_or_else(|| not_held(path))?;
                    Body::Sent { place, sha256: *sha256 }
                }
                _ => Body::Empty,
            };
            Ok(PackedEntry { path, node, mtime, body })
        };
        release.nodes().iter().map(member).collect()
    }

    /// Returns the estimate to begin with, and whether to compress at all.
    fn estimate(&self, members: &[PackedEntry<'_>], codec: Codec) -> Result<Packed, ArtifactError> {
        let files: Vec<_> =
            members.iter().filter_map(|one| Some((one.path, one.sent()?))).collect();
        let blocks = |(_, place): &(&str, &SpoolPlace)| place.len().next_multiple_of(512);
        let all = files.iter().map(blocks).sum::<u64>() + 512 * members.len() as u64;
        let large = files.iter().any(|(_, place)| place.len() >= READ_ALONG);
        let plain = Packed {
            codec: Codec::Plain,
            large,
            chunks: Vec::new(),
            len: 0,
            unpacked: 0,
            likely: all,
        };
        if codec == Codec::Plain {
            return Ok(plain);
        }
        Ok(match sample::left(&files, &self.spool)? {
            Some(left) if left > WORTHWHILE => plain,
            left => Packed { codec, likely: all / 1000 * left.unwrap_or(1000), ..plain },
        })
    }

    /// Returns the bytes of a member that is read ahead, or none.
    fn small(&self, member: &PackedEntry<'_>) -> Result<Vec<u8>, ArtifactError> {
        let Body::Sent { place, sha256 } = member.body else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        if place.len() <= SMALL {
            bytes.reserve(usize::try_from(place.len()).unwrap_or_default());
            place.read_same(&self.spool, member.path, sha256, |read| {
                bytes.extend_from_slice(read);
                Ok(())
            })?;
        }
        Ok(bytes)
    }

    /// Writes one member. `content` are its bytes, if they were read ahead.
    fn pack_member(
        &self,
        stream: &mut TarWriter<&File>,
        chunks: &mut ChunkWriter<'_>,
        name: &str,
        member: &PackedEntry<'_>,
        content: &[u8],
    ) -> Result<(), ArtifactError> {
        let mtime = member.mtime;
        let (mode, size) = match (member.node, &member.body) {
            (Node::Dir, _) => return stream.dir(name, 0o755, mtime),
            (Node::Link { target }, _) => return stream.link(name, target, mtime),
            (Node::File { .. }, Body::Shared(to)) => return stream.hard_link(name, to),
            (Node::File { mode, .. }, Body::Empty) => return stream.file(name, *mode, 0, mtime),
            (Node::File { mode, size, .. }, Body::Sent { .. }) => (*mode, *size),
        };
        let Body::Sent { place, sha256 } = member.body else { return Ok(()) };
        stream.file(name, mode, size, mtime)?;
        if stream.is_plain() && chunks.takes(size) {
            self.leave_content(stream, chunks, member.path, place)?;
        } else if size <= SMALL {
            stream.content(content)?;
        } else {
            let write = |bytes: &[u8]| stream.content(bytes);
            place.read_same(&self.spool, member.path, sha256, write)?;
        }
        stream.pad()
    }

    /// Leaves the content where it is until it is sent. If somebody writes to it in the meantime,
    /// the host finds other bytes than the manifest says.
    fn leave_content(
        &self,
        stream: &mut TarWriter<&File>,
        chunks: &mut ChunkWriter<'_>,
        path: &str,
        place: &SpoolPlace,
    ) -> Result<(), ArtifactError> {
        let unread = |source| ArtifactError::Read { path: PathBuf::from(path), source };
        let source = place.source(&self.spool, self.stamp).map_err(unread)?;
        let changed = || ArtifactError::Changed { path: path.to_owned() };
        let (file, at) = source.ok_or_else(changed)?;
        stream.leave_out(place.len())?;
        chunks.insert(file, at, place.len())
    }
}

/// Splits `members` so that the small files of each part have at most [`BATCH`] bytes.
fn batches<'m, 'a>(
    mut members: &'m [PackedEntry<'a>],
) -> impl Iterator<Item = &'m [PackedEntry<'a>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |member: &&PackedEntry<'_>| {
            bytes += member.small();
            bytes <= BATCH
        };
        let (batch, rest) = members.split_at(members.iter().take_while(fits).count());
        members = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Returns bytes and path of the files that the host reads back while they arrive, in the order in
/// which they travel.
fn large_files(members: &[PackedEntry<'_>]) -> String {
    let mut text = String::new();
    for member in members {
        if let Some(place) = member.sent().filter(|place| place.len() >= READ_ALONG) {
            let _ = writeln!(text, "{} {}", place.len(), member.path);
        }
    }
    text
}

/// Writes the steps by which the host makes patched files, and what they need.
fn pack_patches(
    stream: &mut TarWriter<&File>,
    prefix: &str,
    release: &Manifest,
    PreparedDelta { delta, patches }: &PreparedDelta,
) -> Result<(), ArtifactError> {
    if patches.is_empty() {
        return Ok(());
    }
    let (mut recipe, mut size) = (String::new(), 0);
    for (path, patch) in patches {
        let (Some(file), Some(Node::File { mode, .. })) =
            (delta.patched.get(path), release.nodes().get(path))
        else {
            return Err(not_held(path));
        };
        let steps = patch.steps(size);
        let _ = write!(recipe, "old {}\nnew {path}\n{steps}mode {mode:o}\n", file.from);
        size += patch.sent;
    }
    stream.whole_file(&format!("{prefix}/meta/recipe"), 0o600, recipe.as_bytes())?;
    stream.file(&format!("{prefix}/meta/fresh"), 0o600, size, NO_TIME)?;
    for patch in patches.values() {
        for start in (0..patch.sent).step_by(1 << 20) {
            let read = || ByteRange::whole(&patch.data)?.read(start..start + (1 << 20));
            let bytes: io::Result<Vec<u8>> = read();
            stream.content(&bytes.map_err(|source| ArtifactError::Scratch { source })?)?;
        }
    }
    stream.pad()
}

/// Returns a small last frame of the same stream: `(path below prefix, mode, content)` each, then
/// the end of the archive. Its content never touches this machine's disk, so secrets may travel in
/// it.
pub fn pack_tail(
    prefix: &str,
    members: &[(&str, u32, &[u8])],
    codec: Codec,
) -> Result<Vec<u8>, ArtifactError> {
    let mut stream = TarWriter::new(codec, false, Vec::new())?;
    for (path, mode, content) in members {
        stream.whole_file(&format!("{prefix}/{path}"), *mode, content)?;
    }
    stream.end_of_archive()?;
    stream.finish()
}

fn not_held(path: &str) -> ArtifactError {
    ArtifactError::NotHeld { path: path.to_owned() }
}
