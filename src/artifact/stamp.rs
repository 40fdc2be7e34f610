//! Tells whether a file is still the one that was read.

use std::fmt;
use std::fs::Metadata;
use std::num::ParseIntError;
use std::os::unix::fs::MetadataExt as _;
use std::str::FromStr;

/// Seconds within which a file may be written to twice without another time: a file system's clock
/// may be that coarse.
const MOMENT: i64 = 2;

/// Identifies the state of a file: inode, size, and the times of its last changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    pub(super) len: u64,
    inode: (u64, u64),
    times: [(i64, i64); 2],
}

impl Stamp {
    pub(super) fn new(meta: &Metadata) -> Self {
        let times = [(meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec())];
        Self { len: meta.len(), inode: (meta.dev(), meta.ino()), times }
    }

    /// Returns whether a write from `now` on, in seconds since 1970, is sure to change the stamp.
    pub(super) fn is_reliable(&self, now: i64) -> bool {
        self.times[0].0.max(self.times[1].0) < now - MOMENT
    }
}

/// Writes device, inode, size; then seconds and nanoseconds of both times.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(mtime, mtime_ns), (ctime, ctime_ns)] = self.times;
        let (device, inode) = self.inode;
        write!(f, "{device} {inode} {} {mtime} {mtime_ns} {ctime} {ctime_ns}", self.len)
    }
}

impl FromStr for Stamp {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let mut words = text.split(' ');
        let mut word = || words.next().unwrap_or_default();
        Ok(Self {
            inode: (word().parse()?, word().parse()?),
            len: word().parse()?,
            times: [(word().parse()?, word().parse()?), (word().parse()?, word().parse()?)],
        })
    }
}
