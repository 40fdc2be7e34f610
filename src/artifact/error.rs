//! Every way in which an artifact cannot be opened or packed. An entry that is refused is named,
//! and nothing has been sent to any host by then.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;

use zip::result::ZipError::{CompressionMethodNotSupported, UnsupportedArchive};

use super::exclude_line;
use super::faults::{CredentialFault, SignatureFault};
use crate::model::digest::Digest;
use crate::model::words::count;

/// The reason why an artifact could not be opened or packed. `artifact` is the artifact as the user
/// named it; `url` has neither user nor password nor query.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("the artifact was not packed to the end")]
    Stopped,
    #[error("could not open the artifact `{path}`")]
    Open { path: PathBuf, source: io::Error },
    #[error("the artifact `{path}` is neither a file nor a directory")]
    NotAFile { path: PathBuf },
    #[error("could not read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("could not list the directory `{path}`")]
    Walk { path: PathBuf, source: io::Error },
    /// No room or no right to write here.
    #[error("could not write to a temporary file")]
    Scratch { source: io::Error },
    #[error("{artifact} has the SHA-256 {found}, not {expected}")]
    WrongDigest { artifact: String, expected: Digest, found: Digest },
    /// Not what the file at `sha256.url` should hold.
    #[error("{place} holds no SHA-256 of {name}")]
    Unlisted { place: String, name: String },
    #[error("the signature of {artifact} is not good")]
    Signature {
        artifact: String,
        /// The usual name of the signature.
        at: String,
        source: SignatureFault,
    },
    /// A digest is of bytes, and a directory has none.
    #[error("neither `sha256` nor `signature` can be checked for the directory `{path}`")]
    DigestOfDirectory { path: PathBuf },
    #[error("an artifact's address begins with https://, s3:// or file://: {url}")]
    Scheme { url: String },
    #[error("could not fetch {url}")]
    Fetch { url: String, source: Box<ureq::Error> },
    /// The server's answer is another one than the file.
    #[error("could not fetch {url}: the server answered with status {status}")]
    Status {
        url: String,
        status: u16,
        /// Whether the request showed who asks.
        known: bool,
        source: Option<ServerSaid>,
    },
    #[error("the proxy in `{variable}` is not an address")]
    Proxy { variable: String },
    /// It is not known who asks a store, or which one.
    #[error("could not fetch {url}")]
    Store {
        url: String,
        #[source]
        fault: CredentialFault,
    },
    #[error("the download of {url} broke off")]
    Download { url: String, source: io::Error },
    #[error("{artifact} is {kind}, which shipit cannot read")]
    Unread { artifact: String, kind: &'static str },
    #[error("{artifact} is a page of HTML, not the file that was meant{}", titled(title.as_deref()))]
    Page { artifact: String, title: Option<String> },
    #[error("{artifact} is named like an archive, but cannot be read as one")]
    NotAnArchive { artifact: String },
    #[error("could not unpack {artifact}, after {entry}")]
    Unpack {
        artifact: String,
        /// The last entry that was begun.
        entry: String,
        source: io::Error,
    },
    #[error("could not read the zip archive {artifact}")]
    Zip { artifact: String, source: zip::result::ZipError },
    /// One entry of a zip archive is damaged or packed in a way that cannot be unpacked.
    #[error("could not unpack `{entry}` of {artifact}")]
    ZipEntry { artifact: String, entry: String, source: zip::result::ZipError },
    /// The archive as a whole is not one that every reader reads alike.
    #[error("{artifact} {why}")]
    Malformed { artifact: String, why: Malformed },
    /// Entries that may not be in a release.
    #[error(transparent)]
    Refused(Box<Refused>),
    #[error("{artifact} {limit}")]
    TooMuch { artifact: String, limit: LimitHit },
    #[error("the exclude pattern `{pattern}` cannot be read")]
    Exclude { pattern: String, source: globset::Error },
    #[error("the exclude pattern `{pattern}` begins with `!`, which is not supported")]
    ExcludeNegated { pattern: String },
    #[error("{artifact} is empty")]
    Empty { artifact: String },
    #[error("`strip_components = {strip}` and `exclude` leave nothing of {artifact}")]
    NothingLeft { artifact: String, strip: usize },
    /// The bytes are not those that were listed.
    #[error("`{path}` changed while it was being read")]
    Changed { path: String },
    /// The release asks for a file that this artifact does not hold.
    #[error("`{path}` is not a file of the artifact")]
    NotHeld { path: String },
}

impl ArtifactError {
    /// Returns the next thing to do, if there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Status { status, known, source, .. } => {
                let said = source.as_ref().map_or("", |said| &said.0);
                return status_hint(*status, *known, said).map(str::to_owned);
            }
            Self::Store { fault, .. } => return fault.hint(),
            Self::Signature { at, source, .. } => return source.hint(at),
            Self::Refused(refused) => return refused.hint(),
            Self::Unlisted { name, .. } => format!("`sha256sum {name}` makes such a file"),
            Self::Proxy { variable } => format!("`export {variable}=http://HOST:PORT`"),
            Self::NotAnArchive { artifact } => format!("`file {artifact}` says what it is"),
            other => other.fixed_hint()?.to_owned(),
        })
    }

    /// Returns the hint of an error that has the same one for all artifacts.
    fn fixed_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Open { .. } => "build it first, or name another one with `--artifact`",
            Self::WrongDigest { .. } => {
                "if the new content is meant, put its digest into `sha256`; `sha256sum` prints it"
            }
            Self::Changed { .. } => "deploy again when the build has finished",
            Self::Scratch { .. } => "`TMPDIR` names another place for them",
            Self::DigestOfDirectory { .. } => "leave them out, or deploy an archive of it",
            Self::Empty { .. } => "build it first",
            Self::ExcludeNegated { .. } => "list what to leave out instead of what to keep",
            Self::NothingLeft { .. } => {
                "count the leading directories with `tar -tf` or `unzip -l`"
            }
            Self::Unread { .. } => {
                "pack it as .zip, .tar or .tar.gz (.zst, .xz, .bz2); to deploy the file as it is, \
                 name a directory that holds it"
            }
            Self::Page { .. } => {
                "open it: servers send such a page to ask for a login or report an error"
            }
            Self::Unpack { source, .. } if wants_much_memory(source) => {
                "it was packed for much memory: `zstd --long=27` takes 128 MiB here"
            }
            Self::ZipEntry {
                source: UnsupportedArchive(_) | CompressionMethodNotSupported(_),
                ..
            } => {
                "pack it again by deflate: `zip -r`, or 7-Zip with `-mm=Deflate`; or leave it out \
                 with `exclude`"
            }
            _ => return None,
        })
    }
}

/// Returns the error of a temporary file that cannot be written, or not be read back.
pub(super) fn scratch_failed(source: io::Error) -> ArtifactError {
    ArtifactError::Scratch { source }
}

/// The reason that a server gives, as a terminal may show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServerSaid(pub String);

fn titled(title: Option<&str>) -> String {
    title.map_or_else(String::new, |title| format!(": \"{title}\""))
}

/// Returns what to do about a server that refuses. `said` begins with the code of a store.
fn status_hint(status: u16, known: bool, said: &str) -> Option<&'static str> {
    let code = said.split(':').next().unwrap_or_default();
    Some(match (code, status) {
        ("SignatureDoesNotMatch", _) => {
            "`AWS_SECRET_ACCESS_KEY` does not belong to `AWS_ACCESS_KEY_ID`, or the profile's to \
             each other"
        }
        ("InvalidAccessKeyId" | "InvalidToken" | "ExpiredToken" | "ExpiredTokenException", _) => {
            "log in again, and give the new `AWS_ACCESS_KEY_ID` and what belongs to it"
        }
        ("RequestTimeTooSkewed", _) => "set the clock of this machine: `timedatectl`",
        ("NoSuchBucket", _) => "`s3.endpoint` in [artifact] says whose bucket it is",
        ("NoSuchKey", _) => "`aws s3 ls` shows what is there; has the build ended?",
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraint", _) => {
            "`s3.region` in [artifact] names the region of the bucket"
        }
        ("AccessDenied", _) => "these credentials need the right `s3:GetObject`",
        (_, 401 | 403 | 404) if known => {
            "the server may not let this user or token see it; or it is not there (yet)"
        }
        (_, 401 | 403 | 404) => {
            "if it is private, `headers` in [artifact] can hold a token, or ~/.netrc a login"
        }
        _ => return None,
    })
}

/// Returns a name from an artifact as a terminal may show it: invisible characters, and those that
/// move the cursor, are written as escapes.
pub(super) fn visible(name: &str) -> String {
    let plain = |c: char| matches!(c, '\\' | '\'' | '"');
    let shown = |c: char| if plain(c) { c.to_string() } else { c.escape_debug().to_string() };
    name.chars().map(shown).collect()
}

/// Returns whether zstd failed because unpacking takes more memory than it may have, or than there
/// is.
pub(super) fn wants_much_memory(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("too much memory") || text.contains("not enough memory")
}

/// The entries of an artifact that may not be in a release: at least one.
#[derive(Debug, thiserror::Error)]
pub struct Refused {
    artifact: String,
    /// Whether it is a directory of this machine.
    in_directory: bool,
    /// The value of `exclude`.
    excluded: Vec<String>,
    offenders: Vec<Offender>,
    more: usize,
    /// Whether each line of `lines` says what to do about its entry.
    one_by_one: bool,
    #[source]
    lines: Option<Box<ExcludeLine>>,
}

/// An entry that may not be in a release.
#[derive(Debug, Clone)]
pub struct Offender {
    /// Its name as written in the artifact.
    pub entry: String,
    /// Its path in the release, by which `exclude` can leave it out.
    pub path: Option<String>,
    pub why: Refusal,
}

/// One cause of several.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct ExcludeLine {
    text: String,
    #[source]
    next: Option<Box<ExcludeLine>>,
}

impl Refused {
    /// Refuses the entries of `artifact` that are named, and `more` others. `excluded` is the value
    /// of `exclude`.
    pub fn new(
        artifact: String,
        in_directory: bool,
        excluded: Vec<String>,
        offenders: Vec<Offender>,
        more: usize,
    ) -> Self {
        let remedy = |one: &Offender| one.why.hint(in_directory);
        let one_by_one = offenders.iter().filter_map(remedy).collect::<BTreeSet<_>>().len() > 1;
        let text = |one: &Offender| {
            let remedy = remedy(one).filter(|_| one_by_one);
            let remedy = remedy.map(|remedy| format!(": {remedy}")).unwrap_or_default();
            format!("`{}` {}{remedy}", visible(&one.entry), one.why)
        };
        let mut texts: Vec<_> = offenders.iter().map(text).collect();
        if more > 0 {
            texts.push(format!("and {more} more"));
        }
        let chain = |next, text| Some(Box::new(ExcludeLine { text, next }));
        let lines = if texts.len() > 1 { texts.into_iter().rev().fold(None, chain) } else { None };
        Self { artifact, in_directory, excluded, offenders, more, one_by_one, lines }
    }

    /// Returns ways to pack them or to leave them out.
    fn hint(&self) -> Option<String> {
        let mut remedies = self.offenders.iter().filter_map(|one| one.why.hint(self.in_directory));
        let common = remedies.next().filter(|_| !self.one_by_one).map(str::to_owned);
        let out = self.offenders.iter().filter(|one| one.why.can_stay_out());
        let out = out.filter_map(|one| one.path.as_deref());
        let typed = out.filter(|path| !path.chars().any(char::is_control));
        let out: Vec<_> = typed.map(exclude_line::pattern).collect();
        let leave_out = (!out.is_empty()).then(|| {
            let them = if self.offenders.len() == 1 { "it" } else { "them" };
            format!("leave {them} out: `{}`", exclude_line::line(&self.excluded, &out))
        });
        let hints: Vec<_> = common.into_iter().chain(leave_out).collect();
        (!hints.is_empty()).then(|| hints.join("; or "))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.offenders[..] {
            [Offender { entry, why, .. }] if self.more == 0 => {
                write!(f, "`{}` in {} {why}", visible(entry), self.artifact)
            }
            all => {
                let entries = count(all.len() + self.more, "entry");
                write!(f, "{entries} of {} cannot be in a release", self.artifact)
            }
        }
    }
}

/// A fault of a single entry. Reads on after the entry's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("has an absolute path")]
    Absolute,
    #[error("has `..` in its path")]
    DotDot,
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    /// Newlines and other control characters.
    #[error("has a control character in its name")]
    Control,
    /// A zip made by a program that did not keep to the format.
    #[error("has a backslash in its path")]
    Backslash,
    /// No file system takes it.
    #[error("has a name of more than 255 bytes")]
    LongName,
    /// No room for `deploy_to` before it.
    #[error("has a path of more than 4000 bytes")]
    LongPath,
    #[error("occurs twice")]
    Duplicate,
    #[error("is a directory and also something else")]
    TwoKinds,
    /// One name on a file system that does not know case.
    #[error("differs from `{other}` only in upper and lower case")]
    Case { other: String },
    /// Would be written through the link.
    #[error("lies below the symbolic link `{link}`")]
    BelowLink { link: String },
    /// A file has nothing below it.
    #[error("lies below `{file}`, which is a file")]
    BelowFile { file: String },
    #[error("is a link to the absolute path `{target}`")]
    LinkAbsolute { target: String },
    /// A link that leaves, perhaps through other links.
    #[error("is a link that leads out of the release: `{target}`")]
    LinkLeaves { target: String },
    /// A link that is to be followed.
    #[error("is a link that leads to nothing here: `{target}`")]
    LinkNowhere { target: String },
    #[error("is a link that goes in a circle: `{target}`")]
    LinkCircle { target: String },
    /// Empty, too long, not UTF-8, or with control characters.
    #[error("is a link whose target is not a usable path")]
    LinkTarget,
    /// The listing could not be read back.
    #[error("is a link with ` -> ` in its path")]
    LinkArrow,
    /// A hard link to what is not there.
    #[error("is a hard link to `{target}`, which does not come before it")]
    HardLink { target: String },
    #[error("has a setuid, setgid or sticky bit")]
    SetId,
    #[error("is a device")]
    Device,
    #[error("is a fifo")]
    Fifo,
    /// It belongs to a running program.
    #[error("is a socket")]
    Socket,
    #[error("is a sparse file whose list of holes does not fit it")]
    Sparse,
    #[error("is of the unknown kind `{kind}`")]
    Kind { kind: char },
    /// A link or a directory that brings bytes: readers disagree on what follows.
    #[error("has content but is not a file")]
    Content,
    #[error("has a damaged header")]
    Header,
    #[error("is encrypted")]
    Encrypted,
    #[error("is not as long as the archive says")]
    Size,
}

impl Refusal {
    /// Returns what else to do with it than to leave it out.
    fn hint(&self, in_directory: bool) -> Option<&'static str> {
        Some(match self {
            Self::Absolute | Self::DotDot => "pack names below one directory: `tar -C DIR -cf … .`",
            Self::NotUtf8 => {
                "rename it; of a zip, pack it again with UTF-8 names: `zip -r`, or 7-Zip with `-mcu=on`"
            }
            Self::Control | Self::LongName | Self::LongPath | Self::LinkArrow => "rename it",
            Self::Backslash => {
                "pack it again with `tar -a -cf`, 7-Zip or PowerShell 7: older ones write such names"
            }
            Self::Duplicate => {
                "name each path once when you pack: a directory, or what is in it, not both"
            }
            Self::TwoKinds | Self::BelowLink { .. } | Self::BelowFile { .. } => {
                "create the archive again: adding to an archive does not remove old entries"
            }
            Self::Case { .. } => {
                "rename one of them, or allow such names with `case = \"any\"` in [artifact]"
            }
            Self::LinkAbsolute { target } if is_interpreter(target) => {
                "make the Python environment in a staged hook on the host, or with `--copies`"
            }
            Self::LinkAbsolute { target } | Self::LinkLeaves { target } if is_shared(target) => {
                "name it in `linked_dirs` or `linked_files`, so that it leads to shared/"
            }
            Self::LinkAbsolute { .. } | Self::LinkLeaves { .. } if in_directory => {
                "make it relative and inside the build, name it in `linked_dirs`, or deploy what it \
                 leads to with `follow_links = true` in [artifact]"
            }
            Self::LinkAbsolute { .. } | Self::LinkLeaves { .. } => {
                "make it relative and inside the build, name it in `linked_dirs`, or pack what it \
                 leads to with `tar --dereference`"
            }
            Self::HardLink { .. } => {
                "pack the file too, before it; or use `tar --hard-dereference`"
            }
            Self::SetId => "take the bit off with `chmod u-s,g-s,-t`",
            Self::Sparse => "pack it without `--sparse` (bsdtar: with `--no-read-sparse`)",
            Self::Kind { .. } | Self::Content | Self::Header | Self::Size => {
                "pack it again with GNU tar, bsdtar or zip"
            }
            Self::Encrypted => "pack it again without a password",
            Self::LinkCircle { .. }
            | Self::LinkNowhere { .. }
            | Self::LinkTarget
            | Self::Device
            | Self::Fifo
            | Self::Socket => return None,
        })
    }

    /// Returns whether the rest can be deployed without the entry.
    fn can_stay_out(&self) -> bool {
        !matches!(self, Self::Duplicate | Self::TwoKinds | Self::Content | Self::Header)
    }
}

/// Python's virtual environments lead to the interpreter that made them.
fn is_interpreter(target: &str) -> bool {
    target.rsplit('/').next().is_some_and(|name| name.starts_with("python"))
}

/// Capistrano and those after it keep in `shared` what outlives releases.
fn is_shared(target: &str) -> bool {
    target.split('/').any(|part| part == "shared")
}

/// A fault of an archive as a whole. Reads on after its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("is cut off: it has no end-of-archive mark")]
    CutOff,
    /// Some readers would see more than others.
    #[error("has something after its end-of-archive mark")]
    Trailing,
    #[error("is damaged: the header after {after} has a wrong checksum")]
    Checksum { after: String },
    #[error("is damaged: the extended header after {after} cannot be read")]
    Extended { after: String },
}

/// The limit that was reached. Reads on after the artifact's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitHit {
    #[error("has more than {most} entries")]
    Entries { most: usize },
    #[error("has more than {most} bytes")]
    Bytes { most: u64 },
    #[error("has paths and targets of links of more than {most} bytes in all")]
    Names { most: u64 },
    /// Links that lead through too many others.
    #[error("has symbolic links that take more than {most} steps to follow")]
    Steps { most: usize },
    #[error("grows to more than {most} times its size when unpacked")]
    Ratio { most: u64 },
}
