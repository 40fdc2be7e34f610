//! The keys `follow_links`, `case` and `keep_private`, modes that were lost on the way, and entries
//! that every tar reads alike.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;
use shipit::artifact::{Artifact, ArtifactError};
use shipit::config::EntryRules;
use tar::EntryType;

use crate::support::archives::{
    Raw, Style, file, link, listing, open, open_spec, program, put, spec_of, tar_of, told, tree,
    warned, write_tree, zip_of,
};

const FOLLOW: EntryRules = EntryRules { follow_links: true, any_case: false, keep_private: false };

fn by(rules: EntryRules, path: &Path) -> Result<Artifact, ArtifactError> {
    let mut spec = spec_of(path);
    spec.rules = rules;
    open_spec(&spec)
}

/// A build beside sources that it leads to, as pnpm lays it out.
fn workspace(dir: &Path) -> std::path::PathBuf {
    let things = tree([
        ("src/web/index.js", file("1")),
        ("src/web/self.js", link("index.js")),
        ("src/web/common", link("../common")),
        ("src/common/a.sh", program("#!/bin/sh\n")),
        ("dist/main.js", file("2")),
        ("dist/modules/web", link("../../src/web")),
        ("dist/same", link("main.js")),
        ("dist/run", link("/nonexistent")),
        ("dist/storage", link("/srv/app/storage")),
    ]);
    write_tree(dir, &things);
    fs::remove_file(dir.join("dist/run")).unwrap();
    symlink(dir.join("src/common/a.sh"), dir.join("dist/run")).unwrap();
    dir.join("dist")
}

#[test]
fn links_that_lead_out_are_followed_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let root = workspace(dir.path());
    let mut spec = spec_of(&root);
    spec.linked = vec!["storage".to_owned()];
    let text = told(&open_spec(&spec).unwrap_err(), dir.path());
    assert!(text.starts_with("2 entries of dist cannot be in a release"), "{text}");
    assert!(text.contains("`follow_links = true` in [artifact]; or leave them out"), "{text}");
    spec.rules = FOLLOW;
    assert_snapshot!(listing(&open_spec(&spec).unwrap()), @"
    f 444 1 d4735e3a ./main.js
    d ./modules
    d ./modules/web
    d ./modules/web/common
    f 555 10 a8076d3d ./modules/web/common/a.sh
    f 444 1 6b86b273 ./modules/web/index.js
    l ./modules/web/self.js -> index.js
    f 555 10 a8076d3d ./run
    l ./same -> main.js
    ");
    spec.exclude = vec!["/modules".to_owned(), "run".to_owned()];
    let left = open_spec(&spec).unwrap();
    assert_eq!(
        left.manifest().nodes().keys().cloned().collect::<Vec<_>>().join(" "),
        "main.js same"
    );
    spec.exclude.clear();
    spec.strip_components = 1;
    let left = open_spec(&spec).unwrap();
    assert!(left.manifest().nodes().contains_key("web/common/a.sh"), "{}", listing(&left));
}

#[test]
fn links_that_cannot_be_followed_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let things = tree([
        ("repo/src/back", link("../dist")),
        ("repo/dist/up", link("..")),
        ("repo/dist/gone", link("../nothing")),
        ("repo/dist/src", link("../src")),
        ("repo/dist/null", link("/dev/null")),
    ]);
    write_tree(dir.path(), &things);
    assert_snapshot!(told(&by(FOLLOW, &dir.path().join("repo/dist")).unwrap_err(), dir.path()), @r#"
    4 entries of repo/dist cannot be in a release
      cause: `gone` is a link that leads to nothing here: `../nothing`
      cause: `null` is a device
      cause: `src/back` is a link that goes in a circle: `../dist`
      cause: `up` is a link that goes in a circle: `..`
      hint: leave them out: `exclude = ["/gone", "/null", "/src/back", "/up"]`
    "#);
}

#[test]
fn names_may_differ_in_case_only_if_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    write_tree(&root, &tree([("terminfo/E/x", file("")), ("terminfo/e/x", file(""))]));
    let told = told(&open(&root).unwrap_err(), dir.path());
    assert!(told.contains("allow such names with `case = \"any\"` in [artifact]"), "{told}");
    let artifact = by(EntryRules { any_case: true, ..EntryRules::default() }, &root).unwrap();
    assert_eq!(artifact.manifest().files(), 2);
}

#[test]
fn private_files_stay_so_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let things = tree([
        ("all", file("1")),
        ("group", file("2")),
        ("key", program("3")),
        ("ours/of-all", file("4")),
        ("ours/mine/x", program("5")),
    ]);
    write_tree(&root, &things);
    for (path, mode) in [("group", 0o640), ("key", 0o700), ("ours", 0o750), ("ours/mine", 0o700)] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(root.join("key"), root.join("key-too")).unwrap();
    let keep = EntryRules { keep_private: true, ..EntryRules::default() };
    let artifact = by(keep, &root).unwrap();
    assert_snapshot!(listing(&artifact), @"
    f 444 1 6b86b273 ./all
    f 440 1 d4735e3a ./group
    f 500 1 4e074085 ./key
    f 500 1 4e074085 ./key-too
    d ./ours
    d ./ours/mine
    f 500 1 ef2d127d ./ours/mine/x
    f 440 1 4b227777 ./ours/of-all
    ");
    assert!(artifact.notes().is_empty(), "{:?}", artifact.notes());
    let status = Command::new("tar").args(["-cf", "../a.tar", "."]).current_dir(&root).status();
    assert!(status.unwrap().success());
    assert_eq!(by(keep, &dir.path().join("a.tar")).unwrap().manifest(), artifact.manifest());
    assert_eq!(listing(&open(&root).unwrap()).matches("f 444").count(), 3);
}

#[test]
fn programs_are_executable_again_if_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let things = tree([
        ("bin/serve", file("\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0")),
        ("lib/run.sh", file("#!/bin/sh\n")),
        ("lib/tool.py", file("#!/usr/bin/python3\n")),
        ("lib/LICENSE", file("MIT")),
    ]);
    write_tree(&root, &things);
    let tar = put(dir.path(), "a.tar", &tar_of(things.iter(), Style::PLAIN));
    for path in [&root, &tar] {
        let artifact = open(path).unwrap();
        assert_eq!(
            warned(&artifact),
            ["nothing in the artifact is executable, as if its modes were lost: 2 programs are \
              made executable: bin/serve, lib/run.sh; pack it with its modes, as a tar"]
        );
        let text = listing(&artifact);
        assert_eq!(text.matches("f 555 ").count(), 2, "{text}");
        assert!(artifact.not_executable().is_empty());
    }
    let run = root.join("lib/run.sh");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    let artifact = open(&root).unwrap();
    assert!(artifact.notes().is_empty(), "somebody chose the modes");
    assert_eq!(artifact.not_executable(), ["bin/serve"]);
    let zip = put(dir.path(), "a.zip", &zip_of(things.iter(), 0));
    assert_eq!(open(&zip).unwrap().notes().len(), 1);
}

#[test]
fn hard_links_that_tell_a_size_are_read_as_every_tar_does() {
    let dir = tempfile::tempdir().unwrap();
    let linked = |raw: Raw| {
        let next = &Raw::new().file("c").end()[..1024];
        let raw = raw.member(EntryType::Regular, b"a", b"", b"hello");
        put(dir.path(), "a.tar", &raw.member(EntryType::Link, b"b", b"a", next).end())
    };
    let artifact = open(&linked(Raw::new())).unwrap();
    assert_eq!(artifact.manifest().nodes().get("b"), artifact.manifest().nodes().get("a"));
    assert_eq!(artifact.manifest().files(), 3);
    let mut spec = spec_of(&linked(Raw::new()));
    spec.exclude = vec!["b".to_owned()];
    assert_eq!(open_spec(&spec).unwrap().manifest().files(), 2);
    let pax = Raw::new().member(EntryType::XHeader, b"x", b"", b"13 comment=x\n");
    let text = told(&open(&linked(pax)).unwrap_err(), dir.path());
    assert!(text.starts_with("`b` in a.tar has content but is not a file"), "{text}");
}
