//! How much an artifact may hold: declared, so that a bomb ends in an error and not in a full disk.

use super::error::LimitHit;

/// What is more than this is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files, directories and links, those left out included.
    pub entries: usize,
    /// Bytes of all paths and targets of links together.
    pub names: u64,
    /// How many parts of paths all links may lead through together.
    pub steps: usize,
    /// Of all files together, unpacked; also of a download.
    pub bytes: u64,
    /// How many times its own size an archive may grow.
    pub ratio: u64,
    /// Up to here the ratio is not looked at: small archives of zeros harm nobody.
    pub ratio_from: u64,
}

impl Default for Limits {
    /// A million entries is ten times the largest application trees (every entry costs an inode on
    /// every host and for every release kept); 64 GiB is what a root disk of a server can take;
    /// 256 bytes for each name are more than they have; ten steps for each entry are more than links
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

/// Counts what has been unpacked so far.
#[derive(Debug)]
pub(super) struct UnpackMeter<'a> {
    limits: &'a Limits,
    packed: u64,
    unpacked: u64,
}

impl<'a> UnpackMeter<'a> {
    /// For an archive of `packed` bytes.
    pub(super) fn new(limits: &'a Limits, packed: u64) -> Self {
        Self { limits, packed, unpacked: 0 }
    }

    /// `bytes` more came out.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), LimitHit> {
        let Limits { bytes: most, ratio, ratio_from, .. } = *self.limits;
        self.unpacked = self.unpacked.saturating_add(bytes);
        if self.unpacked > most {
            return Err(LimitHit::Bytes { most });
        }
        let bomb = self.unpacked > self.packed.saturating_mul(ratio);
        if bomb && self.unpacked > ratio_from {
            return Err(LimitHit::Ratio { most: ratio });
        }
        Ok(())
    }
}
