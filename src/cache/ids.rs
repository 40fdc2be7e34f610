//! Ids of the releases that the hosts of a stage were seen to have, for shells that complete them.

use std::collections::BTreeSet;

use super::LocalCache;
use super::dir::name_of;
use crate::model::id::ReleaseId;

/// Limit for all of them together.
pub(super) const MOST_BYTES: u64 = 1 << 20;

impl LocalCache {
    /// Returns the releases that the hosts of `stage` were seen to have.
    pub fn releases(&self, stage: &str) -> BTreeSet<ReleaseId> {
        let bytes = self.ids.read(&name_of(stage)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Keeps the releases that the hosts of `stage` have, in place of those that are kept.
    pub fn keep_releases(&self, stage: &str, ids: &BTreeSet<ReleaseId>) {
        let lines: Vec<_> = ids.iter().map(ToString::to_string).collect();
        self.ids.write(&name_of(stage), lines.join("\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

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
