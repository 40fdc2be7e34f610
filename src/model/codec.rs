//! Compression of uploads.

/// The compression of an upload. The host's tools decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// The host runs `zstd -d`.
    Zstd,
    /// The host runs `gzip -d`.
    Gzip,
    Plain,
}

impl Codec {
    /// Returns the agent's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Plain => "plain",
        }
    }
}
