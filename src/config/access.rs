//! All that is needed to get an artifact, beside its place: headers, a signature, the settings of
//! S3, and what its path leaves open.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::checks::Header;
use super::placeholders::in_address;
use super::{ArtifactSource, ArtifactSpec, EntryRules, EnvSource};
use crate::model::digest::Digest;
use crate::model::note::Note;

/// Every word that may stand in braces in the path of an artifact.
pub(super) const WORDS: [&str; 2] = ["branch", "revision"];

/// All that is needed to get an artifact, beside its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArtifactAccess {
    /// Headers of requests to the server of the artifact, and to no other.
    pub headers: Vec<Header>,
    pub signature: Option<SignatureSpec>,
    pub s3: S3Settings,
    /// The revision that its path names, once that was filled in.
    pub revision: Option<String>,
    pub notes: Vec<Note>,
    /// The machine's answer, once it was asked. By then headers have their values.
    pub machine: Option<FetchEnv>,
}

impl ArtifactAccess {
    /// Returns each header's name and where its value comes from.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &EnvSource)> {
        self.headers.iter().map(|header| (header.name.as_str(), &header.value))
    }
}

/// A digest, or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestSource {
    Known(Digest),
    /// A file that `sha256sum` wrote: its address, or its name beside the artifact.
    At(String),
}

/// The signature that an artifact must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureSpec {
    pub by: SignedBy,
    /// Its address, or its name beside the artifact; `None`: the artifact's with an ending.
    pub at: Option<String>,
}

/// The signer that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    Minisign {
        /// The public key, as minisign prints it.
        key: String,
    },
    /// By `ssh-keygen -Y sign`.
    Ssh {
        /// The file with the keys that may sign.
        allowed_signers: PathBuf,
        /// One of those that the file names; `None`: any of them.
        identity: Option<String>,
        namespace: String,
    },
}

impl SignedBy {
    /// Returns the ending of the signature's name.
    pub fn ending(&self) -> &'static str {
        match self {
            Self::Minisign { .. } => ".minisig",
            Self::Ssh { .. } => ".sig",
        }
    }
}

/// The settings of `s3://` addresses: what is missing comes from the variables and files of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct S3Settings {
    /// `https://s3.example.net`, perhaps with `{bucket}` in its name.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// The profile of `~/.aws` whose credentials are used.
    pub profile: Option<String>,
}

/// The parts of this machine that downloads need. The environment holds secrets: `Debug` shows
/// none.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct FetchEnv {
    pub env: BTreeMap<String, String>,
    pub home: PathBuf,
    pub now: DateTime<Utc>,
}

impl FetchEnv {
    /// Returns the value of the first of these variables that is set and not empty.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        let set = names.iter().filter_map(|name| self.env.get(*name));
        set.map(String::as_str).find(|value| !value.is_empty())
    }
}

impl fmt::Debug for FetchEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchEnv").field("home", &self.home).finish_non_exhaustive()
    }
}

/// The state of the source, which the path of an artifact may name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFacts {
    pub revision: Option<String>,
    pub branch: Option<String>,
}

impl SourceFacts {
    /// Returns the text with each word in braces replaced. Fails with the first one whose value is
    /// not known, or would lead elsewhere.
    fn fill(&self, text: &str, write: fn(&str) -> String) -> Result<String, &'static str> {
        let mut filled = text.to_owned();
        for (word, value) in WORDS.into_iter().zip([&self.branch, &self.revision]) {
            let braced = format!("{{{word}}}");
            if filled.contains(&braced) {
                let value = value.as_deref().filter(|value| stays_inside(value)).ok_or(word)?;
                filled = filled.replace(&braced, &write(value));
            }
        }
        Ok(filled)
    }
}

/// Returns whether a name can be a part of a path: as git wants names of branches.
fn stays_inside(value: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "\\{}~^:?*[".contains(c);
    !value.is_empty() && !value.contains(bad) && !value.contains("..") && !value.starts_with('/')
}

/// Returns whether the text holds a word that has to be filled in.
pub fn is_open(text: &str) -> bool {
    WORDS.iter().any(|word| text.contains(&format!("{{{word}}}")))
}

/// Returns whether the text is an address, and no path.
pub fn is_address(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|it| !it.is_empty() && it.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// Returns scheme, host and port of an address: those whom a secret header is for.
pub fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?.to_ascii_lowercase();
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let host = host.strip_suffix(usual).filter(|_| !usual.is_empty()).unwrap_or(&host);
    Some(format!("{scheme}://{host}"))
}

impl ArtifactSpec {
    /// Returns the one that takes all of `source`, by the default rules.
    pub fn of(source: ArtifactSource) -> Self {
        Self {
            source,
            exclude: Vec::new(),
            strip_components: 0,
            rules: EntryRules::default(),
            linked: Vec::new(),
            access: ArtifactAccess::default(),
        }
    }

    /// Returns whether its path names the revision or the branch.
    pub fn is_open(&self) -> bool {
        self.texts().into_iter().any(is_open)
    }

    fn texts(&self) -> Vec<&str> {
        let (place, sha256) = match &self.source {
            ArtifactSource::Path { path, sha256 } => (path.to_str().unwrap_or_default(), sha256),
            ArtifactSource::Url { url, sha256 } => (url.as_str(), sha256),
        };
        let mut texts = vec![place];
        if let Some(DigestSource::At(at)) = sha256 {
            texts.push(at);
        }
        texts.extend(self.access.signature.iter().filter_map(|it| it.at.as_deref()));
        texts
    }

    /// Fills in the revision and the branch. Fails with the first of them that is not known. In an
    /// `https://` address, special characters are written like `%20`.
    pub fn fill(&mut self, facts: &SourceFacts) -> Result<(), &'static str> {
        let named = self.texts().iter().any(|text| text.contains("{revision}"));
        let remote =
            matches!(&self.source, ArtifactSource::Url { url, .. } if !url.starts_with("s3:"));
        let fill = |text: &mut String| {
            let encoded = if is_address(text) { !text.starts_with("s3:") } else { remote };
            *text = facts.fill(text, if encoded { in_address } else { str::to_owned })?;
            Ok::<_, &'static str>(())
        };
        let sha256 = match &mut self.source {
            ArtifactSource::Path { path, sha256 } => {
                if let Some(text) = path.to_str().filter(|text| is_open(text)) {
                    *path = facts.fill(text, str::to_owned)?.into();
                }
                sha256
            }
            ArtifactSource::Url { url, sha256 } => {
                fill(url)?;
                sha256
            }
        };
        if let Some(DigestSource::At(at)) = sha256 {
            fill(at)?;
        }
        if let Some(at) = self.access.signature.as_mut().and_then(|it| it.at.as_mut()) {
            fill(at)?;
        }
        if named {
            self.access.revision.clone_from(&facts.revision);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(place: &str, branch: &str) -> Result<String, &'static str> {
        let mut spec =
            ArtifactSpec::of(ArtifactSource::Url { url: place.to_owned(), sha256: None });
        let facts = SourceFacts { revision: Some("abc".into()), branch: Some(branch.into()) };
        spec.fill(&facts)?;
        Ok(spec.texts()[0].to_owned())
    }

    #[test]
    fn branch_stands_in_an_address_as_it_must_be_written_there() {
        let https = filled("https://x/{branch}/a-{revision}.tar?{branch}", "feature/a b");
        assert_eq!(https, Err("branch"), "git has no such names");
        let https = filled("https://x/{branch}/a-{revision}.tar", "feature/ä");
        assert_eq!(https.as_deref(), Ok("https://x/feature%2F%C3%A4/a-abc.tar"));
        let s3 = filled("s3://x/{branch}/a-{revision}.tar", "feature/ä");
        assert_eq!(s3.as_deref(), Ok("s3://x/feature/ä/a-abc.tar"));
        for bad in ["", "../x", "a/../b", "/x", "a\nb", "{revision}"] {
            assert_eq!(filled("s3://x/{branch}", bad), Err("branch"), "{bad:?}");
        }
        assert_eq!(filled("s3://x/{other}", "main").as_deref(), Ok("s3://x/{other}"));
    }

    #[test]
    fn origin_is_scheme_host_and_port() {
        let same = |one: &str, other: &str| origin(one) == origin(other);
        assert!(same("https://a.net/x", "HTTPS://me:pw@A.net:443?y"));
        assert!(!same("https://a.net/x", "https://a.net:8443/x"));
        assert!(!same("https://a.net/x", "http://a.net/x"));
        assert!(!same("https://a.net/x", "https://a.net.evil.org/x"));
        assert!(!same("https://a.net@evil.org/", "https://a.net/"));
    }
}
