//! Patches: a host makes a large file from its old version and fewer bytes than it has.
//!
//! The new file is cut into segments. One that only moved is copied from the old file. Of one that
//! changed, a zstd frame is sent whose dictionary is the place in the old file where it was. Both
//! are short, so that neither side holds whole files in memory, and all cores work here. Any
//! version of `zstd -d -D` decodes it there.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zstd::zstd_safe::CParameter;

use super::chunk_index::ChunkIndex;
use super::spool::on_all_cores;
use crate::model::delta::{Delta, PatchedFile};
use crate::model::digest::Digest;
use crate::remote::upload::FileRange;

/// Bytes of the new file that one step makes.
const SEGMENT: u64 = 16 << 20;
/// A dictionary has this many more bytes of the old file on either side. With a segment between, it
/// stays below the 32 MiB that zstd takes for a dictionary.
const MARGIN: u64 = 1 << 20;
/// The fastest level. Higher ones and larger tables save a tenth and take many times the work
/// (measured with a file of 2 % other bytes, and with a program that was linked again).
const LEVEL: i32 = 1;
/// The level of the stream, which is what a patch must beat.
const PLAIN_LEVEL: i32 = 3;
/// Room for dictionary and segment.
const WINDOW_LOG: u32 = 26;

/// The part of a release that one host lacks, with the patches that it is sent.
#[derive(Debug, Default)]
pub struct PreparedDelta {
    /// The files that are shared, patched and sent.
    pub delta: Delta,
    /// Identifies the delta, as [`Delta::key`] does.
    pub key: Option<Digest>,
    /// The bytes that are sent for the files in `delta.patched`, one file after the other.
    pub(super) fresh: Option<Arc<File>>,
}

impl PreparedDelta {
    /// Returns the delta with the bytes that are sent for patched files; `None`: there are none.
    pub fn new(delta: Delta, fresh: Option<Arc<File>>) -> Self {
        Self { key: delta.key(), delta, fresh }
    }
}

/// The bytes of patches follow from the delta.
impl PartialEq for PreparedDelta {
    fn eq(&self, other: &Self) -> bool {
        self.delta == other.delta
    }
}

/// One step. Each makes the next bytes of the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PatchStep {
    /// Copies a range of the old file.
    Copy { at: u64, len: u64 },
    /// Copies a range of what was sent.
    Fresh { at: u64, len: u64 },
    /// Decodes a range of what was sent. Its dictionary is a range of the old file.
    Patch { at: u64, len: u64, old: u64, old_len: u64 },
}

/// Makes the patch of a file, which is `new` and was `old`. Writes what is sent for it to `fresh`,
/// from offset `base` on. `None`: less than an eighth would be saved.
pub(super) fn patch(
    file: PatchedFile,
    old: &FileRange,
    new: &FileRange,
    fresh: &File,
    base: u64,
) -> io::Result<Option<PatchedFile>> {
    let index = ChunkIndex::new(old)?;
    let end = AtomicU64::new(base);
    let append = |bytes: &[u8]| {
        let len = bytes.len() as u64;
        let at = end.fetch_add(len, Ordering::Relaxed);
        fresh.write_all_at(bytes, at).map(|()| (at, len))
    };
    let count = usize::try_from(new.len.div_ceil(SEGMENT)).unwrap_or(usize::MAX);
    let steps = on_all_cores(count, |number| {
        let start = number as u64 * SEGMENT;
        let bytes = new.read(start..start + SEGMENT)?;
        let shift = index.shift(start, &bytes).unwrap_or_default();
        let place = |at: u64| at.saturating_add_signed(shift).min(old.len);
        let (begin, end) = (place(start), place(start + bytes.len() as u64));
        let range = begin.saturating_sub(MARGIN)..(end + MARGIN).min(old.len);
        let dictionary = old.read(range.clone())?;
        let there = usize::try_from(begin - range.start).unwrap_or_default();
        if dictionary[there..].starts_with(&bytes) {
            return Ok(PatchStep::Copy { at: begin, len: bytes.len() as u64 });
        }
        let Some(patch) = worthwhile_frame(&dictionary, &bytes)? else {
            return append(&bytes).map(|(at, len)| PatchStep::Fresh { at, len });
        };
        let (at, len) = append(&patch)?;
        let old_len = dictionary.len() as u64;
        Ok::<_, io::Error>(PatchStep::Patch { at, len, old: range.start, old_len })
    })?;
    let sent = end.into_inner() - base;
    let steps: String = joined(steps).iter().map(PatchStep::line).collect();
    Ok((sent <= new.len / 8 * 7).then_some(PatchedFile { sent, steps, ..file }))
}

impl PatchStep {
    /// Returns the line for the host.
    fn line(&self) -> String {
        match self {
            Self::Copy { at, len } => format!("copy {at} {len}\n"),
            Self::Fresh { at, len } => format!("fresh {at} {len}\n"),
            Self::Patch { at, len, old, old_len } => format!("patch {at} {len} {old} {old_len}\n"),
        }
    }
}

/// Makes one step of adjacent ranges: each step costs the host a process.
fn joined(steps: Vec<PatchStep>) -> Vec<PatchStep> {
    let mut joined: Vec<PatchStep> = Vec::new();
    for step in steps {
        match (joined.last_mut(), step) {
            (Some(PatchStep::Copy { at, len }), PatchStep::Copy { at: next, len: more })
            | (Some(PatchStep::Fresh { at, len }), PatchStep::Fresh { at: next, len: more })
                if *at + *len == next =>
            {
                *len += more;
            }
            _ => joined.push(step),
        }
    }
    joined
}

/// Returns a frame that decodes to `new`, unless sending `new` itself costs about as much.
fn worthwhile_frame(dictionary: &[u8], new: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let patch = frame(dictionary, new)?;
    let pays = patch.len() < new.len() / 8
        || patch.len() < zstd::bulk::compress(new, PLAIN_LEVEL)?.len() / 8 * 7;
    Ok(pays.then_some(patch))
}

fn frame(dictionary: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::with_ref_prefix(Vec::new(), LEVEL, dictionary)?;
    encoder.set_pledged_src_size(Some(new.len() as u64))?;
    encoder.include_checksum(true)?;
    encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
    encoder.write_all(new)?;
    encoder.finish()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Read as _;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Bytes that were sent before those of a patch.
    const BASE: &[u8] = b"old";

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    /// Bytes that do not shrink, the same for the same seed.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    /// Returns the patch, and the file with what is sent for it.
    fn made(old: &[u8], new: &[u8]) -> Option<(PatchedFile, Arc<File>)> {
        let wanted = PatchedFile {
            from: String::new(),
            old: Digest::of(old),
            old_size: old.len() as u64,
            size: new.len() as u64,
            sent: 0,
            steps: String::new(),
        };
        let whole = |bytes| FileRange::whole(file(bytes)).unwrap();
        let fresh = file(BASE);
        let patch = patch(wanted, &whole(old), &whole(new), &fresh, BASE.len() as u64).unwrap()?;
        Some((patch, fresh))
    }

    /// Returns the file that the steps make of `old`, as the agent reads them.
    fn applied(old: &[u8], (patch, fresh): &(PatchedFile, Arc<File>)) -> Vec<u8> {
        let fresh = FileRange::whole(Arc::clone(fresh)).unwrap().read(0..u64::MAX).unwrap();
        let mut new = Vec::new();
        for line in patch.steps.lines() {
            let (kind, numbers) = line.split_once(' ').unwrap();
            let numbers: Vec<usize> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
            let range = |of: &[u8], at: usize| of[numbers[at]..][..numbers[at + 1]].to_vec();
            match kind {
                "copy" => new.extend(range(old, 0)),
                "fresh" => new.extend(range(&fresh, 0)),
                _ => {
                    let (patch, before) = (range(&fresh, 0), range(old, 2));
                    let decoder = zstd::Decoder::with_dictionary(patch.as_slice(), &before);
                    decoder.unwrap().read_to_end(&mut new).unwrap();
                }
            }
        }
        new
    }

    #[track_caller]
    fn check(old: &[u8], new: &[u8]) {
        if let Some(made) = made(old, new) {
            assert!(applied(old, &made) == new);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn steps_applied_to_the_old_file_make_the_new_one(
            len in 0_usize..600_000,
            edits in vec((0_usize..600_000, 0_usize..50_000, 0_usize..50_000, 0_usize..3), 0..12),
        ) {
            let old = noise(1, len);
            let mut new = old.clone();
            for (at, cut, put, fill) in edits {
                let at = at.min(new.len());
                let end = (at + cut).min(new.len());
                let bytes = [vec![0; put], noise(at as u64, put), old[..put.min(len)].to_vec()];
                new.splice(at..end, bytes[fill].iter().copied());
            }
            check(&old, &new);
        }
    }

    #[test]
    fn segment_moved_far_is_copied() {
        let old = noise(1, 40 << 20);
        let mut new = noise(2, 20 << 20);
        new.extend(&old[3 << 20..]);
        new[30 << 20] ^= 1;
        let made = made(&old, &new).unwrap();
        assert!(applied(&old, &made) == new);
        let PatchedFile { sent, steps, .. } = made.0;
        assert!(sent < 21 << 20, "{sent}");
        assert!(steps.contains("copy "), "what only moved is one step: {steps}");
    }

    #[test]
    fn small_change_sends_few_bytes() {
        let old = noise(1, 8 << 20);
        let mut new = old.clone();
        new[1 << 20..(1 << 20) + 100].fill(9);
        new.splice(5 << 20..5 << 20, noise(3, 1000));
        let made = made(&old, &new).unwrap();
        assert!(applied(&old, &made) == new);
        assert!(made.0.sent < 2000, "{}", made.0.sent);
    }

    #[test]
    fn unrelated_files_give_no_patch() {
        assert!(made(&noise(1, 5 << 20), &noise(2, 5 << 20)).is_none());
    }
}
