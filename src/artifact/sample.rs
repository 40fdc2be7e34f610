//! Whether compressing pays: pictures, archives and encrypted data only cost time, here and on the
//! host.

use std::fs::File;

use super::error::ArtifactError;
use super::spool::SpoolPlace;

/// Fewer bytes are compressed without asking.
const SMALL: u64 = 4 << 20;
/// How many places are looked at, and how many bytes of each: together a few milliseconds.
const PROBES: u64 = 64;
const PROBE: usize = 16 << 10;
/// As fast as it gets: what this level cannot shrink, others hardly can.
const LEVEL: i32 = 1;

/// How many thousandths of these files compression would leave, as far as bytes from evenly spread
/// places tell. `None`: nobody looked.
pub(super) fn left(
    files: &[(&str, &SpoolPlace)],
    spool: &File,
) -> Result<Option<u64>, ArtifactError> {
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
        let bytes = place.some(spool, path, wanted - begin, PROBE)?;
        read += bytes.len();
        packed += zstd::bulk::compress(&bytes, LEVEL).map_or(bytes.len(), |packed| packed.len());
    }
    Ok(Some((packed as u64 * 1000).div_ceil((read as u64).max(1))))
}
