//! Reads files of a release from a host, over a channel of its own.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::error::AgentError;
use super::quote::word;
use super::session::{Channel, Exit, Output, Session};
use super::tail::Tail;
use crate::model::codec::Codec;

/// Prints the files in the directory $1 whose names are on standard input, each with a zero byte
/// after it: their bytes, one after the other, packed by $2.
const CONTENTS: &str = "printf %s%s shipit-files begin; cd \"$1\" && xargs -0 cat | \
    case $2 in zstd) zstd -q -c ;; gzip) gzip -c ;; *) cat ;; esac";
/// Prints when these files were modified, a line each.
const TIMES: &str = "printf %s%s shipit-files begin; cd \"$1\" && xargs -0 stat -c %Y";

/// The first output of both: all before it is noise of the login shell. It is not in the
/// command, which a shell may print.
const BEGIN: &[u8] = b"shipit-filesbegin";
/// Most noise, in bytes.
const MOST_NOISE: usize = 1 << 20;

/// Longest silence of the host.
const SILENCE: Duration = Duration::from_mins(1);

/// Writes the bytes of files to `to`, one after the other, packed by `codec`. `paths` are below
/// `place` and not empty. If a file is missing, so are its bytes: the caller knows sizes and
/// digests. Returns what the host said about that.
pub async fn contents(
    session: &dyn Session,
    place: &str,
    codec: Codec,
    paths: &[String],
    to: &File,
) -> Result<String, AgentError> {
    let arguments = format!("{} {}", word(place), word(codec.word()));
    let mut to = to;
    run(session, CONTENTS, &arguments, paths, |bytes| {
        to.write_all(bytes).map_err(|source| AgentError::Spool { source })
    })
    .await
}

/// Returns when the files at `paths` were modified, in seconds since 1970.
pub async fn times(
    session: &dyn Session,
    place: &str,
    paths: &[String],
) -> Result<Vec<u64>, AgentError> {
    let mut text = Vec::new();
    run(session, TIMES, &word(place), paths, |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })
    .await?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect())
}

/// Returns the part of `bytes` that comes after the noise, which is `None` once that has ended.
fn without_noise(noise: &mut Option<Vec<u8>>, bytes: &Bytes) -> Result<Bytes, AgentError> {
    let Some(so_far) = noise else { return Ok(bytes.clone()) };
    so_far.extend_from_slice(bytes);
    if let Some(at) = so_far.windows(BEGIN.len()).position(|part| part == BEGIN) {
        let rest = Bytes::copy_from_slice(&so_far[at + BEGIN.len()..]);
        *noise = None;
        return Ok(rest);
    }
    if so_far.len() > MOST_NOISE {
        return Err(AgentError::Garbled { reason: "it printed something else".to_owned() });
    }
    Ok(Bytes::new())
}

/// Runs a script with `paths` on its standard input, and passes on what it prints. Returns the end
/// of its standard error.
async fn run(
    session: &dyn Session,
    script: &str,
    arguments: &str,
    paths: &[String],
    mut take: impl FnMut(&[u8]) -> Result<(), AgentError>,
) -> Result<String, AgentError> {
    let command = format!("exec /bin/sh -c {} shipit {arguments}", word(script));
    let channel = session.exec(&command).await.map_err(|source| AgentError::Session { source })?;
    let Channel { mut input, mut output } = channel;
    let names: String = paths.iter().flat_map(|path| ["./", path, "\0"]).collect();
    let writing = async move {
        // If the host has ended, the other half says why.
        let _ = input.write_all(names.as_bytes()).await;
        let _ = input.shutdown().await;
    };
    let reading = async {
        let (mut exit, mut said, mut noise) = (None, Tail::default(), Some(Vec::new()));
        loop {
            let silent = |_| AgentError::Silent { after: SILENCE };
            match timeout(SILENCE, output.recv()).await.map_err(silent)? {
                Some(Output::Stdout(bytes)) => take(without_noise(&mut noise, &bytes)?.as_ref())?,
                Some(Output::Stderr(bytes)) => said.push(&bytes),
                Some(Output::Exit(how)) => exit = Some(how),
                None => break,
            }
        }
        match exit {
            Some(Exit::Code(0)) => Ok(said.text()),
            Some(how) => Err(AgentError::Unread { how: format!("it {how}"), said: said.text() }),
            None => Err(AgentError::Lost { reason: said.text() }),
        }
    };
    let ((), read) = tokio::join!(writing, reading);
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_before_the_files_is_dropped_wherever_it_is_cut() {
        let whole = b"welcome shipit-files\nxxshipit-filesbeginab\nshipit-filesbegin";
        for cut in 0..whole.len() {
            let mut noise = Some(Vec::new());
            let mut kept = Vec::new();
            for part in [&whole[..cut], &whole[cut..]] {
                let part = Bytes::copy_from_slice(part);
                kept.extend(without_noise(&mut noise, &part).unwrap_or_default());
            }
            assert_eq!(kept, b"ab\nshipit-filesbegin", "{cut}");
        }
    }
}
