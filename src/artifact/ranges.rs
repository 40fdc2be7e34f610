//! Finds what two files have in common, wherever it lies: both are cut into chunks where their
//! content says so (FastCDC), and what equal chunks hint at is compared byte by byte.

use std::collections::HashMap;
use std::io;

use fastcdc::v2020::FastCDC;

use super::spool::{ByteRange, on_all_cores};

/// Chunks are of 8 to 64 KiB, 16 KiB in the middle. What lies between two edits that are closer
/// together may not be found.
const CHUNK: usize = 16 << 10;
/// Each is cut by itself, so that all cores can work.
const STRETCH: u64 = 16 << 20;
/// A shorter common range is not worth a step of its own.
const SHORTEST: u64 = 4 << 10;
/// So much is compared at once.
const BLOCK: u64 = 64 << 10;

/// A range that both files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharedRange {
    /// Where it begins in the old file.
    pub(super) old: u64,
    /// Where it begins in the new one.
    pub(super) new: u64,
    /// Bytes.
    pub(super) len: u64,
}

impl SharedRange {
    /// Where it ends in the new file.
    pub(super) const fn end(&self) -> u64 {
        self.new + self.len
    }
}

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

/// What of `new` is in `old` too, in the order of `new`, without overlaps there.
pub(super) fn common(old: ByteRange<'_>, new: ByteRange<'_>) -> io::Result<Vec<SharedRange>> {
    let known = ChunkIndex::new(old)?;
    let mut found: Vec<SharedRange> = Vec::new();
    for (chunk, at) in chunks(new)? {
        let done = found.last().map_or(0, SharedRange::end);
        let unknown = at + chunk.1 as u64 > done;
        let Some(from) = known.0.get(&chunk).filter(|_| unknown) else { continue };
        let inside = done.saturating_sub(at);
        let hint = SharedRange { old: from + inside, new: at + inside, len: 0 };
        let range = widened(old, new, hint, done)?;
        if range.len >= SHORTEST {
            found.push(range);
        }
    }
    Ok(found)
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

/// As much around `hint` as is the same in both files, but nothing of the new one before `from`.
fn widened(
    old: ByteRange<'_>,
    new: ByteRange<'_>,
    hint: SharedRange,
    from: u64,
) -> io::Result<SharedRange> {
    // What is the same before it is less than a chunk: else that chunk would have been found.
    let before = same_before(old, new, hint, (hint.new - from).min(hint.old))?;
    let after = same_after(old, new, hint)?;
    Ok(SharedRange { old: hint.old - before, new: hint.new - before, len: before + after })
}

fn same_after(old: ByteRange<'_>, new: ByteRange<'_>, hint: SharedRange) -> io::Result<u64> {
    let mut same = 0;
    loop {
        let (left, right) = (hint.old + same, hint.new + same);
        let (left, right) = (old.read(left..left + BLOCK)?, new.read(right..right + BLOCK)?);
        if left.len() as u64 == BLOCK && left == right {
            same += BLOCK;
        } else {
            return Ok(same + equal(left.iter(), right.iter()));
        }
    }
}

fn same_before(
    old: ByteRange<'_>,
    new: ByteRange<'_>,
    hint: SharedRange,
    most: u64,
) -> io::Result<u64> {
    let (left, right) =
        (hint.old - most.min(BLOCK)..hint.old, hint.new - most.min(BLOCK)..hint.new);
    let (left, right) = (old.read(left)?, new.read(right)?);
    Ok(equal(left.iter().rev(), right.iter().rev()))
}

fn equal<'a>(left: impl Iterator<Item = &'a u8>, right: impl Iterator<Item = &'a u8>) -> u64 {
    left.zip(right).take_while(|(left, right)| left == right).count() as u64
}
