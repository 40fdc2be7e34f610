//! Places of a run at which the host runs hooks by itself.

use super::enum_words::words;

words! {
    /// A place of a run at which the agent runs hooks without being asked again. Its word is its
    /// key in `[hooks]`, which the agent uses as well.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum HookPlace {
        /// Before `current` is flipped.
        BeforeSwitch = "before_switch",
        /// Between the flip and the restart.
        Switched = "switched",
        /// After the release was committed.
        Committed = "committed",
        /// After it was reverted.
        Reverted = "reverted",
    }
}
