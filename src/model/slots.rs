//! Two slots on one host: a release starts in the one that is idle while the other serves.

use std::time::Duration;

use super::enum_words::words;
use super::id::ReleaseId;

/// The placeholder for the name of a slot in the name of a unit.
pub const SLOT: &str = "{slot}";

/// The slots of a stage, and how the traffic moves between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// Both slots, in the order written.
    pub pair: [Slot; 2],
    /// The time for which the slot that was left goes on answering.
    pub drain: Duration,
    /// The further time for which it stays up, so that a rollback need not start it.
    pub keep_warm: Duration,
    pub traffic: Traffic,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// The port on which the service answers in this slot.
    pub port: u16,
}

/// The way to move the traffic: write a file, then run a command; or one of both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    pub file: Option<TrafficFile>,
    /// Run with the host's `sh`.
    pub command: Option<String>,
}

/// A file on hosts that says which slot gets the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficFile {
    /// Its absolute path.
    pub path: String,
    /// Its content, with placeholders.
    pub content: String,
}

/// The state of one slot, as a look finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// The slot as it is on the host; its port is 0 if nothing was ever in it.
    pub slot: Slot,
    pub activity: SlotActivity,
    /// The release that it leads to, if it leads to one of ours.
    pub release: Option<ReleaseId>,
}

words! {
    /// The activity of a slot.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum SlotActivity {
        /// It runs the live release.
        Live = "live",
        /// It was left and goes on answering for a while.
        Draining = "draining",
        /// It was left and still runs.
        Warm = "warm",
        /// Nothing runs in it.
        Idle = "idle",
    }
}

/// The change from one slot to the other on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotChange {
    /// The slot of the new release.
    pub slot: Slot,
    /// The release that it led to before.
    pub was: Option<ReleaseId>,
    /// The slot that serves before; `None`: nothing does, or something without slots.
    pub old: Option<Slot>,
    /// The slots of the stage.
    pub slots: Slots,
    /// The traffic file while the new slot serves.
    pub text: String,
    /// The traffic file while the old one does.
    pub old_text: String,
}

impl Slots {
    /// Returns the names of both.
    pub fn names(&self) -> Vec<String> {
        self.pair.iter().map(|slot| slot.name.clone()).collect()
    }

    /// Returns the slot that runs `back`, which serves, and the other one, in which the release
    /// `id` is or will be.
    pub fn choose(
        &self,
        states: &[SlotState],
        back: Option<ReleaseId>,
        id: ReleaseId,
    ) -> SlotChoice<'_> {
        let leads = |slot: &&Slot, to: ReleaseId| {
            states.iter().any(|state| state.slot.name == slot.name && state.release == Some(to))
        };
        let old = back.and_then(|back| self.pair.iter().find(|slot| leads(slot, back)));
        let mut free = self.pair.iter().filter(|slot| Some(*slot) != old);
        let first = free.clone().next();
        let new = free.find(|slot| leads(slot, id)).or(first).unwrap_or(&self.pair[0]);
        SlotChoice { new, old }
    }
}

/// The slot that takes over, and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotChoice<'s> {
    pub new: &'s Slot,
    pub old: Option<&'s Slot>,
}
