//! The holders of the lock, shown before `shipit unlock` asks.

use chrono::FixedOffset;

use super::clean;
use super::human::{group_by, list, zoned_record};
use crate::model::host_state::HostState;

/// Returns one line per holder, with hosts that agree together.
pub fn holders(hosts: &[(String, HostState)], offset: FixedOffset) -> String {
    let found = hosts.iter().flat_map(|(host, state)| {
        facts(state, offset).into_iter().map(move |fact| (host.as_str(), fact))
    });
    let line = |(fact, hosts): (String, Vec<&str>)| format!("{}: {fact}\n", list(&hosts));
    group_by(found).into_iter().map(line).collect()
}

fn facts(state: &HostState, offset: FixedOffset) -> Vec<String> {
    let shown = |record: &str| clean::line(&zoned_record(record, offset));
    let (lock, mut facts) = (&state.lock, Vec::new());
    if let Some(record) = &lock.deploy_lock {
        facts.push(format!("locked by {}", shown(record)));
    }
    if let Some(owner) = &lock.owner {
        let holder = state.holder.as_deref().unwrap_or("somebody who left no record");
        facts.push(format!(
            "held by {}: process {} is alive; it will be asked to revert what is undecided and to \
             end",
            shown(holder),
            owner.pid
        ));
    }
    if let Some(stale) = &lock.stale {
        facts.push(format!("the record of {} is stale: its process is gone", shown(stale)));
    }
    if facts.is_empty() {
        facts.push("not locked".to_owned());
    }
    facts
}
