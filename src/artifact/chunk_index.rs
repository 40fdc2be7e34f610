//! Finds where in an old file the bytes of a new one were: both are cut into chunks where their
//! content says so (FastCDC), and equal chunks hint at equal places.

use std::collections::HashMap;
use std::io;

use fastcdc::v2020::FastCDC;

use super::spool::{ByteRange, on_all_cores};

/// Chunks have 8 to 64 KiB, on average 16 KiB.
const CHUNK: usize = 16 << 10;
/// Each is cut by itself, so that all cores can work.
const STRETCH: u64 = 16 << 20;

/// Where the chunks of a file are, by hash and length. The hash is weak and only hints.
pub(super) struct ChunkIndex(HashMap<(u64, usize), u64>);

impl ChunkIndex {
    /// Those of `of`, cut on all cores.
    pub(super) fn new(of: ByteRange<'_>) -> io::Result<Self> {
        // Of chunks that are alike, the first is the one that is found.
        Ok(Self(chunks(of)?.into_iter().rev().collect()))
    }

    /// How far further on in the known file most of these bytes are, which begin at `start` of
    /// their own; `None`: nothing of them is known.
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

/// A chunk, as hash and length, and where it begins.
type IndexedChunk = ((u64, usize), u64);

fn chunks(of: ByteRange<'_>) -> io::Result<Vec<IndexedChunk>> {
    let stretches = usize::try_from(of.len().div_ceil(STRETCH)).unwrap_or(usize::MAX);
    let stretch = |number| {
        let start = number as u64 * STRETCH;
        io::Result::Ok(cut(start, &of.read(start..start + STRETCH)?))
    };
    Ok(on_all_cores(stretches, stretch)?.concat())
}

/// The chunks of what begins at `start` of its file.
fn cut(start: u64, bytes: &[u8]) -> Vec<IndexedChunk> {
    let chunks = FastCDC::new(bytes, CHUNK / 2, CHUNK, CHUNK * 4);
    chunks.map(|chunk| ((chunk.hash, chunk.length), start + chunk.offset as u64)).collect()
}
