//! Reads a tar archive: old, ustar, GNU and pax. Nothing in it can choose where bytes go. An
//! archive that programs read in different ways is refused.

use std::collections::HashMap;
use std::io::{self, Read};

use tar::Header;

use super::entry::{EntryKind, Item, OWNER_RUNS, SET_BITS, readers};
use super::error::{ArtifactError, Malformed, Refusal, visible};
use super::name;
use super::sparse::{Holes, MapReader, SparseMap, SparseRecords};
use super::spool::{Spool, SpoolPlace};
use super::tree::{Spot, Tree};

const BLOCK: usize = 512;
/// Limit for long names and pax records, which are small in every honest archive.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// Limit for the list of holes of a sparse file, which may be longer.
const LONGEST_RECORDS: u64 = 16 << 20;

/// Reads all entries of `source`, a decompressed tar, into `tree`.
pub(super) fn read(
    source: impl Read,
    tree: &mut Tree<'_>,
    spool: &mut Spool,
) -> Result<(), ArtifactError> {
    let mut reader =
        Reader { source, tree, spool, last: None, linkable: HashMap::new(), pax: false };
    let mut next = Extension::default();
    while let Some(header) = reader.header()? {
        match header.entry_type().as_byte() {
            b'L' => next.name = Some(reader.long_name(&header)?),
            b'K' => next.link = Some(reader.long_name(&header)?),
            b'x' | b'X' => reader.pax(&header, &mut next)?,
            b'g' => reader.global(&header)?,
            b'V' => {}
            _ => reader.member(&header, std::mem::take(&mut next))?,
        }
    }
    reader.end()
}

/// Returns whether `block` is a tar header: every header has a checksum.
pub(super) fn is_header(block: &[u8]) -> bool {
    block.len() == BLOCK && Header::from_byte_slice(block).cksum().ok() == Some(checksum(block))
}

/// Headers that come before a member and describe it.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    /// Name of a sparse file, which has a made-up one in its header.
    real_name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<u64>,
    sparse: Option<SparseRecords>,
}

struct Reader<'a, 'b, R> {
    source: R,
    tree: &'a mut Tree<'b>,
    spool: &'a mut Spool,
    last: Option<String>,
    /// Entries that a hard link may name, by full path, whether or not they are part of the
    /// release.
    linkable: HashMap<String, Item>,
    /// Whether pax headers were read.
    pax: bool,
}

/// One member, with everything from its header and the headers before it.
struct Member {
    raw: String,
    kind: u8,
    size: u64,
    mode: u32,
    mtime: Option<u64>,
    link: Vec<u8>,
    holes: Option<Holes>,
}

impl<R: Read> Reader<'_, '_, R> {
    fn header(&mut self) -> Result<Option<Header>, ArtifactError> {
        let mut header = Header::new_old();
        if !self.fill(header.as_mut_bytes())? {
            return Err(self.malformed(Malformed::CutOff));
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !is_header(header.as_bytes()) {
            return Err(self.malformed(Malformed::Checksum { after: self.after() }));
        }
        Ok(Some(header))
    }

    /// Fails if anything but zeros follows the first block of zeros.
    fn end(&mut self) -> Result<(), ArtifactError> {
        let mut block = [0; BLOCK];
        loop {
            let got = self.some(&mut block)?;
            if got == 0 {
                return Ok(());
            }
            if block[..got].iter().any(|byte| *byte != 0) {
                return Err(self.malformed(Malformed::Trailing));
            }
        }
    }

    fn member(&mut self, header: &Header, extension: Extension) -> Result<(), ArtifactError> {
        let named = extension.real_name.as_ref().or(extension.name.as_ref()).cloned();
        let raw = named.unwrap_or_else(|| header.path_bytes().into_owned());
        self.last = Some(String::from_utf8_lossy(&raw).into_owned());
        let member = self.describe(header, extension, &raw)?;
        if matches!(member.kind, b'1' | b'2' | b'5') && member.size > 0 {
            // Some programs read the following bytes as its content, others as entries.
            return Err(self.tree.stop(&member.raw, Refusal::Content));
        }
        let Some(path) = self.tree.enter(&raw)? else { return self.body(member.size, false) };
        let spot = self.tree.spot(&path, member.kind == b'5')?;
        let item = match refusal(&member) {
            Some(why) => {
                self.body(member.size, false)?;
                Err(why)
            }
            None => self.item(&member)?,
        };
        if let Ok(item) = item.as_ref()
            && !matches!(item.what, EntryKind::Dir)
        {
            self.linkable.insert(path, item.clone());
        }
        let Spot::At(at) = spot else { return Ok(()) };
        match item {
            Ok(item) => self.tree.add(&at, item),
            Err(why) => {
                self.tree.refuse(&member.raw, Some(&at), why);
                Ok(())
            }
        }
    }

    /// Returns what the member becomes, or why it is refused. Reads the bytes of files.
    fn item(&mut self, member: &Member) -> Result<Result<Item, Refusal>, ArtifactError> {
        let what = match member.kind {
            b'1' => return self.hard_link(member),
            b'2' => name::target(&member.link).map(|target| EntryKind::Link { target }),
            b'5' => Ok(EntryKind::Dir),
            _ => Ok(self.file(member)?),
        };
        let readers = readers(member.kind == b'5', member.mode);
        Ok(what.map(|what| Item { what, mtime: member.mtime, readers }))
    }

    fn describe(
        &mut self,
        header: &Header,
        extension: Extension,
        raw: &[u8],
    ) -> Result<Member, ArtifactError> {
        let raw_text = String::from_utf8_lossy(raw).into_owned();
        let size = extension.size.map_or_else(|| header.entry_size(), Ok);
        let (Ok(size), Ok(mode)) = (size, header.mode()) else {
            return Err(self.tree.stop(&raw_text, Refusal::Header));
        };
        let mut holes = extension.sparse.map(SparseRecords::holes);
        let kind = match header.entry_type().as_byte() {
            // Old archives have no type for directories, only a final slash.
            b'0' | 0 | b'7' if raw.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            b'S' => {
                let map = SparseMap::of_header(header, |block| self.exactly(block))?;
                // Without the map nobody knows where the next header is.
                let map = map.ok_or_else(|| self.tree.stop(&raw_text, Refusal::Sparse))?;
                holes = Some(Holes::Known(map));
                b'0'
            }
            other => other,
        };
        // Every tar reads on right after such a link, whatever size it tells; in a pax archive, not
        // all.
        let size = if kind == b'1' && !self.pax { 0 } else { size };
        let header_link = || header.link_name_bytes().unwrap_or_default().into_owned();
        Ok(Member {
            kind,
            size,
            mode,
            mtime: extension.mtime.or_else(|| header.mtime().ok()),
            link: extension.link.unwrap_or_else(header_link),
            holes,
            raw: raw_text,
        })
    }

    fn file(&mut self, member: &Member) -> Result<EntryKind, ArtifactError> {
        let at = self.spool.end();
        match &member.holes {
            Some(Holes::Known(map)) => self.with_holes(member, map, member.size)?,
            Some(Holes::InBody { size }) => {
                let (map, read) = self.map_in_body(member, *size)?;
                self.with_holes(member, &map, member.size.saturating_sub(read))?;
            }
            Some(Holes::Odd) | None => self.body(member.size, true)?,
        }
        let place = self.spool.since(at);
        Ok(EntryKind::File { runs: member.mode & OWNER_RUNS != 0, place })
    }

    /// Keeps a file of which `stored` bytes are in the archive.
    fn with_holes(
        &mut self,
        member: &Member,
        map: &SparseMap,
        stored: u64,
    ) -> Result<(), ArtifactError> {
        if !map.fits(stored) {
            return Err(self.tree.stop(&member.raw, Refusal::Sparse));
        }
        let mut done = 0;
        for range in &map.ranges {
            self.zeros(range.start - done)?;
            self.bytes(range.end - range.start, true)?;
            done = range.end;
        }
        self.zeros(map.size - done)?;
        self.exactly(&mut [0; BLOCK][..padding(stored)])
    }

    /// Returns the map of holes before the bytes of a file, and its size in the archive.
    fn map_in_body(
        &mut self,
        member: &Member,
        size: u64,
    ) -> Result<(SparseMap, u64), ArtifactError> {
        let (mut map, mut read, mut whole) = (MapReader::default(), 0, Some(false));
        while whole == Some(false) && read + BLOCK as u64 <= member.size {
            let mut block = [0; BLOCK];
            self.exactly(&mut block)?;
            read += BLOCK as u64;
            whole = map.block(&block);
        }
        let map = if whole == Some(true) { map.finish(size) } else { None };
        let map = map.ok_or_else(|| self.tree.stop(&member.raw, Refusal::Sparse))?;
        Ok((map, read))
    }

    /// Keeps a hole, which counts like other bytes.
    fn zeros(&mut self, mut left: u64) -> Result<(), ArtifactError> {
        self.tree.charge(left)?;
        let zeros = vec![0; 64 * 1024];
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(zeros.len()).min(zeros.len());
            self.spool.write(&zeros[..now])?;
            left -= now as u64;
        }
        Ok(())
    }

    /// Returns the copy of its target that a hard link becomes, with the target's mode. It counts
    /// as much as the target.
    fn hard_link(&mut self, member: &Member) -> Result<Result<Item, Refusal>, ArtifactError> {
        let named = name::clean(&member.link).ok().flatten();
        let Some(item) = named.and_then(|named| self.linkable.get(&named)).cloned() else {
            let target = visible(&String::from_utf8_lossy(&member.link));
            return Ok(Err(Refusal::HardLink { target }));
        };
        let copied = item.place().map_or(0, SpoolPlace::len);
        self.tree.charge(copied)?;
        Ok(Ok(Item { mtime: member.mtime, ..item }))
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, ArtifactError> {
        let mut name = self.extension(header, LONGEST_EXTENSION)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn pax(&mut self, header: &Header, next: &mut Extension) -> Result<(), ArtifactError> {
        self.pax = true;
        let data = self.extension(header, LONGEST_RECORDS)?;
        for (key, value) in parsed(&data).ok_or_else(|| self.unreadable())? {
            match key {
                b"path" => next.name = Some(value.to_vec()),
                b"linkpath" => next.link = Some(value.to_vec()),
                b"size" => {
                    let size = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    next.size = Some(size.ok_or_else(|| self.unreadable())?);
                }
                // Fractions of seconds and times before 1970 are dropped.
                b"mtime" => next.mtime = seconds(value),
                _ => {
                    let Some(sparse) = key.strip_prefix(b"GNU.sparse.") else { continue };
                    next.sparse.get_or_insert_default().take(sparse, value);
                    if sparse == b"name" {
                        next.real_name = Some(value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a global header. It may hold anything (git writes the commit), except names of
    /// members.
    fn global(&mut self, header: &Header) -> Result<(), ArtifactError> {
        self.pax = true;
        let data = self.extension(header, LONGEST_EXTENSION)?;
        let harmful = |key: &[u8]| matches!(key, b"path" | b"linkpath" | b"size");
        match parsed(&data) {
            Some(records) if !records.iter().any(|(key, _)| harmful(key)) => Ok(()),
            _ => Err(self.unreadable()),
        }
    }

    fn extension(&mut self, header: &Header, most: u64) -> Result<Vec<u8>, ArtifactError> {
        let size = header.entry_size().unwrap_or(u64::MAX);
        if size > most {
            return Err(self.unreadable());
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
        let padding = padding(size);
        self.exactly(&mut data)?;
        self.exactly(&mut [0; BLOCK][..padding])?;
        Ok(data)
    }

    fn body(&mut self, size: u64, keep: bool) -> Result<(), ArtifactError> {
        self.bytes(size, keep)?;
        self.exactly(&mut [0; BLOCK][..padding(size)])
    }

    fn bytes(&mut self, size: u64, keep: bool) -> Result<(), ArtifactError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
            self.exactly(&mut buffer[..part])?;
            if keep {
                self.spool.write(&buffer[..part])?;
            }
            left -= part as u64;
        }
        Ok(())
    }

    /// Fills `buffer`. Returns `false` at the end of the source.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, ArtifactError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.some(&mut buffer[done..])? {
                0 => return Ok(false),
                got => done += got,
            }
        }
        Ok(true)
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), ArtifactError> {
        if self.fill(buffer)? { Ok(()) } else { Err(self.malformed(Malformed::CutOff)) }
    }

    /// Reads and counts bytes of the source; nothing else does.
    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, ArtifactError> {
        loop {
            match self.source.read(buffer) {
                Ok(got) => {
                    self.tree.charge(got as u64)?;
                    return Ok(got);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let artifact = self.tree.artifact.to_owned();
                    return Err(ArtifactError::Unpack { artifact, entry: self.after(), source });
                }
            }
        }
    }

    /// Returns the error of an extended header.
    fn unreadable(&self) -> ArtifactError {
        self.malformed(Malformed::Extended { after: self.after() })
    }

    fn malformed(&self, why: Malformed) -> ArtifactError {
        ArtifactError::Malformed { artifact: self.tree.artifact.to_owned(), why }
    }

    fn after(&self) -> String {
        match &self.last {
            Some(name) => format!("`{}`", visible(name)),
            None => "its beginning".to_owned(),
        }
    }
}

/// Returns why a member is refused, if its header already tells.
fn refusal(member: &Member) -> Option<Refusal> {
    match member.kind {
        b'0' if member.holes == Some(Holes::Odd) => Some(Refusal::Sparse),
        b'0' if member.mode & SET_BITS != 0 => Some(Refusal::SetId),
        b'0' | b'1' | b'2' | b'5' => None,
        b'3' | b'4' => Some(Refusal::Device),
        b'6' => Some(Refusal::Fifo),
        kind => Some(Refusal::Kind { kind: kind.into() }),
    }
}

/// Returns keys and values of a pax header, whose records are `<length> <key>=<value>\n`. The
/// length is that of the whole record.
fn parsed(mut data: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let space = data.iter().position(|byte| *byte == b' ')?;
        let length: usize = str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        found.push((&record[..equals], &record[equals + 1..]));
        data = &data[length..];
    }
    Some(found)
}

fn seconds(value: &[u8]) -> Option<u64> {
    str::from_utf8(value).ok()?.split('.').next()?.parse().ok()
}

fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if over == 0 { 0 } else { BLOCK - over }
}

/// Returns the sum of all bytes, with blanks in the checksum's own field.
fn checksum(block: &[u8]) -> u32 {
    let own = 148..156;
    let byte = |(at, byte): (usize, &u8)| if own.contains(&at) { b' ' } else { *byte };
    block.iter().enumerate().map(|pair| u32::from(byte(pair))).sum()
}
