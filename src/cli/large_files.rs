//! The large files of what was released from this machine, each under the digest of its bytes: the
//! next release's may be made from them. Whatever goes wrong here, files travel whole. Nothing
//! of `[env]` ever comes here.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::cache::keep_private;
use crate::artifact::Artifact;
use crate::model::delta::LARGE;
use crate::model::digest::Digest;
use crate::model::manifest::Node;

/// All files together; those that were of no use for longest go first.
const LARGEST: u64 = 2 << 30;
/// A larger file is not kept, so that there is room for several.
const LARGEST_FILE: u64 = LARGEST / 4;

/// A directory of them, or nothing where there is no place for one.
#[derive(Debug, Clone)]
pub(crate) struct LargeFileCache(Option<PathBuf>);

impl LargeFileCache {
    /// In `dir`, which is made when the first one comes. Nobody else may read it.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self(dir)
    }

    /// The file of that digest, if it is there in its full size. Its time is when it was last of
    /// use.
    pub(crate) fn find(&self, digest: Digest, size: u64) -> Option<File> {
        let file = File::open(self.0.as_ref()?.join(digest.to_string())).ok()?;
        let whole = file.metadata().ok()?.len() == size;
        let _ = file.set_modified(SystemTime::now());
        whole.then_some(file)
    }

    /// Keeps the large files of an artifact.
    pub(crate) fn keep(&self, artifact: &Artifact) {
        let Some(dir) = &self.0 else { return };
        for (path, node) in artifact.manifest().nodes() {
            if let Node::File { size: size @ LARGE..=LARGEST_FILE, sha256, .. } = node
                && self.find(*sha256, *size).is_none()
            {
                let _ = put(dir, artifact, path, *size, *sha256);
            }
        }
    }
}

fn put(dir: &Path, artifact: &Artifact, path: &str, size: u64, digest: Digest) -> io::Result<()> {
    keep_private(dir, &digest.to_string(), (size, LARGEST, usize::MAX), |file| {
        artifact.copy(path, file).map_err(io::Error::other)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::artifact::Limits;
    use crate::config::{ArtifactSource, ArtifactSpec};

    pub(crate) fn artifact(dir: &Path) -> Artifact {
        let source = ArtifactSource::Path { path: dir.to_owned(), sha256: None };
        let spec =
            ArtifactSpec { source, exclude: Vec::new(), strip_components: 0, linked: Vec::new() };
        Artifact::open(&spec, None, &Limits::default()).unwrap()
    }

    #[test]
    fn large_files_are_kept_and_found_in_full_size_only() {
        let dir = tempfile::tempdir().unwrap();
        let (build, large_files) = (dir.path().join("build"), dir.path().join("deep/down"));
        fs::create_dir(&build).unwrap();
        let large = vec![7; usize::try_from(LARGE).unwrap()];
        fs::write(build.join("large"), &large).unwrap();
        fs::write(build.join("small"), "small").unwrap();
        LargeFileCache::new(Some(large_files.clone())).keep(&artifact(&build));
        LargeFileCache::new(Some(large_files.clone())).keep(&artifact(&build));
        let digest = Digest::of(&large);
        let names: Vec<_> =
            fs::read_dir(&large_files).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [digest.to_string().as_str()]);
        assert!(fs::read(large_files.join(digest.to_string())).unwrap() == large);
        assert_eq!(fs::metadata(&large_files).unwrap().permissions().mode() & 0o777, 0o700);
        let here = LargeFileCache::new(Some(large_files));
        assert!(here.find(digest, LARGE).is_some() && here.find(digest, LARGE + 1).is_none());
        assert!(here.find(Digest::of(b"other"), LARGE).is_none());
        assert!(LargeFileCache::new(None).find(digest, LARGE).is_none());
    }
}
