//! The entries of an artifact.

use super::spool::SpoolPlace;

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its kind, with its bytes or target.
    pub(super) what: EntryKind,
    /// Modification time in seconds since 1970, if the artifact has one.
    pub(super) mtime: Option<u64>,
    /// Whether other users than its owner and group cannot read it; of a directory: cannot enter
    /// it.
    pub(super) private: bool,
}

/// Returns whether others than its owner and group may not read a file, or not enter a directory.
pub(super) fn is_private(is_dir: bool, mode: u32) -> bool {
    mode & if is_dir { 0o001 } else { 0o004 } == 0
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
