//! The manifests of what was released from this machine, each in a file that is named by its
//! digest. It only saves a round trip: whatever goes wrong with it, nothing else does. The large
//! files are beside it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use super::large_files::LargeFileCache;
use crate::artifact::{Artifact, KnownDigests};
use crate::deploy::delta::{CacheEntry, ReleaseCache};
use crate::model::digest::Digest;
use crate::remote::answer::{LONGEST_MANIFEST, unpack};

/// All files together; the oldest go first.
const LARGEST: u64 = 64 << 20;

/// A directory of them, or nothing where there is no place for one. What is put there is written
/// while other things are done.
#[derive(Debug, Clone)]
pub(crate) struct LocalCache {
    manifests: Option<PathBuf>,
    digests: Option<PathBuf>,
    large_files: LargeFileCache,
    later: Arc<Later>,
}

/// What is being written. Who lets go of it last waits for it.
#[derive(Debug, Default)]
struct Later(Mutex<Vec<JoinHandle<()>>>);

impl Later {
    fn begin(&self, work: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thread::spawn(work));
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        for work in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = work.join();
        }
    }
}

impl LocalCache {
    /// In `cache`, which is made when the first one comes.
    pub(crate) fn new(cache: Option<&Path>) -> Self {
        let part = |name| cache.map(|cache| cache.join(name));
        let large_files = LargeFileCache::new(part("files"));
        let (manifests, digests) = (part("manifests"), part("digests"));
        Self { manifests, digests, large_files, later: Arc::default() }
    }

    /// What was kept of the digests of the artifact that is called `name`, or nothing.
    pub(crate) fn digests(&self, name: &str) -> String {
        let read = |dir: &PathBuf| fs::read_to_string(dir.join(plain(name))).ok();
        self.digests.as_ref().and_then(read).unwrap_or_default()
    }

    /// Keeps them, in place of what was kept before, unless all was known.
    pub(crate) fn keep_digests(&self, name: &str, known: KnownDigests, artifact: Arc<Artifact>) {
        let Some(dir) = self.digests.clone() else { return };
        let name = plain(name);
        self.later.begin(move || {
            if let Some(text) = artifact.known(&known) {
                let _ = replace(&dir, &name, text.as_bytes());
            }
        });
    }

    /// Keeps the files of an artifact.
    pub(crate) fn keep_files(&self, artifact: Arc<Artifact>) {
        let large_files = self.large_files.clone();
        self.later.begin(move || large_files.keep(&artifact));
    }

    fn put(dir: &Path, digest: Digest, text: &str) -> io::Result<()> {
        let path = dir.join(digest.to_string());
        if path.exists() {
            // Its time is when it was last of use.
            return File::open(path)?.set_modified(SystemTime::now());
        }
        replace(dir, &digest.to_string(), &zstd::bulk::compress(text.as_bytes(), 3)?)
    }
}

impl ReleaseCache for LocalCache {
    fn find(&self, digest: Digest) -> Option<String> {
        let path = self.manifests.as_ref()?.join(digest.to_string());
        let text = unpack(&fs::read(path).ok()?, LONGEST_MANIFEST).ok()?;
        (Digest::of(text.as_bytes()) == digest).then_some(text)
    }

    fn keep(&self, text: CacheEntry) {
        let Some(dir) = self.manifests.clone() else { return };
        self.later.begin(move || {
            if let Some((digest, text)) = text() {
                let _ = Self::put(&dir, digest, &text);
            }
        });
    }

    fn file(&self, digest: Digest, size: u64) -> Option<File> {
        self.large_files.find(digest, size)
    }
}

/// A file's name for what may be called anything.
fn plain(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()
}

/// Writes one file of `dir`, which is made where it is missing.
fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    make_room(dir, bytes.len() as u64, LARGEST, usize::MAX)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(dir.join(name))?;
    Ok(())
}

/// Writes one file of `dir`, which is made so that nobody else can read what is there. How many bytes
/// it has, and what all may be: bytes and files.
pub(super) fn keep_private(
    dir: &Path,
    name: &str,
    (bytes, most, count): (u64, u64, usize),
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    make_room(dir, bytes, most, count)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    write(file.as_file_mut())?;
    file.persist(dir.join(name))?;
    Ok(())
}

/// Deletes the oldest files until one of `wanted` bytes more makes no more than `most` bytes and
/// `count` files.
fn make_room(dir: &Path, wanted: u64, most: u64, count: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        files.push((meta.modified()?, meta.len(), entry.path()));
    }
    files.sort();
    let mut size = wanted + files.iter().map(|(_, size, _)| size).sum::<u64>();
    let mut left = files.len();
    for (_, len, path) in files {
        if size <= most && left < count {
            break;
        }
        fs::remove_file(path)?;
        size -= len;
        left -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test")]
    fn what_was_kept_is_found_unless_it_was_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let cache = || LocalCache::new(Some(&dir.path().join("deep/down")));
        let digest = Digest::of(b"d ./a\n");
        assert_eq!(cache().find(digest), None);
        for _ in 0..2 {
            cache().keep(Box::new(move || Some((digest, "d ./a\n".to_owned()))));
        }
        assert_eq!(cache().find(digest).as_deref(), Some("d ./a\n"));
        fs::write(dir.path().join("deep/down/manifests").join(digest.to_string()), "d ./b\n")
            .unwrap();
        assert_eq!(cache().find(digest), None);
    }

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test")]
    fn the_oldest_make_room() {
        let dir = tempfile::tempdir().unwrap();
        for (name, age) in [("old", 9), ("new", 1)] {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_len(LARGEST / 2).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(age))
                .unwrap();
        }
        make_room(dir.path(), 0, LARGEST, 9).unwrap();
        assert!(dir.path().join("old").exists());
        make_room(dir.path(), 1, LARGEST, 9).unwrap();
        assert!(!dir.path().join("old").exists() && dir.path().join("new").exists());
    }
}
