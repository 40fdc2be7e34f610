//! Data to deploy: for each kind a directory `a` that is live first and a directory `b` that is
//! deployed then. Made once, the same on every machine but for the two builds of a program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::args::{Measurement, Options};
use crate::random::Random;
use crate::rows;
use crate::shell::{call, words};

/// The version of the data; data of an older kit is made again.
const GENERATION: &str = "1";

/// One kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// 10 files, 100 KB; `b` has two others.
    Tiny,
    /// 5,000 files, 60 MB, half compressible; in `b` 1 % of them differ in their second half.
    Tree,
    /// One file of 200 MB, half compressible; in `b` 1,000 spots of 4 KiB (2 %) differ and 20
    /// insertions shift what follows.
    Big,
    /// shipit's own debug program, built twice with a small change in between.
    Program,
    /// One incompressible file of this many million bytes. There is no `b`.
    Noise(usize),
}

impl Data {
    fn name(self) -> String {
        match self {
            Self::Noise(megabytes) => format!("noise-{megabytes}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// The directory of `a` and `b`.
    pub(crate) fn place(self, dir: &Path) -> PathBuf {
        dir.join("data").join(self.name())
    }

    fn write(self, place: &Path) -> Result<()> {
        match self {
            Self::Tiny => tiny(place),
            Self::Tree => tree(place),
            Self::Big => big(place),
            Self::Program => program(place),
            Self::Noise(megabytes) => {
                put(&place.join("a/file"), &Random::new(7).bytes(megabytes * 1_000_000), false)
            }
        }
    }

    fn ensure(self, dir: &Path) -> Result<()> {
        let place = self.place(dir);
        let done = place.join("generation");
        if fs::read_to_string(&done).is_ok_and(|found| found == GENERATION) {
            return Ok(());
        }
        println!("making {}", place.display());
        fs::remove_dir_all(&place).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        self.write(&place)?;
        Ok(fs::write(done, GENERATION)?)
    }
}

/// Makes all that a measurement will ask for.
pub(crate) fn make(command: &Measurement) -> Result<()> {
    match command {
        Measurement::Hosts(options) => Data::Tiny.ensure(&options.dir),
        Measurement::Run(options) => {
            chosen(options)?.iter().try_for_each(|row| row.data.ensure(&options.dir))
        }
    }
}

fn chosen(options: &Options) -> Result<Vec<rows::Row>> {
    rows::chosen(rows::all(), &options.rows, &options.tools)
}

/// Writes one file. All have one time, except those that are new in `b`: rsync believes times.
fn put(path: &Path, bytes: &[u8], anew: bool) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(path, bytes)?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000 + 3600 * u64::from(anew));
    Ok(fs::File::options().write(true).open(path)?.set_modified(time)?)
}

fn tiny(place: &Path) -> Result<()> {
    for number in 0..10 {
        let name = format!("file{number}");
        put(&place.join("a").join(&name), &Random::new(number).mixed(10_000), false)?;
        let anew = number < 2;
        let seed = if anew { 100 + number } else { number };
        put(&place.join("b").join(&name), &Random::new(seed).mixed(10_000), anew)?;
    }
    Ok(())
}

fn tree(place: &Path) -> Result<()> {
    for number in 0..5_000_u64 {
        let name = format!("dir{:02}/file{number:04}.js", number / 100);
        let mut random = Random::new(1_000 + number);
        let length = 2_000 + random.below(20_000);
        let mut bytes = random.mixed(length);
        put(&place.join("a").join(&name), &bytes, false)?;
        let anew = number % 100 == 50;
        if anew {
            bytes.truncate(length / 2);
            bytes.extend(Random::new(10_000 + number).mixed(length - length / 2));
        }
        put(&place.join("b").join(&name), &bytes, anew)?;
    }
    Ok(())
}

fn big(place: &Path) -> Result<()> {
    let mut random = Random::new(42);
    let mut bytes = random.mixed(200_000_000);
    put(&place.join("a/file"), &bytes, false)?;
    for _ in 0..1_000 {
        let at = random.below(bytes.len() - 4_096);
        bytes[at..at + 4_096].copy_from_slice(&random.mixed(4_096));
    }
    let mut cuts: Vec<_> = (0..20).map(|_| random.below(bytes.len())).collect();
    cuts.sort_unstable();
    let mut grown = Vec::with_capacity(bytes.len() + 20_000);
    let mut from = 0;
    for cut in cuts {
        grown.extend_from_slice(&bytes[from..cut]);
        let length = 1 + random.below(1_000);
        grown.extend(random.mixed(length));
        from = cut;
    }
    grown.extend_from_slice(&bytes[from..]);
    put(&place.join("b/file"), &grown, true)
}

/// Builds a copy of this repository, changes one function, and builds it again.
fn program(place: &Path) -> Result<()> {
    let copy = place.join("source");
    fs::create_dir_all(&copy)?;
    // Cargo.toml names the tests, and the source includes a document and the example.
    for part in ["src", "Cargo.toml", "Cargo.lock", "tests", "docs", "deploy.example.toml"] {
        words(&format!("cp -a {part} {}/", copy.display()))?;
    }
    build(&copy, &place.join("a/server"), false)?;
    let main = copy.join("src/main.rs");
    let before = fs::read_to_string(&main)?;
    let after = before.replacen(
        "{\n    shipit::run(",
        "{\n    let words = std::env::args_os().count();\n    if words > 9999 {\n        std::process::abort();\n    }\n    shipit::run(",
        1,
    );
    ensure!(before != after, "src/main.rs is not what the kit knows how to change");
    fs::write(&main, after)?;
    build(&copy, &place.join("b/server"), true)?;
    Ok(fs::remove_dir_all(&copy)?)
}

fn build(copy: &Path, to: &Path, anew: bool) -> Result<()> {
    let manifest = copy.join("Cargo.toml");
    let target = copy.join("target");
    let paths = [manifest.as_os_str(), "--target-dir".as_ref(), target.as_os_str()];
    let flags = ["build", "--quiet", "--locked", "--manifest-path"].map(AsRef::as_ref);
    call("cargo", flags.into_iter().chain(paths))?;
    put(to, &fs::read(target.join("debug/shipit"))?, anew)?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o755))?)
}
