//! Artifacts of every kind become one manifest; hostile ones are refused.

mod field;
mod hostile;
mod known;
mod packing;
mod same;
mod spec;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use shipit::artifact::{Artifact, ArtifactError, Limits};
use shipit::config::{ArtifactSource, ArtifactSpec};

/// What a test tree holds, by path.
type Tree = BTreeMap<String, Thing>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Dir,
    File { runs: bool, bytes: Vec<u8> },
    Link(String),
}

fn file(bytes: &str) -> Thing {
    Thing::File { runs: false, bytes: bytes.as_bytes().to_vec() }
}

fn program(bytes: &str) -> Thing {
    Thing::File { runs: true, bytes: bytes.as_bytes().to_vec() }
}

fn link(target: &str) -> Thing {
    Thing::Link(target.to_owned())
}

fn tree<const N: usize>(things: [(&str, Thing); N]) -> Tree {
    things.into_iter().map(|(path, thing)| (path.to_owned(), thing)).collect()
}

/// A small release with something of everything.
fn sample() -> Tree {
    tree([
        ("bin/server", program("#!/bin/sh\necho hello\n")),
        ("bin/run", link("server")),
        ("empty", Thing::Dir),
        ("public/app.js", file("console.log(1)\n")),
        ("public/app.js.map", file("{}")),
        ("REVISION", file("0123abc\n")),
    ])
}

fn spec_of(path: &Path) -> ArtifactSpec {
    let source = ArtifactSource::Path { path: path.to_owned(), sha256: None };
    ArtifactSpec { source, exclude: Vec::new(), strip_components: 0, linked: Vec::new() }
}

fn open(path: &Path) -> Result<Artifact, ArtifactError> {
    Artifact::open(&spec_of(path), None, &Limits::default())
}

/// The listing with digests cut to eight digits, so that it fits a screen.
fn listing(artifact: &Artifact) -> String {
    let text = artifact.manifest().to_text();
    let cut = |word: &str| if word.len() == 64 { word[..8].to_owned() } else { word.to_owned() };
    let line = |line: &str| line.split(' ').map(cut).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The error with its causes and its hint, without the test's directory.
fn told(error: &ArtifactError, dir: &Path) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}\n  cause: {cause}");
        source = cause.source();
    }
    if let Some(hint) = error.hint() {
        text = format!("{text}\n  hint: {hint}");
    }
    text.replace(&format!("{}/", dir.display()), "")
}

/// Writes `tree` below `root`.
fn write_tree(root: &Path, tree: &Tree) {
    fs::create_dir_all(root).unwrap();
    for (path, thing) in tree {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match thing {
            Thing::Dir => fs::create_dir_all(&path).unwrap(),
            Thing::Link(target) => symlink(target, &path).unwrap(),
            Thing::File { runs, bytes } => {
                fs::write(&path, bytes).unwrap();
                let mode = if *runs { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// How a tar is written.
#[derive(Debug, Clone, Copy)]
struct Style {
    pax: bool,
    umask: u32,
    owner: u64,
    mtime: u64,
    /// Whether names begin with `./`.
    dotted: bool,
}

impl Style {
    const PLAIN: Self = Self { pax: false, umask: 0o022, owner: 0, mtime: 1, dotted: false };
}

fn tar_of<'a>(things: impl Iterator<Item = (&'a String, &'a Thing)>, style: Style) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, thing) in things {
        let (kind, mode, bytes, target) = match thing {
            Thing::Dir => (tar::EntryType::Directory, 0o777, &[][..], ""),
            Thing::File { runs: true, bytes } => (tar::EntryType::Regular, 0o777, &bytes[..], ""),
            Thing::File { bytes, .. } => (tar::EntryType::Regular, 0o666, &bytes[..], ""),
            Thing::Link(target) => (tar::EntryType::Symlink, 0o777, &[][..], target.as_str()),
        };
        let mut header = if style.pax { tar::Header::new_ustar() } else { tar::Header::new_gnu() };
        header.set_entry_type(kind);
        header.set_mode(mode & !style.umask);
        header.set_uid(style.owner);
        header.set_gid(style.owner);
        header.set_mtime(style.mtime);
        header.set_size(bytes.len() as u64);
        let name = if style.dotted { format!("./{path}") } else { path.clone() };
        if style.pax {
            let wide = [("path", name.as_bytes()), ("linkpath", target.as_bytes())];
            let wide = wide.into_iter().filter(|(_, value)| !value.is_empty());
            tar.append_pax_extensions(wide).unwrap();
            header.set_path("see-the-pax-header").unwrap();
            header.set_cksum();
            tar.append(&header, bytes).unwrap();
        } else if kind == tar::EntryType::Symlink {
            tar.append_link(&mut header, name, target).unwrap();
        } else {
            tar.append_data(&mut header, name, bytes).unwrap();
        }
    }
    tar.into_inner().unwrap()
}

fn zip_of<'a>(things: impl Iterator<Item = (&'a String, &'a Thing)>, umask: u32) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = |mode: u32| {
        zip::write::SimpleFileOptions::default()
            .unix_permissions(mode & !umask)
            .compression_method(zip::CompressionMethod::Deflated)
    };
    for (path, thing) in things {
        match thing {
            Thing::Dir => zip.add_directory(path.clone(), options(0o777)).unwrap(),
            Thing::Link(target) => zip.add_symlink(path, target, options(0o777)).unwrap(),
            Thing::File { runs, bytes } => {
                zip.start_file(path, options(if *runs { 0o777 } else { 0o666 })).unwrap();
                zip.write_all(bytes).unwrap();
            }
        }
    }
    zip.finish().unwrap().into_inner()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut to = liblzma::write::XzEncoder::new(Vec::new(), 1);
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}
