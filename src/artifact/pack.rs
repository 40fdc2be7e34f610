//! Packs a release for hosts that lack the same of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use tokio::sync::watch;

use super::error::{ArtifactError, scratch_failed};
use super::open::Artifact;
use super::packed::{ChunkWriter, Packed};
use super::patch::{PreparedDelta, patch};
use super::sample;
use super::spool::{self, SpoolPlace, on_all_cores};
use super::tar::{NO_TIME, TarWriter};
use crate::model::codec::Codec;
use crate::model::delta::{Delta, PatchedFile};
use crate::model::manifest::{Manifest, Node, Sealed, sealed};
use crate::remote::upload::FileRange;

/// Size from which a file is read back on the host while it arrives. There are several smaller
/// ones, which all its cores read afterwards.
const READ_ALONG: u64 = 64 << 20;
/// Files up to this size are read on all cores, ahead of the thread that packs them.
const SMALL: u64 = 1 << 20;
/// Bytes that are read ahead, and held in memory.
const BATCH: u64 = 4 << 20;
/// Thousandths of the bytes that compression must leave at most, to be worth its time.
const WORTHWHILE: u64 = 950;

/// One entry of a release that is packed.
struct PackedEntry<'a> {
    path: &'a str,
    node: &'a Node,
    mtime: u64,
    /// The file of the host that it shares.
    shared: Option<&'a str>,
    /// The bytes, if they are sent.
    sent: Option<&'a SpoolPlace>,
}

impl PackedEntry<'_> {
    /// Returns how many bytes of it are read ahead.
    fn small(&self) -> u64 {
        self.sent.map(SpoolPlace::len).filter(|len| *len <= SMALL).unwrap_or(0)
    }

    /// Returns the bytes of it that are read ahead.
    fn read_ahead(&self) -> Result<Vec<u8>, ArtifactError> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.small()).unwrap_or_default());
        if let (Some(place), Node::File { sha256, .. }) = (self.sent, self.node)
            && place.len() <= SMALL
        {
            place.read_same(self.path, *sha256, |read| {
                bytes.extend_from_slice(read);
                Ok(())
            })?;
        }
        Ok(bytes)
    }

    /// Writes it as `name`. `content` are its bytes, if they were read ahead. A large file may be
    /// left where it is until it is sent: if somebody writes to it in the meantime, the host finds
    /// other bytes than the manifest says.
    fn write(
        &self,
        to: &mut ChunkWriter<'_>,
        name: &str,
        content: &[u8],
    ) -> Result<(), ArtifactError> {
        let (mode, size, sha256) = match self.node {
            Node::Dir => return to.tar.dir(name, 0o755, self.mtime),
            Node::Link { target } => return to.tar.link(name, target, self.mtime),
            Node::File { mode, size, sha256 } => (*mode, *size, *sha256),
        };
        if let Some(shared) = self.shared {
            return to.tar.hard_link(name, shared);
        }
        let Some(place) = self.sent else { return to.tar.file(name, mode, 0, self.mtime) };
        to.tar.file(name, mode, size, self.mtime)?;
        if to.takes(size) {
            to.insert(place.unchanged(self.path)?)?;
        } else if size <= SMALL {
            to.tar.content(content)?;
        } else {
            place.read_same(self.path, sha256, |bytes| to.tar.content(bytes))?;
        }
        to.tar.pad()
    }
}

impl Artifact {
    /// Packs every entry of `release`, part of this artifact's manifest, as `<prefix>/tree/…`: as a
    /// hard link where `prepared` shares it, empty where the host makes it, else with its bytes.
    /// `<prefix>/meta/…` holds what the host needs besides (docs/protocol.md). The archive is not
    /// ended: [`pack_tail`] must follow, compressed alike.
    ///
    /// It is compressed by `codec`, unless that would save less than a twentieth; from `quick_from`
    /// bytes on, rather sooner than smaller.
    ///
    /// Blocks. Each chunk goes `to` whoever waits for it. Fails if nobody does any more, or if a
    /// file is no longer the one that was listed: it was written to, or, where that might not show,
    /// its digest differs.
    pub fn pack(
        &self,
        release: &Sealed,
        prefix: &str,
        codec: Codec,
        quick_from: u64,
        prepared: &PreparedDelta,
        to: &watch::Sender<Packed>,
    ) -> Result<(), ArtifactError> {
        let delta = &prepared.delta;
        let members = self.members(&release.manifest, delta)?;
        let packed = estimate(&members, codec)?;
        let (quick, has_large) = (packed.likely >= quick_from, packed.large);
        let spool = spool::nameless(self.scratch.as_deref())?;
        let mut stream = ChunkWriter::new(packed, quick, spool, to)?;
        for (dir, mode) in [("", 0o755), ("/tree", 0o755), ("/meta", 0o700)] {
            stream.tar.dir(&format!("{prefix}{dir}"), mode, NO_TIME)?;
        }
        let meta = |name: &str, stream: &mut ChunkWriter<'_>, text: &str| {
            stream.tar.whole_file(&format!("{prefix}/meta/{name}"), 0o600, text.as_bytes())
        };
        meta("of", &mut stream, &release.digest.to_string())?;
        if has_large {
            meta("large", &mut stream, &large_files(&members))?;
        }
        for batch in batches(&members) {
            let contents = on_all_cores(batch.len(), |number| batch[number].read_ahead())?;
            for (member, content) in batch.iter().zip(contents) {
                let name = format!("{prefix}/tree/{}", member.path);
                member.write(&mut stream, &name, &content)?;
                stream.advance()?;
            }
        }
        if let Some(fresh) = prepared.fresh.as_ref().filter(|_| !delta.patched.is_empty()) {
            meta("recipe", &mut stream, &recipe(&release.manifest, delta))?;
            let size = delta.patched.values().map(|file| file.sent).sum();
            let fresh = FileRange { file: Arc::clone(fresh), at: 0, len: size };
            pack_fresh(&mut stream.tar, &format!("{prefix}/meta/fresh"), &fresh)?;
        }
        if delta.base.is_some() {
            meta("gone", &mut stream, &sealed(delta.gone.iter().cloned()))?;
            meta("new", &mut stream, &sealed(delta.new.iter().cloned()))?;
        } else {
            meta("manifest", &mut stream, &release.manifest.to_text())?;
        }
        stream.finish()
    }

    /// Returns `delta` with a patch for each file of `changed`, which come with their old versions,
    /// that is much smaller than the file. Whatever fails, a file without a patch travels whole.
    /// Blocks, on all cores.
    pub fn patched(
        &self,
        mut delta: Delta,
        changed: BTreeMap<String, (PatchedFile, File)>,
    ) -> PreparedDelta {
        let fresh = spool::nameless(self.scratch.as_deref()).ok().filter(|_| !changed.is_empty());
        let Some(fresh) = fresh else { return PreparedDelta::new(delta, None) };
        let mut end = 0;
        for (path, (file, old)) in changed {
            let patch = || {
                let new = self.place(&path)?.unchanged(&path).ok()?;
                let old = FileRange::whole(Arc::new(old)).ok()?;
                patch(file, &old, &new, &fresh, end).ok()?
            };
            if let Some(file) = patch() {
                end += file.sent;
                delta.patched.insert(path, file);
            }
        }
        PreparedDelta::new(delta, Some(Arc::new(fresh)))
    }

    /// Writes the bytes of the file at `path` to `to`. Fails if it is no longer the file that was
    /// listed.
    pub fn copy(&self, path: &str, to: &mut dyn Write) -> Result<(), ArtifactError> {
        let place = self.place(path).ok_or_else(|| not_held(path))?;
        place.read(path, |bytes| to.write_all(bytes).map_err(scratch_failed))
    }

    /// Returns all entries of a release. Fails if this artifact lacks a file that is to be sent.
    fn members<'a>(
        &'a self,
        release: &'a Manifest,
        delta: &'a Delta,
    ) -> Result<Vec<PackedEntry<'a>>, ArtifactError> {
        let member = |(path, node): (&'a String, &'a Node)| {
            let mtime = self.items.get(path).and_then(|item| item.mtime).unwrap_or(NO_TIME);
            let shared = delta.links.get(path).map(String::as_str);
            let sent = match node {
                Node::File { size, .. } if delta.sends(path) => {
                    let place = self.place(path).filter(|place| place.len() == *size);
                    Some(place.ok_or_else(|| not_held(path))?)
                }
                _ => None,
            };
            Ok(PackedEntry { path, node, mtime, shared, sent })
        };
        release.nodes().iter().map(member).collect()
    }
}

/// Returns the estimate to begin with, and whether to compress at all.
fn estimate(members: &[PackedEntry<'_>], codec: Codec) -> Result<Packed, ArtifactError> {
    let files: Vec<_> = members.iter().filter_map(|one| Some((one.path, one.sent?))).collect();
    let blocks = |(_, place): &(&str, &SpoolPlace)| place.len().next_multiple_of(512);
    let all = files.iter().map(blocks).sum::<u64>() + 512 * members.len() as u64;
    let large = files.iter().any(|(_, place)| place.len() >= READ_ALONG);
    let left = if codec == Codec::Plain { None } else { sample::left(&files)? };
    Ok(match left {
        Some(left) if left > WORTHWHILE => Packed::begun(Codec::Plain, large, all),
        Some(left) => Packed::begun(codec, large, all / 1000 * left),
        None => Packed::begun(codec, large, all),
    })
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
        if let Some(place) = member.sent.filter(|place| place.len() >= READ_ALONG) {
            let _ = writeln!(text, "{} {}", place.len(), member.path);
        }
    }
    text
}

/// Returns the steps by which the host makes patched files.
fn recipe(release: &Manifest, delta: &Delta) -> String {
    let mut text = String::new();
    for (path, PatchedFile { from, steps, .. }) in &delta.patched {
        if let Some(Node::File { mode, .. }) = release.nodes().get(path) {
            let _ = write!(text, "old {from}\nnew {path}\n{steps}mode {mode:o}\n");
        }
    }
    text
}

/// Writes what the host needs for these steps as the file `name`.
fn pack_fresh<W: Write>(
    tar: &mut TarWriter<W>,
    name: &str,
    fresh: &FileRange,
) -> Result<(), ArtifactError> {
    tar.file(name, 0o600, fresh.len, NO_TIME)?;
    for start in (0..fresh.len).step_by(1 << 20) {
        let bytes = fresh.read(start..start + (1 << 20));
        tar.content(&bytes.map_err(scratch_failed)?)?;
    }
    tar.pad()
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
