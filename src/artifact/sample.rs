//! Estimates whether compressing pays. Pictures, archives and encrypted data do not shrink; to
//! compress them only takes time, here and on the host.

use super::error::ArtifactError;
use super::spool::SpoolPlace;

/// Below this size everything is compressed.
const SMALL: u64 = 4 << 20;
/// Number of samples, and bytes of each. Together they take a few milliseconds.
const PROBES: u64 = 64;
const PROBE: u64 = 16 << 10;
/// The fastest level: data that it cannot shrink hardly shrinks at others.
const LEVEL: i32 = 1;

/// Returns how many thousandths of these files compression would leave, estimated from evenly
/// spread samples. `None`: they are small, so no samples were taken.
pub(super) fn left(files: &[(&str, &SpoolPlace)]) -> Result<Option<u64>, ArtifactError> {
    let total: u64 = files.iter().map(|(_, place)| place.len()).sum();
    if total < SMALL {
        return Ok(None);
    }
    let (mut read, mut packed) = (0, 0);
    let mut files = files.iter();
    let (mut begin, mut file) = (0, files.next());
    for probe in 0..PROBES {
        let wanted = total / PROBES * probe;
        while let Some((_, place)) = file
            && begin + place.len() <= wanted
        {
            begin += place.len();
            file = files.next();
        }
        let Some((path, place)) = file else { break };
        let at = wanted - begin;
        let bytes = place.unchanged(path)?.read(at..at + PROBE);
        let bytes = bytes.map_err(|source| ArtifactError::Read { path: path.into(), source })?;
        read += bytes.len();
        packed += zstd::bulk::compress(&bytes, LEVEL).map_or(bytes.len(), |packed| packed.len());
    }
    Ok(Some((packed as u64 * 1000).div_ceil((read as u64).max(1))))
}
