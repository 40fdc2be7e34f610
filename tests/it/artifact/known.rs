//! Files that were read before are not read again; what was written to since is.

use std::fs;

use shipit::artifact::{Artifact, KnownDigests, Limits};
use shipit::model::digest::Digest;
use shipit::model::manifest::Node;

use crate::support::archives::spec_of;

/// A time so late that all files are old.
const LATER: i64 = 1 << 40;

fn digest_of(artifact: &Artifact, path: &str) -> Digest {
    let Some(Node::File { sha256, .. }) = artifact.manifest().nodes().get(path) else {
        panic!("{path} is no file")
    };
    *sha256
}

/// Known digests with wrong ones for these files: they show which files are not read.
fn wrongly(text: &str, of: &[&str], told: Digest) -> KnownDigests {
    let (lines, _) = text.trim_end().rsplit_once('\n').unwrap();
    let mut lines = format!("{lines}\n");
    for content in of {
        lines = lines.replace(&Digest::of(content.as_bytes()).to_string(), &told.to_string());
    }
    let whole = Digest::of(lines.as_bytes());
    KnownDigests::new(&format!("{lines}{whole}\n"), LATER)
}

#[test]
fn unchanged_file_is_not_read_again_and_a_changed_one_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("same"), "same").unwrap();
    fs::write(dir.path().join("other"), "old").unwrap();
    let spec = spec_of(dir.path());
    let open = |known: &KnownDigests| {
        Artifact::open(&spec, None, &Limits::default(), known, || ()).unwrap()
    };
    let nothing = KnownDigests::new("", LATER);
    let text = open(&nothing).known(&nothing).unwrap();
    let told = Digest::of(b"told");
    let known = wrongly(&text, &["same", "old"], told);
    fs::write(dir.path().join("other"), "new").unwrap();
    let artifact = open(&known);
    assert_eq!(digest_of(&artifact, "same"), told, "it was not read");
    assert_eq!(digest_of(&artifact, "other"), Digest::of(b"new"));
    assert!(artifact.known(&known).is_some(), "there is something new");
}

#[test]
fn unchanged_single_file_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server");
    fs::write(&path, "program").unwrap();
    let open = |known: &KnownDigests| {
        Artifact::open(&spec_of(&path), None, &Limits::default(), known, || ()).unwrap()
    };
    let nothing = KnownDigests::new("", LATER);
    let text = open(&nothing).known(&nothing).unwrap();
    let told = Digest::of(b"told");
    let artifact = open(&wrongly(&text, &["program"], told));
    assert_eq!(digest_of(&artifact, "server"), told);
}
