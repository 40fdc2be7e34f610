//! The phases of a run as parts of a CI log that can be folded: groups of GitHub Actions, sections
//! of GitLab.

use std::time::Duration;

/// The lines that begin and end a part.
#[derive(Debug, Clone, Copy)]
pub enum GroupMarks {
    Github,
    /// `began`: when the program began, in seconds since 1970.
    Gitlab {
        began: u64,
    },
}

impl GroupMarks {
    /// Returns the line that begins a part, `after` the program began.
    pub fn begin(self, title: &str, after: Duration) -> String {
        match self {
            Self::Github => format!("::group::{title}\n"),
            Self::Gitlab { began } => {
                let (at, name) = (began + after.as_secs(), name(title));
                format!("\x1b[0Ksection_start:{at}:{name}\r\x1b[0K{title}\n")
            }
        }
    }

    /// Returns the line that ends the part.
    pub fn end(self, title: &str, after: Duration) -> String {
        match self {
            Self::Github => "::endgroup::\n".to_owned(),
            Self::Gitlab { began } => {
                let (at, name) = (began + after.as_secs(), name(title));
                format!("\x1b[0Ksection_end:{at}:{name}\r\x1b[0K\n")
            }
        }
    }
}

fn name(title: &str) -> String {
    format!("shipit_{}", title.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}
