//! Finds where in an old file the bytes of a new one were. Both are cut into chunks at places that
//! their content determines (FastCDC); equal chunks show how far the bytes moved.

use std::collections::HashMap;
use std::io;

use fastcdc::v2020::FastCDC;

use super::spool::on_all_cores;
use crate::remote::upload::FileRange;

/// Chunks have 8 to 64 KiB, on average 16 KiB.
const CHUNK: usize = 16 << 10;
/// Parts of this size are cut independently, so that all cores can work.
const STRETCH: u64 = 16 << 20;

/// The offsets of a file's chunks, by hash and length. The hash is weak and proves nothing.
pub(super) struct ChunkIndex(HashMap<ChunkId, u64>);

/// Hash and length of a chunk.
type ChunkId = (u64, usize);

impl ChunkIndex {
    /// Reads and cuts a file, on all cores.
    pub(super) fn new(of: &FileRange) -> io::Result<Self> {
        // Reversed, so that the first of several equal chunks is the one that stays.
        Ok(Self(chunks(of)?.into_iter().rev().collect()))
    }

    /// Returns how far most of these bytes moved: their offset in the indexed file, less `start`,
    /// their offset in their own. `None`: none of their chunks is there.
    pub(super) fn shift(&self, start: u64, bytes: &[u8]) -> Option<i64> {
        let mut votes: HashMap<i64, usize> = HashMap::new();
        for (chunk, at) in cut(start, bytes) {
            if let Some(from) = self.0.get(&chunk) {
                *votes.entry(from.cast_signed() - at.cast_signed()).or_default() += chunk.1;
            }
        }
        votes.into_iter().max_by_key(|(_, len)| *len).map(|(shift, _)| shift)
    }
}

fn chunks(of: &FileRange) -> io::Result<Vec<(ChunkId, u64)>> {
    let stretches = usize::try_from(of.len.div_ceil(STRETCH)).unwrap_or(usize::MAX);
    let stretch = |number| {
        let start = number as u64 * STRETCH;
        io::Result::Ok(cut(start, &of.read(start..start + STRETCH)?))
    };
    Ok(on_all_cores(stretches, stretch)?.concat())
}

/// Returns the chunks of `bytes` and their offsets. `bytes` begin at offset `start` of their file.
fn cut(start: u64, bytes: &[u8]) -> Vec<(ChunkId, u64)> {
    let chunks = FastCDC::new(bytes, CHUNK / 2, CHUNK, CHUNK * 4);
    chunks.map(|chunk| ((chunk.hash, chunk.length), start + chunk.offset as u64)).collect()
}
