//! Contents for files.

/// Random bytes of 64 kinds: they compress to three quarters. Equal for equal seeds.
pub(crate) fn random_text(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b' ' + (state.to_le_bytes()[3] & 63)
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Random bytes, which do not compress. Equal at every call.
pub(crate) fn random_bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
