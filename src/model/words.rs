//! Numbers as people read them.

const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];

/// Returns a size for people: `812 B`, `4.2 MB`, `421 MB`; decimal units.
pub fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut one = 1000_u128;
    let mut unit = 0;
    // A thousand of a unit, also after rounding, is shown in the next one.
    while u128::from(bytes) * 10 + one * 5 >= one * 10_000 && unit + 1 < UNITS.len() {
        one *= 1000;
        unit += 1;
    }
    let tenths = (u128::from(bytes) * 10 + one / 2) / one;
    if tenths < 1000 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", (u128::from(bytes) + one / 2) / one, UNITS[unit])
    }
}

/// Returns a number with its noun: `1 file`, `3 files`, `2 entries`.
pub fn count(count: usize, word: &str) -> String {
    let stem = word.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o']));
    match stem {
        _ if count == 1 => format!("1 {word}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {word}s"),
    }
}

/// Returns how often: `once`, `3 times`.
pub fn times(number: u64) -> String {
    match number {
        1 => "once".to_owned(),
        _ => format!("{number} times"),
    }
}

/// `a, b, c`.
pub fn list<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

/// Returns a short source revision: `71c11b7e786e`, `71c11b7e786e-dirty`.
pub fn short_revision(revision: &str) -> String {
    const LENGTH: usize = 12;
    let (commit, dirty) = match revision.strip_suffix(DIRTY) {
        Some(commit) => (commit, DIRTY),
        None => (revision, ""),
    };
    commit.chars().take(LENGTH).chain(dirty.chars()).collect()
}

/// The end of a revision whose work tree had uncommitted changes.
pub const DIRTY: &str = "-dirty";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_of_one_is_singular_and_dirty_revision_stays_dirty() {
        assert_eq!([0, 1, 2].map(|n| count(n, "file")), ["0 files", "1 file", "2 files"]);
        assert_eq!([2, 1].map(|n| count(n, "entry")), ["2 entries", "1 entry"]);
        assert_eq!(short_revision("71c11b7e786e39fe10cc-dirty"), "71c11b7e786e-dirty");
        assert_eq!(short_revision("71c11b7e786e39fe10cc"), "71c11b7e786e");
        assert_eq!(short_revision("v1-dirty"), "v1-dirty");
    }
}
