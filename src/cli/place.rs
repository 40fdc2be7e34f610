//! Finds a project: the nearest config file upwards, as git finds its repository.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Returns the nearest file called `name` in `from` or above it, as a path relative to `from`.
/// Skips files above `from` that belong to another user than this one and root: their hooks would
/// run as this user.
pub(crate) fn nearest(from: &Path, name: &str) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    for (level, folder) in from.ancestors().enumerate() {
        let file = folder.join(name);
        if file.is_file() && (level == 0 || is_trusted(&file)) {
            return Some(relative.join(name));
        }
        relative.push("..");
    }
    None
}

fn is_trusted(file: &Path) -> bool {
    let us = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|found| found.uid() == us || found.uid() == 0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nearest_file_upwards_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::write(dir.path().join("x.toml"), "").unwrap();
        assert_eq!(nearest(&deep, "x.toml"), Some("../../../x.toml".into()));
        fs::create_dir(deep.join("x.toml")).unwrap();
        fs::write(dir.path().join("a/x.toml"), "").unwrap();
        assert_eq!(nearest(&deep, "x.toml"), Some("../../x.toml".into()), "a directory is no file");
        assert_eq!(nearest(&dir.path().join("a"), "x.toml"), Some("x.toml".into()));
        assert_eq!(nearest(&deep, "no such file here.toml"), None);
    }
}
