//! Looks at what a tool left on a host: the whole release, its `.env`, its link, and how many
//! releases there are.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// The paths that a release may have besides the artifact.
const BESIDE: [&str; 3] = [".env", "REVISION", "log"];

/// One line for each file below: path, whether it can be run, length, digest.
pub(crate) fn digest(root: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for entry in WalkDir::new(root).min_depth(1) {
        let entry = entry?;
        let path = entry.path().strip_prefix(root)?.display().to_string();
        if entry.file_type().is_dir() || BESIDE.contains(&path.as_str()) {
            continue;
        }
        let meta = entry.metadata()?;
        let run = meta.permissions().mode() & 0o111 != 0;
        lines.push(format!("{path} {run} {} {}", meta.len(), file(entry.path())?));
    }
    lines.sort_unstable();
    Ok(hex(&Sha256::digest(lines.join("\n"))))
}

/// The digest of one file.
pub(crate) fn file(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut source =
        fs::File::open(path).with_context(|| format!("could not read {}", path.display()))?;
    io::copy(&mut source, &mut Hashing(&mut hash))?;
    Ok(hex(&hash.finalize()))
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The state that a host must have after a run.
pub(crate) struct Expected {
    /// The digest of the artifact, as [`digest`] returns it.
    pub(crate) digest: String,
    /// `NAME=value` lines.
    pub(crate) env: String,
    pub(crate) keep: usize,
}

/// Checks a deploy: `root` is what the host has for /srv, `app` the tool's directory in it.
pub(crate) fn release(root: &Path, app: &str, expected: &Expected) -> Result<()> {
    let home = root.join(app);
    let live = seen(root, &home, &fs::read_link(home.join("current")).context("no `current`")?);
    ensure!(
        digest(&live)? == expected.digest,
        "the release in {} is not the artifact",
        live.display()
    );
    let env = fs::read_to_string(live.join(".env")).context("no `.env`")?;
    ensure!(env.replace(['"', '\''], "").trim() == expected.env.trim(), "the `.env` says {env:?}");
    let mode = fs::metadata(live.join(".env"))?.permissions().mode() & 0o777;
    ensure!(mode == 0o600 || mode == 0o400, "the `.env` has mode {mode:o}");
    let link = seen(root, &live, &fs::read_link(live.join("log")).context("no `log`")?);
    ensure!(
        fs::canonicalize(&link)? == fs::canonicalize(home.join("shared/log"))?,
        "`log` leads elsewhere"
    );
    let releases = fs::read_dir(home.join("releases"))?.count();
    ensure!(releases <= expected.keep, "there are {releases} releases");
    Ok(())
}

/// Returns the target of a link that was made where `root` is /srv.
fn seen(root: &Path, folder: &Path, target: &Path) -> PathBuf {
    target.strip_prefix("/srv").map_or_else(|_| folder.join(target), |rest| root.join(rest))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A release as a tool leaves it, after `harm` was done to it.
    fn verdict(harm: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
        let place = tempfile::tempdir()?;
        let (artifact, app) = (place.path().join("a"), place.path().join("srv/app"));
        let live = app.join("releases/1");
        for folder in [&artifact, &live, &app.join("shared/log")] {
            fs::create_dir_all(folder)?;
        }
        fs::write(artifact.join("file"), "content")?;
        fs::write(live.join("file"), "content")?;
        fs::write(live.join(".env"), "A='1'\n")?;
        fs::set_permissions(live.join(".env"), fs::Permissions::from_mode(0o600))?;
        symlink("/srv/app/shared/log", live.join("log"))?;
        symlink("releases/1", app.join("current"))?;
        harm(&app)?;
        let expected = Expected { digest: digest(&artifact)?, env: "A=1\n".to_owned(), keep: 2 };
        release(&place.path().join("srv"), "app", &expected)
    }

    #[test]
    fn a_whole_release_passes() {
        assert!(verdict(|_| Ok(())).is_ok());
    }

    #[test]
    fn whatever_is_wrong_is_seen() {
        let harms: [fn(&Path) -> io::Result<()>; 9] = [
            |app| fs::write(app.join("releases/1/file"), "Content"),
            |app| fs::write(app.join("releases/1/more"), ""),
            |app| fs::remove_file(app.join("releases/1/file")),
            |app| {
                fs::set_permissions(app.join("releases/1/file"), fs::Permissions::from_mode(0o755))
            },
            |app| fs::write(app.join("releases/1/.env"), "A=2\n"),
            |app| {
                fs::set_permissions(app.join("releases/1/.env"), fs::Permissions::from_mode(0o644))
            },
            |app| fs::remove_file(app.join("releases/1/log")),
            |app| fs::remove_file(app.join("current")),
            |app| [2, 3].iter().try_for_each(|n| fs::create_dir(app.join(format!("releases/{n}")))),
        ];
        for (number, harm) in harms.into_iter().enumerate() {
            assert!(verdict(harm).is_err(), "harm {number} was not seen");
        }
    }
}
