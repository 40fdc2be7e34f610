//! The kinds of goals that a run may have.

use std::fmt;

use serde::{Serialize, Serializer};

/// The command that a run carries out on its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoalKind {
    Deploy,
    Stage,
    Activate,
    Rollback,
    Prune,
    Pin,
    Unpin,
    Lock,
    Unlock,
}

impl GoalKind {
    /// Returns the name of the command.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Stage => "stage",
            Self::Activate => "activate",
            Self::Rollback => "rollback",
            Self::Prune => "prune",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
        }
    }

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

impl fmt::Display for GoalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for GoalKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}
