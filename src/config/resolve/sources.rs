//! The place of an artifact, and all that is needed to get it and to trust it.

use std::path::Path;

use toml::Spanned;

use super::{Overrides, Resolver};
use crate::config::access::{
    ArtifactAccess, DigestSource, S3Settings, SignatureSpec, SignedBy, WORDS, is_address, origin,
};
use crate::config::error::{ConfigError, ConfigPlace, similar};
use crate::config::placeholders::words_in_braces;
use crate::config::tables::{ArtifactTable, S3Table, SignatureTable, TextOr};
use crate::config::{ArtifactSource, rules};
use crate::model::note::Note;

const HEX: &str = "64 hex digits";
const BESIDE: &str = "an address that begins with https://, s3:// or file://, or a name beside the \
                      artifact";

impl Resolver<'_> {
    /// Returns the place of the artifact that `--artifact` or the file names; none without either.
    pub(super) fn place_of_artifact(
        &self,
        table: &ArtifactTable,
        overrides: &Overrides,
    ) -> Result<Option<ArtifactSource>, ConfigError> {
        let signed = table.signature.is_some();
        match (&overrides.artifact, &table.path) {
            (Some(given), _) => {
                let base = self.file.base.join(&overrides.directory);
                let place = || ConfigPlace::Given("--artifact");
                source(given, None, &base, signed, &place).map(Some)
            }
            (None, Some(path)) => {
                let place = || self.place(path);
                let sha256 = table.sha256.as_ref().map(|value| self.digest(value)).transpose()?;
                source(path.get_ref(), sha256, &self.file.base, signed, &place).map(Some)
            }
            (None, None) => {
                self.without("sha256", table.sha256.as_ref(), "path")?;
                self.without("signature", table.signature.as_ref(), "path")?;
                Ok(None)
            }
        }
    }

    fn digest(
        &self,
        value: &Spanned<TextOr<crate::config::tables::DigestTable>>,
    ) -> Result<DigestSource, ConfigError> {
        match value.get_ref() {
            TextOr::Text(text) => {
                let shown = Spanned::new(value.span(), text);
                let digest = self.need(&shown, "sha256", HEX, text.parse().ok())?;
                Ok(DigestSource::Known(digest))
            }
            TextOr::Table(table) => self.beside(&table.url).map(DigestSource::At),
        }
    }

    /// Returns the place of a small file that belongs to the artifact.
    fn beside(&self, url: &Spanned<String>) -> Result<String, ConfigError> {
        words_are_known(url.get_ref(), "url", &|| self.place(url))?;
        self.text(url, "url", BESIDE, |text| {
            let fetched = ["https://", "s3://", "file://"].iter().any(|it| text.starts_with(it));
            !text.is_empty() && (fetched || !is_address(text))
        })
    }

    /// Returns what it takes to get the artifact at `source`.
    pub(super) fn access(
        &self,
        table: &ArtifactTable,
        source: &ArtifactSource,
        overrides: &Overrides,
    ) -> Result<ArtifactAccess, ConfigError> {
        let headers = table.headers.iter().map(|(name, value)| self.plain_header(name, value));
        let mut access = ArtifactAccess {
            headers: headers.collect::<Result<_, _>>()?,
            signature: table.signature.as_ref().map(|it| self.signature(it)).transpose()?,
            s3: self.s3(&table.s3)?,
            ..ArtifactAccess::default()
        };
        let ours = table.path.as_ref().map(|path| path.get_ref().as_str());
        let ours = ours.filter(|path| path.starts_with("https://")).and_then(origin);
        if let (Some(ours), ArtifactSource::Url { url, .. }) = (ours, source)
            && overrides.artifact.is_some()
            && !access.headers.is_empty()
            && origin(url).is_some_and(|theirs| theirs != ours)
        {
            access.headers.clear();
            let text = format!("`headers` in [artifact] are for {ours}: --artifact gets none");
            access.notes.push(Note::new(text, "put its user and password into ~/.netrc"));
        }
        Ok(access)
    }

    fn signature(&self, table: &Spanned<SignatureTable>) -> Result<SignatureSpec, ConfigError> {
        let SignatureTable { minisign, allowed_signers, identity, namespace, url } =
            table.get_ref();
        self.only_one([("minisign", minisign), ("allowed_signers", allowed_signers)])?;
        let by = if let Some(key) = minisign {
            self.without("identity", identity.as_ref(), "allowed_signers")?;
            self.without("namespace", namespace.as_ref(), "allowed_signers")?;
            let must = "a public key as minisign prints it: `RW` and 54 more characters";
            SignedBy::Minisign { key: self.text(key, "minisign", must, rules::is_minisign_key)? }
        } else if let Some(path) = allowed_signers {
            let path = self.text(path, "allowed_signers", "a path", |path| !path.is_empty())?;
            let one = |key, text: &Option<Spanned<String>>| {
                let must = "one word that does not begin with `-`";
                let text = text.as_ref().map(|text| self.text(text, key, must, rules::is_signer));
                text.transpose()
            };
            SignedBy::Ssh {
                allowed_signers: self.file.base.join(path),
                identity: one("identity", identity)?,
                namespace: one("namespace", namespace)?.unwrap_or_else(|| "file".to_owned()),
            }
        } else {
            let needed = "(or `allowed_signers`) in [artifact.signature]";
            return Err(ConfigError::missing(self.place(table), "minisign", needed));
        };
        let at = url.as_ref().map(|url| self.beside(url)).transpose()?;
        Ok(SignatureSpec { by, at })
    }

    fn s3(&self, table: &S3Table) -> Result<S3Settings, ConfigError> {
        let text = |key, must, value: &Option<Spanned<String>>, holds: fn(&str) -> bool| {
            value.as_ref().map(|value| self.text(value, key, must, holds)).transpose()
        };
        let must = "an address without a path, such as `https://s3.example.net`";
        Ok(S3Settings {
            endpoint: text("endpoint", must, &table.endpoint, rules::is_endpoint)?,
            region: text("region", "a name such as `eu-central-1`", &table.region, rules::is_name)?,
            profile: text("profile", "a name in ~/.aws/config", &table.profile, |name| {
                !name.trim().is_empty()
            })?,
        })
    }
}

/// Returns the place of an artifact, from a path or an address that may end in `#sha256=…`.
/// `signed`: it must have a signature.
fn source(
    text: &str,
    sha256: Option<DigestSource>,
    base: &Path,
    signed: bool,
    place: &dyn Fn() -> ConfigPlace,
) -> Result<ArtifactSource, ConfigError> {
    // An address may hold a password.
    let shown = || text.split_once("://").map_or(text, |(scheme, _)| scheme).to_owned();
    let wrong = |must| ConfigError::Value { place: place(), key: "artifact", value: shown(), must };
    words_are_known(text, "artifact", place)?;
    let (text, sha256) = match text.rsplit_once("#sha256=") {
        Some((text, hex)) => {
            let digest = hex.parse().map_err(|_| wrong("followed by 64 hex digits"))?;
            (text, Some(DigestSource::Known(digest)))
        }
        None => (text, sha256),
    };
    if text.starts_with("https://") || text.starts_with("file://") {
        if sha256.is_none() && !signed {
            return Err(ConfigError::NoDigest { place: place() });
        }
        return Ok(ArtifactSource::Url { url: text.to_owned(), sha256 });
    }
    if text.starts_with("s3://") {
        if !rules::is_s3(text) {
            return Err(wrong("a bucket and a key, such as s3://builds/todo.tar.gz"));
        }
        return Ok(ArtifactSource::Url { url: text.to_owned(), sha256 });
    }
    if let Some(instead) = instead(&shown()).filter(|_| is_address(text)) {
        return Err(ConfigError::NoScheme { place: place(), scheme: shown(), instead });
    }
    if text.is_empty() || text.contains("://") {
        return Err(wrong("a path, or an address that begins with https://, s3:// or file://"));
    }
    // Without its `.`, as people would write it.
    let path = base.join(text).components().collect();
    Ok(ArtifactSource::Path { path, sha256 })
}

/// Returns how to fetch from a store whose own addresses are not supported.
fn instead(scheme: &str) -> Option<&'static str> {
    match scheme {
        "gs" => Some(
            "`s3://BUCKET/KEY` with `s3.endpoint = \"https://storage.googleapis.com\"` and an HMAC \
             key of the service account",
        ),
        "az" | "azure" | "abfs" | "abfss" => Some(
            "the blob's https:// address with `?` and a SAS token, by `--artifact`, and its \
             `--sha256`",
        ),
        _ => None,
    }
}

/// Fails if the text holds a word in braces that stands for nothing, and is like one that does.
fn words_are_known(
    text: &str,
    key: &'static str,
    place: &dyn Fn() -> ConfigPlace,
) -> Result<(), ConfigError> {
    let unknown = words_in_braces(text).find(|word| !WORDS.contains(word));
    let unknown = unknown.filter(|word| is_address(text) || similar(word, WORDS).is_some());
    unknown.map_or(Ok(()), |word| {
        Err(ConfigError::NoPlaceholder { place: place(), key, word: word.to_owned() })
    })
}
