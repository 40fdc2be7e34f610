//! Archives as people have them: what is left out harms nobody, and what tar, bsdtar and unzip
//! read without complaint is read, or refused with how to pack it again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use shipit::artifact::{Artifact, ArtifactError, KnownDigests, Limits};
use tar::EntryType;

use crate::support::archives::{
    Raw, Style, bzip2, file, gzip, link, listing, open, open_spec, open_within, put, spec_of,
    tar_of, told, tree, warned, write_tree, zip_of, zstd,
};

fn without(
    path: &Path,
    exclude: &[&str],
    strip: usize,
    linked: &[&str],
) -> Result<Artifact, ArtifactError> {
    let mut spec = spec_of(path);
    spec.exclude = exclude.iter().map(ToString::to_string).collect();
    spec.linked = linked.iter().map(ToString::to_string).collect();
    spec.strip_components = strip;
    open_spec(&spec)
}

fn paths(artifact: &Artifact) -> String {
    artifact.manifest().nodes().keys().cloned().collect::<Vec<_>>().join(" ")
}

#[test]
fn private_files_are_named_in_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    write_tree(&root, &tree([("master.key", file("1")), ("priv/k", file("2")), ("x", file("3"))]));
    fs::set_permissions(root.join("master.key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(root.join("priv"), fs::Permissions::from_mode(0o700)).unwrap();
    let told = "2 files are private here and will be readable by everybody on the host: \
                master.key, priv/k; put secrets into [env] or `linked_files` and `chmod o+r` the \
                others, or set `keep_private = true`";
    assert_eq!(warned(&open(&root).unwrap()), [told]);
    let status = Command::new("tar").args(["-cf", "../a.tar", "."]).current_dir(&root).status();
    assert!(status.unwrap().success());
    assert_eq!(warned(&open(&dir.path().join("a.tar")).unwrap()), [told]);
    let linked = without(&root, &[], 0, &["master.key", "priv"]).unwrap();
    assert!(linked.notes().is_empty(), "what stays out is read by nobody");
    let files = |private: usize| {
        let root = dir.path().join(private.to_string());
        let names = (0..50).map(|n| (format!("k{n:02}"), file("x")));
        write_tree(&root, &names.collect());
        for n in 0..private {
            let path = root.join(format!("k{n:02}"));
            fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
        }
        warned(&open(&root).unwrap()).join("\n")
    };
    let some = files(25);
    assert!(some.starts_with("25 files are private here"), "{some}");
    assert!(some.contains("k19 and 5 more;"), "{some}");
    assert_eq!(
        files(26),
        "26 of 50 files are private here, as `umask 027` or `umask 077` makes them, and will be \
         readable by everybody on the host; put secrets into [env] or `linked_files`, or set \
         `keep_private = true`"
    );
}

#[test]
fn probable_mistakes_are_warned_of_with_the_exclude_line() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    write_tree(
        &root,
        &tree([("app/._x", file("")), (".git/HEAD", file("")), ("a/.env", file(""))]),
    );
    assert_eq!(
        warned(&without(&root, &["*.map"], 0, &[]).unwrap()),
        [
            "the exclude pattern `*.map` matches nothing; correct or drop it",
            "macOS left app/._x in the artifact; leave it out: \
         `exclude = [\"*.map\", \"._*\", \".DS_Store\", \"__MACOSX\"]`",
            "the artifact holds `.git`; leave it out: `exclude = [\"*.map\", \"/.git\"]`",
            "the artifact holds `a/.env`; leave it out: `exclude = [\"*.map\", \"/a/.env\"]`",
        ]
    );
}

#[test]
fn refused_entries_are_all_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let raw = Raw::new().link("log", "../../shared/log").special(EntryType::Fifo, "p[1]").file("x");
    let path = put(dir.path(), "a.tar", &raw.link("bin/python3", "/usr/bin/python3").end());
    insta::assert_snapshot!(told(&open(&path).unwrap_err(), dir.path()), @r#"
    3 entries of a.tar cannot be in a release
      cause: `p[1]` is a fifo
      cause: `bin/python3` is a link to the absolute path `/usr/bin/python3`: make the Python environment in a staged hook on the host, or with `--copies`
      cause: `log` is a link that leads out of the release: `../../shared/log`: name it in `linked_dirs` or `linked_files`, so that it leads to shared/
      hint: leave them out: `exclude = ['/p\[1\]', "/bin/python3", "/log"]`
    "#);
    let pasted = [r"/p\[1\]", "/bin/python3", "/log"];
    assert_eq!(paths(&without(&path, &pasted, 0, &[]).unwrap()), "bin x");
    let many = (0..30).fold(Raw::new(), |raw, n| raw.link(&format!("l{n:02}"), "../out")).end();
    let text = told(&open(&put(dir.path(), "m.tar", &many)).unwrap_err(), dir.path());
    assert!(text.starts_with("30 entries of m.tar cannot be in a release"), "{text}");
    assert!(text.contains("`l19` is a link") && !text.contains("`l20`"), "{text}");
    assert!(text.contains("cause: and 10 more"), "{text}");
}

#[test]
fn excluded_entries_may_be_anything() {
    let dir = tempfile::tempdir().unwrap();
    let raw = Raw::new().special(EntryType::Char, "t/null").link("t/out", "/etc").file("b/x");
    let raw = raw.member(EntryType::Regular, b"t/caf\xe9", b"", b"x");
    let path = put(dir.path(), "b.tar", &raw.end());
    assert_eq!(paths(&without(&path, &["/t"], 0, &[]).unwrap()), "b b/x");
    assert_eq!(paths(&without(&path, &[], 0, &["t"]).unwrap()), "b b/x t");
    let root = dir.path().join("laravel");
    write_tree(&root, &tree([("public/storage", link("/srv/app/storage")), ("a", file(""))]));
    assert_eq!(paths(&without(&root, &[], 0, &["public/storage"]).unwrap()), "a public");
}

#[test]
fn entries_that_hide_others_are_refused_even_if_excluded() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = Raw::new().file("evil").end();
    for (name, kind) in [("./", EntryType::Directory), ("x/l", EntryType::Symlink)] {
        let raw = Raw::new().member(kind, name.as_bytes(), b"", &hidden[..1024]).file("good");
        let path = put(dir.path(), "a.tar", &raw.end());
        let text = told(&without(&path, &["/x"], 0, &[]).unwrap_err(), dir.path());
        assert!(text.contains("has content but is not a file"), "{text}");
    }
}

#[test]
fn names_and_link_chains_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let steep = "d/../".repeat(398);
    let links = (0..300).fold(Raw::new(), |raw, n| {
        let raw = raw.member(EntryType::GNULongLink, b"L", b"", steep.as_bytes());
        raw.link(&format!("l{n}"), "")
    });
    let text = told(&open(&put(dir.path(), "l.tar", &links.end())).unwrap_err(), dir.path());
    assert!(text.contains("is a link whose target is not a usable path"), "{text}");
    let chain =
        (1..200).fold(Raw::new().link("l0", "x/x/x"), |raw, n| raw.link(&format!("l{n}"), "l0/.."));
    let chain = put(dir.path(), "c.tar", &chain.end());
    let few = Limits { steps: 100, ..Limits::default() };
    let error = open_within(&spec_of(&chain), None, &few).unwrap_err();
    assert_eq!(
        error.to_string().rsplit('/').next().unwrap(),
        "c.tar has symbolic links that take more than 100 steps to follow"
    );
    let deep = |n: u32| format!("{n:05}{}", "/n".repeat(1000));
    let named = (0..300).fold(Raw::new(), |raw, n| {
        raw.member(EntryType::GNULongName, b"L", b"", deep(n).as_bytes()).file("")
    });
    let named = put(dir.path(), "n.tgz", &gzip(&named.end()));
    let text = told(&open(&named).unwrap_err(), dir.path());
    assert_eq!(text, "n.tgz has paths and targets of links of more than 268435456 bytes in all");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn archives_with_trailing_data_are_read_like_tar_does() {
    let dir = tempfile::tempdir().unwrap();
    let tar = tar_of(tree([("inside", file("x"))]).iter(), Style::PLAIN);
    let skipped = &b"\x50\x2a\x4d\x18\x04\0\0\0abcd"[..];
    let (half, rest) = tar.split_at(700);
    let around = [skipped, &zstd(half), skipped, &zstd(rest), skipped].concat();
    assert_eq!(paths(&open(&put(dir.path(), "build", &around)).unwrap()), "inside");
    for (name, packed) in [("a.tar.gz", gzip(&tar)), ("a.tar.bz2", bzip2(&tar))] {
        let padded = [&packed[..], &vec![0; 70_000]].concat();
        assert_eq!(paths(&open(&put(dir.path(), name, &padded)).unwrap()), "inside");
        let halves = [&padded[..], &packed[..]].concat();
        let text = told(&open(&put(dir.path(), name, &halves)).unwrap_err(), dir.path());
        assert!(text.contains("something follows its padding"), "{text}");
    }
    for log in [28, 31] {
        let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
        wide.long_distance_matching(true).unwrap();
        wide.window_log(log).unwrap();
        std::io::Write::write_all(&mut wide, &tar).unwrap();
        let mut wide = wide.finish().unwrap();
        for name in ["wide.tar.zst", "wide"] {
            assert_eq!(paths(&open(&put(dir.path(), name, &wide)).unwrap()), "inside");
        }
        // The byte after the magic number and the flags holds the size of the window.
        wide[5] = 0xff;
        let text = told(&open(&put(dir.path(), "wide.tar.zst", &wide)).unwrap_err(), dir.path());
        assert!(text.contains("`zstd --long=27` takes 128 MiB here"), "{text}");
    }
}

#[test]
fn unsupported_archive_is_not_deployed_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("a.tar.lz4", &b"\x04\x22\x4d\x18..."[..]),
        ("build", b"7z\xbc\xaf\x27\x1c..."),
        ("a.tar.Z", b"\x1f\x9d..."),
        ("a.tlz", b"]\0\0..."),
        ("a.bin", b"Rar!\x1a\x07..."),
        ("initrd", b"070701..."),
    ] {
        let error = open(&put(dir.path(), name, bytes)).unwrap_err();
        assert!(matches!(error, ArtifactError::Unread { .. }), "{name}: {error}");
        assert!(error.hint().unwrap().contains("pack it as"));
    }
    let page = put(dir.path(), "a.tgz", b"\n<!DOCTYPE html><title>Sign in</title>");
    assert!(told(&open(&page).unwrap_err(), dir.path()).contains("is a page of HTML"));
    let zip = zip_of(tree([("inside", file("x"))]).iter(), 0);
    assert_eq!(paths(&open(&put(dir.path(), "v1.4.0", &zip)).unwrap()), "inside");
    assert_eq!(paths(&open(&put(dir.path(), "build.dist", &zip)).unwrap()), "inside");
    for packed in ["app.war", "app-1.0.whl"] {
        assert_eq!(paths(&open(&put(dir.path(), packed, &zip)).unwrap()), packed);
    }
}

#[test]
fn repeated_equal_entry_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("dist");
    write_tree(&root, &tree([("index.html", file("hello")), ("x", file("1"))]));
    for program in ["tar", "bsdtar"] {
        let mut tar = Command::new(program);
        let tar = tar.args(["-czf", "a.tgz", "dist", "dist/index.html"]).current_dir(dir.path());
        assert!(tar.status().unwrap().success());
        assert_eq!(
            paths(&open(&dir.path().join("a.tgz")).unwrap()),
            "dist dist/index.html dist/x",
            "{program}"
        );
    }
    let links = Raw::new().link("l", "a").link("l", "a").file("a").end();
    assert_eq!(paths(&open(&put(dir.path(), "l.tar", &links)).unwrap()), "a l");
    let mut modes = Raw::new().file("a");
    modes.push(EntryType::Regular, 0o755, b"a", b"", b"x");
    let others = Raw::new().link("l", "a").link("l", "b");
    for raw in [modes, others] {
        let text = told(&open(&put(dir.path(), "m.tar", &raw.end())).unwrap_err(), dir.path());
        assert!(text.contains("occurs twice"), "{text}");
    }
}

#[test]
fn future_mtimes_become_now() {
    let dir = tempfile::tempdir().unwrap();
    let style = Style { mtime: 36_100, ..Style::PLAIN };
    let tar = tar_of(tree([("a", file("x"))]).iter(), style);
    let (spec, known) = (spec_of(&put(dir.path(), "a.tar", &tar)), KnownDigests::new("", 100));
    let artifact = Artifact::open(&spec, None, &Limits::default(), &known, || ()).unwrap();
    assert!(format!("{artifact:?}").contains("mtime: Some(100)"));
    assert_eq!(listing(&artifact), "f 444 1 2d711642 ./a");
}
