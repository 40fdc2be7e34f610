//! Archives that mean harm, or that two programs would read as two things. Each is refused with
//! the entry's name, and each message is a snapshot.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;
use shipit::artifact::Limits;
use tar::EntryType;

use shipit::config::ArtifactSpec;

use crate::support::archives::{
    Raw, Style, bzip2, file, gzip, link, open, open_spec, open_within, put, sample, spec_of,
    tar_of, told, tree, write_tree, xz, zip_of, zstd,
};

/// Returns the error about these bytes as a file of this name.
#[track_caller]
fn refused(name: &str, bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    match open(&put(dir.path(), name, bytes)) {
        Ok(artifact) => panic!("accepted:\n{}", artifact.manifest().to_text()),
        Err(error) => told(&error, dir.path()),
    }
}

#[track_caller]
fn tar(raw: Raw) -> String {
    refused("a.tar", &raw.end())
}

#[test]
fn paths_outside_the_root_are_refused() {
    assert_snapshot!(tar(Raw::new().file("/etc/passwd")), @"
    `/etc/passwd` in a.tar has an absolute path
      hint: pack names below one directory: `tar -C DIR -cf … .`
    ");
    assert_snapshot!(tar(Raw::new().file("../x")), @"
    `../x` in a.tar has `..` in its path
      hint: pack names below one directory: `tar -C DIR -cf … .`
    ");
    assert_snapshot!(tar(Raw::new().file("a/../../x")), @"
    `a/../../x` in a.tar has `..` in its path
      hint: pack names below one directory: `tar -C DIR -cf … .`
    ");
    assert_snapshot!(tar(Raw::new().file("a/..")), @"
    `a/..` in a.tar has `..` in its path
      hint: pack names below one directory: `tar -C DIR -cf … .`
    ");
    assert_snapshot!(tar(Raw::new().special(EntryType::Directory, "a/../b")), @"
    `a/../b` in a.tar has `..` in its path
      hint: pack names below one directory: `tar -C DIR -cf … .`
    ");
}

#[test]
fn unprintable_and_impossible_names_are_refused() {
    assert_snapshot!(tar(Raw::new().file("a\nb")), @r"
    `a\nb` in a.tar has a control character in its name
      hint: rename it
    ");
    assert_snapshot!(tar(Raw::new().file("a\u{1b}[31m")), @r"
    `a\u{1b}[31m` in a.tar has a control character in its name
      hint: rename it
    ");
    assert_snapshot!(tar(Raw::new().file("a\u{85}b")), @r"
    `a\u{85}b` in a.tar has a control character in its name
      hint: rename it
    ");
    let name = |name: &[u8]| Raw::new().member(EntryType::Regular, name, b"", b"");
    assert_snapshot!(tar(name(b"caf\xe9")), @"
    `caf�` in a.tar has a name that is not UTF-8
      hint: rename it; of a zip, pack it again with UTF-8 names: `zip -r`, or 7-Zip with `-mcu=on`
    ");
    let long_name = |name: &str| {
        Raw::new().member(EntryType::GNULongName, b"././@LongLink", b"", name.as_bytes()).file("x")
    };
    let shorten = |text: String| {
        text.replace(&"n".repeat(256), "<256 n>").replace(&"p/".repeat(2001), "<2001 p/>")
    };
    assert_snapshot!(shorten(tar(long_name(&"n".repeat(256)))), @"
    `<256 n>` in a.tar has a name of more than 255 bytes
      hint: rename it
    ");
    assert_snapshot!(shorten(tar(long_name(&format!("{}x", "p/".repeat(2001))))), @"
    `<2001 p/>x` in a.tar has a path of more than 4000 bytes
      hint: rename it
    ");
    assert_snapshot!(tar(long_name("a\0b")), @r"
    `a\0b` in a.tar has a control character in its name
      hint: rename it
    ");
}

#[test]
fn entry_of_the_root_itself_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let raw = Raw::new().special(EntryType::Directory, "./").special(EntryType::Directory, ".");
    let raw = raw.special(EntryType::Directory, "").file(".//a/./b");
    let artifact = open(&put(dir.path(), "a.tar", &raw.end())).unwrap();
    assert_eq!(artifact.manifest().nodes().keys().collect::<Vec<_>>(), ["a", "a/b"]);
}

#[test]
fn links_outside_the_root_are_refused() {
    assert_snapshot!(tar(Raw::new().link("a", "/etc/passwd")), @r#"
    `a` in a.tar is a link to the absolute path `/etc/passwd`
      hint: make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["/a"]`
    "#);
    assert_snapshot!(tar(Raw::new().link("a", "../x")), @r#"
    `a` in a.tar is a link that leads out of the release: `../x`
      hint: make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["/a"]`
    "#);
    assert_snapshot!(tar(Raw::new().link("d/a", "../../x")), @r#"
    `d/a` in a.tar is a link that leads out of the release: `../../x`
      hint: make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["/d/a"]`
    "#);
    assert_snapshot!(tar(Raw::new().link("a", "b/../../x")), @r#"
    `a` in a.tar is a link that leads out of the release: `b/../../x`
      hint: make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["/a"]`
    "#);
    assert_snapshot!(tar(Raw::new().link("a", "")), @r#"
    `a` in a.tar is a link whose target is not a usable path
      hint: leave it out: `exclude = ["/a"]`
    "#);
    assert_snapshot!(tar(Raw::new().link("a", "x\ny")), @r#"
    `a` in a.tar is a link whose target is not a usable path
      hint: leave it out: `exclude = ["/a"]`
    "#);
    assert_snapshot!(tar(Raw::new().link("a -> b", "c")), @r#"
    `a -> b` in a.tar is a link with ` -> ` in its path
      hint: rename it; or leave it out: `exclude = ["/a -> b"]`
    "#);
}

#[test]
fn links_outside_the_root_through_links_are_refused() {
    // By its text `up/../x` stays inside, but the kernel follows `up` to `deep/er` first.
    let two = Raw::new().file("deep/er/f").link("up", "deep/er").link("a", "up/../../../x");
    assert_snapshot!(tar(two), @r#"
    `a` in a.tar is a link that leads out of the release: `up/../../../x`
      hint: make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["/a"]`
    "#);
    let top = Raw::new().link("d/top", "..").link("d/out", "top/../x");
    assert_snapshot!(tar(top), @r#"
    `d/out` in a.tar is a link that leads out of the release: `top/../x`
      hint: make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["/d/out"]`
    "#);
    let circle = Raw::new().link("a", "b").link("b", "a");
    assert_snapshot!(tar(circle), @r#"
    2 entries of a.tar cannot be in a release
      cause: `a` is a link that goes in a circle: `b`
      cause: `b` is a link that goes in a circle: `a`
      hint: leave them out: `exclude = ["/a", "/b"]`
    "#);
    let own = Raw::new().link("a", "a/x");
    assert_snapshot!(tar(own), @r#"
    `a` in a.tar is a link that goes in a circle: `a/x`
      hint: leave it out: `exclude = ["/a"]`
    "#);
}

#[test]
fn links_within_the_root_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let raw = Raw::new().file("deep/er/f").link("in", "deep/er").link("a", "in/../er/f");
    let raw = raw.link("d/x", "../deep/./er//").link("dangling", "made/later").link("self", ".");
    let artifact = open(&put(dir.path(), "a.tar", &raw.end())).unwrap();
    assert_eq!(artifact.manifest().nodes().len(), 9);
}

#[test]
fn entries_below_links_and_files_are_refused() {
    assert_snapshot!(tar(Raw::new().link("l", "d").file("l/x")), @r#"
    `l/x` in a.tar lies below the symbolic link `l`
      hint: create the archive again: adding to an archive does not remove old entries; or leave it out: `exclude = ["/l/x"]`
    "#);
    assert_snapshot!(tar(Raw::new().file("f").file("f/x")), @r#"
    `f/x` in a.tar lies below `f`, which is a file
      hint: create the archive again: adding to an archive does not remove old entries; or leave it out: `exclude = ["/f/x"]`
    "#);
    assert_snapshot!(tar(Raw::new().file("f/x").file("f")), @"
    `f` in a.tar is a directory and also something else
      hint: create the archive again: adding to an archive does not remove old entries
    ");
    assert_snapshot!(tar(Raw::new().file("d/x").link("d", "e")), @"
    `d` in a.tar is a directory and also something else
      hint: create the archive again: adding to an archive does not remove old entries
    ");
}

#[test]
fn devices_and_sockets_are_refused() {
    assert_snapshot!(tar(Raw::new().special(EntryType::Char, "dev/null")), @r#"
    `dev/null` in a.tar is a device
      hint: leave it out: `exclude = ["/dev/null"]`
    "#);
    assert_snapshot!(tar(Raw::new().special(EntryType::Block, "dev/sda")), @r#"
    `dev/sda` in a.tar is a device
      hint: leave it out: `exclude = ["/dev/sda"]`
    "#);
    assert_snapshot!(tar(Raw::new().special(EntryType::Fifo, "pipe")), @r#"
    `pipe` in a.tar is a fifo
      hint: leave it out: `exclude = ["/pipe"]`
    "#);
    assert_snapshot!(tar(Raw::new().special(EntryType::new(b'M'), "part-two")), @r#"
    `part-two` in a.tar is of the unknown kind `M`
      hint: pack it again with GNU tar, bsdtar or zip; or leave it out: `exclude = ["/part-two"]`
    "#);
    assert_snapshot!(tar(Raw::new().member(EntryType::Symlink, b"l", b"x", b"content")), @"
    `l` in a.tar has content but is not a file
      hint: pack it again with GNU tar, bsdtar or zip
    ");
}

#[test]
fn setuid_and_setgid_bits_are_refused() {
    for mode in [0o4755, 0o2755, 0o1755] {
        let mut raw = Raw::new();
        raw.push(EntryType::Regular, mode, b"bin/su", b"", b"");
        assert!(tar(raw).starts_with("`bin/su` in a.tar has a setuid, setgid or sticky bit"));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut raw = Raw::new();
    raw.push(EntryType::Directory, 0o2775, b"shared", b"", b"");
    assert!(open(&put(dir.path(), "a.tar", &raw.end())).is_ok(), "directories are made anew");
}

#[test]
fn colliding_names_are_refused() {
    assert_snapshot!(tar(Raw::new().file("a").member(EntryType::Regular, b"./a", b"", b"other")), @"
    `a` in a.tar occurs twice
      hint: name each path once when you pack: a directory, or what is in it, not both
    ");
    assert_snapshot!(tar(Raw::new().file("a").link("a", "b")), @"
    `a` in a.tar occurs twice
      hint: name each path once when you pack: a directory, or what is in it, not both
    ");
    assert_snapshot!(tar(Raw::new().file("README").file("readme")), @r#"
    `readme` in a.tar differs from `README` only in upper and lower case
      hint: rename one of them, or allow such names with `case = "any"` in [artifact]; or leave it out: `exclude = ["/readme"]`
    "#);
    assert_snapshot!(tar(Raw::new().file("Ärger/x").file("ärger/y")), @r#"
    `ärger` in a.tar differs from `Ärger` only in upper and lower case
      hint: rename one of them, or allow such names with `case = "any"` in [artifact]; or leave it out: `exclude = ["/ärger"]`
    "#);
}

#[test]
fn hard_link_to_a_later_entry_is_refused() {
    let hard = |target: &[u8]| Raw::new().file("a").member(EntryType::Link, b"b", target, b"");
    assert_snapshot!(tar(hard(b"/etc/passwd")), @r#"
    `b` in a.tar is a hard link to `/etc/passwd`, which does not come before it
      hint: pack the file too, before it; or use `tar --hard-dereference`; or leave it out: `exclude = ["/b"]`
    "#);
    assert_snapshot!(tar(hard(b"../a")), @r#"
    `b` in a.tar is a hard link to `../a`, which does not come before it
      hint: pack the file too, before it; or use `tar --hard-dereference`; or leave it out: `exclude = ["/b"]`
    "#);
    assert_snapshot!(tar(hard(b"later")), @r#"
    `b` in a.tar is a hard link to `later`, which does not come before it
      hint: pack the file too, before it; or use `tar --hard-dereference`; or leave it out: `exclude = ["/b"]`
    "#);
}

#[test]
fn damaged_archives_are_refused() {
    let whole = Raw::new().file("a").file("b").end();
    assert_snapshot!(refused("a.tar", &whole[..whole.len() - 1024]), @"a.tar is cut off: it has no end-of-archive mark");
    assert_snapshot!(refused("a.tar", &whole[..600]), @"a.tar is cut off: it has no end-of-archive mark");
    let mut hidden = whole.clone();
    hidden.extend(Raw::new().file("c").end());
    assert_snapshot!(refused("a.tar", &hidden), @"a.tar has something after its end-of-archive mark");
    let mut flipped = whole.clone();
    flipped[1024] ^= 1;
    assert_snapshot!(refused("a.tar", &flipped), @"a.tar is damaged: the header after `a` has a wrong checksum");
    let bad = Raw::new().member(EntryType::XHeader, b"x", b"", b"99 path=y\n").file("a");
    assert_snapshot!(tar(bad), @"a.tar is damaged: the extended header after its beginning cannot be read");
    let global = Raw::new().member(EntryType::XGlobalHeader, b"x", b"", b"10 path=y\n").file("a");
    assert_snapshot!(tar(global), @"a.tar is damaged: the extended header after its beginning cannot be read");
}

#[test]
fn truncated_archives_are_refused() {
    let whole = Raw::new().file("a").member(EntryType::Regular, b"b", b"", &vec![7; 200_000]).end();
    for (name, packed) in [
        ("a.tar.gz", gzip(&whole)),
        ("a.tar.zst", zstd(&whole)),
        ("a.tar.xz", xz(&whole)),
        ("a.tar.bz2", bzip2(&whole)),
    ] {
        for cut in [packed.len() - 3, packed.len() - 9, packed.len() / 2] {
            let text = refused(name, &packed[..cut]);
            assert!(text.starts_with("could not unpack a.tar"), "{name} {cut}: {text}");
        }
    }
}

#[test]
fn pax_values_may_hold_any_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let value = b"38 SCHILY.xattr.user.note=two\nlines = 7\n";
    let size = value.len();
    let value = String::from_utf8(value.to_vec()).unwrap().replacen("38", &size.to_string(), 1);
    let raw = Raw::new().member(EntryType::XHeader, b"x", b"", value.as_bytes()).file("a");
    let artifact = open(&put(dir.path(), "a.tar", &raw.end())).unwrap();
    assert_eq!(artifact.manifest().nodes().len(), 1);
}

/// A zip with one stored file of this name, and these attributes.
fn zip_with(name: &str, mode: u32) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .unix_permissions(0o644);
    zip.start_file(name, options).unwrap();
    zip.write_all(b"#!x").unwrap();
    let mut bytes = zip.finish().unwrap().into_inner();
    let central = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    bytes[central + 40..central + 42].copy_from_slice(&u16::try_from(mode).unwrap().to_le_bytes());
    bytes
}

#[test]
fn hostile_zips_are_refused() {
    assert_snapshot!(refused("a.zip", &zip_with("../x", 0o100_644)), @"
    `../x` in a.zip has `..` in its path
      hint: pack names below one directory: `tar -C DIR -cf … .`
    ");
    assert_snapshot!(refused("a.zip", &zip_with("/x", 0o100_644)), @"
    `/x` in a.zip has an absolute path
      hint: pack names below one directory: `tar -C DIR -cf … .`
    ");
    assert_snapshot!(refused("a.zip", &zip_with("a\\b", 0o100_644)), @r"
    `a\b` in a.zip has a backslash in its path
      hint: pack it again with `tar -a -cf`, 7-Zip or PowerShell 7: older ones write such names
    ");
    assert_snapshot!(refused("a.zip", &zip_with("su", 0o104_755)), @r#"
    `su` in a.zip has a setuid, setgid or sticky bit
      hint: take the bit off with `chmod u-s,g-s,-t`; or leave it out: `exclude = ["/su"]`
    "#);
    assert_snapshot!(refused("a.zip", &zip_with("pipe", 0o010_644)), @r#"
    `pipe` in a.zip is a fifo
      hint: leave it out: `exclude = ["/pipe"]`
    "#);
    assert_snapshot!(refused("a.zip", &zip_with("tty", 0o020_644)), @r#"
    `tty` in a.zip is a device
      hint: leave it out: `exclude = ["/tty"]`
    "#);
    let out = zip_of(tree([("l", link("../x"))]).iter(), 0);
    assert_snapshot!(refused("a.zip", &out), @r#"
    `l` in a.zip is a link that leads out of the release: `../x`
      hint: make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["/l"]`
    "#);
    let below = zip_of(tree([("l", link("d")), ("l/x", file(""))]).iter(), 0);
    assert_snapshot!(refused("a.zip", &below), @r#"
    `l/x` in a.zip lies below the symbolic link `l`
      hint: create the archive again: adding to an archive does not remove old entries; or leave it out: `exclude = ["/l/x"]`
    "#);
    let mut locked = zip_with("secret", 0o100_644);
    let central = locked.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    locked[central + 8] |= 1;
    locked[6] |= 1;
    assert_snapshot!(refused("a.zip", &locked), @r#"
    `secret` in a.zip is encrypted
      hint: pack it again without a password; or leave it out: `exclude = ["/secret"]`
    "#);
    let twice = zip_of(tree([("a", file("1")), ("b", file("2"))]).iter(), 0);
    let twice: Vec<u8> = twice.iter().map(|&byte| if byte == b'b' { b'a' } else { byte }).collect();
    assert_snapshot!(refused("a.zip", &twice), @"
    `a` in a.zip occurs twice
      hint: name each path once when you pack: a directory, or what is in it, not both
    ");
}

#[test]
fn damaged_zips_are_refused() {
    let whole = zip_with("a", 0o100_644);
    assert_snapshot!(refused("a.zip", &whole[..whole.len() - 10]), @"
    could not read the zip archive a.zip
      cause: invalid Zip archive: Unexpected end of zip::format::blocks::Zip32CDEBlock
    ");
    let mut flipped = whole;
    let body = flipped.windows(3).position(|three| three == b"#!x").unwrap();
    flipped[body] ^= 1;
    assert_snapshot!(refused("a.zip", &flipped), @"
    could not unpack `a` of a.zip
      cause: i/o error: Invalid checksum
      cause: Invalid checksum
    ");
}

#[test]
fn zip_without_modes_gets_them_from_content() {
    let dir = tempfile::tempdir().unwrap();
    let artifact = open(&put(dir.path(), "a.zip", &zip_with("script", 0))).unwrap();
    assert!(artifact.manifest().to_text().starts_with("f 555 3 "));
}

#[test]
fn directories_follow_the_rules_of_archives() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    write_tree(&root, &tree([("a", file("a"))]));
    let told = || told(&open(&root).unwrap_err(), dir.path());
    let socket = std::os::unix::net::UnixListener::bind(root.join("s")).unwrap();
    assert_snapshot!(told(), @r#"
    `s` in tree is a socket
      hint: leave it out: `exclude = ["/s"]`
    "#);
    drop(socket);
    fs::remove_file(root.join("s")).unwrap();
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert_snapshot!(told(), @r#"
    `a` in tree has a setuid, setgid or sticky bit
      hint: take the bit off with `chmod u-s,g-s,-t`; or leave it out: `exclude = ["/a"]`
    "#);
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink("../a", root.join("l")).unwrap();
    assert_snapshot!(told(), @r#"
    `l` in tree is a link that leads out of the release: `../a`
      hint: make it relative and inside the build, name it in `linked_dirs`, or deploy what it leads to with `follow_links = true` in [artifact]; or leave it out: `exclude = ["/l"]`
    "#);
    let excluded = ArtifactSpec { exclude: vec!["l".into()], ..spec_of(&root) };
    assert!(open_spec(&excluded).is_ok(), "left out, so unharmful");
}

#[test]
fn archives_over_the_limits_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = Raw::new().member(EntryType::Regular, b"zeros", b"", &vec![0; 1 << 20]).end();
    write_tree(&dir.path().join("tree"), &tree([("zeros", file(&"0".repeat(1 << 20)))]));
    let bombs = [
        put(dir.path(), "bomb.tgz", &gzip(&bomb)),
        put(
            dir.path(),
            "bomb.zip",
            &zip_of(tree([("zeros", file(&"0".repeat(1 << 20)))]).iter(), 0),
        ),
    ];
    let told = |path: &std::path::Path, limits: &Limits| {
        told(&open_within(&spec_of(path), None, limits).unwrap_err(), dir.path())
    };
    for path in &bombs {
        let text = told(path, &Limits { ratio: 100, ratio_from: 1000, ..Limits::default() });
        assert!(text.contains(" grows to more than 100 times its size"), "{text}");
        let text = told(path, &Limits { bytes: 100_000, ..Limits::default() });
        assert!(text.contains(" has more than 100000 bytes"), "{text}");
    }
    let small = Limits { bytes: 1000, ..Limits::default() };
    assert_snapshot!(told(&dir.path().join("tree"), &small), @"tree has more than 1000 bytes");
    let two = put(dir.path(), "two.tar", &tar_of(sample().iter(), Style::PLAIN));
    let few = Limits { entries: 2, ..Limits::default() };
    assert_snapshot!(told(&two, &few), @"two.tar has more than 2 entries");
    let long = Raw::new().member(EntryType::GNULongName, b"L", b"", &vec![b'n'; 2 << 20]).file("x");
    assert_snapshot!(told(&put(dir.path(), "l.tgz", &gzip(&long.end())), &Limits::default()), @"l.tgz is damaged: the extended header after its beginning cannot be read");
}
