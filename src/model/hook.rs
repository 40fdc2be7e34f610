//! Places of a run at which the host runs hooks by itself.

/// A place of a run at which the agent runs hooks without being asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPlace {
    /// Before `current` is flipped.
    BeforeSwitch,
    /// Between the flip and the restart.
    Switched,
    /// After the release was committed.
    Committed,
    /// After it was reverted.
    Reverted,
}

impl HookPlace {
    /// All of them, in their order.
    pub const ALL: [Self; 4] =
        [Self::BeforeSwitch, Self::Switched, Self::Committed, Self::Reverted];

    /// Returns its key in `[hooks]`, which the agent uses as well.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BeforeSwitch => "before_switch",
            Self::Switched => "switched",
            Self::Committed => "committed",
            Self::Reverted => "reverted",
        }
    }

    /// Returns the place that `word` names, if there is one.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.word() == word)
    }
}
