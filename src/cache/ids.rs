//! Ids of the releases that the hosts of a stage were seen to have, for shells that complete them.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use super::dir::DirCache;
use crate::model::digest::Digest;
use crate::model::id::ReleaseId;

/// Limit for all of them together.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// Returns the ids that are kept for `stage`.
pub(super) fn get(cache: &DirCache, stage: &str) -> BTreeSet<ReleaseId> {
    let mut text = String::new();
    let file = cache.get(&name(stage)).map(|file| file.take(MOST_BYTES));
    let _ = file.map(|mut file| file.read_to_string(&mut text));
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Keeps `ids` for `stage` in place of those that are kept.
pub(super) fn put(cache: &DirCache, stage: &str, ids: &BTreeSet<ReleaseId>) -> std::io::Result<()> {
    let text = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    cache.put(&name(stage), text.len() as u64, |file| file.write_all(text.as_bytes()))
}

fn name(stage: &str) -> String {
    Digest::of(stage.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::LocalCache;
    use super::*;

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test")]
    fn ids_of_a_stage_are_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let cache = LocalCache::new(Some(dir.path()), SystemTime::UNIX_EPOCH);
        let ids = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        assert!(cache.releases("todo production").is_empty());
        let two: BTreeSet<_> = ids(&["20260102030405", "20260102030406"]);
        cache.keep_releases("todo production", &two);
        assert_eq!(cache.releases("todo production"), two);
        let one: BTreeSet<_> = ids(&["20260102030406"]);
        cache.keep_releases("todo production", &one);
        assert_eq!(cache.releases("todo production"), one);
        assert!(cache.releases("todo staging").is_empty());
    }
}
