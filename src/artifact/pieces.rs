//! What travels of a packed release, and from where: headers and small files from the spool, the
//! bytes of large files that are not compressed from where they are.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::error::ArtifactError;
use crate::model::codec::Codec;

/// Smaller files are not worth a piece of their own.
const LARGE: u64 = 4 << 20;
/// Each holds a file open for as long as the run sends; further ones go through the spool.
const MOST: usize = 64;
/// After so much more of tar it is worth a look what the compressor has made of it.
const OFFER: u64 = 1 << 20;

/// Some bytes of a file, to be read with `read_at` when they are sent, by any number of hosts at
/// once.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// Either has no name and is gone with the last holder, or belongs to the artifact.
    pub file: Arc<File>,
    /// The first byte.
    pub at: u64,
    /// How many.
    pub len: u64,
}

/// How a release is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackOptions {
    /// How it is compressed.
    pub codec: Codec,
    /// About how many bytes that leaves.
    pub likely: u64,
    /// Sooner rather than smaller.
    pub quick: bool,
    /// Whether there are files so large that a host reads them back while they arrive.
    pub large: bool,
}

/// A packed release, or what there is of it so far.
#[derive(Debug, Clone)]
pub struct Packed {
    /// How it is compressed.
    pub codec: Codec,
    /// Whether there are files so large that a host reads them back while they arrive.
    pub large: bool,
    /// What travels, in order. What is in a piece stays as it is.
    pub pieces: Vec<FileRange>,
    /// How many bytes these are.
    pub len: u64,
    /// How many bytes of tar went into them so far; a compressor holds some of it back.
    pub unpacked: u64,
    /// About how many bytes all will be; exactly so many in the end.
    pub likely: u64,
}

impl Packed {
    /// Nothing yet.
    pub fn new(&PackOptions { codec, likely, large, .. }: &PackOptions) -> Self {
        Self { codec, large, pieces: Vec::new(), len: 0, unpacked: 0, likely }
    }
}

/// Is told of each further piece, and says whether anybody still wants them.
pub type PackProgress<'a> = &'a mut dyn FnMut(&Packed) -> bool;

/// Collects them, in order.
pub(super) struct Pieces<'a> {
    spool: Arc<File>,
    /// What of the spool is in a piece already.
    taken: u64,
    packed: Packed,
    direct: usize,
    told: PackProgress<'a>,
}

impl<'a> Pieces<'a> {
    /// None yet of `spool`, which is empty.
    pub(super) fn new(spool: File, packed: Packed, told: PackProgress<'a>) -> Self {
        Self { spool: Arc::new(spool), taken: 0, packed, direct: 0, told }
    }

    /// Where the stream is written.
    pub(super) fn spool(&self) -> Arc<File> {
        Arc::clone(&self.spool)
    }

    /// Whether a file of this size is to be sent from where it is.
    pub(super) fn takes(&self, size: u64) -> bool {
        size >= LARGE && self.direct < MOST
    }

    /// Behind all that is in the spool so far come `len` bytes of `file` from `at` on.
    pub(super) fn insert(&mut self, file: File, at: u64, len: u64) -> Result<(), ArtifactError> {
        self.close()?;
        self.direct += 1;
        self.push(FileRange { file: Arc::new(file), at, len })
    }

    /// What is in the spool is a piece, if it is worth one, now that so much tar was written.
    pub(super) fn offer(&mut self, unpacked: u64) -> Result<(), ArtifactError> {
        if unpacked < self.packed.unpacked + OFFER {
            return Ok(());
        }
        self.packed.unpacked = unpacked;
        self.close()
    }

    /// All of them, when everything is in the spool.
    pub(super) fn finish(mut self, unpacked: u64) -> Result<Packed, ArtifactError> {
        self.packed.unpacked = unpacked;
        self.close()?;
        self.packed.likely = self.packed.len;
        Ok(self.packed)
    }

    fn close(&mut self) -> Result<(), ArtifactError> {
        let (at, end) =
            (self.taken, self.len().map_err(|source| ArtifactError::Scratch { source })?);
        if end == at {
            return Ok(());
        }
        self.taken = end;
        self.push(FileRange { file: self.spool(), at, len: end - at })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.spool.metadata()?.len())
    }

    fn push(&mut self, piece: FileRange) -> Result<(), ArtifactError> {
        self.packed.len += piece.len;
        self.packed.likely = self.packed.likely.max(self.packed.len);
        self.packed.pieces.push(piece);
        if (self.told)(&self.packed) { Ok(()) } else { Err(ArtifactError::Stopped) }
    }
}
