//! The small files of what was released from this machine, those of one run in one file: where the
//! next release changes some, their old selves are what the new ones are packed against. Whatever
//! goes wrong here, files travel whole. Nothing of `[env]` ever comes here.
//!
//! A bundle is a line `<sha256> <bytes>` for each file, an empty line, and all their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use super::cache::keep_private;
use crate::artifact::Artifact;
use crate::model::delta::LARGE;
use crate::model::digest::Digest;
use crate::model::manifest::Node;

/// All bundles together; those that were of no use for longest go first.
const LARGEST: u64 = 256 << 20;
/// A build with more in small files that are not here yet is not kept.
const LARGEST_BUNDLE: u64 = LARGEST / 2;
/// So many bundles: each is looked into in every run.
const MOST: usize = 64;

/// A directory of them, or nothing where there is no place for one.
#[derive(Debug, Clone)]
pub(crate) struct Bundles(Option<PathBuf>);

/// What is in one: digest, bytes, and where they begin.
type Contents = Vec<(Digest, u64, u64)>;

impl Bundles {
    /// In `dir`, which is made when the first one comes. Nobody else may read it.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self(dir)
    }

    /// The bytes of those that are here, and have these digests.
    pub(crate) fn find(&self, wanted: &BTreeSet<Digest>) -> BTreeMap<Digest, Vec<u8>> {
        let mut found = BTreeMap::new();
        for (file, contents) in self.all() {
            let before = found.len();
            for (digest, size, at) in contents.into_iter().filter(|(d, ..)| wanted.contains(d)) {
                let mut bytes = vec![0; usize::try_from(size.min(LARGE)).unwrap_or_default()];
                if file.read_exact_at(&mut bytes, at).is_ok() && Digest::of(&bytes) == digest {
                    found.insert(digest, bytes);
                }
            }
            if found.len() > before {
                let _ = file.set_modified(SystemTime::now());
            }
        }
        found
    }

    /// Keeps the small files of an artifact that are not here yet. That they cannot be kept fails
    /// nothing.
    pub(crate) fn keep(&self, artifact: &Artifact) {
        let _ = self.put(artifact);
    }

    fn put(&self, artifact: &Artifact) -> io::Result<()> {
        let Some(dir) = &self.0 else { return Ok(()) };
        let mut here: BTreeSet<_> =
            self.all().into_iter().flat_map(|(_, contents)| contents).map(|(d, ..)| d).collect();
        let small = |(path, node): (&String, &Node)| match node {
            Node::File { size: size @ 1..LARGE, sha256, .. } if here.insert(*sha256) => {
                Some((path.clone(), *sha256, *size))
            }
            _ => None,
        };
        let files: Vec<_> = artifact.manifest().nodes().iter().filter_map(small).collect();
        let bytes: u64 = files.iter().map(|(_, _, size)| size).sum();
        if files.is_empty() || bytes > LARGEST_BUNDLE {
            return Ok(());
        }
        let mut index = String::new();
        for (_, sha256, size) in &files {
            let _ = writeln!(index, "{sha256} {size}");
        }
        let name = Digest::of(index.as_bytes()).to_string();
        keep_private(dir, &name, (bytes + index.len() as u64, LARGEST, MOST), |file| {
            let mut file = BufWriter::new(file);
            writeln!(file, "{index}")?;
            for (path, ..) in &files {
                artifact.copy(path, &mut file).map_err(io::Error::other)?;
            }
            file.flush()
        })
    }

    fn all(&self) -> Vec<(File, Contents)> {
        let names = self.0.as_ref().and_then(|dir| fs::read_dir(dir).ok());
        let bundle = |entry: io::Result<fs::DirEntry>| {
            let file = File::open(entry.ok()?.path()).ok()?;
            let contents = contents(&file)?;
            Some((file, contents))
        };
        names.into_iter().flatten().filter_map(bundle).collect()
    }
}

fn contents(file: &File) -> Option<Contents> {
    let (mut files, mut at) = (Vec::new(), 0);
    for line in BufReader::new(file).lines() {
        let line = line.ok()?;
        at += line.len() as u64 + 1;
        if line.is_empty() {
            break;
        }
        let (digest, size) = line.split_once(' ')?;
        files.push((digest.parse().ok()?, size.parse().ok()?));
    }
    let place = |(digest, size): (Digest, u64)| {
        at += size;
        (digest, size, at - size)
    };
    Some(files.into_iter().map(place).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::cli::large_files::tests::artifact;

    fn found(bundles: &Bundles, wanted: &[&str]) -> Vec<String> {
        let wanted = wanted.iter().map(|text| Digest::of(text.as_bytes())).collect();
        let texts = bundles.find(&wanted).into_values();
        let mut texts: Vec<_> = texts.map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        texts.sort();
        texts
    }

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn small_files_are_kept_once_and_found_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (build, place) = (dir.path().join("build"), dir.path().join("deep/down"));
        let bundles = Bundles::new(Some(place.clone()));
        let large = "x".repeat(usize::try_from(LARGE).unwrap());
        write(
            &build,
            &[("a", "one"), ("b", "two"), ("c", "two"), ("empty", ""), ("large", &large)],
        );
        bundles.keep(&artifact(&build));
        bundles.keep(&artifact(&build));
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "there is nothing new");
        write(&build, &[("b", "three")]);
        bundles.keep(&artifact(&build));
        let sizes =
            fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert_eq!(sizes.max().unwrap(), 2 * 67 + 1 + 6, "each has only what is new");
        assert_eq!(
            found(&bundles, &["one", "two", "three", "other", &large]),
            ["one", "three", "two"]
        );
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(found(&Bundles::new(None), &["one"]), [""; 0]);
    }

    #[test]
    fn what_was_damaged_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let (build, place) = (dir.path().join("build"), dir.path().join("kept"));
        let bundles = Bundles::new(Some(place.clone()));
        write(&build, &[("a", "one"), ("b", "two")]);
        bundles.keep(&artifact(&build));
        let path = fs::read_dir(&place).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("onetwo", "OneTwo")).unwrap();
        assert_eq!(found(&bundles, &["one", "two"]), [""; 0]);
        fs::write(&path, &text[..text.len() - 1]).unwrap();
        assert_eq!(found(&bundles, &["one", "two"]), ["one"], "it was cut off");
        fs::write(&path, "junk").unwrap();
        assert_eq!(found(&bundles, &["one", "two"]), [""; 0]);
    }

    #[test]
    fn there_are_not_ever_more() {
        let dir = tempfile::tempdir().unwrap();
        let (build, place) = (dir.path().join("build"), dir.path().join("kept"));
        let bundles = Bundles::new(Some(place.clone()));
        for number in 0..=MOST {
            write(&build, &[("a", &number.to_string())]);
            bundles.keep(&artifact(&build));
        }
        assert_eq!(fs::read_dir(&place).unwrap().count(), MOST);
        assert_eq!(found(&bundles, &["64"]), ["64"]);
    }
}
