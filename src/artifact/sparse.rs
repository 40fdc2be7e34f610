//! Files with holes in a tar archive, in the four ways to say where their bytes are: the headers of
//! old GNU tar, and the pax records of versions 0.0, 0.1 and 1.0. They are described in the manual
//! of GNU tar, "Storing Sparse Files".

use std::ops::Range;

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

/// Limit for the number of ranges of one file.
const MOST_RANGES: usize = 1_000_000;

/// The size of a file, and the ranges of it whose bytes are stored; the others are zeros.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SparseMap {
    pub(super) size: u64,
    pub(super) ranges: Vec<Range<u64>>,
}

/// The knowledge about the holes of a file before its bytes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holes {
    Known(SparseMap),
    /// The map stands before its bytes.
    InBody {
        size: u64,
    },
    /// Their description is not understood.
    Odd,
}

/// The description of the next file's holes in pax records.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    version: Option<(u64, u64)>,
    size: Option<u64>,
    /// The beginning of a range whose length is in the next record.
    offset: Option<u64>,
    map: SparseMap,
    odd: bool,
}

impl SparseMap {
    /// Returns whether the ranges are in order, inside the file, and have `stored` bytes in all.
    pub(super) fn fits(&self, stored: u64) -> bool {
        let (mut end, mut bytes) = (0, 0);
        for range in &self.ranges {
            if range.start < end {
                return false;
            }
            bytes += range.end - range.start;
            end = range.end;
        }
        end <= self.size && bytes == stored
    }

    /// Adds a range; returns `None` if there can be no such one, or there are too many.
    pub(super) fn add(&mut self, at: u64, length: u64) -> Option<()> {
        let end = at.checked_add(length).filter(|_| self.ranges.len() < MOST_RANGES)?;
        self.ranges.push(at..end);
        Some(())
    }

    /// Adds the ranges of a header of GNU tar, up to the first that is empty.
    fn add_headers(&mut self, headers: &[GnuSparseHeader]) -> Option<()> {
        for header in headers.iter().take_while(|header| !header.is_empty()) {
            self.add(header.offset().ok()?, header.length().ok()?)?;
        }
        Some(())
    }

    /// Returns the map in the header of a member of kind `S`. Such a header may go on in blocks,
    /// which `next` reads. `None`: it is not understood; then no more blocks are read.
    pub(super) fn of_header<E>(
        header: &Header,
        mut next: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let Some(gnu) = header.as_gnu() else { return Ok(None) };
        let Ok(size) = gnu.real_size() else { return Ok(None) };
        let mut map = Self { size, ranges: Vec::new() };
        let mut read = map.add_headers(&gnu.sparse);
        let mut more = gnu.is_extended();
        while more && read.is_some() {
            let mut block = GnuExtSparseHeader::new();
            next(block.as_mut_bytes())?;
            read = map.add_headers(&block.sparse);
            more = block.is_extended();
        }
        Ok(read.map(|()| map))
    }
}

impl SparseRecords {
    /// Takes a record, whose key is without `GNU.sparse.`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) {
        self.odd |= self.read(key, value).is_none();
    }

    fn read(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let text = str::from_utf8(value).ok()?;
        let number = || text.parse::<u64>().ok();
        match key {
            b"name" | b"numblocks" => {}
            b"major" => self.version = Some((number()?, 0)),
            b"minor" => self.version = Some((self.version?.0, number()?)),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let at = self.offset.take()?;
                self.map.add(at, number()?)?;
            }
            b"map" => {
                let mut numbers = text.split(',').map(|number| number.parse::<u64>().ok());
                while let Some(at) = numbers.next() {
                    self.map.add(at?, numbers.next()??)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Returns what the records say.
    pub(super) fn holes(self) -> Holes {
        match (self.version, self.size) {
            _ if self.odd => Holes::Odd,
            (None, Some(size)) => Holes::Known(SparseMap { size, ..self.map }),
            (Some((1, 0)), Some(size)) if self.map.ranges.is_empty() => Holes::InBody { size },
            _ => Holes::Odd,
        }
    }
}

/// Reads the map that stands before the bytes of a file: the number of ranges, then offset and
/// length of each, a number a line.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    digits: String,
    numbers: Vec<u64>,
}

impl MapReader {
    /// Reads a block of the map. Returns whether it has ended, or `None` if it is not understood.
    pub(super) fn block(&mut self, block: &[u8]) -> Option<bool> {
        for &byte in block {
            match byte {
                _ if self.is_whole() => break,
                b'\n' => self.numbers.push(std::mem::take(&mut self.digits).parse().ok()?),
                b'0'..=b'9' if self.digits.len() < 20 => self.digits.push(char::from(byte)),
                _ => return None,
            }
        }
        (self.numbers.len() <= 2 * MOST_RANGES + 1).then(|| self.is_whole())
    }

    fn is_whole(&self) -> bool {
        let wanted = |count: &u64| count.saturating_mul(2).saturating_add(1);
        self.numbers.first().map(wanted) == Some(self.numbers.len() as u64)
    }

    /// Returns the map of a file of `size` bytes.
    pub(super) fn finish(self, size: u64) -> Option<SparseMap> {
        let mut map = SparseMap { size, ranges: Vec::new() };
        for range in self.numbers[1..].chunks_exact(2) {
            map.add(range[0], range[1])?;
        }
        Some(map)
    }
}
