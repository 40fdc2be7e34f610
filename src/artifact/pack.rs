//! Writes the tar stream that a host unpacks: several compressed frames, one after the other, of
//! one archive. Only the last one ends it.

use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};
use zstd::zstd_safe::CParameter;

use super::spool;
use crate::model::codec::Codec;

const BLOCK: usize = 512;
/// A header has room for this many bytes of a name and of a link's target, with their final NUL.
const SHORT: usize = 99;
/// The latest time that eleven octal digits can say.
const LATEST: u64 = 0o77_777_777_777;
/// 1980-01-01. The epoch itself makes tar warn, and zip cannot say it.
pub(super) const NO_TIME: u64 = 315_532_800;
/// Fast enough for a link of 100 MB/s on one core, and near what higher levels reach.
const ZSTD_LEVEL: i32 = 3;
/// Half the work, and up to a sixth more bytes.
const QUICK_LEVEL: i32 = 1;
/// Level 1 makes what does not shrink five percent larger (measured); level 2 does not.
const GZIP_LEVEL: u32 = 2;
/// More of them would take more memory, some 18 MB each, and feed no link faster.
const MOST_THREADS: usize = 8;
/// What one thread packs at a time. The library's own choice, 8 MiB, saves half a percent, and
/// nothing could be sent before so much was packed.
const ZSTD_JOB: u32 = 2 << 20;

/// A compressor and what it writes to.
pub(super) enum Packer<W: Write> {
    /// On several cores.
    Zstd(Box<zstd::Encoder<'static, W>>),
    /// On one core.
    Gzip(GzEncoder<W>),
    /// None.
    Plain(BufWriter<W>),
}

impl<W: Write> Packer<W> {
    /// Writes to `to`; `quick` where bytes are cheaper than the work of saving them.
    pub(super) fn new(codec: Codec, quick: bool, to: W) -> io::Result<Self> {
        Ok(match codec {
            Codec::Zstd => {
                let level = if quick { QUICK_LEVEL } else { ZSTD_LEVEL };
                let mut encoder = zstd::Encoder::new(to, level)?;
                encoder.include_checksum(true)?;
                encoder.multithread(u32::try_from(threads()).unwrap_or(1))?;
                encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
                Self::Zstd(Box::new(encoder))
            }
            Codec::Gzip => Self::Gzip(GzEncoder::new(to, Compression::new(GZIP_LEVEL))),
            Codec::Plain => Self::Plain(BufWriter::with_capacity(1 << 18, to)),
        })
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Plain(writer) => writer.into_inner().map_err(io::IntoInnerError::into_error),
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Plain(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Plain(writer) => writer.flush(),
        }
    }
}

fn threads() -> usize {
    spool::cores().min(MOST_THREADS)
}

/// Writes members.
pub(super) struct TarWriter<W: Write> {
    to: Packer<W>,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    /// Begins a frame.
    pub(super) fn new(codec: Codec, quick: bool, to: W) -> io::Result<Self> {
        Ok(Self { to: Packer::new(codec, quick, to)?, written: 0 })
    }

    /// A directory.
    pub(super) fn dir(&mut self, path: &str, mode: u32, mtime: u64) -> io::Result<()> {
        self.header(EntryType::Directory, &format!("{path}/"), "", mode, 0, mtime)
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str, mtime: u64) -> io::Result<()> {
        self.header(EntryType::Symlink, path, target, 0o777, 0, mtime)
    }

    /// Another name for a file that the host has. Mode and time are that file's, so that headers
    /// differ in little but names.
    pub(super) fn twin(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.header(EntryType::Link, path, to, 0o444, 0, NO_TIME)
    }

    /// The header of a file; `size` bytes of content and then `pad` must follow.
    pub(super) fn file(&mut self, path: &str, mode: u32, size: u64, mtime: u64) -> io::Result<()> {
        self.header(EntryType::Regular, path, "", mode, size, mtime)
    }

    /// Content.
    pub(super) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    /// Whether content is written as it is.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.to, Packer::Plain(_))
    }

    /// Room for content that is sent from elsewhere: what came before is written out. Only for
    /// what is not compressed.
    pub(super) fn elsewhere(&mut self, size: u64) -> io::Result<()> {
        self.written += size;
        self.to.flush()
    }

    /// How many bytes of tar there are so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Fills up the last block.
    pub(super) fn pad(&mut self) -> io::Result<()> {
        let over = usize::try_from(self.written % BLOCK as u64).unwrap_or_default();
        if over > 0 { self.content(&[0; BLOCK][over..]) } else { Ok(()) }
    }

    /// The end of the whole archive.
    pub(super) fn end_of_archive(&mut self) -> io::Result<()> {
        self.content(&[0; 2 * BLOCK])
    }

    /// Ends the frame. Gives what it was written to and how much it was before compression.
    pub(super) fn finish(self) -> io::Result<(W, u64)> {
        Ok((self.to.finish()?, self.written))
    }

    fn header(
        &mut self,
        kind: EntryType,
        path: &str,
        target: &str,
        mode: u32,
        size: u64,
        mtime: u64,
    ) -> io::Result<()> {
        if target.len() > SHORT {
            self.long(EntryType::GNULongLink, target)?;
        }
        if path.len() > SHORT {
            self.long(EntryType::GNULongName, path)?;
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(mtime.min(LATEST));
        self.named(header, path, target)
    }

    /// A name that finds no room in a header goes before it as a member of its own.
    fn long(&mut self, kind: EntryType, name: &str) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(name.len() as u64 + 1);
        header.set_mtime(0);
        self.named(header, "././@LongLink", "")?;
        self.content(name.as_bytes())?;
        self.content(&[0])?;
        self.pad()
    }

    /// Names are written as they are: the tar crate's own setters would tidy them up, and a link
    /// must hold what the manifest says.
    fn named(&mut self, mut header: Header, path: &str, target: &str) -> io::Result<()> {
        header.set_uid(0);
        header.set_gid(0);
        let (path, target) = (path.as_bytes(), target.as_bytes());
        let old = header.as_old_mut();
        let (path, target) = (&path[..path.len().min(SHORT)], &target[..target.len().min(SHORT)]);
        old.name[..path.len()].copy_from_slice(path);
        old.linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        self.content(header.as_bytes())
    }
}
