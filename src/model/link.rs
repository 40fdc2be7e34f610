//! Links from a release into `shared/`, which outlives releases.

/// One link from a release into `shared/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLink {
    /// The path in the release, and in `shared/`.
    pub path: String,
    pub kind: SharedKind,
}

/// The kind of a linked path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedKind {
    /// A directory, made if it is missing, then with this mode and group.
    Dir {
        /// Octal text such as `2775`; `None`: as the umask makes it.
        mode: Option<String>,
        /// A group that the deploying user is in.
        group: Option<String>,
    },
    File {
        /// Without the file no link is made; otherwise it must be there.
        optional: bool,
    },
}
