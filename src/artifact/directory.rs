//! Lists a directory of this machine as an artifact.

use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use walkdir::{DirEntry, WalkDir};

use super::entry::{EntryKind, Item, OWNER_RUNS, SET_BITS, readers, special};
use super::error::{ArtifactError, Refusal};
use super::name;
use super::spool::SpoolPlace;
use super::stamp::Stamp;
use super::tree::{Spot, Tree};

const ALL_READ: u32 = 0o444;

/// Lists everything below `root` into `tree`. Fails if a file cannot be read, but reads none. `now`
/// is the time in seconds since 1970.
pub(super) fn read(root: &Path, tree: &mut Tree<'_>, now: i64) -> Result<(), ArtifactError> {
    tree.is_directory = true;
    Walk { tree, now, above: Vec::new() }.list(root, "")
}

/// A walk through the directory, and through those that links lead to.
struct Walk<'a, 'b> {
    tree: &'a mut Tree<'b>,
    now: i64,
    /// The directories of the links that were followed to get here.
    above: Vec<PathBuf>,
}

/// An entry that is part of the release.
struct ListedEntry<'a> {
    /// The directory that is listed.
    root: &'a Path,
    /// Its place on this machine.
    here: &'a Path,
    /// Its path in the artifact.
    path: &'a str,
    /// Its path in the release.
    spot: &'a str,
}

impl Walk<'_, '_> {
    /// Lists everything below `root`, which is at `prefix` in the artifact.
    fn list(&mut self, root: &Path, prefix: &str) -> Result<(), ArtifactError> {
        let failed = |error: walkdir::Error| ArtifactError::Walk {
            path: error.path().unwrap_or(root).to_owned(),
            source: error.into_io_error().unwrap_or_else(|| io::ErrorKind::InvalidInput.into()),
        };
        let mut walk = WalkDir::new(root).min_depth(1).into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.map_err(failed)?;
            let inside = entry.path().strip_prefix(root).unwrap_or(entry.path());
            let inside = Path::new(prefix).join(inside);
            let Some(path) = self.tree.enter(inside.as_os_str().as_bytes())? else { continue };
            let is_dir = entry.file_type().is_dir();
            match self.tree.spot(&path, is_dir)? {
                Spot::At(spot) => {
                    let (path, spot) = (path.as_str(), spot.as_str());
                    self.add(&entry, &ListedEntry { root, here: entry.path(), path, spot })?;
                }
                Spot::Excluded if is_dir => walk.skip_current_dir(),
                Spot::Excluded | Spot::Stripped => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: &DirEntry, found: &ListedEntry<'_>) -> Result<(), ArtifactError> {
        let failed = |source: io::Error| ArtifactError::Read { path: found.here.into(), source };
        let meta = entry.metadata().map_err(|error| failed(error.into()))?;
        if !meta.is_symlink() {
            return self.add_real(found, &meta);
        }
        let target = found.here.read_link().map_err(failed)?;
        if self.tree.follows(found.spot) && leads_out(found) {
            return self.follow(found, &target);
        }
        match name::target(target.as_os_str().as_bytes()) {
            Ok(target) => self.put(found, EntryKind::Link { target }, &meta),
            Err(why) => {
                self.tree.refuse(found.path, Some(found.spot), why);
                Ok(())
            }
        }
    }

    /// Adds what is no link.
    fn add_real(&mut self, found: &ListedEntry<'_>, meta: &Metadata) -> Result<(), ArtifactError> {
        if meta.is_dir() {
            return self.put(found, EntryKind::Dir, meta);
        }
        if !meta.is_file() || meta.mode() & SET_BITS != 0 {
            let why = if meta.is_file() { Refusal::SetId } else { special(meta.mode()) };
            self.tree.refuse(found.path, Some(found.spot), why);
            return Ok(());
        }
        if meta.mode() & ALL_READ != ALL_READ {
            access(found.here, Access::READ_OK).map_err(|error| ArtifactError::Read {
                path: found.here.into(),
                source: error.into(),
            })?;
        }
        let stamp = Stamp::new(meta);
        let reliable = stamp.is_reliable(self.now);
        let place = SpoolPlace::Disk { path: found.here.into(), stamp, reliable };
        self.tree.charge(place.len())?;
        self.put(found, EntryKind::File { runs: meta.mode() & OWNER_RUNS != 0, place }, meta)
    }

    fn put(
        &mut self,
        found: &ListedEntry<'_>,
        what: EntryKind,
        meta: &Metadata,
    ) -> Result<(), ArtifactError> {
        let readers = readers(meta.is_dir(), meta.mode());
        let mtime = u64::try_from(meta.mtime()).ok();
        self.tree.add(found.spot, Item { what, mtime, readers })
    }

    /// Adds what a link leads to, in place of the link.
    fn follow(&mut self, found: &ListedEntry<'_>, target: &Path) -> Result<(), ArtifactError> {
        let failed = |source: io::Error| ArtifactError::Read { path: found.here.into(), source };
        let target = target.display().to_string();
        let real = match found.here.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = Refusal::LinkNowhere { target };
                self.tree.refuse(found.path, Some(found.spot), why);
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        let meta = real.metadata().map_err(failed)?;
        self.add_real(&ListedEntry { here: &real, ..*found }, &meta)?;
        if !meta.is_dir() {
            return Ok(());
        }
        let own = found.here.parent().unwrap_or(found.here).canonicalize().map_err(failed)?;
        self.above.push(own);
        if self.above.iter().any(|above| above.starts_with(&real)) {
            let why = Refusal::LinkCircle { target };
            self.tree.refuse(found.path, Some(found.spot), why);
        } else {
            self.list(&real, found.path)?;
        }
        self.above.pop();
        Ok(())
    }
}

/// Returns whether a link leads out of the directory that becomes the release at some step.
fn leads_out(found: &ListedEntry<'_>) -> bool {
    // `strip_components` makes a directory below the listed one the top.
    let below = found.here.strip_prefix(found.root).unwrap_or(found.here).components().count();
    let depth = found.spot.split('/').count().min(below);
    let Some(top) = found.here.ancestors().nth(depth) else { return false };
    let inside = found.here.strip_prefix(top).unwrap_or(found.here).to_string_lossy();
    let link_at = |path: &str| {
        let target = top.join(path).read_link().ok()?;
        Some(target.to_string_lossy().into_owned())
    };
    let mut steps = usize::MAX;
    let followed = name::follow(&inside, link_at, &mut steps);
    matches!(followed, Err(Refusal::LinkLeaves { .. }))
}
