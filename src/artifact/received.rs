//! An artifact of which some files came from a host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write as _};

use super::entry::{ALL_READERS, EntryKind, Item};
use super::error::ArtifactError;
use super::kind::{self, Compression};
use super::open::Artifact;
use super::spool::{self, SpoolPlace};
use crate::model::codec::Codec;
use crate::model::digest::Hasher;
use crate::model::manifest::{Manifest, Node};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Files of a release that a host sent, one after the other.
pub struct Received<'a> {
    /// The release, for people.
    pub name: &'a str,
    /// Everything that is in it.
    pub manifest: &'a Manifest,
    /// The files that were sent, in this order.
    pub paths: &'a [String],
    /// When each of them was modified, in seconds since 1970; may be empty.
    pub times: &'a [u64],
    /// Their bytes.
    pub stream: &'a File,
    /// The compression of these bytes.
    pub codec: Codec,
}

impl Artifact {
    /// Returns the artifact with these files and no bytes of others. Blocks. Fails if a file is not
    /// as the manifest says.
    pub fn received(from: &Received<'_>) -> Result<Self, ArtifactError> {
        let packing = match from.codec {
            Codec::Zstd => Compression::Zstd,
            Codec::Gzip => Compression::Gzip,
            Codec::Plain => Compression::Plain,
        };
        let failed = |source| ArtifactError::Scratch { source };
        let mut stream = kind::unpack(from.stream, packing).map_err(failed)?;
        let spool = spool::nameless(None)?;
        let mut to = BufWriter::with_capacity(CHUNK, &spool);
        let (mut items, mut at) = (entries(from.manifest), 0);
        let mut times = from.times.iter().copied();
        for path in from.paths {
            let Some(Node::File { mode, size, sha256 }) = from.manifest.nodes().get(path) else {
                return Err(ArtifactError::NotHeld { path: path.clone() });
            };
            let mut hash = Hasher::default();
            let mut part = (&mut stream).take(*size);
            let mut buffer = vec![0; CHUNK];
            loop {
                // A stream that is cut is told by the digest.
                let got = part.read(&mut buffer).unwrap_or(0);
                if got == 0 {
                    break;
                }
                hash.update(&buffer[..got]);
                to.write_all(&buffer[..got]).map_err(failed)?;
            }
            if hash.finish() != *sha256 {
                return Err(ArtifactError::Changed { path: path.clone() });
            }
            let place = SpoolPlace::Spool { at, len: *size };
            let what = EntryKind::File { runs: mode & 0o100 != 0, place };
            let readers = mode & ALL_READERS;
            items.insert(path.clone(), Item { what, mtime: times.next(), readers });
            at += size;
        }
        to.flush().map_err(failed)?;
        drop(to);
        Self::assembled(from.name.to_owned(), from.manifest.clone(), items, spool)
    }
}

/// Returns the entries that have no bytes.
fn entries(manifest: &Manifest) -> BTreeMap<String, Item> {
    let item = |(path, node): (&String, &Node)| {
        let what = match node {
            Node::Dir => EntryKind::Dir,
            Node::Link { target } => EntryKind::Link { target: target.clone() },
            Node::File { .. } => return None,
        };
        Some((path.clone(), Item { what, mtime: None, readers: ALL_READERS }))
    };
    manifest.nodes().iter().filter_map(item).collect()
}
