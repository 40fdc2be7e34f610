//! A packed release as chunks: headers and small files from a nameless file, large files that are
//! not compressed from where they are.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::error::{ArtifactError, scratch_failed};
use super::tar::TarWriter;
use crate::model::codec::Codec;
use crate::remote::upload::FileRange;

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
    pub chunks: Vec<FileRange>,
    /// Bytes of the chunks.
    pub len: u64,
    /// Estimate of `len` at the end; exact once all is packed.
    pub likely: u64,
    /// All bytes of an inline upload, in memory once for all hosts.
    pub inline: Option<Vec<Bytes>>,
    /// How packing ended.
    pub end: Option<Result<(), Arc<ArtifactError>>>,
}

impl Packed {
    /// Returns the two ends through which hosts hear how far packing by `codec` is.
    pub fn channel(codec: Codec) -> (watch::Sender<Self>, watch::Receiver<Self>) {
        watch::channel(Self::begun(codec, false, 0))
    }

    /// Returns what there is at the beginning: no chunks, and an estimate of their bytes.
    pub(super) const fn begun(codec: Codec, large: bool, likely: u64) -> Self {
        Self { codec, large, chunks: Vec::new(), len: 0, likely, inline: None, end: None }
    }
}

/// Writes the stream of a release, and makes chunks of it.
pub(super) struct ChunkWriter<'a> {
    /// What is written so far becomes chunks.
    pub(super) tar: TarWriter<Arc<File>>,
    spool: Arc<File>,
    /// Bytes of the spool that are in chunks.
    taken: u64,
    /// Bytes of tar that went into chunks; a compressor still holds some of them.
    unpacked: u64,
    /// Files that are chunks themselves.
    files: usize,
    to: &'a watch::Sender<Packed>,
}

impl<'a> ChunkWriter<'a> {
    /// Begins with a `packed` without chunks, and an empty file. `quick`: rather sooner than
    /// smaller.
    pub(super) fn new(
        packed: Packed,
        quick: bool,
        spool: File,
        to: &'a watch::Sender<Packed>,
    ) -> Result<Self, ArtifactError> {
        let spool = Arc::new(spool);
        let tar = TarWriter::new(packed.codec, quick, Arc::clone(&spool))?;
        to.send_replace(packed);
        Ok(Self { tar, spool, taken: 0, unpacked: 0, files: 0, to })
    }

    /// Returns whether content of this size is sent from where it is.
    pub(super) fn takes(&self, size: u64) -> bool {
        self.tar.is_plain() && size >= LARGE && self.files < MOST_FILES
    }

    /// Sends content from where it is, after all that was written so far.
    pub(super) fn insert(&mut self, content: FileRange) -> Result<(), ArtifactError> {
        self.tar.leave_out(content.len)?;
        self.close()?;
        self.files += 1;
        push(self.to, content)
    }

    /// Makes a chunk of what was written, if it is enough for one.
    pub(super) fn advance(&mut self) -> Result<(), ArtifactError> {
        let unpacked = self.tar.written();
        if unpacked < self.unpacked + INTERVAL {
            return Ok(());
        }
        self.unpacked = unpacked;
        self.close()
    }

    /// Ends the stream, and makes the last chunk.
    pub(super) fn finish(self) -> Result<(), ArtifactError> {
        let spool = self.tar.finish()?;
        if let Some(last) = written_since(&spool, self.taken)? {
            push(self.to, last)?;
        }
        self.to.send_modify(|packed| packed.likely = packed.len);
        Ok(())
    }

    fn close(&mut self) -> Result<(), ArtifactError> {
        let Some(written) = written_since(&self.spool, self.taken)? else { return Ok(()) };
        self.taken += written.len;
        push(self.to, written)
    }
}

/// Returns what a file has from offset `at` on, if it has anything there.
fn written_since(file: &Arc<File>, at: u64) -> Result<Option<FileRange>, ArtifactError> {
    let meta = file.metadata().map_err(scratch_failed)?;
    let len = meta.len() - at;
    Ok((len > 0).then(|| FileRange { file: Arc::clone(file), at, len }))
}

/// Adds a chunk. Fails if nobody wants it any more.
fn push(to: &watch::Sender<Packed>, range: FileRange) -> Result<(), ArtifactError> {
    to.send_modify(|packed| {
        packed.len += range.len;
        packed.likely = packed.likely.max(packed.len);
        packed.chunks.push(range);
    });
    if to.is_closed() { Err(ArtifactError::Stopped) } else { Ok(()) }
}
