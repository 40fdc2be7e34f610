//! Lists a directory of this machine as an artifact.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, access};
use walkdir::{DirEntry, WalkDir};

use super::entry::{EntryKind, Item, is_private};
use super::error::{ArtifactError, LimitHit, Refusal};
use super::name;
use super::spool::SpoolPlace;
use super::stamp::Stamp;
use super::tree::{Spot, Tree};

const SET_BITS: u32 = 0o7000;
const OWNER_RUNS: u32 = 0o100;
const ALL_READ: u32 = 0o444;

/// Lists everything below `root` into `tree`. Fails if a file cannot be read, but reads none. `now`
/// is the time in seconds since 1970.
pub(super) fn read(root: &Path, tree: &mut Tree<'_>, now: i64) -> Result<(), ArtifactError> {
    let failed = |error: walkdir::Error| ArtifactError::Walk {
        path: error.path().unwrap_or(root).to_owned(),
        source: error.into_io_error().unwrap_or_else(|| io::ErrorKind::InvalidInput.into()),
    };
    let most = tree.limits().bytes;
    let mut bytes = 0_u64;
    let mut walk = WalkDir::new(root).min_depth(1).into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(failed)?;
        let inside = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let Some(path) = tree.enter(inside.as_os_str().as_bytes())? else { continue };
        let is_dir = entry.file_type().is_dir();
        match tree.spot(&path, is_dir)? {
            Spot::At(spot) => {
                let Some(item) = describe(&entry, &path, &spot, tree, now)? else { continue };
                if let EntryKind::File { place, .. } = &item.what {
                    bytes = bytes.saturating_add(place.len());
                }
                tree.add(&spot, item)?;
            }
            Spot::Excluded if is_dir => walk.skip_current_dir(),
            Spot::Excluded | Spot::Stripped => {}
        }
        if bytes > most {
            return Err(tree.too_much(LimitHit::Bytes { most }));
        }
    }
    Ok(())
}

/// Returns the entry at `path`, which goes to `spot` in the release. `None`: it is refused.
fn describe(
    entry: &DirEntry,
    path: &str,
    spot: &str,
    tree: &mut Tree<'_>,
    now: i64,
) -> Result<Option<Item>, ArtifactError> {
    let failed = |source: io::Error| ArtifactError::Read { path: entry.path().into(), source };
    let meta = entry.metadata().map_err(|error| failed(error.into()))?;
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        EntryKind::Dir
    } else if kind.is_symlink() {
        let target = entry.path().read_link().map_err(failed)?;
        match name::target(target.as_os_str().as_bytes()) {
            Ok(target) => EntryKind::Link { target },
            Err(why) => {
                tree.refuse(path, Some(spot), why);
                return Ok(None);
            }
        }
    } else if kind.is_file() && meta.mode() & SET_BITS == 0 {
        if meta.mode() & ALL_READ != ALL_READ {
            access(entry.path(), Access::READ_OK).map_err(|error| failed(error.into()))?;
        }
        let stamp = Stamp::new(&meta);
        let reliable = stamp.is_reliable(now);
        let place = SpoolPlace::Disk { path: entry.path().into(), stamp, reliable };
        EntryKind::File { runs: meta.mode() & OWNER_RUNS != 0, place }
    } else {
        tree.refuse(path, Some(spot), special(kind));
        return Ok(None);
    };
    let private = is_private(kind.is_dir(), meta.mode());
    Ok(Some(Item { what, mtime: u64::try_from(meta.mtime()).ok(), private }))
}

fn special(kind: std::fs::FileType) -> Refusal {
    if kind.is_file() {
        Refusal::SetId
    } else if kind.is_fifo() {
        Refusal::Fifo
    } else if kind.is_socket() {
        Refusal::Socket
    } else {
        Refusal::Device
    }
}
