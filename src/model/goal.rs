//! The kinds of goals that a run may have.

use serde::Serialize;

use super::enum_words::words;

words! {
    /// The command that a run carries out on its hosts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum GoalKind {
        Deploy = "deploy",
        Stage = "stage",
        Activate = "activate",
        Rollback = "rollback",
        Prune = "prune",
        Pin = "pin",
        Unpin = "unpin",
        Lock = "lock",
        Unlock = "unlock",
    }
}

impl GoalKind {
    /// Returns what was done to a release or a host, for people.
    pub const fn past(self) -> &'static str {
        match self {
            Self::Stage => "staged",
            Self::Prune => "pruned",
            Self::Pin => "pinned",
            Self::Unpin => "unpinned",
            Self::Lock => "locked",
            Self::Unlock => "unlocked",
            other => other.word(),
        }
    }

    /// Returns whether it makes a release live.
    pub const fn makes_live(self) -> bool {
        matches!(self, Self::Deploy | Self::Activate | Self::Rollback)
    }

    /// Returns whether its command has `--wait`.
    pub const fn waits(self) -> bool {
        self.makes_live() || matches!(self, Self::Stage | Self::Prune)
    }
}
