//! Compression of uploads.

use super::enum_words::words;

words! {
    /// The compression of an upload. The host's tools decide. Its word is the agent's.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Codec {
        /// The host runs `zstd -d`.
        Zstd = "zstd",
        /// The host runs `gzip -d`.
        Gzip = "gzip",
        Plain = "plain",
    }
}
