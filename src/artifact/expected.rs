//! A digest and a signature, with which the file of an artifact must agree. Both are had before the
//! artifact is fetched, and compared before anything of it is read.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::address::{self, file_name, join, shown};
use super::error::ArtifactError;
use super::fetch::Fetcher;
use super::{page, signature};
use crate::config::ArtifactSpec;
use crate::config::access::{DigestSource, SignedBy, is_address};
use crate::model::digest::Digest;

/// Bytes of a file of digests or of a signature.
const MOST: u64 = 1 << 20;
/// Bytes of a page that are read for its title.
const HEAD: usize = 64 * 1024;

/// The place of an artifact, so that the files beside it can be found.
pub(super) enum Beside<'a> {
    Path(&'a Path),
    Url(&'a str),
}

impl Beside<'_> {
    fn name(&self) -> String {
        match self {
            Self::Path(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Url(url) => file_name(url),
        }
    }

    /// Returns the text of a small file: at an address, or beside the artifact.
    fn text(&self, at: &str, fetcher: &Fetcher<'_>) -> Result<SmallFile, ArtifactError> {
        let (url, path) = match self {
            Self::Path(path) if !is_address(at) => {
                (String::new(), Some(path.parent().unwrap_or(Path::new("")).join(at)))
            }
            Self::Path(_) => (at.to_owned(), address::local(at)?),
            Self::Url(url) => {
                let url = join(url, at);
                let path = address::local(&url)?;
                (url, path)
            }
        };
        let Some(path) = path else {
            return Ok(SmallFile { place: shown(&url), text: fetcher.text(&url, MOST)? });
        };
        let place = path.display().to_string();
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| ArtifactError::Read { path, source })?;
        Ok(SmallFile { place, text })
    }
}

/// The text of a small file, and how it is called.
struct SmallFile {
    place: String,
    text: String,
}

/// A digest and a signature, with which the file of an artifact must agree.
#[derive(Default)]
pub(super) struct Expected<'a> {
    pub(super) sha256: Option<Digest>,
    signature: Option<ExpectedSignature<'a>>,
}

struct ExpectedSignature<'a> {
    by: &'a SignedBy,
    text: String,
}

impl<'a> Expected<'a> {
    /// Gets the digest and the signature, if the config wants them.
    pub(super) fn new(
        spec: &'a ArtifactSpec,
        sha256: Option<&DigestSource>,
        beside: &Beside<'_>,
        fetcher: &Fetcher<'_>,
    ) -> Result<Self, ArtifactError> {
        let sha256 = match sha256 {
            None => None,
            Some(DigestSource::Known(digest)) => Some(*digest),
            Some(DigestSource::At(at)) => {
                let SmallFile { place, text } = beside.text(at, fetcher)?;
                let name = beside.name();
                match listed(&text, &name) {
                    None if page::is_page(text.as_bytes()) => {
                        return Err(a_page(&place, text.as_bytes()));
                    }
                    None => return Err(ArtifactError::Unlisted { place, name }),
                    digest => digest,
                }
            }
        };
        let signature = spec.access.signature.as_ref().map(|wanted| {
            let usual = || format!("{}{}", beside.name(), wanted.by.ending());
            let at = wanted.at.clone().unwrap_or_else(usual);
            let text = beside.text(&at, fetcher)?.text;
            Ok(ExpectedSignature { by: &wanted.by, text })
        });
        Ok(Self { sha256, signature: signature.transpose()? })
    }

    pub(super) fn is_some(&self) -> bool {
        self.sha256.is_some() || self.signature.is_some()
    }

    /// Fails if the file is not what was expected. `html`: it was called a page of HTML.
    pub(super) fn check(
        &self,
        artifact: &str,
        file: &File,
        found: Option<Digest>,
        html: bool,
    ) -> Result<(), ArtifactError> {
        self.compare(artifact, file, found).map_err(|error| {
            let head = head(file);
            let page = page::is_page(&head) || (html && !head.contains(&0));
            if page { a_page(artifact, &head) } else { error }
        })
    }

    fn compare(
        &self,
        artifact: &str,
        file: &File,
        found: Option<Digest>,
    ) -> Result<(), ArtifactError> {
        if let (Some(expected), Some(found)) = (self.sha256, found)
            && expected != found
        {
            let artifact = artifact.to_owned();
            return Err(ArtifactError::WrongDigest { artifact, expected, found });
        }
        let Some(ExpectedSignature { by, text }) = &self.signature else { return Ok(()) };
        signature::verify(by, text, file).map_err(|source| {
            let at = file_name(&format!("x://{artifact}{}", by.ending()));
            ArtifactError::Signature { artifact: artifact.to_owned(), at, source }
        })
    }
}

/// Returns the error of an artifact that is a page of HTML.
pub(super) fn page_in_place_of(artifact: &str, file: &File) -> ArtifactError {
    a_page(artifact, &head(file))
}

fn head(file: &File) -> Vec<u8> {
    let mut head = vec![0; HEAD];
    let got = file.read_at(&mut head, 0).unwrap_or(0);
    head.truncate(got);
    head
}

fn a_page(artifact: &str, head: &[u8]) -> ArtifactError {
    ArtifactError::Page { artifact: artifact.to_owned(), title: page::title(head) }
}

/// Returns the digest that a file made by `sha256sum` gives for `name`: that of the line with this
/// name, or the only one.
fn listed(text: &str, name: &str) -> Option<Digest> {
    let lines: Vec<_> = text.lines().filter_map(digest_line).collect();
    let named = lines.iter().find(|line| line.name.rsplit('/').next() == Some(name));
    match (named, &lines[..]) {
        (Some(line), _) | (None, [line]) => Some(line.sha256),
        _ => None,
    }
}

struct DigestLine<'t> {
    sha256: Digest,
    name: &'t str,
}

/// Reads `HEX  name`, `HEX *name`, `HEX` and `SHA256 (name) = HEX`.
fn digest_line(line: &str) -> Option<DigestLine<'_>> {
    let line = line.trim();
    if let Some((name, hex)) = line.strip_prefix("SHA256 (").and_then(|it| it.rsplit_once(") = ")) {
        return Some(DigestLine { sha256: hex.trim().parse().ok()?, name });
    }
    let (hex, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let name = name.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    Some(DigestLine { sha256: hex.parse().ok()?, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_that_of_the_name_or_the_only_one() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let two = format!("# made by CI\n{a}  dist/a.tar\n{b} *b.tar\n");
        assert_eq!(listed(&two, "a.tar"), Some(a));
        assert_eq!(listed(&two, "b.tar"), Some(b));
        assert_eq!(listed(&two, "c.tar"), None);
        for one in [format!("{a}"), format!("{a}  other\r\n"), format!("SHA256 (x) = {a}\n")] {
            assert_eq!(listed(&one, "a.tar"), Some(a), "{one}");
        }
        let bsd = format!("SHA256 (x (1)) = {a}\nSHA256 (y) = {b}\n");
        assert_eq!(listed(&bsd, "x (1)"), Some(a));
        assert_eq!(listed("d41d8cd98f00b204e9800998ecf8427e  a.tar\n", "a.tar"), None, "MD5");
        assert_eq!(listed("<html>", "a.tar"), None);
    }
}
