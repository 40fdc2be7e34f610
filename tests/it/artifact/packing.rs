//! Output of `pack` and `pack_tail`, unpacked by real tar and real decompressors.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use futures::executor::block_on;
use insta::assert_snapshot;
use shipit::artifact::{Artifact, ArtifactError, Packed, PreparedDelta, pack_tail};
use shipit::model::codec::Codec;
use shipit::model::manifest::Manifest;
use shipit::remote::upload::FileRange;

use crate::support::archives::{
    Style, Tree, file, link, open, program, put, sample, tar_of, told, tree, write_tree,
};
use crate::support::bytes::random_bytes;

const PREFIX: &str = ".20261121000000.0123456789ab";

fn bytes_of(packed: &Packed) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in &packed.chunks {
        bytes.extend(chunk.read(0..chunk.len).unwrap());
    }
    assert_eq!(bytes.len() as u64, packed.len);
    bytes
}

/// All that the artifact holds, as a host with this codec gets it.
fn pack_all(artifact: &Artifact, codec: Codec) -> Result<Packed, ArtifactError> {
    pack(artifact, artifact.manifest(), codec)
}

/// Packs the release. What can be seen on the way must agree with the result.
fn pack(artifact: &Artifact, release: &Manifest, codec: Codec) -> Result<Packed, ArtifactError> {
    let (to, mut packing) = Packed::channel(codec);
    let told = std::thread::scope(|scope| {
        let hearing = scope.spawn(move || {
            let mut told = Vec::new();
            while block_on(packing.changed()).is_ok() {
                let packed = packing.borrow_and_update().clone();
                told.push((packed.chunks.len(), packed.len, packed.likely));
            }
            (told, packing.borrow().clone())
        });
        let whole = PreparedDelta::default();
        let release = release.clone().into();
        let packed = artifact.pack(&release, PREFIX, codec, u64::MAX, &whole, &to);
        drop(to);
        packed.map(|()| hearing.join().unwrap())
    });
    let (told, packed) = told?;
    assert_eq!(told.last(), Some(&(packed.chunks.len(), packed.len, packed.likely)));
    assert_eq!(packed.likely, packed.len);
    assert!(told.is_sorted_by_key(|(chunks, len, _)| (*chunks, *len)), "{told:?}");
    Ok(packed)
}

#[test]
fn packing_ends_when_nobody_waits_any_more() {
    let dir = tempfile::tempdir().unwrap();
    write_tree(&dir.path().join("tree"), &sample());
    let artifact = open(&dir.path().join("tree")).unwrap();
    let (to, packing) = Packed::channel(Codec::Plain);
    drop(packing);
    let release = artifact.manifest().clone().into();
    let whole = PreparedDelta::default();
    let packed = artifact.pack(&release, PREFIX, Codec::Plain, u64::MAX, &whole, &to);
    assert!(matches!(packed, Err(ArtifactError::Stopped)), "{packed:?}");
}

/// The whole stream for a host: the release, then a last frame with a secret.
fn stream(artifact: &Artifact, release: &Manifest, codec: Codec) -> (Vec<u8>, u64) {
    let packed = pack(artifact, release, codec).unwrap();
    let spool = packed.chunks[0].file.metadata().unwrap();
    assert_eq!(spool.nlink(), 0, "nobody else can open it");
    assert_eq!(spool.mode() & 0o777, 0o600);
    assert_eq!(packed.codec, codec, "what shrinks is compressed");
    let mut bytes = bytes_of(&packed);
    bytes.extend(pack_tail(PREFIX, &[("meta/env", 0o600, b"A=1\n")], codec).unwrap());
    (bytes, packed.len)
}

fn unpack(bytes: &[u8], codec: Codec, into: &Path, tar: &str) {
    fs::create_dir_all(into).unwrap();
    let source = put(into.parent().unwrap(), "stream", bytes);
    let unpack = match codec {
        Codec::Zstd => "zstd -dcq",
        Codec::Gzip => "gzip -dc",
        Codec::Plain => "cat",
    };
    let command = format!("umask 022; {unpack} | {tar} -x -o -f - -C \"$1\"");
    let done = Command::new("sh")
        .args(["-c", &command, "sh"])
        .arg(into)
        .stdin(File::open(source).unwrap())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}

/// Returns whether the tool can be run. Fails without it if tests must not be skipped.
fn is_here(tool: &str) -> bool {
    let tool = tool.split(' ').next().unwrap();
    let ask = "command -v \"$1\" >/dev/null";
    let found = Command::new("sh").args(["-c", ask, "sh", tool]).status().unwrap().success();
    assert!(found || std::env::var_os("SHIPIT_TEST_ALL_SHELLS").is_none(), "{tool} is missing");
    found
}

/// A tree with everything that a header has no room for.
fn wide() -> Tree {
    let long = ["dir".repeat(30), "sub".repeat(30), "deep".repeat(30)].join("/");
    let mut wide = tree([
        ("zero", file("")),
        ("block", file(&"b".repeat(512))),
        ("large", file(&"0123456789abcdef".repeat(50_000))),
        (&format!("{long}/ä 'quoted' \"name\""), program("#!/bin/sh\n")),
        ("to-long", link(&format!("./{long}//"))),
        ("tidy-me-not", link("./bin/../bin/./server")),
    ]);
    // With the prefix, some of these just find room in a header and some just do not.
    let room = 99 - PREFIX.len() - "/tree/".len();
    wide.extend((room - 3..room + 5).map(|length| ("n".repeat(length), file("n"))));
    let targets = (97..103).map(|length| (format!("link-{length}"), link(&"t".repeat(length))));
    wide.extend(targets);
    wide.extend(sample());
    wide
}

#[test]
fn packed_stream_unpacks_to_the_manifest() {
    let dir = tempfile::tempdir().unwrap();
    write_tree(&dir.path().join("tree"), &wide());
    let from_dir = open(&dir.path().join("tree")).unwrap();
    let from_tar = open(&put(dir.path(), "a.tar", &tar_of(wide().iter(), Style::PLAIN))).unwrap();
    for (name, artifact) in [("dir", &from_dir), ("tar", &from_tar)] {
        for codec in [Codec::Zstd, Codec::Gzip, Codec::Plain] {
            for tar in ["tar", "busybox tar"] {
                if !is_here(tar) || (codec == Codec::Zstd && !is_here("zstd")) {
                    continue;
                }
                let title = format!("{name}-{}-{tar}", codec.word());
                let into = dir.path().join(&title);
                let (bytes, _) = stream(artifact, artifact.manifest(), codec);
                unpack(&bytes, codec, &into, tar);
                let out = into.join(PREFIX);
                let unpacked = open(&out.join("tree")).unwrap();
                assert_eq!(unpacked.manifest(), artifact.manifest(), "{title}");
                let manifest = fs::read_to_string(out.join("meta/manifest")).unwrap();
                assert_eq!(manifest, artifact.manifest().to_text());
                assert_eq!(fs::read(out.join("meta/env")).unwrap(), b"A=1\n");
                assert_eq!(fs::metadata(out.join("meta/env")).unwrap().mode() & 0o777, 0o600);
                let server = fs::metadata(out.join("tree/bin/server")).unwrap();
                assert_eq!(server.mode() & 0o777, 0o555, "sealed as it comes out");
                assert_eq!(fs::metadata(out.join("tree/bin")).unwrap().mode() & 0o777, 0o755);
            }
        }
    }
}

#[test]
fn incompressible_file_is_sent_from_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let write = |size: usize| {
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("text"), "text\n").unwrap();
        fs::write(root.join("one.jpg"), random_bytes(size + 1)).unwrap();
        fs::write(root.join("two.jpg"), random_bytes(size)).unwrap();
        open(&root).unwrap()
    };
    let artifact = write(5 << 20);
    let single = open(&root.join("one.jpg")).unwrap();
    let packed = pack_all(&artifact, Codec::Zstd).unwrap();
    assert_eq!((packed.codec, packed.chunks.len()), (Codec::Plain, 5));
    for (number, artifact) in [artifact, single].iter().enumerate() {
        for tar in ["tar", "busybox tar"] {
            if !is_here(tar) {
                continue;
            }
            let packed = pack_all(artifact, Codec::Gzip).unwrap();
            let into = dir.path().join(format!("{number}-{tar}"));
            let mut bytes = bytes_of(&packed);
            bytes.extend(pack_tail(PREFIX, &[], packed.codec).unwrap());
            unpack(&bytes, packed.codec, &into, tar);
            let unpacked = open(&into.join(PREFIX).join("tree")).unwrap();
            assert_eq!(unpacked.manifest(), artifact.manifest());
        }
    }
    let artifact = write(1 << 20);
    let packed = pack_all(&artifact, Codec::Zstd).unwrap();
    assert_eq!(packed.codec, Codec::Zstd, "too little to ask");
    let spooled = |chunk: &FileRange| chunk.file.metadata().unwrap().nlink() == 0;
    assert!(packed.chunks.iter().all(spooled), "no chunk is a file of the tree");
}

#[test]
fn file_written_to_is_not_sent_from_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    fs::create_dir(&root).unwrap();
    let path = root.join("picture");
    fs::write(&path, random_bytes(5 << 20)).unwrap();
    for (name, artifact) in [("dir", open(&root).unwrap()), ("single", open(&path).unwrap())] {
        File::options().write(true).open(&path).unwrap().write_all_at(b"x", 9).unwrap();
        let error = pack_all(&artifact, Codec::Zstd).unwrap_err();
        assert_eq!(error.to_string(), "`picture` changed while it was being read", "{name}");
    }
}

#[test]
fn packed_mtimes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let style = Style { mtime: 1_700_000_001, ..Style::PLAIN };
    let artifact = open(&put(dir.path(), "a.tar", &tar_of(sample().iter(), style))).unwrap();
    let into = dir.path().join("out");
    let (bytes, _) = stream(&artifact, artifact.manifest(), Codec::Plain);
    unpack(&bytes, Codec::Plain, &into, "tar");
    let at = |path: &str| fs::metadata(into.join(PREFIX).join("tree").join(path)).unwrap().mtime();
    assert_eq!(at("bin/server"), 1_700_000_001);
    assert_eq!(at("public"), 315_532_800, "nothing was said of this directory");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_pax_extensions([("mtime", &b"1600000000.75"[..])]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o644);
    tar.append_data(&mut header, "a", &b""[..]).unwrap();
    let artifact = open(&put(dir.path(), "b.tar", &tar.into_inner().unwrap())).unwrap();
    let (bytes, _) = stream(&artifact, artifact.manifest(), Codec::Plain);
    unpack(&bytes, Codec::Plain, &into, "tar");
    assert_eq!(at("a"), 1_600_000_000, "a pax header says it more precisely");
}

#[test]
fn release_may_be_a_subset_of_the_artifact() {
    let dir = tempfile::tempdir().unwrap();
    write_tree(&dir.path().join("tree"), &sample());
    let artifact = open(&dir.path().join("tree")).unwrap();
    let release = artifact.manifest().without(&["public".to_owned()]);
    let into = dir.path().join("out");
    let (bytes, len) = stream(&artifact, &release, Codec::Plain);
    assert_eq!(len + 512 + 512 + 1024, bytes.len() as u64);
    unpack(&bytes, Codec::Plain, &into, "tar");
    assert_eq!(open(&into.join(PREFIX).join("tree")).unwrap().manifest(), &release);
}

#[test]
fn file_that_changes_while_packed_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    for (name, change) in [("same length", "####\n"), ("longer", "12345678"), ("shorter", "")] {
        write_tree(&root, &tree([("a", file("aaaa\n"))]));
        let artifact = open(&root).unwrap();
        fs::write(root.join("a"), change).unwrap();
        let error = pack_all(&artifact, Codec::Zstd).unwrap_err();
        assert_eq!(error.to_string(), "`a` changed while it was being read", "{name}");
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn link_in_place_of_a_file_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    write_tree(&root, &tree([("a", file("aaaa\n"))]));
    let artifact = open(&root).unwrap();
    put(dir.path(), "secret", b"aaaa\n");
    fs::remove_file(root.join("a")).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("a")).unwrap();
    let error = pack_all(&artifact, Codec::Zstd).unwrap_err();
    assert_snapshot!(told(&error, dir.path()), @"
    could not read `tree/a`
      cause: Too many levels of symbolic links (os error 40)
    ");
}

#[test]
fn pack_of_a_path_not_in_the_artifact_fails() {
    let dir = tempfile::tempdir().unwrap();
    write_tree(&dir.path().join("one"), &tree([("a", file("a"))]));
    write_tree(&dir.path().join("two"), &tree([("b", file("b"))]));
    let one = open(&dir.path().join("one")).unwrap();
    let two = open(&dir.path().join("two")).unwrap();
    let error = pack(&one, two.manifest(), Codec::Plain).unwrap_err();
    assert_snapshot!(error, @"`b` is not a file of the artifact");
}
