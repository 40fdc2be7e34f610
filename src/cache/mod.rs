//! Floor 2: what this machine keeps of releases, so that the next one needs less work and fewer
//! bytes: manifests, large files, and digests of files that were read before. Ids of releases that
//! were seen are kept for shells that complete them.
//!
//! A run does without any of it. A file of a cache that is missing, damaged or cannot be written
//! costs time or bytes, and fails nothing. Values of `[env]` are never kept.

mod digests;
mod dir;
mod files;
mod ids;
mod manifests;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use self::dir::DirCache;
use crate::model::digest::Digest;
use crate::model::id::ReleaseId;
use crate::model::mutex::lock;

/// Everything that a deploy looks up here instead of on a host.
pub trait ReleaseCache: Send + Sync {
    /// Returns the sealed text of a manifest by its digest, if it is kept and undamaged.
    fn manifest(&self, digest: Digest) -> Option<String>;

    /// Keeps the manifest that `make` gives. Returns at once: `make` runs in the background.
    fn keep_manifest(&self, make: MakeManifest);

    /// Returns a file that has this size and was kept under this digest. Its bytes are not read to
    /// be sure: hosts check what is made from it.
    fn file(&self, digest: Digest, size: u64) -> Option<File>;
}

/// Returns the sealed text of a manifest and its digest, or nothing.
pub type MakeManifest = Box<dyn FnOnce() -> Option<(Digest, String)> + Send>;

/// The cache in a directory of this machine. Clones share it. Without a directory it stays empty.
#[derive(Debug, Clone)]
pub struct LocalCache {
    manifests: DirCache,
    digests: DirCache,
    files: DirCache,
    ids: DirCache,
    writes: Arc<BackgroundWrites>,
}

impl LocalCache {
    /// Keeps everything below `dir`, which is created when it is needed. `now` is when the run
    /// began; it becomes the time of every file that is used.
    pub fn new(dir: Option<&Path>, now: SystemTime) -> Self {
        let part = |name, most_bytes| DirCache {
            dir: dir.map(|dir| dir.join(name)),
            now,
            most_bytes,
            most_files: dir::MOST_FILES,
        };
        Self {
            manifests: part("manifests", manifests::MOST_BYTES),
            digests: part("digests", digests::MOST_BYTES),
            files: part("files", files::MOST_BYTES),
            ids: part("ids", ids::MOST_BYTES),
            writes: Arc::default(),
        }
    }

    /// Returns the releases that the hosts of `stage` were seen to have.
    pub fn releases(&self, stage: &str) -> BTreeSet<ReleaseId> {
        ids::get(&self.ids, stage)
    }

    /// Keeps the releases that the hosts of `stage` have.
    pub fn keep_releases(&self, stage: &str, ids: &BTreeSet<ReleaseId>) {
        let _ = ids::put(&self.ids, stage, ids);
    }

    fn in_background(&self, work: impl FnOnce() + Send + 'static) {
        let mut threads = lock(&self.writes.0);
        threads.push(thread::spawn(work));
    }
}

impl ReleaseCache for LocalCache {
    fn manifest(&self, digest: Digest) -> Option<String> {
        manifests::get(&self.manifests, digest)
    }

    fn keep_manifest(&self, make: MakeManifest) {
        let dir = self.manifests.clone();
        self.in_background(move || {
            if let Some((digest, text)) = make() {
                let _ = manifests::put(&dir, digest, &text);
            }
        });
    }

    fn file(&self, digest: Digest, size: u64) -> Option<File> {
        files::get(&self.files, digest, size)
    }
}

/// Threads that write. The last clone of a cache waits for them when it is dropped.
#[derive(Debug, Default)]
struct BackgroundWrites(Mutex<Vec<JoinHandle<()>>>);

impl Drop for BackgroundWrites {
    fn drop(&mut self) {
        for thread in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
    }
}
