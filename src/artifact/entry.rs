//! The entries of an artifact.

use super::spool::SpoolPlace;

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its kind, with its bytes or target.
    pub(super) what: EntryKind,
    /// Modification time in seconds since 1970, if the artifact has one.
    pub(super) mtime: Option<u64>,
    /// The bits of its group and of others, if they may read it; of a directory: enter it.
    pub(super) readers: u32,
}

/// The bits of those who may read what everybody may read.
pub(super) const ALL_READERS: u32 = 0o044;

impl Item {
    /// Returns whether others than its owner and group may not read it.
    pub(super) fn is_private(&self) -> bool {
        self.readers & 0o004 == 0
    }
}

/// Returns who besides its owner may read a file of this mode, or enter a directory.
pub(super) fn readers(is_dir: bool, mode: u32) -> u32 {
    if is_dir { (mode & 0o011) << 2 } else { mode & ALL_READERS }
}

#[derive(Debug, Clone)]
pub(super) enum EntryKind {
    Dir,
    File {
        /// Whether its owner may execute it.
        runs: bool,
        /// The place of its bytes.
        place: SpoolPlace,
    },
    Link {
        /// Its target, as written.
        target: String,
    },
}
