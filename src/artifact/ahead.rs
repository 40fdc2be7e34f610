//! Reads many small files on all cores, ahead of whoever packs them one after the other.

use std::collections::VecDeque;
use std::fs::File;

use super::error::ArtifactError;
use super::spool::{SpoolPlace, on_all_cores};
use crate::model::digest::Digest;

/// Larger files are read piece by piece, by who packs them.
const SMALL: u64 = 1 << 20;
/// So much is read at once, and held until it is packed.
const BATCH: u64 = 4 << 20;

/// A file that is to be packed: its path, where its bytes are, and what they must be.
pub(super) type FileToRead<'a> = (&'a str, &'a SpoolPlace, Digest);

/// The content of small files, in the order in which they are wanted.
pub(super) struct Ahead<'a> {
    spool: &'a File,
    wanted: VecDeque<FileToRead<'a>>,
    ready: VecDeque<Vec<u8>>,
}

impl<'a> Ahead<'a> {
    /// Of all that are wanted, the small ones.
    pub(super) fn new(spool: &'a File, wanted: impl Iterator<Item = FileToRead<'a>>) -> Self {
        let wanted = wanted.filter(|(_, place, _)| Self::takes(place)).collect();
        Self { spool, wanted, ready: VecDeque::new() }
    }

    /// Whether the bytes of this one are to be had here.
    pub(super) fn takes(place: &SpoolPlace) -> bool {
        place.len() <= SMALL
    }

    /// All bytes of the next one. They have the digest that they must have.
    pub(super) fn next(&mut self) -> Result<Vec<u8>, ArtifactError> {
        if self.ready.is_empty() {
            self.read()?;
        }
        Ok(self.ready.pop_front().unwrap_or_default())
    }

    fn read(&mut self) -> Result<(), ArtifactError> {
        let mut bytes = 0;
        let fits = |(_, place, _): &&FileToRead| {
            let fits = bytes == 0 || bytes + place.len() <= BATCH;
            bytes += place.len();
            fits
        };
        let count = self.wanted.iter().take_while(fits).count();
        let batch: Vec<_> = self.wanted.drain(..count).collect();
        let content = |index: usize| {
            let (path, place, sha256) = batch[index];
            content(self.spool, path, place, sha256)
        };
        self.ready = on_all_cores(batch.len(), content)?.into();
        Ok(())
    }
}

fn content(
    spool: &File,
    path: &str,
    place: &SpoolPlace,
    sha256: Digest,
) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = Vec::with_capacity(usize::try_from(place.len()).unwrap_or_default());
    place.read_same(spool, path, sha256, |read| {
        bytes.extend_from_slice(read);
        Ok(())
    })?;
    Ok(bytes)
}
