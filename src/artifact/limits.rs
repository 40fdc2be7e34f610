//! Limits for artifacts, so that an archive bomb ends in an error and not in a full disk.

/// An artifact that exceeds one of these is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files, directories and links, also those that `exclude` leaves out.
    pub entries: usize,
    /// Bytes of all paths and targets of links together.
    pub names: u64,
    /// Parts of paths that all links lead through together.
    pub steps: usize,
    /// Bytes of all files together, unpacked; also bytes of a download.
    pub bytes: u64,
    /// Unpacked size divided by the archive's own.
    pub ratio: u64,
    /// Unpacked size from which `ratio` holds: small archives of zeros harm nobody.
    pub ratio_from: u64,
}

impl Default for Limits {
    /// A million entries is ten times the largest application trees (every entry costs an inode on
    /// every host and for every release kept); 64 GiB is what a root disk of a server can take; 256
    /// bytes for each name are more than they have; ten steps for each entry are more than links
    /// take; real builds shrink at most tenfold or so, while bombs shrink a thousandfold.
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            names: 256 << 20,
            steps: 10_000_000,
            bytes: 64 << 30,
            ratio: 250,
            ratio_from: 1 << 30,
        }
    }
}
