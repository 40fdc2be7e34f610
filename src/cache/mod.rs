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

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use self::dir::DirCache;
use crate::model::mutex::lock;

/// The cache in a directory of this machine: everything that a deploy looks up here instead of on a
/// host. Clones share it. Without a directory it stays empty.
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

    fn in_background(&self, work: impl FnOnce() + Send + 'static) {
        lock(&self.writes.0).push(thread::spawn(work));
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
