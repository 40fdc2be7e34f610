//! How a host makes a large file from its old version and less than its bytes: by patches, ranges of
//! the old file, and ranges of what is sent.
//!
//! A patch is a zstd frame of one segment of the new file whose dictionary is a range of the old
//! one. Both are short, so that neither side needs memory for whole files, all cores work here, and
//! `zstd -d -D` of any age decodes it there.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use zstd::zstd_safe::CParameter;

use super::chunks::ChunkIndex;
use super::pack::{NO_TIME, TarWriter};
use super::spool::{self, ByteRange, SpoolPlace, on_all_cores};
use super::tree::EntryKind;
use super::{Artifact, ArtifactError, member, scratch_failed};
use crate::model::delta::{ChangedFile, Delta, Rebuild};
use crate::model::manifest::{Manifest, Node};

/// So much of the new file is one patch.
const SEGMENT: u64 = 16 << 20;
/// So much more of the old file is looked at on either side. With a segment between, this stays
/// below the 32 MiB that zstd takes for a dictionary.
const MARGIN: u64 = 1 << 20;
/// The fastest level. Higher ones and larger tables save a tenth and cost many times the work
/// (measured with a file of 2 % other bytes and with a program that was linked again).
const LEVEL: i32 = 1;
/// The level of the stream, which is what a patch must beat.
const PLAIN_LEVEL: i32 = 3;
/// The dictionary, and the segment, and room to spare.
const WINDOW_LOG: u32 = 26;

/// One step of making a file. Places are those of the old file and of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PatchStep {
    /// These bytes of the old file.
    Copy { at: u64, len: u64 },
    /// These of what is sent.
    Fresh { at: u64, len: u64 },
    /// What this patch in what is sent makes of a range of the old file.
    Patch { at: u64, len: u64, old: u64, old_len: u64 },
}

/// How the next bytes of the new file come about.
enum Intent {
    /// As a range of the old file.
    Copy(Range<u64>),
    /// They are sent: a range of the new file.
    Fresh(Range<u64>),
    /// By a patch of a range of the old file.
    Patch { old: Range<u64>, patch: Vec<u8> },
}

/// A file as its host makes it.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pieces: Vec<PatchStep>,
    /// What is sent.
    pub(super) fresh: File,
    /// How many bytes that is.
    pub(super) sent: u64,
}

impl Artifact {
    /// How the file at `change.path` is made from its old self, all of which is in `old`; what must
    /// be sent for it is kept for `pack`. `None`: it would save little.
    pub fn rebuild(
        &self,
        change: &ChangedFile,
        old: &File,
    ) -> Result<Option<Rebuild>, ArtifactError> {
        let Some(place) = self.place(&change.path) else { return Ok(None) };
        let fresh = spool::nameless(self.scratch.as_deref())?;
        let work = |new: ByteRange<'_>| Rebuilt::new(ByteRange::whole(old)?, new, fresh);
        let made = place.with_source(&self.spool, work).map_err(scratch_failed)?;
        Ok(made.map(|made| {
            let (size, sent) = (place.len(), made.sent);
            let (from, old) = (change.from.clone(), change.old);
            let key = (change.path.clone(), old);
            let mut rebuilt = self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner);
            rebuilt.insert(key, Arc::new(made));
            Rebuild { from, old, size, sent }
        }))
    }

    /// Writes the bytes of the file at `path`, which must still be those that were listed.
    pub fn copy(&self, path: &str, to: &mut dyn io::Write) -> Result<(), ArtifactError> {
        let not_held = || ArtifactError::NotHeld { path: path.to_owned() };
        let place = self.place(path).ok_or_else(not_held)?;
        place.read(&self.spool, path, |bytes| to.write_all(bytes).map_err(scratch_failed))
    }

    fn place(&self, path: &str) -> Option<&SpoolPlace> {
        match &self.items.get(path)?.what {
            EntryKind::File { place, .. } => Some(place),
            _ => None,
        }
    }

    /// An empty file with the time and mode that the host's own work gets.
    pub(super) fn pack_place(
        &self,
        stream: &mut TarWriter<&File>,
        member: &str,
        path: &str,
        node: &Node,
    ) -> io::Result<()> {
        let Node::File { mode, .. } = node else { return Ok(()) };
        let mtime = self.items.get(path).and_then(|item| item.mtime).unwrap_or(NO_TIME);
        stream.file(member, *mode, 0, mtime)
    }

    /// The steps by which the host makes files, and what they need.
    pub(super) fn pack_rebuilt(
        &self,
        stream: &mut TarWriter<&File>,
        prefix: &str,
        release: &Manifest,
        delta: &Delta,
    ) -> Result<(), ArtifactError> {
        let (mut recipe, mut size, mut parts) = (String::new(), 0, Vec::new());
        for (path, file) in &delta.rebuilt {
            let key = (path.clone(), file.old);
            let made =
                self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
            let (Some(made), Some(Node::File { mode, .. })) = (made, release.nodes().get(path))
            else {
                return Err(ArtifactError::NotHeld { path: path.clone() });
            };
            let steps = made.steps(size);
            let _ = write!(recipe, "old {}\nnew {path}\n{steps}mode {mode:o}\n", file.from);
            size += made.sent;
            parts.push(made);
        }
        if parts.is_empty() {
            return Ok(());
        }
        let mut pack = || -> io::Result<()> {
            member(stream, &format!("{prefix}/meta/recipe"), 0o600, recipe.as_bytes())?;
            stream.file(&format!("{prefix}/meta/fresh"), 0o600, size, NO_TIME)?;
            for made in &parts {
                let fresh = ByteRange::whole(&made.fresh)?;
                for start in (0..made.sent).step_by(1 << 20) {
                    stream.content(&fresh.read(start..start + (1 << 20))?)?;
                }
            }
            stream.pad()
        };
        pack().map_err(scratch_failed)
    }
}

impl Rebuilt {
    /// Returns the steps that make `new` from `old`, and writes what must be sent for them to
    /// `fresh`, an empty file. `None`: little would be saved.
    pub(super) fn new(
        old: ByteRange<'_>,
        new: ByteRange<'_>,
        fresh: File,
    ) -> io::Result<Option<Self>> {
        let mut made = Self { pieces: Vec::new(), fresh, sent: 0 };
        let intents = patches(old, new)?;
        let mut out = BufWriter::with_capacity(1 << 18, made.fresh.try_clone()?);
        for intent in intents {
            let (piece, bytes) = made.piece(intent, new)?;
            out.write_all(&bytes)?;
            made.sent += bytes.len() as u64;
            made.push(piece);
        }
        out.flush()?;
        Ok((made.sent <= new.len() / 8 * 7).then_some(made))
    }

    /// The next piece, and what is sent for it.
    fn piece(&self, intent: Intent, new: ByteRange<'_>) -> io::Result<(PatchStep, Vec<u8>)> {
        let at = self.sent;
        Ok(match intent {
            Intent::Copy(old) => {
                (PatchStep::Copy { at: old.start, len: old.end - old.start }, Vec::new())
            }
            Intent::Fresh(range) => {
                let bytes = new.read(range)?;
                (PatchStep::Fresh { at, len: bytes.len() as u64 }, bytes)
            }
            Intent::Patch { old, patch } => {
                let (len, old_len) = (patch.len() as u64, old.end - old.start);
                (PatchStep::Patch { at, len, old: old.start, old_len }, patch)
            }
        })
    }

    /// Adjacent pieces of a kind are one step.
    fn push(&mut self, piece: PatchStep) {
        match (self.pieces.last_mut(), piece) {
            (Some(PatchStep::Copy { at, len }), PatchStep::Copy { at: next, len: more })
            | (Some(PatchStep::Fresh { at, len }), PatchStep::Fresh { at: next, len: more })
                if *at + *len == next =>
            {
                *len += more;
            }
            _ => self.pieces.push(piece),
        }
    }

    /// The steps as lines for the agent's `rebuild`. What is sent begins at `base` of its member.
    pub(super) fn steps(&self, base: u64) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            let _ = match piece {
                PatchStep::Copy { at, len } => writeln!(text, "copy {at} {len}"),
                PatchStep::Fresh { at, len } => writeln!(text, "fresh {} {len}", base + at),
                PatchStep::Patch { at, len, old, old_len } => {
                    writeln!(text, "patch {} {len} {old} {old_len}", base + at)
                }
            };
        }
        text
    }
}

/// The new file segment by segment, worked out on all cores.
fn patches(old: ByteRange<'_>, new: ByteRange<'_>) -> io::Result<Vec<Intent>> {
    let known = ChunkIndex::new(old)?;
    let segments = usize::try_from(new.len().div_ceil(SEGMENT)).unwrap_or(usize::MAX);
    on_all_cores(segments, |number| {
        let start = number as u64 * SEGMENT;
        let bytes = new.read(start..start + SEGMENT)?;
        let end = start + bytes.len() as u64;
        let shift = known.shift(start, &bytes).unwrap_or_default();
        let place = |at: u64| at.saturating_add_signed(shift).min(old.len());
        let range = place(start).saturating_sub(MARGIN)..(place(end) + MARGIN).min(old.len());
        let before = old.read(range.clone())?;
        let same = usize::try_from(place(start) - range.start).unwrap_or_default();
        if before[same..].starts_with(&bytes) {
            return Ok(Intent::Copy(place(start)..place(end)));
        }
        let patch = worthwhile_patch(&before, &bytes)?;
        let patch = patch.map(|patch| Intent::Patch { old: range, patch });
        Ok(patch.unwrap_or(Intent::Fresh(start..end)))
    })
}

/// The patch, unless sending the bytes themselves costs no more.
fn worthwhile_patch(old: &[u8], new: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let patch = patch(old, new)?;
    let pays = patch.len() < new.len() / 8
        || patch.len() < zstd::bulk::compress(new, PLAIN_LEVEL)?.len() / 8 * 7;
    Ok(pays.then_some(patch))
}

fn patch(old: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::with_ref_prefix(Vec::new(), LEVEL, old)?;
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
    use std::io::{Read as _, Seek as _};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
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

    fn made(old: &[u8], new: &[u8]) -> Option<Rebuilt> {
        let (before, after) = (file(old), file(new));
        let (before, after) =
            (ByteRange::whole(&before).unwrap(), ByteRange::whole(&after).unwrap());
        Rebuilt::new(before, after, file(&[])).unwrap()
    }

    /// What the steps make of `old`, as the agent reads them.
    fn applied(old: &[u8], rebuilt: &mut Rebuilt) -> Vec<u8> {
        let mut fresh = vec![7; 3];
        rebuilt.fresh.rewind().unwrap();
        rebuilt.fresh.read_to_end(&mut fresh).unwrap();
        let mut new = Vec::new();
        for line in rebuilt.steps(3).lines() {
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
        if let Some(mut rebuilt) = made(old, new) {
            assert!(applied(old, &mut rebuilt) == new);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_steps_make_the_new_file_of_the_old(
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
    fn segments_find_what_moved_far() {
        let old = noise(1, 40 << 20);
        let mut new = noise(2, 20 << 20);
        new.extend(&old[3 << 20..]);
        new[30 << 20] ^= 1;
        let mut rebuilt = made(&old, &new).unwrap();
        assert!(applied(&old, &mut rebuilt) == new);
        assert!(rebuilt.sent < 21 << 20, "{}", rebuilt.sent);
        let steps = rebuilt.steps(0);
        assert!(steps.contains("copy "), "what only moved is one step: {steps}");
    }

    #[test]
    fn little_is_sent_for_little_that_changed() {
        let old = noise(1, 8 << 20);
        let mut new = old.clone();
        new[1 << 20..(1 << 20) + 100].fill(9);
        new.splice(5 << 20..5 << 20, noise(3, 1000));
        let mut rebuilt = made(&old, &new).unwrap();
        assert!(applied(&old, &mut rebuilt) == new);
        assert!(rebuilt.sent < 2000, "{}", rebuilt.sent);
    }

    #[test]
    fn what_would_save_little_is_not_done() {
        assert!(made(&noise(1, 5 << 20), &noise(2, 5 << 20)).is_none());
    }
}
