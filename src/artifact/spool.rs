//! Holds the bytes of an artifact. Files of a directory stay where they are. Content of an archive
//! goes into one nameless temporary file, so that hostile names never touch the disk.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::num::NonZero;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::OFlags;

use super::error::{ArtifactError, scratch_failed};
use super::stamp::Stamp;
use crate::model::digest::{Digest, Hasher};
use crate::remote::upload::FileRange;

const CHUNK: usize = 256 * 1024;

/// The place of the bytes of one file.
#[derive(Debug, Clone)]
pub(super) enum SpoolPlace {
    /// A range of an open file.
    Open {
        range: FileRange,
        /// Its stamp when it was listed; `None`: nobody else can write to it.
        stamp: Option<Stamp>,
    },
    /// A file of the artifact's directory.
    Disk {
        /// Its path on this machine.
        path: PathBuf,
        /// Its stamp when it was listed.
        stamp: Stamp,
        /// Whether a later write would change its stamp.
        reliable: bool,
    },
}

impl SpoolPlace {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Open { range, .. } => range.len,
            Self::Disk { stamp, .. } => stamp.len,
        }
    }

    /// Returns the stamp of the file, if others can write to it.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Open { stamp, .. } => *stamp,
            Self::Disk { stamp, .. } => Some(*stamp),
        }
    }

    /// Passes all bytes to `sink`. Errors name `path`. Fails if the file was written to since it
    /// was listed.
    pub(super) fn read(
        &self,
        path: &str,
        mut sink: impl FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        let failed = |source| self.unread(path, source);
        let FileRange { file, at, len } = self.open().map_err(failed)?;
        // Clearing a large buffer for each of many small files takes longer than hashing them.
        let mut buffer = vec![0; usize::try_from(len).unwrap_or(CHUNK).clamp(1, CHUNK)];
        let mut done = 0;
        while done < len {
            let want = usize::try_from(len - done).unwrap_or(CHUNK).min(CHUNK);
            match file.read_at(&mut buffer[..want], at + done) {
                Ok(0) => return Err(changed(path)),
                Ok(got) => {
                    sink(&buffer[..got])?;
                    done += got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let Self::Disk { stamp, .. } = self else { return Ok(()) };
        let same = Stamp::new(&file.metadata().map_err(failed)?) == *stamp;
        if same { Ok(()) } else { Err(changed(path)) }
    }

    /// Passes all bytes to `sink`, like [`Self::read`], and fails if their digest is not `sha256`.
    /// Does not hash them if a write would have changed the stamp.
    pub(super) fn read_same(
        &self,
        path: &str,
        sha256: Digest,
        mut sink: impl FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        if let Self::Disk { reliable: true, .. } = self {
            return self.read(path, sink);
        }
        let mut hash = Hasher::default();
        self.read(path, |bytes| {
            hash.update(bytes);
            sink(bytes)
        })?;
        if hash.finish() == sha256 { Ok(()) } else { Err(changed(path)) }
    }

    /// Returns the bytes, not yet read. Fails if the file was written to since it was listed.
    pub(super) fn unchanged(&self, path: &str) -> Result<FileRange, ArtifactError> {
        let failed = |source| self.unread(path, source);
        let range = self.open().map_err(failed)?;
        let now = Stamp::new(&range.file.metadata().map_err(failed)?);
        if self.stamp().is_none_or(|was| was == now) { Ok(range) } else { Err(changed(path)) }
    }

    pub(super) fn digest(&self, path: &str) -> Result<Digest, ArtifactError> {
        let mut hash = Hasher::default();
        self.read(path, |bytes| {
            hash.update(bytes);
            Ok(())
        })?;
        Ok(hash.finish())
    }

    fn open(&self) -> io::Result<FileRange> {
        match self {
            Self::Open { range, .. } => Ok(range.clone()),
            Self::Disk { path, stamp, .. } => {
                Ok(FileRange { file: Arc::new(open_same(path)?), at: 0, len: stamp.len })
            }
        }
    }

    fn unread(&self, inside: &str, source: io::Error) -> ArtifactError {
        let path = match self {
            Self::Open { .. } => PathBuf::from(inside),
            Self::Disk { path, .. } => path.clone(),
        };
        ArtifactError::Read { path, source }
    }
}

fn changed(path: &str) -> ArtifactError {
    ArtifactError::Changed { path: path.to_owned() }
}

/// Returns what `work` gives for each number below `count`, in this order. Works on all cores.
pub(super) fn on_all_cores<T: Send, E: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && index < count
        {
            done.push((index, work(index)?));
        }
        Ok(done)
    };
    let threads = cores().min(count.max(1));
    let mut all = Vec::with_capacity(count);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => all.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })?;
    all.sort_unstable_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, done)| done).collect())
}

/// Returns how many threads are worth starting.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Makes a nameless file that only this process can reach, in `scratch` or in the system's
/// directory for temporary files.
pub(super) fn nameless(scratch: Option<&Path>) -> Result<File, ArtifactError> {
    let made = match scratch {
        Some(dir) => tempfile::tempfile_in(dir),
        None => tempfile::tempfile(),
    };
    // It was made with the umask's mode, and others could open it through /proc.
    let closed = made.and_then(|file| {
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(file)
    });
    closed.map_err(scratch_failed)
}

/// Collects the content of an archive in one nameless file.
pub(super) struct Spool {
    file: BufWriter<Arc<File>>,
    len: u64,
}

impl Spool {
    pub(super) fn new(scratch: Option<&Path>) -> Result<Self, ArtifactError> {
        let file = Arc::new(nameless(scratch)?);
        Ok(Self { file: BufWriter::with_capacity(CHUNK, file), len: 0 })
    }

    /// Returns the offset of the next byte.
    pub(super) fn end(&self) -> u64 {
        self.len
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.file.write_all(bytes).map_err(scratch_failed)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Returns the place of all bytes from offset `at` on. They can be read after
    /// [`Self::finish`].
    pub(super) fn since(&self, at: u64) -> SpoolPlace {
        let file = Arc::clone(self.file.get_ref());
        SpoolPlace::Open { range: FileRange { file, at, len: self.len - at }, stamp: None }
    }

    /// Writes the rest.
    pub(super) fn finish(mut self) -> Result<(), ArtifactError> {
        self.file.flush().map_err(scratch_failed)
    }
}

/// Opens a file that was a regular one when it was listed. Does not follow a link that took its
/// place, and does not wait for a fifo.
fn open_same(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn file_is_compared_by_a_reliable_stamp_or_by_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "aaaa").unwrap();
        let stamp = Stamp::new(&path.metadata().unwrap());
        let read = |reliable, told: &[u8]| {
            let place = SpoolPlace::Disk { path: path.clone(), stamp, reliable };
            place.read_same("file", Digest::of(told), |_| Ok(()))
        };
        assert!(stamp.is_reliable(i64::MAX) && !stamp.is_reliable(0));
        assert!(read(true, b"told").is_ok(), "it is not hashed again");
        assert!(read(false, b"aaaa").is_ok());
        assert!(matches!(read(false, b"told"), Err(ArtifactError::Changed { .. })));
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(9);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(matches!(read(true, b"aaaa"), Err(ArtifactError::Changed { .. })));
    }
}
