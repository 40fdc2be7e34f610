//! Large files of releases, each under the digest of its bytes. The next release's large files may
//! be patches of them.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::LocalCache;
use super::dir::DirCache;
use crate::artifact::Artifact;
use crate::model::delta::LARGE;
use crate::model::digest::Digest;
use crate::model::manifest::Node;

/// Limit for all of them together.
pub(super) const MOST_BYTES: u64 = 2 << 30;
/// A larger file is not kept, so that there is room for several.
const LARGEST_FILE: u64 = MOST_BYTES / 4;

impl LocalCache {
    /// Keeps the large files of `artifact`. Returns at once: they are copied in the background.
    pub fn keep_files(&self, artifact: Arc<Artifact>) {
        let cache = self.files.clone();
        self.in_background(move || put(&cache, &artifact));
    }

    /// Returns a file that has this size and was kept under this digest. Its bytes are not read to
    /// be sure: hosts check what is made from it.
    pub fn file(&self, digest: Digest, size: u64) -> Option<File> {
        get(&self.files, digest, size)
    }
}

fn get(cache: &DirCache, digest: Digest, size: u64) -> Option<File> {
    let file = cache.get(&digest.to_string())?;
    (file.metadata().ok()?.len() == size).then_some(file)
}

fn put(cache: &DirCache, artifact: &Artifact) {
    for (path, node) in artifact.manifest().nodes() {
        if let Node::File { size: size @ LARGE..=LARGEST_FILE, sha256, .. } = node
            && get(cache, *sha256, *size).is_none()
        {
            let copy = |file: &mut File| artifact.copy(path, file).map_err(io::Error::other);
            let _ = cache.put(&sha256.to_string(), *size, copy);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;
    use crate::artifact::{KnownDigests, Limits};
    use crate::config::{ArtifactSource, ArtifactSpec};

    fn artifact(dir: &Path) -> Artifact {
        let source = ArtifactSource::Path { path: dir.to_owned(), sha256: None };
        let spec = ArtifactSpec::of(source);
        Artifact::open(&spec, None, &Limits::default(), &KnownDigests::default(), || ()).unwrap()
    }

    #[test]
    fn large_files_are_kept_and_found_in_full_size_only() {
        let dir = tempfile::tempdir().unwrap();
        let (build, kept) = (dir.path().join("build"), dir.path().join("cache"));
        fs::create_dir(&build).unwrap();
        let large = vec![7; usize::try_from(LARGE).unwrap()];
        fs::write(build.join("large"), &large).unwrap();
        fs::write(build.join("small"), "small").unwrap();
        let cache = || LocalCache::new(Some(&kept), SystemTime::UNIX_EPOCH);
        for _ in 0..2 {
            cache().keep_files(Arc::new(artifact(&build)));
        }
        let digest = Digest::of(&large);
        let names: Vec<_> =
            fs::read_dir(kept.join("files")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [digest.to_string().as_str()]);
        assert!(fs::read(kept.join("files").join(digest.to_string())).unwrap() == large);
        assert!(cache().file(digest, LARGE).is_some() && cache().file(digest, LARGE + 1).is_none());
        assert!(cache().file(Digest::of(b"other"), LARGE).is_none());
        let without = LocalCache::new(None, SystemTime::UNIX_EPOCH);
        without.keep_files(Arc::new(artifact(&build)));
        assert!(without.file(digest, LARGE).is_none());
    }
}
