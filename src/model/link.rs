//! Links from a release into `shared/`, which outlives releases.

/// One link from a release into `shared/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLink {
    /// Inside the release and inside `shared/` alike.
    pub path: String,
    /// What it links to.
    pub kind: SharedKind,
}

/// What a shared link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedKind {
    /// A directory, made if it is missing, then with this mode and group.
    Dir {
        /// Octal text such as `2775`; `None`: as the umask makes it.
        mode: Option<String>,
        /// A group the deploying user is in.
        group: Option<String>,
    },
    /// A file that must be there.
    File {
        /// …unless it need not be: then no link is made.
        optional: bool,
    },
}
