//! The choice of the slot that takes over on one host.

use super::Planner;
use super::planner::placeholders;
use crate::config::placeholders::Placeholders;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::ReleaseStatus;
use crate::model::slots::{Slot, SlotChange, SlotChoice};

impl Planner<'_> {
    /// Returns how the release `id` takes over in another slot than that of `back`, if any.
    pub(super) fn slot_change(&self, back: &str, id: ReleaseId) -> Option<SlotChange> {
        let (slots, state) = (self.config.slots_on(self.host)?, self.state);
        let back = Layout::parse_target(back).filter(|back| *back != id);
        let SlotChoice { new, old } = slots.choose(&state.slots, back, id);
        let was = state.slots.iter().find(|state| state.slot.name == new.name);
        let was =
            was.and_then(|slot| slot.release).filter(|was| *was != id || was_there(state, id));
        let content = slots.traffic.file.as_ref().map_or("", |file| &file.content);
        let text = |slot: Option<&Slot>, release: Option<ReleaseId>| {
            let placeholders = placeholders(release.unwrap_or(id), state);
            let slot = slot.cloned();
            let filled = Placeholders { slot, ..placeholders }.fill(content, str::to_owned);
            filled.unwrap_or_default()
        };
        Some(SlotChange {
            slot: new.clone(),
            was,
            old: old.cloned(),
            slots: slots.clone(),
            text: text(Some(new), Some(id)),
            old_text: text(old, back),
        })
    }
}

/// Returns whether a slot leads to the release since an earlier run that was not interrupted.
fn was_there(state: &HostState, id: ReleaseId) -> bool {
    let status = state.ledger.history(id).map(|history| history.status);
    !matches!(status, Some(ReleaseStatus::Undecided | ReleaseStatus::Reverted))
}
