//! Fetches an artifact into a nameless temporary file. A download that breaks off goes on where it
//! was, if the server can tell that the file is still the same.

mod aws;
mod netrc;
mod proxy;
mod request;
mod s3;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE,
};
use ureq::http::{HeaderName, Response};

pub(super) use self::request::Fetcher;
use self::request::SILENCE;
use super::address::shown;
use super::error::{ArtifactError, LimitHit, scratch_failed};
use super::limits::Limits;
use super::spool;
use crate::model::digest::Hasher;

/// Bytes that must arrive within a minute.
const LEAST: u64 = 64 * 1024;
/// The pauses before each further try. With progress they begin anew.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

impl Fetcher<'_> {
    /// Fetches `url`. Where the download breaks off, it goes on.
    pub(super) fn download(
        &self,
        url: &str,
        scratch: Option<&Path>,
        limits: &Limits,
    ) -> Result<Download, ArtifactError> {
        let mut partial = Download::new(scratch)?;
        let mut pauses = PAUSES.iter();
        loop {
            let before = partial.total;
            let taken = self.get(url, &partial.rest());
            let taken = taken.and_then(|response| partial.take(response, url, limits));
            let Err(error) = taken else { return Ok(partial) };
            if matches!(error, ArtifactError::Status { status: 416, .. }) {
                partial.restart()?;
            }
            if partial.total >= before + LEAST {
                pauses = PAUSES.iter();
            }
            match pauses.next().filter(|_| partial.begun && may_pass(&error)) {
                Some(pause) => std::thread::sleep(*pause),
                None => return Err(error),
            }
        }
    }
}

/// Returns whether another try may go better.
fn may_pass(error: &ArtifactError) -> bool {
    match error {
        ArtifactError::Download { .. } | ArtifactError::Fetch { .. } => true,
        ArtifactError::Status { status, .. } => matches!(status, 416 | 429 | 500..=599),
        _ => false,
    }
}

/// A file that is fetched, or as much of it as is there.
pub(super) struct Download {
    pub(super) file: File,
    pub(super) hash: Hasher,
    total: u64,
    validator: Option<String>,
    /// Whether the server has sent any of it.
    begun: bool,
    /// Whether the server calls it a page of HTML.
    pub(super) html: bool,
}

impl Download {
    fn new(scratch: Option<&Path>) -> Result<Self, ArtifactError> {
        Ok(Self {
            file: spool::nameless(scratch)?,
            hash: Hasher::default(),
            total: 0,
            validator: None,
            begun: false,
            html: false,
        })
    }

    /// Returns the headers that ask for what is missing; none if all of it must be fetched.
    fn rest(&self) -> Vec<(HeaderName, String)> {
        match self.validator.clone().filter(|_| self.total > 0) {
            Some(tag) => vec![(RANGE, format!("bytes={}-", self.total)), (IF_RANGE, tag)],
            None => Vec::new(),
        }
    }

    fn restart(&mut self) -> Result<(), ArtifactError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(scratch_failed)?;
        (self.hash, self.total, self.validator) = (Hasher::default(), 0, None);
        Ok(())
    }

    /// Appends what a server sends. Fails if it breaks off; what came until then stays.
    fn take(
        &mut self,
        response: Response<Body>,
        url: &str,
        limits: &Limits,
    ) -> Result<(), ArtifactError> {
        let broken = |source| ArtifactError::Download { url: shown(url), source };
        self.begun = true;
        if response.status() != 206 {
            self.restart()?;
        } else if !self.continues(&response) {
            self.restart()?;
            return Err(broken(io::Error::other("the server sent another part of it")));
        }
        self.validator = validator(&response);
        self.html = text(&response, &CONTENT_TYPE).is_some_and(|it| it.starts_with("text/html"));
        let length = text(&response, &CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let end = length.map(|length| self.total + length);
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 256 * 1024];
        let mut pace = Pace { since: Instant::now(), bytes: 0 };
        loop {
            let got = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(broken(source)),
            };
            pace.moves(got as u64, Instant::now()).map_err(broken)?;
            self.add(&buffer[..got], url, limits)?;
        }
        if end.is_some_and(|end| end != self.total) {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    fn add(&mut self, bytes: &[u8], url: &str, limits: &Limits) -> Result<(), ArtifactError> {
        self.total += bytes.len() as u64;
        if self.total > limits.bytes {
            let limit = LimitHit::Bytes { most: limits.bytes };
            return Err(ArtifactError::TooMuch { artifact: shown(url), limit });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(scratch_failed)
    }

    /// Returns whether a response is the rest of the same version of the file. Some servers ignore
    /// `If-Range`.
    fn continues(&self, response: &Response<Body>) -> bool {
        let range = text(response, &CONTENT_RANGE).unwrap_or_default();
        let from = range.strip_prefix("bytes ").and_then(|range| range.split('-').next());
        let fits = from.and_then(|from| from.parse().ok()) == Some(self.total);
        fits && self.total > 0 && validator(response) == self.validator
    }
}

/// Returns what tells this version of the file from others.
fn validator(response: &Response<Body>) -> Option<String> {
    let strong = text(response, &ETAG).filter(|tag| !tag.starts_with("W/"));
    strong.or_else(|| text(response, &LAST_MODIFIED)).map(str::to_owned)
}

fn text<'r>(response: &'r Response<Body>, name: &HeaderName) -> Option<&'r str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Measures how fast a download comes: one byte a minute would last for ever.
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Fails if less than [`LEAST`] came within [`SILENCE`].
    fn moves(&mut self, got: u64, now: Instant) -> io::Result<()> {
        self.bytes += got;
        if now.duration_since(self.since) < SILENCE {
            return Ok(());
        }
        if self.bytes < LEAST {
            let text = "less than 64 KiB came within a minute";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        *self = Self { since: now, bytes: 0 };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crawling_download_fails_and_slow_one_succeeds() {
        let since = Instant::now();
        let second = Duration::from_secs(1);
        let ends = |each: u64| {
            let mut pace = Pace { since, bytes: 0 };
            (1..600).find(|at| pace.moves(each, since + second * *at).is_err())
        };
        assert_eq!(ends(1), Some(60));
        assert_eq!(ends(1_000), Some(60));
        assert_eq!(ends(1_200), None);
    }
}
