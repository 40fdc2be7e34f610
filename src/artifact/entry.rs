//! One entry of an artifact.

use super::spool::SpoolPlace;

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// What it is.
    pub(super) what: EntryKind,
    /// Seconds since 1970, where the artifact says so.
    pub(super) mtime: Option<u64>,
    /// Whether others than its owner and group may not read it; of a directory: not enter it.
    pub(super) private: bool,
}

/// Returns whether others than its owner and group may not read a file, or not enter a directory.
pub(super) fn is_private(is_dir: bool, mode: u32) -> bool {
    mode & if is_dir { 0o001 } else { 0o004 } == 0
}

/// What an entry is.
#[derive(Debug, Clone)]
pub(super) enum EntryKind {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        runs: bool,
        /// Where its bytes are.
        place: SpoolPlace,
    },
    /// A symbolic link.
    Link {
        /// What it holds.
        target: String,
    },
}
