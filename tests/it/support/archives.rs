//! Artifacts of every kind, well-formed and not.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use shipit::artifact::{Artifact, ArtifactError, KnownDigests, Limits};
use shipit::config::{ArtifactSource, ArtifactSpec};
use tar::{EntryType, Header};

/// The entries of a test tree by path.
pub(crate) type Tree = BTreeMap<String, Thing>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    Dir,
    File { runs: bool, bytes: Vec<u8> },
    Link(String),
}

pub(crate) fn file(bytes: &str) -> Thing {
    Thing::File { runs: false, bytes: bytes.as_bytes().to_vec() }
}

pub(crate) fn program(bytes: &str) -> Thing {
    Thing::File { runs: true, bytes: bytes.as_bytes().to_vec() }
}

pub(crate) fn link(target: &str) -> Thing {
    Thing::Link(target.to_owned())
}

pub(crate) fn tree<const N: usize>(things: [(&str, Thing); N]) -> Tree {
    things.into_iter().map(|(path, thing)| (path.to_owned(), thing)).collect()
}

/// A small release with something of everything.
pub(crate) fn sample() -> Tree {
    tree([
        ("bin/server", program("#!/bin/sh\necho hello\n")),
        ("bin/run", link("server")),
        ("empty", Thing::Dir),
        ("public/app.js", file("console.log(1)\n")),
        ("public/app.js.map", file("{}")),
        ("REVISION", file("0123abc\n")),
    ])
}

pub(crate) fn spec_of(path: &Path) -> ArtifactSpec {
    let source = ArtifactSource::Path { path: path.to_owned(), sha256: None };
    ArtifactSpec::of(source)
}

pub(crate) fn open(path: &Path) -> Result<Artifact, ArtifactError> {
    open_spec(&spec_of(path))
}

pub(crate) fn open_spec(spec: &ArtifactSpec) -> Result<Artifact, ArtifactError> {
    open_within(spec, None, &Limits::default())
}

pub(crate) fn open_within(
    spec: &ArtifactSpec,
    scratch: Option<&Path>,
    limits: &Limits,
) -> Result<Artifact, ArtifactError> {
    Artifact::open(spec, scratch, limits, &KnownDigests::default(), || ())
}

/// The listing with digests cut to eight digits, so that it fits a screen.
pub(crate) fn listing(artifact: &Artifact) -> String {
    let text = artifact.manifest().to_text();
    let cut = |word: &str| if word.len() == 64 { word[..8].to_owned() } else { word.to_owned() };
    let line = |line: &str| line.split(' ').map(cut).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the error with its causes and its hint, without the directory of the test.
pub(crate) fn told(error: &ArtifactError, dir: &Path) -> String {
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

/// Returns the notes of an artifact as the texts of warnings.
pub(crate) fn warned(artifact: &Artifact) -> Vec<String> {
    artifact.notes().iter().map(ToString::to_string).collect()
}

/// Writes `tree` below `root`.
pub(crate) fn write_tree(root: &Path, tree: &Tree) {
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

/// The format of a tar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) pax: bool,
    pub(crate) umask: u32,
    pub(crate) owner: u64,
    pub(crate) mtime: u64,
    /// Names begin with `./`.
    pub(crate) dotted: bool,
}

impl Style {
    pub(crate) const PLAIN: Self =
        Self { pax: false, umask: 0o022, owner: 0, mtime: 1, dotted: false };
}

pub(crate) fn tar_of<'a>(
    things: impl Iterator<Item = (&'a String, &'a Thing)>,
    style: Style,
) -> Vec<u8> {
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

pub(crate) fn zip_of<'a>(
    things: impl Iterator<Item = (&'a String, &'a Thing)>,
    umask: u32,
) -> Vec<u8> {
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

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut to = liblzma::write::XzEncoder::new(Vec::new(), 1);
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

pub(crate) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

pub(crate) fn put(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A tar of raw headers: names are written as they are.
pub(crate) struct Raw(Vec<u8>);

impl Raw {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn member(
        mut self,
        kind: EntryType,
        name: &[u8],
        target: &[u8],
        body: &[u8],
    ) -> Self {
        self.push(kind, 0o644, name, target, body);
        self
    }

    pub(crate) fn file(self, name: &str) -> Self {
        self.member(EntryType::Regular, name.as_bytes(), b"", b"x")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
    }

    pub(crate) fn special(self, kind: EntryType, name: &str) -> Self {
        self.member(kind, name.as_bytes(), b"", b"")
    }

    pub(crate) fn push(
        &mut self,
        kind: EntryType,
        mode: u32,
        name: &[u8],
        target: &[u8],
        body: &[u8],
    ) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(body.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}
