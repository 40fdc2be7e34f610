//! Notes: facts that the user should know, each with its fix.

use std::fmt;

/// A fact that the user should know before a deploy, with its fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// One line, lower case, without the host's name.
    pub text: String,
    /// The fix, in one line.
    pub fix: String,
}

impl Note {
    /// Returns the note with this fact and this fix.
    pub fn new(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { text: text.into(), fix: fix.into() }
    }
}

/// As the text of a warning.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.text, self.fix)
    }
}
