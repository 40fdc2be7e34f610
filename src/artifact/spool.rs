//! Holds the bytes of an artifact. Files of a directory stay where they are. Content of an archive
//! goes into one nameless temporary file, so that hostile names never touch the disk.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::OFlags;

use super::error::ArtifactError;
use super::stamp::Stamp;
use crate::model::digest::{Digest, Hasher};

const CHUNK: usize = 256 * 1024;

/// The place of the bytes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SpoolPlace {
    Spool {
        /// Offset of the first byte.
        at: u64,
        len: u64,
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
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Spool { len, .. } => *len,
            Self::Disk { stamp, .. } => stamp.len,
        }
    }

    /// Passes all bytes to `sink`. Errors name `path`. Fails if the file was written to since it
    /// was listed.
    pub(super) fn read(
        &self,
        spool: &File,
        path: &str,
        mut sink: impl FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        let changed = || ArtifactError::Changed { path: path.to_owned() };
        let failed = |source| ArtifactError::Read { path: self.named(path), source };
        let opened;
        let (file, start) = match self {
            Self::Spool { at, .. } => (spool, *at),
            Self::Disk { path, .. } => {
                opened = open_same(path).map_err(failed)?;
                (&opened, 0)
            }
        };
        // Clearing a large buffer for each of many small files takes longer than hashing them.
        let mut buffer = vec![0; usize::try_from(self.len()).unwrap_or(CHUNK).clamp(1, CHUNK)];
        let mut done = 0;
        while done < self.len() {
            let want = usize::try_from(self.len() - done).unwrap_or(CHUNK).min(CHUNK);
            match file.read_at(&mut buffer[..want], start + done) {
                Ok(0) => return Err(changed()),
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
        if same { Ok(()) } else { Err(changed()) }
    }

    /// Passes all bytes to `sink`, like [`Self::read`], and fails if their digest is not `sha256`.
    /// Does not hash them if a write would have changed the stamp.
    pub(super) fn read_same(
        &self,
        spool: &File,
        path: &str,
        sha256: Digest,
        mut sink: impl FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        if let Self::Disk { reliable: true, .. } = self {
            return self.read(spool, path, sink);
        }
        let mut hash = Hasher::default();
        self.read(spool, path, |bytes| {
            hash.update(bytes);
            sink(bytes)
        })?;
        if hash.finish() == sha256 {
            return Ok(());
        }
        Err(ArtifactError::Changed { path: path.to_owned() })
    }

    /// Returns what `work` makes of the bytes, which many threads may read at once. Does not check
    /// that they are still those that were listed: the host checks what is made of them.
    pub(super) fn with_source<T>(
        &self,
        spool: &File,
        work: impl FnOnce(ByteRange<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let (file, start) = self.open(spool)?;
        work(ByteRange { file: &file, start, len: self.len() })
    }

    /// Returns at most `most` bytes from offset `from` on; fewer at the end.
    pub(super) fn some(
        &self,
        spool: &File,
        path: &str,
        from: u64,
        most: usize,
    ) -> Result<Vec<u8>, ArtifactError> {
        let failed = |source| ArtifactError::Read { path: self.named(path), source };
        let (file, start) = self.open(spool).map_err(failed)?;
        let left = usize::try_from(self.len().saturating_sub(from)).unwrap_or(most);
        let mut bytes = vec![0; left.min(most)];
        let got = file.read_at(&mut bytes, start + from).map_err(failed)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Returns the file that holds the bytes and the offset of the first one. `None` if it changed
    /// since it was listed. `was` is the stamp that the spool had then.
    pub(super) fn source(&self, spool: &File, was: Stamp) -> io::Result<Option<(File, u64)>> {
        let (file, at) = self.open(spool)?;
        let same = Stamp::new(&file.metadata()?) == self.holder(was);
        Ok(same.then_some((file, at)))
    }

    /// Returns the stamp of the file, if it holds these bytes and no others. `spool` is the stamp
    /// of the spool.
    pub(super) fn stamp(&self, spool: Stamp) -> Option<Stamp> {
        let stamp = self.holder(spool);
        (stamp.len == self.len()).then_some(stamp)
    }

    fn holder(&self, spool: Stamp) -> Stamp {
        match self {
            Self::Spool { .. } => spool,
            Self::Disk { stamp, .. } => *stamp,
        }
    }

    /// Returns whether `other` has equal bytes.
    pub(super) fn holds_same(
        &self,
        other: &Self,
        spool: &File,
        path: &str,
    ) -> Result<bool, ArtifactError> {
        let same_length = self.len() == other.len();
        let same = || Ok(self.digest(spool, path)? == other.digest(spool, path)?);
        if self == other {
            Ok(true)
        } else if same_length {
            same()
        } else {
            Ok(false)
        }
    }

    /// Returns the SHA-256 of the bytes.
    pub(super) fn digest(&self, spool: &File, path: &str) -> Result<Digest, ArtifactError> {
        let mut hash = Hasher::default();
        self.read(spool, path, |bytes| {
            hash.update(bytes);
            Ok(())
        })?;
        Ok(hash.finish())
    }

    /// Opens the file. Returns it and the offset of the first byte.
    fn open(&self, spool: &File) -> io::Result<(File, u64)> {
        match self {
            Self::Spool { at, .. } => Ok((spool.try_clone()?, *at)),
            Self::Disk { path, .. } => Ok((open_same(path)?, 0)),
        }
    }

    fn named(&self, inside: &str) -> PathBuf {
        match self {
            Self::Spool { .. } => PathBuf::from(inside),
            Self::Disk { path, .. } => path.clone(),
        }
    }
}

/// A range of a file that several threads may read.
#[derive(Clone, Copy)]
pub(super) struct ByteRange<'a> {
    file: &'a File,
    start: u64,
    len: u64,
}

impl<'a> ByteRange<'a> {
    /// Returns the range of a whole file.
    pub(super) fn whole(file: &'a File) -> io::Result<Self> {
        Ok(Self { file, start: 0, len: file.metadata()?.len() })
    }

    /// Returns the number of bytes.
    pub(super) const fn len(self) -> u64 {
        self.len
    }

    /// Returns the bytes of `range`, less those after the end.
    pub(super) fn read(self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let (start, end) = (range.start.min(self.len), range.end.min(self.len));
        let len = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.start + start)?;
        Ok(bytes)
    }
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
    closed.map_err(|source| ArtifactError::Scratch { source })
}

/// Collects the content of an archive in one nameless file.
pub(super) struct Spool {
    file: BufWriter<File>,
    len: u64,
}

impl Spool {
    /// Makes an empty one.
    pub(super) fn new(scratch: Option<&Path>) -> Result<Self, ArtifactError> {
        Ok(Self { file: BufWriter::with_capacity(CHUNK, nameless(scratch)?), len: 0 })
    }

    /// Returns the offset of the next byte.
    pub(super) fn end(&self) -> u64 {
        self.len
    }

    /// Appends `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.file.write_all(bytes).map_err(|source| ArtifactError::Scratch { source })?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Returns the place of all bytes from offset `at` on.
    pub(super) fn since(&self, at: u64) -> SpoolPlace {
        SpoolPlace::Spool { at, len: self.len - at }
    }

    /// Returns the file with everything in it.
    pub(super) fn finish(self) -> Result<File, ArtifactError> {
        self.file
            .into_inner()
            .map_err(|error| ArtifactError::Scratch { source: error.into_error() })
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
            place.read_same(&File::open(&path).unwrap(), "file", Digest::of(told), |_| Ok(()))
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
