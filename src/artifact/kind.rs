//! Finds out what kind of file an artifact is. The content decides, and the name only where content
//! cannot: a `.jar` is a zip that is deployed as it is, and a `.gz` need not hold a tar.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;

use super::error::wants_much_memory;
use super::page::is_page;
use super::untar;

const BLOCK: usize = 512;
/// The most memory that xz may take. `xz -9` takes 65 MiB; more than this is an attack.
const XZ_MEMORY: u64 = 512 << 20;
/// The largest window of zstd, as a power of two: `--long=31`, the longest there is. It takes the
/// memory of what is unpacked, up to 2 GiB.
const ZSTD_WINDOW: u32 = 31;
/// `CONCATENATED`: several streams, one after the other, as `xz` itself reads them.
const XZ_FLAGS: u32 = liblzma::stream::CONCATENATED;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArchiveKind {
    /// A tar archive, compressed like this.
    Tar(Compression),
    Zip,
    /// An archive that is not supported: its kind, with an article.
    Unread(&'static str),
    /// A page of HTML that is called an archive.
    Page,
    /// Any other file, which is deployed as it is.
    Single,
}

/// The compression of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Plain,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

/// Returns the kind of `file`, which is called `name`. `None`: the name promises an archive, but
/// the file is none.
pub(super) fn tell(file: &File, name: &str) -> io::Result<Option<ArchiveKind>> {
    let head = &head(unpack(file, Compression::Plain)?)?;
    let name = name.to_ascii_lowercase();
    let promised = promises_archive(&name);
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Some(if is_used_packed(&name) {
            ArchiveKind::Single
        } else {
            ArchiveKind::Zip
        }));
    }
    let packing = packing(head);
    if holds_tar(file, packing, promised) {
        return Ok(Some(ArchiveKind::Tar(packing)));
    }
    Ok(match unread(head, &name) {
        Some(kind) => Some(ArchiveKind::Unread(kind)),
        None if promised && is_page(head) => Some(ArchiveKind::Page),
        None => (!promised).then_some(ArchiveKind::Single),
    })
}

/// Returns whether programs use a zip of this name without unpacking it.
fn is_used_packed(name: &str) -> bool {
    const EXTENSIONS: [&str; 27] = [
        "aab", "aar", "apk", "docx", "ear", "egg", "epub", "hpi", "ipa", "jar", "jpi", "nar",
        "nbm", "nupkg", "odp", "ods", "odt", "phar", "pptx", "pyz", "rar", "sar", "vsix", "war",
        "whl", "xlsx", "xpi",
    ];
    name.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

/// Returns the kind of archive, with an article, if it is one that is not supported.
fn unread(head: &[u8], name: &str) -> Option<&'static str> {
    const MAGICS: [(&[u8], &str); 6] = [
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a rar archive"),
        (b"070701", "a cpio archive"),
        (b"070702", "a cpio archive"),
        (b"070707", "a cpio archive"),
        (b"\xc7\x71", "a cpio archive"),
    ];
    const ENDINGS: [(&str, &str); 14] = [
        (".7z", "a 7z archive"),
        (".rar", "a rar archive"),
        (".cpio", "a cpio archive"),
        (".tar.lz4", "a tar packed by lz4"),
        (".tlz4", "a tar packed by lz4"),
        (".tar.lzma", "a tar packed by lzma"),
        (".tlz", "a tar packed by lzma"),
        (".tar.lz", "a tar packed by lzip"),
        (".tar.lzo", "a tar packed by lzop"),
        (".tar.br", "a tar packed by brotli"),
        (".tar.z", "a tar packed by compress"),
        (".taz", "a tar packed by compress"),
        (".cpio.gz", "a cpio archive"),
        (".cpio.zst", "a cpio archive"),
    ];
    let magic = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|found| found.1);
    magic.or_else(|| ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|found| found.1))
}

/// Returns the decompressed content of `file`.
pub(super) fn unpack(file: &File, packing: Compression) -> io::Result<Box<dyn Read + '_>> {
    let mut whole = file;
    whole.rewind()?;
    let source = BufReader::with_capacity(1 << 18, whole);
    Ok(match packing {
        Compression::Plain => Box::new(source),
        Compression::Gzip => {
            Box::new(GzipMembers::new(source, GzDecoder::new, GzDecoder::into_inner))
        }
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW.min(usize::BITS - 2))?;
            Box::new(decoder)
        }
        Compression::Bzip2 => {
            Box::new(GzipMembers::new(source, BzDecoder::new, BzDecoder::into_inner))
        }
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, XZ_FLAGS)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
        }
    })
}

fn packing(head: &[u8]) -> Compression {
    let block = head.strip_prefix(b"BZh").and_then(|rest| rest.get(1..)).unwrap_or_default();
    let bzip2 = block.starts_with(b"1AY&SY") || block.starts_with(b"\x17\x72\x45\x38\x50\x90");
    // pzstd and others begin with a frame without content.
    let skippable = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    if head.starts_with(b"\x1f\x8b") {
        Compression::Gzip
    } else if head.starts_with(b"\x28\xb5\x2f\xfd") || skippable {
        Compression::Zstd
    } else if head.starts_with(b"\xfd7zXZ\0") {
        Compression::Xz
    } else if bzip2 {
        Compression::Bzip2
    } else {
        Compression::Plain
    }
}

/// Returns whether the file begins with a tar header. If the name promises a tar, damage counts as
/// one: reading on gives the better error.
fn holds_tar(file: &File, packing: Compression, promised: bool) -> bool {
    match unpack(file, packing).and_then(head) {
        Ok(block) if promised && block == [0; BLOCK] => true,
        Ok(block) => untar::is_header(&block),
        Err(error) if wants_much_memory(&error) => true,
        Err(_) => promised && packing != Compression::Plain,
    }
}

/// Returns the first bytes of a stream.
fn head(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    stream.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

fn promises_archive(name: &str) -> bool {
    const ENDINGS: [&str; 12] = [
        ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz",
        ".tbz2", ".tb2", ".zip",
    ];
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Reads compressed streams that follow one another, and zeros after the last one: tapes and `dd`
/// add them.
struct GzipMembers<D, S> {
    now: Option<D>,
    open: fn(S) -> D,
    close: fn(D) -> S,
}

impl<D: Read, S: BufRead> GzipMembers<D, S> {
    fn new(source: S, open: fn(S) -> D, close: fn(D) -> S) -> Self {
        Self { now: Some(open(source)), open, close }
    }
}

impl<D: Read, S: BufRead> Read for GzipMembers<D, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.now {
            let got = decoder.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            if let Some(mut source) = self.now.take().map(self.close)
                && has_more(&mut source)?
            {
                self.now = Some((self.open)(source));
            }
        }
        Ok(0)
    }
}

/// Returns whether another stream follows. `false` at the end, or if only zeros are left.
fn has_more(source: &mut impl BufRead) -> io::Result<bool> {
    let mut padded = false;
    loop {
        let bytes = source.fill_buf()?;
        let (zeros, all) = (bytes.iter().take_while(|byte| **byte == 0).count(), bytes.len());
        if zeros < all && (padded || zeros > 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something follows its padding",
            ));
        }
        if zeros < all || all == 0 {
            return Ok(all > 0);
        }
        padded = true;
        source.consume(all);
    }
}
