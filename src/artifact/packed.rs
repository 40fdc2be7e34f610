//! A packed release as chunks: headers and small files from a nameless file, large files that are
//! not compressed from where they are.

use std::fs::File;
use std::sync::Arc;

use super::error::ArtifactError;
use crate::model::codec::Codec;
use crate::remote::upload::Chunk;

/// Smaller files are not worth a chunk of their own.
const LARGE: u64 = 4 << 20;
/// Each such file stays open for as long as the run sends; further ones are copied.
const MOST_FILES: usize = 64;
/// Bytes of tar after which the compressor's output becomes a chunk.
const INTERVAL: u64 = 1 << 20;

/// A packed release, or as much of it as is packed.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Its compression.
    pub codec: Codec,
    /// Whether there are files so large that a host reads them back while they arrive.
    pub large: bool,
    /// The chunks to send, in order. They never change once they are here.
    pub chunks: Vec<Chunk>,
    /// Bytes of the chunks.
    pub len: u64,
    /// Bytes of tar that went into them so far; a compressor still holds some of them.
    pub unpacked: u64,
    /// Estimate of `len` at the end; exact once all is packed.
    pub likely: u64,
}

/// Is called at the beginning and with each further chunk. Returns whether anybody still wants
/// them.
pub type PackProgress<'a> = &'a mut dyn FnMut(&Packed) -> bool;

/// Collects chunks while the stream is written.
pub(super) struct ChunkWriter<'a> {
    packed: Packed,
    /// The end that the stream is written to.
    spool: Arc<File>,
    /// Bytes of it that are in chunks.
    taken: u64,
    /// Files that are chunks themselves.
    files: usize,
    progress: PackProgress<'a>,
}

impl<'a> ChunkWriter<'a> {
    /// Begins with a `packed` without chunks, and an empty file.
    pub(super) fn new(
        packed: Packed,
        spool: File,
        progress: PackProgress<'a>,
    ) -> Result<Self, ArtifactError> {
        let mut new = Self { packed, spool: Arc::new(spool), taken: 0, files: 0, progress };
        new.report()?;
        Ok(new)
    }

    /// Returns the file that the stream is written to.
    pub(super) fn spool(&self) -> Arc<File> {
        Arc::clone(&self.spool)
    }

    /// Returns whether a file of this size is sent from where it is.
    pub(super) fn takes(&self, size: u64) -> bool {
        size >= LARGE && self.files < MOST_FILES
    }

    /// Adds `len` bytes of `file` from `at` on, after all that was written so far.
    pub(super) fn insert(&mut self, file: File, at: u64, len: u64) -> Result<(), ArtifactError> {
        self.close()?;
        self.files += 1;
        self.push(Arc::new(file), at, len)
    }

    /// Makes a chunk of what was written, if `unpacked` bytes of tar are enough for one.
    pub(super) fn advance(&mut self, unpacked: u64) -> Result<(), ArtifactError> {
        if unpacked < self.packed.unpacked + INTERVAL {
            return Ok(());
        }
        self.packed.unpacked = unpacked;
        self.close()
    }

    /// Returns all chunks. Everything must have been written.
    pub(super) fn finish(mut self, unpacked: u64) -> Result<Packed, ArtifactError> {
        self.packed.unpacked = unpacked;
        self.close()?;
        self.packed.likely = self.packed.len;
        Ok(self.packed)
    }

    fn close(&mut self) -> Result<(), ArtifactError> {
        let meta = self.spool.metadata().map_err(|source| ArtifactError::Scratch { source })?;
        let (at, end) = (self.taken, meta.len());
        if end == at {
            return Ok(());
        }
        self.taken = end;
        self.push(self.spool(), at, end - at)
    }

    fn push(&mut self, file: Arc<File>, at: u64, len: u64) -> Result<(), ArtifactError> {
        self.packed.len += len;
        self.packed.likely = self.packed.likely.max(self.packed.len);
        self.packed.chunks.push(Chunk::File { file, at, len });
        self.report()
    }

    fn report(&mut self) -> Result<(), ArtifactError> {
        if (self.progress)(&self.packed) { Ok(()) } else { Err(ArtifactError::Stopped) }
    }
}
