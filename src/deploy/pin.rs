//! The orders of `pin`, `unpin` and `lock`.

use super::outcome::Failure;
use super::run::{Run, record};
use super::verify::not_there;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::ledger::LedgerEvent;
use crate::remote::order::Order;

/// Returns the order that records `event`, a pin or its end, for a release; `None` if it is so
/// already. Fails if the host does not have the release, or never completed it.
pub fn pin(
    run: &Run,
    state: &HostState,
    id: ReleaseId,
    event: LedgerEvent,
) -> Result<Option<Order>, Failure> {
    if !state.ids().contains(&id) {
        return Err(not_there(state, id));
    }
    let Some(history) = state.ledger.history(id).filter(|history| history.staged) else {
        return Err(Failure::new(format!("release {id} was never completed here")));
    };
    let pins = event == LedgerEvent::Pinned;
    let verb = if pins { "pinned" } else { "unpinned" };
    let note = format!("release {id} {verb} by {}", run.who);
    let record = record(&run.entry(event, &id.to_string()), note);
    Ok((history.pinned != pins).then_some(Order::Record(record)))
}

/// Returns the order that blocks deploys to `stage`, with an optional reason for people.
pub fn deploy_lock(run: &Run, stage: &str, reason: Option<&str>) -> Order {
    // A record is one line.
    let words = reason.unwrap_or_default().split_whitespace();
    let reason = words.collect::<Vec<_>>().join(" ");
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    Order::SetDeployLock {
        record: format!("{} on {}{reason}", run.who, run.from),
        note: format!("{stage} locked by {}{reason}", run.who),
    }
}
