//! Bytes that look random and are the same everywhere: SplitMix64.

/// A stream of them.
pub(crate) struct Random(u64);

impl Random {
    /// One stream for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }

    /// Bytes that no compressor makes smaller.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Bytes of which a compressor leaves about half: noise and words by turns.
    pub(crate) fn mixed(&mut self, length: usize) -> Vec<u8> {
        const WORDS: [&[u8]; 8] = [
            b"return ",
            b"function ",
            b"const ",
            b"export ",
            b"import ",
            b"this.",
            b"await ",
            b"null;\n",
        ];
        let mut bytes = Vec::with_capacity(length + 1024);
        while bytes.len() < length {
            bytes.extend(self.bytes(240));
            let end = bytes.len() + 272;
            while bytes.len() < end {
                bytes.extend_from_slice(WORDS[self.below(WORDS.len())]);
            }
        }
        bytes.truncate(length);
        bytes
    }
}
