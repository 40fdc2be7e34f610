//! The entries of an artifact.

use super::error::Refusal;
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

pub(super) const SET_BITS: u32 = 0o7000;
pub(super) const OWNER_RUNS: u32 = 0o100;
/// The bits of those who may read what everybody may read.
pub(super) const ALL_READERS: u32 = 0o044;

impl Item {
    /// Returns the place of its bytes, if it is a file.
    pub(super) fn place(&self) -> Option<&SpoolPlace> {
        if let EntryKind::File { place, .. } = &self.what { Some(place) } else { None }
    }

    /// Returns whether others than its owner and group may not read it.
    pub(super) fn is_private(&self) -> bool {
        self.readers & 0o004 == 0
    }
}

/// Returns who besides its owner may read a file of this mode, or enter a directory.
pub(super) fn readers(is_dir: bool, mode: u32) -> u32 {
    if is_dir { (mode & 0o011) << 2 } else { mode & ALL_READERS }
}

/// Returns why an entry of this mode is refused that is neither a file nor a directory nor a link.
pub(super) fn special(mode: u32) -> Refusal {
    match mode & 0o170_000 {
        0o010_000 => Refusal::Fifo,
        0o140_000 => Refusal::Socket,
        0o020_000 | 0o060_000 => Refusal::Device,
        _ => Refusal::Kind { kind: '?' },
    }
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
