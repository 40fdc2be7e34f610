//! Who holds deploys off, told before `shipit unlock` asks.

use super::clean;
use super::human::{group_by, list};
use crate::model::host_state::HostState;

/// One line for each thing that was found, hosts that are alike together.
pub fn holders(hosts: &[(String, HostState)]) -> String {
    let found = hosts
        .iter()
        .flat_map(|(host, state)| facts(state).into_iter().map(move |fact| (host.as_str(), fact)));
    let line = |(fact, hosts): (String, Vec<&str>)| format!("{}: {fact}\n", list(&hosts));
    group_by(found).into_iter().map(line).collect()
}

fn facts(state: &HostState) -> Vec<String> {
    let (lock, mut facts) = (&state.lock, Vec::new());
    if let Some(frozen) = &lock.frozen {
        facts.push(format!("locked by {}", clean::line(frozen)));
    }
    if let Some(owner) = &lock.owner {
        let holder = state.holder.as_deref().unwrap_or("somebody who left no record");
        facts.push(format!(
            "held by {}: process {} lives; it will be asked to put back what is undecided and to \
             end",
            clean::line(holder),
            owner.pid
        ));
    }
    if let Some(stale) = &lock.stale {
        facts.push(format!("the record of {} is stale: its process is gone", clean::line(stale)));
    }
    if facts.is_empty() {
        facts.push("not locked".to_owned());
    }
    facts
}
