//! What an artifact's file is. Its content decides; its name only where content cannot: a `.jar`
//! is a zip that is deployed as it is, and a `.gz` need not hold a tar.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;

use super::untar;

const BLOCK: usize = 512;
/// xz says how much memory it wants; `xz -9` wants 65 MiB, and nobody should want this much.
const XZ_MEMORY: u64 = 512 << 20;
/// `CONCATENATED`: several streams, one after the other, as `xz` itself reads them.
const XZ_FLAGS: u32 = liblzma::stream::CONCATENATED;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A tar archive, packed so.
    Tar(Packing),
    /// A zip archive.
    Zip,
    /// Anything else: deployed as it is.
    Single,
}

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
}

/// What `file` is, which is called `name`. `None`: the name promises an archive, but it is none.
pub(super) fn tell(file: &File, name: &str) -> io::Result<Option<Kind>> {
    let mut head = [0; BLOCK];
    let got = read_up_to(&mut At { file, at: 0 }, &mut head)?;
    let head = &head[..got];
    let name = name.to_ascii_lowercase();
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        let archive = promises_archive(&name) || !name.contains('.');
        return Ok(Some(if archive { Kind::Zip } else { Kind::Single }));
    }
    let packing = packing(head);
    let promised = promises_archive(&name);
    if holds_tar(file, packing, promised) {
        return Ok(Some(Kind::Tar(packing)));
    }
    Ok((!promised).then_some(Kind::Single))
}

/// The unpacked stream of `file`, from its beginning.
pub(super) fn unpack(file: &File, packing: Packing) -> io::Result<Box<dyn Read + '_>> {
    let mut whole = file;
    whole.rewind()?;
    let source = BufReader::with_capacity(1 << 18, whole);
    Ok(match packing {
        Packing::Plain => Box::new(source),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Packing::Zstd => Box::new(zstd::Decoder::with_buffer(source)?),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
        Packing::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, XZ_FLAGS)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
        }
    })
}

fn packing(head: &[u8]) -> Packing {
    let block = head.strip_prefix(b"BZh").and_then(|rest| rest.get(1..)).unwrap_or_default();
    let bzip2 = block.starts_with(b"1AY&SY") || block.starts_with(b"\x17\x72\x45\x38\x50\x90");
    if head.starts_with(b"\x1f\x8b") {
        Packing::Gzip
    } else if head.starts_with(b"\x28\xb5\x2f\xfd") {
        Packing::Zstd
    } else if head.starts_with(b"\xfd7zXZ\0") {
        Packing::Xz
    } else if bzip2 {
        Packing::Bzip2
    } else {
        Packing::Plain
    }
}

/// Whether a tar header comes first. Where the name promises a tar, damage is not looked at here:
/// reading it on says better what is wrong.
fn holds_tar(file: &File, packing: Packing, promised: bool) -> bool {
    let mut block = [0; BLOCK];
    let read = unpack(file, packing).and_then(|mut stream| read_up_to(&mut stream, &mut block));
    match read {
        Ok(BLOCK) if promised && block.iter().all(|byte| *byte == 0) => true,
        Ok(got) => untar::is_header(&block[..got]),
        Err(_) => promised && packing != Packing::Plain,
    }
}

fn promises_archive(name: &str) -> bool {
    const ENDINGS: [&str; 12] = [
        ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz",
        ".tbz2", ".tb2", ".zip",
    ];
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn read_up_to(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(buffer, self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}
