//! Sealed texts of manifests, compressed, each under its digest. One that is kept need not be
//! fetched from a host, which saves a round trip.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use super::dir::DirCache;
use crate::model::digest::Digest;
use crate::remote::answer::{LONGEST_MANIFEST, unpack};

/// Limit for all of them together.
pub(super) const MOST_BYTES: u64 = 64 << 20;
const ZSTD_LEVEL: i32 = 3;

/// Returns the text with this digest, if it is kept and undamaged.
pub(super) fn get(cache: &DirCache, digest: Digest) -> Option<String> {
    let read = |mut file: File| {
        let mut packed = Vec::new();
        file.read_to_end(&mut packed)?;
        unpack(&packed, LONGEST_MANIFEST)
    };
    let text = read(cache.get(&digest.to_string())?).ok()?;
    (Digest::of(text.as_bytes()) == digest).then_some(text)
}

/// Keeps `text`, whose digest is `digest`, unless it is kept already.
pub(super) fn put(cache: &DirCache, digest: Digest, text: &str) -> io::Result<()> {
    if get(cache, digest).is_some() {
        return Ok(());
    }
    let packed = zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL)?;
    cache.put(&digest.to_string(), packed.len() as u64, |file| file.write_all(&packed))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::{LocalCache, ReleaseCache as _};
    use super::*;

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test")]
    fn manifest_is_found_unless_it_was_damaged_and_is_then_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let cache = || LocalCache::new(Some(dir.path()), SystemTime::UNIX_EPOCH);
        let digest = Digest::of(b"d ./a\n");
        let keep = || cache().keep_manifest(Box::new(move || Some((digest, "d ./a\n".to_owned()))));
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
