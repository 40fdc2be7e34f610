//! SHA-256 digests of files and artifacts, and keyed digests of configs.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::{digest, hmac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the HMAC-SHA-256 of `bytes`. Without `key`, nobody can guess a secret from it.
    pub fn keyed(key: &[u8], bytes: &[u8]) -> Self {
        sized(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes).as_ref())
    }

    /// Returns the HMAC-SHA-256 under `key` of what has this inner digest: that of the key under
    /// the mask of HMAC, followed by the content.
    pub fn keyed_from_inner(key: &[u8], inner: Self) -> Self {
        let mut block = [0_u8; 64];
        for (byte, of_key) in block.iter_mut().zip(key) {
            *byte = *of_key;
        }
        let masked = block.map(|byte| byte ^ 0x5c);
        Self::of(&[masked.as_slice(), &inner.0].concat())
    }

    /// Returns the 32 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the first 12 hex digits, enough for people to compare.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Manifests hold many digests, and `{:02x}` for each byte takes fifty times as long.
        let mut digits = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut digits);
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// Computes the SHA-256 of bytes that come piece by piece. `ring` does it in assembly, which is
/// about twice as fast as portable code on processors without instructions for it.
pub struct Hasher(digest::Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Hasher {
    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all pieces.
    pub fn finish(self) -> Digest {
        sized(self.0.finish().as_ref())
    }
}

fn sized(bytes: &[u8]) -> Digest {
    let mut digest = Digest([0; 32]);
    digest.0.copy_from_slice(bytes);
    digest
}

/// A text that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 hex digits")]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return Err(NotADigest);
        }
        HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| NotADigest)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
