//! Reads a zip archive by its central directory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use zip::extra_fields::ExtraField;
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{System, ZipArchive};

use super::entry::{ALL_READERS, EntryKind, Item, OWNER_RUNS, SET_BITS, readers, special};
use super::error::{ArtifactError, Refusal, visible};
use super::name;
use super::spool::Spool;
use super::tree::{Spot, Tree};

const KIND: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const DIR: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
/// The attribute of directories in DOS.
const DOS_DIR: u32 = 0x10;
/// Limit for a link's target, which is its content: no path is longer.
const LONGEST_TARGET: u64 = 4096;

/// The work on one archive.
struct Unzip<'a, 'b> {
    tree: &'a mut Tree<'b>,
    spool: &'a mut Spool,
}

/// An entry that is part of the release.
struct ZipMember {
    name: String,
    /// Its path in the release.
    spot: String,
    mode: Option<u32>,
    is_dir: bool,
}

/// Reads all entries of `file` into `tree`.
pub(super) fn read(
    file: &File,
    tree: &mut Tree<'_>,
    spool: &mut Spool,
) -> Result<(), ArtifactError> {
    let artifact = tree.artifact;
    let failed = |source| ArtifactError::Zip { artifact: artifact.to_owned(), source };
    let mut archive = ZipArchive::new(file).map_err(failed)?;
    if archive.has_duplicate_names() {
        let twice = twice(file, archive.central_directory_start()).map_err(|e| failed(e.into()))?;
        for name in twice {
            tree.refuse_name(&name, Refusal::Duplicate);
        }
    }
    let mut unzip = Unzip { tree, spool };
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(failed)?;
        let Some(member) = unzip.enter(&entry)? else { continue };
        let encrypted = entry.encrypted();
        drop(entry);
        let what = if encrypted {
            Err(Refusal::Encrypted)
        } else {
            let opened = archive.by_index(index);
            let mut entry = opened.map_err(|source| unzip.broken(&member, source))?;
            let what = unzip.what(&mut entry, &member)?;
            what.map(|what| (what, mtime(&entry)))
        };
        match what {
            Err(why) => unzip.tree.refuse(&member.name, Some(&member.spot), why),
            Ok((what, mtime)) => {
                let readers = member.mode.map_or(ALL_READERS, |mode| readers(member.is_dir, mode));
                unzip.tree.add(&member.spot, Item { what, mtime, readers })?;
            }
        }
    }
    Ok(())
}

/// Returns names that the central directory lists twice: the library that reads the archive keeps
/// only one of each.
fn twice(mut file: &File, directory: u64) -> io::Result<Vec<Vec<u8>>> {
    const HEADER: usize = 46;
    let mut data = Vec::new();
    file.seek(SeekFrom::Start(directory))?;
    file.read_to_end(&mut data)?;
    let mut rest = &data[..];
    let (mut names, mut twice) = (HashSet::new(), Vec::new());
    while rest.len() >= HEADER && rest.starts_with(b"PK\x01\x02") {
        let word = |at: usize| usize::from(u16::from_le_bytes([rest[at], rest[at + 1]]));
        let name = rest.get(HEADER..HEADER + word(28)).unwrap_or_default();
        if !names.insert(name) {
            twice.push(name.to_vec());
        }
        rest = rest.get(HEADER + word(28) + word(30) + word(32)..).unwrap_or_default();
    }
    Ok(twice)
}

impl Unzip<'_, '_> {
    /// Returns an entry that is part of the release. `None`: it is left out or refused.
    fn enter<R: Read>(
        &mut self,
        entry: &ZipFile<'_, R>,
    ) -> Result<Option<ZipMember>, ArtifactError> {
        let raw = entry.name_raw();
        if raw.contains(&b'\\') {
            self.tree.refuse_name(raw, Refusal::Backslash);
            return Ok(None);
        }
        let Some(path) = self.tree.enter(raw)? else { return Ok(None) };
        let attributes = entry.external_attributes();
        let mode = mode(entry.system(), attributes);
        let says_dir = mode.map_or(attributes & DOS_DIR != 0, |mode| mode & KIND == DIR);
        let is_dir = raw.ends_with(b"/") || says_dir;
        let name = String::from_utf8_lossy(raw).into_owned();
        Ok(match self.tree.spot(&path, is_dir)? {
            Spot::At(spot) => Some(ZipMember { name, spot, mode, is_dir }),
            Spot::Stripped | Spot::Excluded => None,
        })
    }

    /// Returns what an entry becomes, or why it is refused.
    fn what<R: Read>(
        &mut self,
        entry: &mut ZipFile<'_, R>,
        member: &ZipMember,
    ) -> Result<Result<EntryKind, Refusal>, ArtifactError> {
        let kind = if member.is_dir { DIR } else { member.mode.unwrap_or(0) & KIND };
        Ok(match kind {
            DIR if entry.size() > 0 => Err(Refusal::Content),
            DIR => Ok(EntryKind::Dir),
            LINK => self.link(entry, member)?,
            0 | REGULAR => self.unpack(entry, member)?,
            other => Err(special(other)),
        })
    }

    fn link<R: Read>(
        &self,
        entry: &mut ZipFile<'_, R>,
        member: &ZipMember,
    ) -> Result<Result<EntryKind, Refusal>, ArtifactError> {
        let mut target = Vec::new();
        let read = entry.take(LONGEST_TARGET + 1).read_to_end(&mut target);
        read.map_err(|source| self.broken(member, source.into()))?;
        Ok(name::target(&target).map(|target| EntryKind::Link { target }))
    }

    fn unpack<R: Read>(
        &mut self,
        entry: &mut ZipFile<'_, R>,
        member: &ZipMember,
    ) -> Result<Result<EntryKind, Refusal>, ArtifactError> {
        if member.mode.is_some_and(|mode| mode & SET_BITS != 0) {
            return Ok(Err(Refusal::SetId));
        }
        let at = self.spool.end();
        let mut head = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = entry.read(&mut buffer);
            let got = read.map_err(|source| self.broken(member, source.into()))?;
            if got == 0 {
                break;
            }
            if head.len() < 4 {
                head.extend_from_slice(&buffer[..got.min(4)]);
            }
            self.tree.charge(got as u64)?;
            self.spool.write(&buffer[..got])?;
        }
        if self.spool.end() - at != entry.size() {
            return Ok(Err(Refusal::Size));
        }
        let runs = member.mode.map_or_else(|| is_program(&head), |mode| mode & OWNER_RUNS != 0);
        Ok(Ok(EntryKind::File { runs, place: self.spool.since(at) }))
    }

    fn broken(&self, member: &ZipMember, source: ZipError) -> ArtifactError {
        let artifact = self.tree.artifact.to_owned();
        ArtifactError::ZipEntry { artifact, entry: visible(&member.name), source }
    }
}

/// Returns the mode of a file from a Unix archive. Zero: the program that packed it wrote none.
fn mode(system: System, attributes: u32) -> Option<u32> {
    let mode = attributes >> 16;
    // The number of macOS, which writes modes like any Unix.
    let unix = matches!(system, System::Unix | System::OsDarwin);
    (unix && mode != 0).then_some(mode)
}

/// Returns whether a file with these first bytes is a program: ELF, or a script that names its
/// interpreter.
pub(super) fn is_program(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF") || head.starts_with(b"#!")
}

/// Returns the time of an extra field, else the local time without a zone, read as UTC.
fn mtime<R: Read>(entry: &ZipFile<'_, R>) -> Option<u64> {
    let extended = entry.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    if let Some(at) = extended {
        return Some(at.into());
    }
    let at = entry.last_modified()?;
    let day = chrono::NaiveDate::from_ymd_opt(at.year().into(), at.month().into(), at.day().into());
    let time = day?.and_hms_opt(at.hour().into(), at.minute().into(), at.second().into())?;
    u64::try_from(time.and_utc().timestamp()).ok()
}
