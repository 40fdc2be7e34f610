//! Digests of files that were read before. A file counts as unchanged while its device, inode,
//! size, and the times of its content and of its inode are unchanged, as in git's index. A file
//! that was written to shortly before it was read is read again.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::stamp::Stamp;
use crate::model::digest::Digest;

/// The digests that were known before an artifact was opened.
#[derive(Debug, Default)]
pub struct KnownDigests {
    digests: HashMap<Stamp, Digest>,
    /// The time before the artifact was listed, in seconds since 1970; 0: not known.
    pub(super) now: i64,
}

impl KnownDigests {
    /// Reads the text that `Artifact::known` gave; a damaged one counts as empty. `now` is the time
    /// before the artifact is listed, in seconds since 1970.
    pub fn new(text: &str, now: i64) -> Self {
        Self { digests: parse(text).unwrap_or_default(), now }
    }

    pub(super) fn find(&self, stamp: &Stamp) -> Option<Digest> {
        self.digests.get(stamp).copied()
    }

    /// Returns the text for these files. `None`: all of them are known already.
    pub(super) fn text(&self, files: &[(Stamp, Digest)]) -> Option<String> {
        let reliable = |(stamp, _): &&(Stamp, Digest)| stamp.is_reliable(self.now);
        let files: Vec<_> = files.iter().filter(reliable).collect();
        if files.iter().all(|(stamp, _)| self.digests.contains_key(stamp)) {
            return None;
        }
        let mut text = String::new();
        for (stamp, digest) in files {
            let _ = writeln!(text, "{stamp} {digest}");
        }
        let whole = Digest::of(text.as_bytes());
        let _ = writeln!(text, "{whole}");
        Some(text)
    }
}

/// Returns the digests, if the last line is the digest of all others.
fn parse(text: &str) -> Option<HashMap<Stamp, Digest>> {
    let (lines, whole) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let lines = &text[..=lines.len()];
    if whole.parse() != Ok(Digest::of(lines.as_bytes())) {
        return None;
    }
    let line = |line: &str| {
        let (stamp, digest) = line.rsplit_once(' ')?;
        Some((stamp.parse().ok()?, digest.parse().ok()?))
    };
    lines.lines().map(line).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Stamp {
        text.parse().unwrap()
    }

    #[test]
    fn kept_digest_is_found_unless_the_cache_is_damaged() {
        let (old, new) = (stamp("1 2 3 90 0 97 5"), stamp("1 3 3 98 0 90 5"));
        let files = [(old, Digest::of(b"old")), (new, Digest::of(b"new"))];
        let text = KnownDigests::new("", 100).text(&files).unwrap();
        let known = KnownDigests::new(&text, 100);
        assert_eq!(known.find(&old), Some(Digest::of(b"old")));
        assert_eq!(known.find(&new), None, "it was written to at the last moment");
        assert_eq!(known.find(&stamp("1 2 3 90 0 97 6")), None);
        assert_eq!(known.text(&files), None, "there is nothing new");
        for damaged in [text.replace("1 2 3", "1 2 4"), text[..text.len() - 2].to_owned()] {
            assert_eq!(KnownDigests::new(&damaged, 100).find(&old), None, "{damaged}");
        }
    }
}
