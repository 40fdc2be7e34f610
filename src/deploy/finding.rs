//! What `check` finds: whether a deploy would work, and what to do where it would not.

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// On which host, if on one.
    pub host: Option<String>,
    /// How good or bad it is.
    pub level: Level,
    /// One line, lower case, without the host's name.
    pub text: String,
    /// What to do about it: one line, for everything but [`Level::Ok`].
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
