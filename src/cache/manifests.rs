//! Sealed texts of manifests, compressed, each under its digest. One that is kept need not be
//! fetched from a host, which saves a round trip.

use super::LocalCache;
use super::dir::DirCache;
use crate::model::digest::Digest;
use crate::remote::answer::{LONGEST_MANIFEST, unpack};

/// Limit for all of them together.
pub(super) const MOST_BYTES: u64 = 64 << 20;
const ZSTD_LEVEL: i32 = 3;

impl LocalCache {
    /// Returns the sealed text of a manifest by its digest, if it is kept and undamaged.
    pub fn manifest(&self, digest: Digest) -> Option<String> {
        get(&self.manifests, digest)
    }

    /// Keeps the sealed text that `make` gives, under its digest. Returns at once: `make` runs in
    /// the background.
    pub fn keep_manifest(&self, make: impl FnOnce() -> Option<(Digest, String)> + Send + 'static) {
        let cache = self.manifests.clone();
        self.in_background(move || {
            if let Some((digest, text)) = make()
                && get(&cache, digest).is_none()
                && let Ok(packed) = zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL)
            {
                cache.write(&digest.to_string(), &packed);
            }
        });
    }
}

fn get(cache: &DirCache, digest: Digest) -> Option<String> {
    let text = unpack(&cache.read(&digest.to_string())?, LONGEST_MANIFEST).ok()?;
    (Digest::of(text.as_bytes()) == digest).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test")]
    fn manifest_is_found_unless_it_was_damaged_and_is_then_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let cache = || LocalCache::new(Some(dir.path()), SystemTime::UNIX_EPOCH);
        let digest = Digest::of(b"d ./a\n");
        let keep = || cache().keep_manifest(move || Some((digest, "d ./a\n".to_owned())));
        assert_eq!(cache().manifest(digest), None);
        for _ in 0..2 {
            keep();
            assert_eq!(cache().manifest(digest).as_deref(), Some("d ./a\n"));
        }
        let file = dir.path().join("manifests").join(digest.to_string());
        std::fs::write(file, "d ./b\n").unwrap();
        assert_eq!(cache().manifest(digest), None);
        keep();
        assert_eq!(cache().manifest(digest).as_deref(), Some("d ./a\n"));
    }
}
