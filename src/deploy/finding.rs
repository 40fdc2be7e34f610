//! What `check` finds: whether a deploy would work, and what to do where it would not.

/// One thing that `check` looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The host that it is about; `None`: this machine, or the config.
    pub host: Option<String>,
    pub level: Level,
    /// One line, lower case, without the host's name.
    pub text: String,
    /// What to do about it, in one line; `None` for [`Level::Ok`].
    pub fix: Option<String>,
}

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// A deploy works, but somebody should know.
    Warning,
    /// A deploy would not work.
    Problem,
}
