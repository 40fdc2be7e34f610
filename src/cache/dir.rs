//! One directory of cached files with a limit in bytes and files. Only its owner can read it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::model::digest::Digest;

/// Limit for every kind: the directory is listed for each file that is added.
pub(super) const MOST_FILES: usize = 10_000;

/// A directory of files that may vanish at any time. The modification time of each is that of its
/// last use.
#[derive(Debug, Clone)]
pub(super) struct DirCache {
    /// `None`: nothing is kept.
    pub(super) dir: Option<PathBuf>,
    /// The time of this run.
    pub(super) now: SystemTime,
    /// Limit for all files together.
    pub(super) most_bytes: u64,
    /// Limit for their number.
    pub(super) most_files: usize,
}

impl DirCache {
    /// Returns the file called `name`, and marks it as used.
    pub(super) fn get(&self, name: &str) -> Option<File> {
        let file = File::open(self.dir.as_ref()?.join(name)).ok()?;
        let _ = file.set_modified(self.now);
        Some(file)
    }

    /// Returns the bytes of the file called `name`, and marks it as used.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.get(name)?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Adds or replaces the file called `name`. One that cannot be written is not kept.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        let _ = self.put(name, bytes.len() as u64, |file| file.write_all(bytes));
    }

    /// Adds or replaces the file called `name`, whose `size` bytes `write` writes. A reader sees
    /// the old file or the whole new one.
    pub(super) fn put(
        &self,
        name: &str,
        size: u64,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        self.evict(dir, size)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        write(file.as_file_mut())?;
        file.as_file().set_modified(self.now)?;
        file.persist(dir.join(name))?;
        Ok(())
    }

    /// Deletes the files that were unused for longest, until one more of `size` bytes fits.
    fn evict(&self, dir: &Path, size: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            files.push((meta.modified()?, meta.len(), entry.path()));
        }
        files.sort();
        let mut bytes = size + files.iter().map(|(_, len, _)| len).sum::<u64>();
        let mut count = files.len() + 1;
        for (_, len, path) in files {
            if bytes <= self.most_bytes && count <= self.most_files {
                break;
            }
            fs::remove_file(path)?;
            bytes -= len;
            count -= 1;
        }
        Ok(())
    }
}

/// Returns the name of the file about something whose own name may hold any character.
pub(super) fn name_of(subject: &str) -> String {
    Digest::of(subject.as_bytes()).to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn cache(dir: &Path, seconds: u64) -> DirCache {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        DirCache { dir: Some(dir.join("deep/down")), now, most_bytes: 10, most_files: 3 }
    }

    fn put(cache: &DirCache, name: &str, size: usize) {
        cache.put(name, size as u64, |file| file.write_all(&vec![7; size])).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir.join("deep/down")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn file_unused_for_longest_is_evicted_first() {
        let dir = tempfile::tempdir().unwrap();
        put(&cache(dir.path(), 1), "a", 5);
        put(&cache(dir.path(), 2), "b", 5);
        assert_eq!(names(dir.path()), ["a", "b"]);
        assert!(cache(dir.path(), 3).get("a").is_some());
        put(&cache(dir.path(), 4), "c", 1);
        assert_eq!(names(dir.path()), ["a", "c"], "too many bytes, and `a` was used");
        for (seconds, name) in [(5, "d"), (6, "e")] {
            put(&cache(dir.path(), seconds), name, 1);
        }
        assert_eq!(names(dir.path()), ["c", "d", "e"], "too many files");
    }

    #[test]
    fn directory_is_private_and_writing_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1);
        assert!(cache.get("a").is_none());
        put(&cache, "a", 5);
        let failing = |_: &mut File| Err(io::Error::other("full"));
        assert!(cache.put("a", 5, failing).is_err());
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(cache.get("a").unwrap().metadata().unwrap().len(), 5);
        let mode = fs::metadata(dir.path().join("deep/down")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
