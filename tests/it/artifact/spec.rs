//! The keys `path`, `sha256`, `exclude` and `strip_components`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use insta::assert_snapshot;
use shipit::artifact::{Artifact, ArtifactError, Limits};
use shipit::config::access::DigestSource;
use shipit::config::{ArtifactSource, ArtifactSpec};
use shipit::model::digest::Digest;

use crate::support::archives::{
    Style, Thing, Tree, file, gzip, link, listing, open, open_spec, open_within, program, put,
    sample, spec_of, tar_of, told, tree, write_tree, zip_of,
};

fn with(path: &Path, strip: usize, exclude: &[&str]) -> Result<Artifact, ArtifactError> {
    let exclude = exclude.iter().map(|&pattern| pattern.to_owned()).collect();
    let spec = ArtifactSpec { exclude, strip_components: strip, ..spec_of(path) };
    open_spec(&spec)
}

fn url(url: &str, sha256: Digest) -> Result<Artifact, ArtifactError> {
    let source =
        ArtifactSource::Url { url: url.to_owned(), sha256: Some(DigestSource::Known(sha256)) };
    let spec = ArtifactSpec::of(source);
    open_spec(&spec)
}

/// The paths that are left, from a directory and from a tar alike.
#[track_caller]
fn left(things: &Tree, strip: usize, exclude: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    write_tree(&dir.path().join("tree"), things);
    let tar = put(dir.path(), "a.tar", &tar_of(things.iter(), Style::PLAIN));
    let tar = with(&tar, strip, exclude).unwrap();
    let artifact = with(&dir.path().join("tree"), strip, exclude).unwrap();
    assert_eq!(artifact.manifest(), tar.manifest());
    assert_eq!(artifact.notes(), tar.notes());
    let paths = artifact.manifest().nodes().keys().cloned();
    let warnings = artifact.notes().iter().map(|note| format!("warning: {note}"));
    paths.chain(warnings).collect::<Vec<_>>().join("\n")
}

#[test]
fn manifest_lists_every_entry() {
    let dir = tempfile::tempdir().unwrap();
    write_tree(&dir.path().join("tree"), &sample());
    let artifact = open(&dir.path().join("tree")).unwrap();
    assert_snapshot!(listing(&artifact), @"
    f 444 8 0cb158cf ./REVISION
    d ./bin
    l ./bin/run -> server
    f 555 21 bfdeaeb0 ./bin/server
    d ./empty
    d ./public
    f 444 15 3879a5d9 ./public/app.js
    f 444 2 44136fa3 ./public/app.js.map
    ");
    assert_eq!(artifact.revision().as_deref(), Some("0123abc"));
    assert_eq!(artifact.name(), dir.path().join("tree").display().to_string());
}

#[test]
fn revision_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (content, expected) in [
        ("abc\n", Some("abc")),
        (" v1.2 \r\n", Some("v1.2")),
        ("", None),
        ("\n", None),
        ("a\nb\n", None),
        ("a\u{1b}[31m\n", None),
        (&"x".repeat(300), None),
    ] {
        let root = dir.path().join("tree");
        write_tree(&root, &tree([("REVISION", file(content))]));
        assert_eq!(open(&root).unwrap().revision().as_deref(), expected, "{content:?}");
    }
}

#[test]
fn exclude_matches_at_any_depth_or_anchored() {
    let things = tree([
        ("a.map", file("")),
        ("js/a.js", file("")),
        ("js/a.map", file("")),
        ("js/deep/only.map", file("")),
        ("log/today", file("")),
        ("js/log", file("")),
        ("tmp", file("")),
        ("js/tmp", file("")),
        ("node_modules/x/y", file("")),
        ("js/node_modules/x", file("")),
        ("docs/a/b", file("")),
        ("docs/a/c", file("")),
    ]);
    let exclude = ["*.map", "log/", "/tmp", "node_modules", "docs/*/b", "**/nothing"];
    assert_snapshot!(left(&things, 0, &exclude), @"
    docs
    docs/a
    docs/a/c
    js
    js/a.js
    js/deep
    js/log
    js/tmp
    warning: the exclude pattern `**/nothing` matches nothing; correct or drop it
    ");
}

#[test]
fn one_star_stops_at_a_slash_and_two_do_not() {
    let things = tree([
        ("a/x", file("")),
        ("a/b/x", file("")),
        ("c/x", file("")),
        ("c/b/x", file("")),
        ("keep", file("")),
    ]);
    assert_snapshot!(left(&things, 0, &["a/*x", "c/**/x"]), @"
    a
    a/b
    a/b/x
    c
    c/b
    keep
    ");
}

#[test]
fn strip_components_comes_before_exclude() {
    let things = tree([
        ("app-1.2/bin/server", program("")),
        ("app-1.2/bin/run", link("server")),
        ("app-1.2/a.map", file("")),
        ("README", file("")),
    ]);
    assert_snapshot!(left(&things, 1, &["/bin/server", "*.map"]), @"
    bin
    bin/run
    warning: `strip_components = 1` leaves out 1 entry; a lower number keeps more
    ");
}

#[test]
fn empty_artifact_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let tar = put(dir.path(), "a.tar", &tar_of(sample().iter(), Style::PLAIN));
    assert_snapshot!(told(&with(&tar, 3, &[]).unwrap_err(), dir.path()), @"
    `strip_components = 3` and `exclude` leave nothing of a.tar
      hint: count the leading directories with `tar -tf` or `unzip -l`
    ");
    assert_snapshot!(told(&with(&tar, 0, &["*"]).unwrap_err(), dir.path()), @"
    `strip_components = 0` and `exclude` leave nothing of a.tar
      hint: count the leading directories with `tar -tf` or `unzip -l`
    ");
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert_snapshot!(told(&open(&dir.path().join("empty")).unwrap_err(), dir.path()), @"
    empty is empty
      hint: build it first
    ");
    let nothing = put(dir.path(), "empty.tar", &[0; 10240]);
    assert_snapshot!(told(&open(&nothing).unwrap_err(), dir.path()), @"
    empty.tar is empty
      hint: build it first
    ");
    let nothing = put(dir.path(), "empty.zip", &zip_of(Tree::new().iter(), 0));
    assert_snapshot!(told(&open(&nothing).unwrap_err(), dir.path()), @"
    empty.zip is empty
      hint: build it first
    ");
}

#[test]
fn invalid_patterns_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "a", b"x");
    assert_snapshot!(told(&with(&path, 0, &["a[b"]).unwrap_err(), dir.path()), @"
    the exclude pattern `a[b` cannot be read
      cause: error parsing glob '**/a[b': unclosed character class; missing ']'
    ");
    assert_snapshot!(told(&with(&path, 0, &["!keep"]).unwrap_err(), dir.path()), @"
    the exclude pattern `!keep` begins with `!`, which is not supported
      hint: list what to leave out instead of what to keep
    ");
}

#[test]
fn stripped_trees_must_not_collide() {
    let dir = tempfile::tempdir().unwrap();
    let things = tree([("a/x", file("1")), ("b/x", file("2"))]);
    let tar = put(dir.path(), "a.tar", &tar_of(things.iter(), Style::PLAIN));
    assert_snapshot!(told(&with(&tar, 1, &[]).unwrap_err(), dir.path()), @"
    `x` in a.tar occurs twice
      hint: name each path once when you pack: a directory, or what is in it, not both
    ");
}

#[test]
fn single_file_is_an_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let elf = put(dir.path(), "server", b"\x7fELF...");
    assert_snapshot!(listing(&open(&elf).unwrap()), @"f 555 7 e7ebbbb4 ./server");
    let text = put(dir.path(), "page.html", b"<p>");
    assert_snapshot!(listing(&open(&text).unwrap()), @"f 444 3 33f27994 ./page.html");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o700)).unwrap();
    assert_snapshot!(listing(&open(&text).unwrap()), @"f 555 3 33f27994 ./page.html");
    std::os::unix::fs::symlink("server", dir.path().join("latest")).unwrap();
    let latest = open(&dir.path().join("latest")).unwrap();
    assert!(latest.manifest().nodes().contains_key("latest"), "named as the user named it");
}

#[test]
fn archive_kind_is_told_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let paths = |name: &str, bytes: &[u8]| {
        let artifact = open(&put(dir.path(), name, bytes)).unwrap();
        artifact.manifest().nodes().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    let things = tree([("inside", file("x"))]);
    let (tar, zip) = (tar_of(things.iter(), Style::PLAIN), zip_of(things.iter(), 0));
    assert_eq!(paths("build", &tar), "inside");
    assert_eq!(paths("build.tar.gz", &zip), "inside");
    assert_eq!(paths("build.zip", &gzip(&tar)), "inside");
    assert_eq!(paths("build.bin", &gzip(&tar)), "inside");
    assert_eq!(paths("app.jar", &zip), "app.jar");
    assert_eq!(paths("model.gz", &gzip(b"not a tar")), "model.gz");
}

#[test]
fn archive_in_name_only_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let told = |name: &str, bytes: &[u8]| {
        told(&open(&put(dir.path(), name, bytes)).unwrap_err(), dir.path())
    };
    assert_snapshot!(told("a.tar", b"hello"), @"
    a.tar is named like an archive, but cannot be read as one
      hint: `file a.tar` says what it is
    ");
    assert_snapshot!(told("a.zip", b"hello"), @"
    a.zip is named like an archive, but cannot be read as one
      hint: `file a.zip` says what it is
    ");
    assert_snapshot!(told("a.tgz", &gzip(b"hello")), @"
    a.tgz is named like an archive, but cannot be read as one
      hint: `file a.tgz` says what it is
    ");
    assert_snapshot!(told("b.tgz", b"\x1f\x8b\x08 and then not"), @"
    could not unpack b.tgz, after its beginning
      cause: invalid gzip header
    ");
}

#[test]
fn missing_or_special_path_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert_snapshot!(told(&open(&dir.path().join("dist")).unwrap_err(), dir.path()), @"
    could not open the artifact `dist`
      cause: No such file or directory (os error 2)
      hint: build it first, or name another one with `--artifact`
    ");
    assert_snapshot!(told(&open(Path::new("/dev/null")).unwrap_err(), dir.path()), @"the artifact `/dev/null` is neither a file nor a directory");
}

#[test]
fn given_sha256_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let tar = tar_of(sample().iter(), Style::PLAIN);
    let path = put(dir.path(), "a b.tar", &tar);
    let address = format!("file://{}/a%20b.tar", dir.path().display());
    assert_eq!(url(&address, Digest::of(&tar)).unwrap().digest(), open(&path).unwrap().digest());
    let error = url(&address, Digest::of(b"other")).unwrap_err();
    let text = told(&error, dir.path()).replace(&Digest::of(&tar).to_string(), "<found>");
    assert_snapshot!(text.replace(&Digest::of(b"other").to_string(), "<expected>"), @"
    file://a%20b.tar has the SHA-256 <found>, not <expected>
      hint: if the new content is meant, put its digest into `sha256`; `sha256sum` prints it
    ");
    let source = ArtifactSource::Path {
        path: dir.path().to_owned(),
        sha256: Some(DigestSource::Known(Digest::of(b""))),
    };
    let spec = ArtifactSpec { source, ..spec_of(dir.path()) };
    let error = open_spec(&spec).unwrap_err();
    assert!(matches!(error, ArtifactError::DigestOfDirectory { .. }));
}

#[test]
fn urls_are_https_and_shown_without_secrets() {
    let none = Digest::of(b"");
    let told = |address: &str| told(&url(address, none).unwrap_err(), Path::new("/nowhere"));
    assert_snapshot!(told("http://example.net/a.tar"), @"an artifact's address begins with https://, s3:// or file://: http://example.net/a.tar");
    assert_snapshot!(told("file://relative"), @"an artifact's address begins with https://, s3:// or file://: file://relative/");
    let refused = told("https://user:hunter2@127.0.0.1:1/a.tar?token=hunter2");
    assert!(!refused.contains("hunter2"), "{refused}");
    assert_snapshot!(refused, @"
    could not fetch https://127.0.0.1:1/a.tar
      cause: io: Connection refused (os error 111)
    ");
}

#[test]
fn hard_link_becomes_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    write_tree(&root, &tree([("a/one", program("same")), ("b", Thing::Dir)]));
    fs::hard_link(root.join("a/one"), root.join("b/two")).unwrap();
    let expected = open(&root).unwrap();
    let mut tar = std::process::Command::new("tar");
    assert!(tar.args(["-cf", "../a.tar", "."]).current_dir(&root).status().unwrap().success());
    assert_eq!(open(&dir.path().join("a.tar")).unwrap().manifest(), expected.manifest());
    let less = with(&dir.path().join("a.tar"), 0, &["/a/one"]).unwrap();
    let both = with(&dir.path().join("a.tar"), 0, &["/b/two"]).unwrap();
    assert_eq!(less.manifest().files() + both.manifest().files(), 2, "also of what is left out");
}

#[test]
fn temporary_files_have_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let path = put(dir.path(), "a.tgz", &gzip(&tar_of(sample().iter(), Style::PLAIN)));
    let artifact = open_within(&spec_of(&path), Some(&scratch), &Limits::default()).unwrap();
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    drop(artifact);
    let missing = dir.path().join("missing");
    let error = open_within(&spec_of(&path), Some(&missing), &Limits::default()).unwrap_err();
    assert!(matches!(error, ArtifactError::Scratch { .. }));
}
