//! Files that look like programs and that nobody may run: modes that were lost on the way.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::entry::{EntryKind, Item};
use super::spool::SpoolPlace;
use super::stamp::Stamp;

/// Directories that hold what is to be run.
const PROGRAM_DIRS: [&str; 4] = ["bin", "sbin", "libexec", ".bin"];
/// The offset of the type in the header of an ELF file, and the types of programs.
const ELF_TYPE: usize = 16;
const ELF_PROGRAMS: [u8; 2] = [2, 3];

/// Makes programs executable if nothing among `items` is: an archive or a file system that knows no
/// modes lost them all. If one is left, the others are as they were packed. Returns the paths.
pub(super) fn restore<'a>(
    items: &'a mut BTreeMap<String, Item>,
    spool: &File,
    stamp: Stamp,
) -> Vec<&'a str> {
    let runs = |item: &Item| matches!(item.what, EntryKind::File { runs: true, .. });
    let mut restored = Vec::new();
    if items.values().any(runs) {
        return restored;
    }
    for (path, item) in items {
        let EntryKind::File { runs, place } = &mut item.what else { continue };
        let name = path.rsplit('/').next().unwrap_or(path);
        let may_run = is_program_place(path) || is_program_place(name);
        if may_run && begins_like_one(place, spool, stamp) {
            *runs = true;
            restored.push(path.as_str());
        }
    }
    restored
}

/// Returns whether a file at `path` is meant to be run: it lies in a directory of programs, or at
/// the top without an extension.
pub(super) fn is_program_place(path: &str) -> bool {
    match path.rsplit_once('/') {
        Some((folder, name)) => {
            let folder = folder.rsplit('/').next().unwrap_or(folder);
            PROGRAM_DIRS.contains(&folder) && !name.contains(".so")
        }
        None => path.strip_suffix(".sh").unwrap_or(path).find('.').is_none(),
    }
}

/// Returns whether the file begins as a script or as an ELF program does; `false` if it cannot be
/// read.
pub(super) fn begins_like_one(place: &SpoolPlace, spool: &File, stamp: Stamp) -> bool {
    let Ok(Some((file, at))) = place.source(spool, stamp) else { return false };
    let mut head = [0; ELF_TYPE + 2];
    let wanted = head.len().min(usize::try_from(place.len()).unwrap_or(head.len()));
    if file.read_exact_at(&mut head[..wanted], at).is_err() {
        return false;
    }
    let elf_type = head[ELF_TYPE] | head[ELF_TYPE + 1];
    head.starts_with(b"#!") || (head.starts_with(b"\x7fELF") && ELF_PROGRAMS.contains(&elf_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_places_are_told_from_others() {
        let programs = ["bin/serve", "app/sbin/x", "node_modules/.bin/tsc", "serve", "run.sh"];
        assert!(programs.into_iter().all(is_program_place));
        let others = ["lib/x.py", "lib/bin/x.so.1", "config.ru", ".env", "src/main", "a.so"];
        assert!(!others.into_iter().any(is_program_place));
    }
}
