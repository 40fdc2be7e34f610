//! Digests of files that were read when an artifact was opened. Files that are still the same are
//! not read again. There is one text for each artifact, under the digest of its address.

use std::sync::Arc;
use std::time::SystemTime;

use super::LocalCache;
use super::dir::name_of;
use crate::artifact::{Artifact, KnownDigests};

/// Limit for all of them together.
pub(super) const MOST_BYTES: u64 = 64 << 20;

impl LocalCache {
    /// Returns what is known of the files of the artifact at `address`.
    pub fn digests(&self, address: &str) -> KnownDigests {
        let bytes = self.digests.read(&name_of(address)).unwrap_or_default();
        let now = self.digests.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        KnownDigests::new(
            &String::from_utf8_lossy(&bytes),
            i64::try_from(now.as_secs()).unwrap_or_default(),
        )
    }

    /// Keeps what is known of the files of `artifact` now, in place of `before`. Returns at once:
    /// it is written in the background.
    pub fn keep_digests(&self, address: &str, before: KnownDigests, artifact: Arc<Artifact>) {
        let (cache, name) = (self.digests.clone(), name_of(address));
        self.in_background(move || {
            if let Some(text) = artifact.known(&before) {
                cache.write(&name, text.as_bytes());
            }
        });
    }
}
