//! Files that look like programs and that nobody may run: modes that were lost on the way.

use std::collections::BTreeMap;

use super::entry::{EntryKind, Item};
use super::spool::SpoolPlace;

/// Directories that hold what is to be run.
const PROGRAM_DIRS: [&str; 4] = ["bin", "sbin", "libexec", ".bin"];
/// The offset of the type in the header of an ELF file, and the types of programs.
const ELF_TYPE: usize = 16;
const ELF_PROGRAMS: [u8; 2] = [2, 3];

/// Makes programs executable if nothing among `items` is: an archive or a file system that knows no
/// modes lost them all. If one is left, the others are as they were packed. Returns the paths.
pub(super) fn restore(items: &mut BTreeMap<String, Item>) -> Vec<&str> {
    let runs = |item: &Item| matches!(item.what, EntryKind::File { runs: true, .. });
    let mut restored = Vec::new();
    if items.values().any(runs) {
        return restored;
    }
    for (path, item) in items {
        let EntryKind::File { runs, place } = &mut item.what else { continue };
        let name = path.rsplit('/').next().unwrap_or(path);
        let may_run = is_program_place(path) || is_program_place(name);
        if may_run && begins_like_one(place) {
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
pub(super) fn begins_like_one(place: &SpoolPlace) -> bool {
    let bytes = place.unchanged("").ok();
    let head = bytes.and_then(|bytes| bytes.read(0..ELF_TYPE as u64 + 2).ok()).unwrap_or_default();
    let elf_type = head.iter().skip(ELF_TYPE).fold(0, |all, byte| all | byte);
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
