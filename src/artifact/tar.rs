//! Writes the tar stream that a host unpacks: several compressed frames, one after the other, of
//! one archive. Only the last one ends it.

use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};
use zstd::zstd_safe::CParameter;

use super::error::{ArtifactError, scratch_failed};
use super::spool;
use crate::model::codec::Codec;

const BLOCK: usize = 512;
/// A header has room for this many bytes of a name and of a link's target, without their final NUL.
const SHORT: usize = 99;
/// The latest time that eleven octal digits can say.
const LATEST: u64 = 0o77_777_777_777;
/// 1980-01-01, for entries whose time is not known. The epoch itself makes tar warn, and zip has no
/// way to write it.
pub(super) const NO_TIME: u64 = 315_532_800;
/// Fast enough for a link of 100 MB/s on one core, and nearly as small as higher levels.
const ZSTD_LEVEL: i32 = 3;
/// Takes half the work, and makes up to a sixth more bytes.
const QUICK_LEVEL: i32 = 1;
/// Level 1 makes data that does not shrink five percent larger (measured); level 2 does not.
const GZIP_LEVEL: u32 = 2;
/// More threads would take more memory, some 18 MB each, and feed no link faster.
const MOST_THREADS: usize = 8;
/// Bytes that one thread compresses at a time. The library's own choice, 8 MiB, saves half a
/// percent, and nothing could be sent before that much was packed.
const ZSTD_JOB: u32 = 2 << 20;

/// A compressor and what it writes to.
enum Compressor<W: Write> {
    /// Works on several cores.
    Zstd(Box<zstd::Encoder<'static, W>>),
    /// Works on one core: only hosts without zstd get it.
    Gzip(GzEncoder<W>),
    Plain(BufWriter<W>),
}

impl<W: Write> Compressor<W> {
    fn new(codec: Codec, quick: bool, to: W) -> io::Result<Self> {
        Ok(match codec {
            Codec::Zstd => {
                let level = if quick { QUICK_LEVEL } else { ZSTD_LEVEL };
                let threads = spool::cores().min(MOST_THREADS);
                let mut encoder = zstd::Encoder::new(to, level)?;
                encoder.include_checksum(true)?;
                encoder.multithread(u32::try_from(threads).unwrap_or(1))?;
                encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
                Self::Zstd(Box::new(encoder))
            }
            Codec::Gzip => Self::Gzip(GzEncoder::new(to, Compression::new(GZIP_LEVEL))),
            Codec::Plain => Self::Plain(BufWriter::with_capacity(1 << 18, to)),
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Zstd(encoder) => encoder,
            Self::Gzip(encoder) => encoder,
            Self::Plain(writer) => writer,
        }
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Plain(writer) => writer.into_inner().map_err(io::IntoInnerError::into_error),
        }
    }
}

/// Writes the members of one frame. Everything fails only where the file that it writes to fails.
pub(super) struct TarWriter<W: Write> {
    to: Compressor<W>,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    /// Begins a frame. `quick`: rather sooner than smaller.
    pub(super) fn new(codec: Codec, quick: bool, to: W) -> Result<Self, ArtifactError> {
        let to = Compressor::new(codec, quick, to).map_err(scratch_failed)?;
        Ok(Self { to, written: 0 })
    }

    pub(super) fn dir(&mut self, path: &str, mode: u32, mtime: u64) -> Result<(), ArtifactError> {
        self.header(EntryType::Directory, &format!("{path}/"), "", mode, 0, mtime)
    }

    pub(super) fn link(
        &mut self,
        path: &str,
        target: &str,
        mtime: u64,
    ) -> Result<(), ArtifactError> {
        self.header(EntryType::Symlink, path, target, 0o777, 0, mtime)
    }

    /// Writes another name for a file that the host has. Mode and time are that file's; here they
    /// are the same for all, so that headers differ in little but names.
    pub(super) fn hard_link(&mut self, path: &str, to: &str) -> Result<(), ArtifactError> {
        self.header(EntryType::Link, path, to, 0o444, 0, NO_TIME)
    }

    /// Writes the header of a file. `size` bytes of content and then [`Self::pad`] must follow.
    pub(super) fn file(
        &mut self,
        path: &str,
        mode: u32,
        size: u64,
        mtime: u64,
    ) -> Result<(), ArtifactError> {
        self.header(EntryType::Regular, path, "", mode, size, mtime)
    }

    /// Writes a whole file that belongs to no release.
    pub(super) fn whole_file(
        &mut self,
        path: &str,
        mode: u32,
        content: &[u8],
    ) -> Result<(), ArtifactError> {
        self.file(path, mode, content.len() as u64, NO_TIME)?;
        self.content(content)?;
        self.pad()
    }

    pub(super) fn content(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.written += bytes.len() as u64;
        self.to.writer().write_all(bytes).map_err(scratch_failed)
    }

    /// Returns whether content is written uncompressed.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.to, Compressor::Plain(_))
    }

    /// Leaves out `size` bytes of content that are sent from another file, and writes out all that
    /// came before. Only for frames that are not compressed.
    pub(super) fn leave_out(&mut self, size: u64) -> Result<(), ArtifactError> {
        self.written += size;
        self.to.writer().flush().map_err(scratch_failed)
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Fills up the last block.
    pub(super) fn pad(&mut self) -> Result<(), ArtifactError> {
        let over = usize::try_from(self.written % BLOCK as u64).unwrap_or_default();
        if over > 0 { self.content(&[0; BLOCK][over..]) } else { Ok(()) }
    }

    pub(super) fn end_of_archive(&mut self) -> Result<(), ArtifactError> {
        self.content(&[0; 2 * BLOCK])
    }

    /// Ends the frame. Returns the writer.
    pub(super) fn finish(self) -> Result<W, ArtifactError> {
        self.to.finish().map_err(scratch_failed)
    }

    fn header(
        &mut self,
        kind: EntryType,
        path: &str,
        target: &str,
        mode: u32,
        size: u64,
        mtime: u64,
    ) -> Result<(), ArtifactError> {
        if target.len() > SHORT {
            self.long(EntryType::GNULongLink, target)?;
        }
        if path.len() > SHORT {
            self.long(EntryType::GNULongName, path)?;
        }
        self.cut_header(kind, path, target, mode, size, mtime.min(LATEST))
    }

    /// Writes a name that is too long for a header as a member of its own before it.
    fn long(&mut self, kind: EntryType, name: &str) -> Result<(), ArtifactError> {
        self.cut_header(kind, "././@LongLink", "", 0o644, name.len() as u64 + 1, 0)?;
        self.content(name.as_bytes())?;
        self.content(&[0])?;
        self.pad()
    }

    /// Writes a header, with as much of the names as it has room for. They are written as they are:
    /// the tar crate's own setters would tidy them up, and a link must hold what the manifest says.
    fn cut_header(
        &mut self,
        kind: EntryType,
        path: &str,
        target: &str,
        mode: u32,
        size: u64,
        mtime: u64,
    ) -> Result<(), ArtifactError> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(mtime);
        header.set_uid(0);
        header.set_gid(0);
        let old = header.as_old_mut();
        for (name, field) in [(path, &mut old.name), (target, &mut old.linkname)] {
            let len = name.len().min(SHORT);
            field[..len].copy_from_slice(&name.as_bytes()[..len]);
        }
        header.set_cksum();
        self.content(header.as_bytes())
    }
}
