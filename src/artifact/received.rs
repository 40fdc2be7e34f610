//! An artifact of which some files came from a host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use super::entry::{ALL_READERS, EntryKind, Item};
use super::error::{ArtifactError, scratch_failed};
use super::kind::{self, Compression};
use super::open::Artifact;
use super::spool::Spool;
use crate::model::codec::Codec;
use crate::model::digest::Hasher;
use crate::model::manifest::{Manifest, Node};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

impl Artifact {
    /// Returns the release that is called `name` as an artifact with the files at `paths`, and no
    /// bytes of others. `stream` holds their bytes, one after the other, compressed by `codec`;
    /// `times` says when they were modified, in seconds since 1970, and may be empty. Blocks. Fails
    /// if a file is not as the manifest says.
    pub fn received(
        name: String,
        manifest: Manifest,
        paths: &[String],
        times: &[u64],
        stream: &File,
        codec: Codec,
    ) -> Result<Self, ArtifactError> {
        let packing = match codec {
            Codec::Zstd => Compression::Zstd,
            Codec::Gzip => Compression::Gzip,
            Codec::Plain => Compression::Plain,
        };
        let mut stream = kind::unpack(stream, packing).map_err(scratch_failed)?;
        let mut spool = Spool::new(None)?;
        let (mut items, mut times) = (BTreeMap::new(), times.iter().copied());
        for path in paths {
            let Some(Node::File { mode, size, sha256 }) = manifest.nodes().get(path) else {
                return Err(ArtifactError::NotHeld { path: path.clone() });
            };
            let at = spool.end();
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
                spool.write(&buffer[..got])?;
            }
            if hash.finish() != *sha256 {
                return Err(ArtifactError::Changed { path: path.clone() });
            }
            let what = EntryKind::File { runs: mode & 0o100 != 0, place: spool.since(at) };
            let readers = mode & ALL_READERS;
            items.insert(path.clone(), Item { what, mtime: times.next(), readers });
        }
        spool.finish()?;
        Ok(Self::assembled(name, manifest, items))
    }
}
