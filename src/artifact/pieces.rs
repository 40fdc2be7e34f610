//! What travels of a packed release, and from where: headers and small files from the spool, the
//! bytes of large files that are not compressed from where they are.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// Smaller files are not worth a piece of their own.
const LARGE: u64 = 4 << 20;
/// Each holds a file open for as long as the run sends; further ones go through the spool.
const MOST: usize = 64;

/// Some bytes of a file, to be read with `read_at` when they are sent, by any number of hosts at
/// once.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Either has no name and is gone with the last holder, or belongs to the artifact.
    pub file: Arc<File>,
    /// The first byte.
    pub at: u64,
    /// How many.
    pub len: u64,
}

/// Collects them, in order.
pub(super) struct Pieces {
    spool: Arc<File>,
    /// What of the spool is in a piece already.
    taken: u64,
    list: Vec<Piece>,
    direct: usize,
}

impl Pieces {
    /// None yet of `spool`, which is empty.
    pub(super) fn new(spool: File) -> Self {
        Self { spool: Arc::new(spool), taken: 0, list: Vec::new(), direct: 0 }
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
    pub(super) fn insert(&mut self, file: File, at: u64, len: u64) -> io::Result<()> {
        self.close()?;
        self.direct += 1;
        self.list.push(Piece { file: Arc::new(file), at, len });
        Ok(())
    }

    /// All of them, when everything is in the spool.
    pub(super) fn finish(mut self) -> io::Result<Vec<Piece>> {
        self.close()?;
        Ok(self.list)
    }

    fn close(&mut self) -> io::Result<()> {
        let (at, end) = (self.taken, self.spool.metadata()?.len());
        if end > at {
            self.list.push(Piece { file: self.spool(), at, len: end - at });
            self.taken = end;
        }
        Ok(())
    }
}
