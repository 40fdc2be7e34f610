//! How the upload stream is compressed.

use std::fmt;

/// Chosen by what the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// `zstd -d` on the host.
    Zstd,
    /// `gzip -d` on the host.
    Gzip,
    /// As it is.
    Plain,
}

impl Codec {
    /// The word the agent knows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Plain => "plain",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
