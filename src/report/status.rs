//! `shipit status`: what is live where, since when, and what an interrupted run left.

use chrono::{DateTime, FixedOffset, Utc};
use serde_json::{Value, json};

use super::human::{self, group_by, list};
use super::{clean, json::VERSION};
use crate::model::host_state::{Current, HostState, UnitState};
use crate::model::ledger::{Entry, What};

/// What the view needs besides the hosts.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// The unit's name, where there is one.
    pub unit: Option<&'a str>,
    /// The time.
    pub now: DateTime<Utc>,
    /// Where the reader is.
    pub offset: FixedOffset,
}

/// The state of all hosts as text, those that are alike together.
pub fn status_view(hosts: &[(String, HostState)], context: Context<'_>) -> String {
    let blocks = hosts.iter().map(|(host, state)| (host.as_str(), block(state, context)));
    let mut all = Vec::new();
    for (lines, names) in group_by(blocks) {
        all.push(format!("{}:", list(&names)));
        let row = |(label, line): Labelled| format!("  {:10} {line}", format!("{label}:"));
        all.extend(lines.into_iter().map(row));
    }
    all.extend(notes(hosts, context.stage));
    all.join("\n") + "\n"
}

type Labelled = (&'static str, String);

fn block(state: &HostState, context: Context<'_>) -> Vec<Labelled> {
    let mut lines = vec![("live", live_line(state, context))];
    if let Some(unit) = &state.unit {
        lines.push(("service", unit_line(unit, context.unit)));
    }
    if let Some((id, history)) = state.undecided() {
        let since = history.last.time().map_or_else(String::new, |at| since(at, context));
        lines.push(("undecided", format!("{id}{since}: a run ended before its verdict")));
    }
    if let Some(holder) = &state.holder {
        lines.push(("locked by", clean::line(holder)));
    }
    if !state.leftovers.is_empty() {
        let names: Vec<_> = state.leftovers.iter().map(|name| clean::line(name)).collect();
        lines.push(("leftovers", list(&names)));
    }
    if !state.facts.missing.is_empty() {
        let missing: Vec<_> = state.facts.missing.iter().map(|what| clean::line(what)).collect();
        lines.push(("unfit", list(&missing)));
    }
    lines
}

fn live_line(state: &HostState, context: Context<'_>) -> String {
    let since =
        live_entry(state).and_then(Entry::time).map_or_else(String::new, |at| since(at, context));
    match &state.current {
        Current::Absent => "nothing yet".to_owned(),
        Current::Release(id) => format!("{id}{since}"),
        Current::Foreign(target) => format!("{} (not made by shipit)", clean::line(target)),
        Current::NotALink => "`current` is not a link: shipit leaves it alone".to_owned(),
    }
}

fn since(at: DateTime<Utc>, context: Context<'_>) -> String {
    let (local, age) = (human::local(at, context.offset), human::age(at, context.now));
    format!(" since {local} ({age})")
}

/// The flip that made it live: the last `activated` of the live release. (It is live since then,
/// not since it was committed some seconds later.)
fn live_entry(state: &HostState) -> Option<&Entry> {
    let live = state.live()?.to_string();
    let flips = |entry: &&Entry| entry.event == What::Activated && entry.release == live;
    state.ledger.entries().iter().rfind(flips)
}

fn unit_line(unit: &UnitState, name: Option<&str>) -> String {
    let name = name.unwrap_or("the unit");
    if unit.load == "not-found" {
        return format!("{name} does not exist");
    }
    let since = match unit.since.as_str() {
        "" => String::new(),
        since => format!(" since {}", clean::line(since)),
    };
    let restarts = match unit.restarts {
        0 => String::new(),
        1 => ", restarted once by itself".to_owned(),
        times => format!(", restarted {times} times by itself"),
    };
    let (active, sub) = (clean::line(&unit.active), clean::line(&unit.sub));
    format!("{name} is {active} ({sub}){since}{restarts}")
}

fn notes(hosts: &[(String, HostState)], stage: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let groups = group_by(hosts.iter().map(|(host, state)| (host.as_str(), live(state))));
    if groups.len() > 1 {
        let each = |(live, hosts): &(Option<String>, Vec<&str>)| {
            let live = live.as_deref().unwrap_or("nothing");
            format!("{live} on {}", list(hosts))
        };
        let all: Vec<_> = groups.iter().map(each).collect();
        notes.push(format!("the hosts are on different releases: {}", all.join("; ")));
        notes.push(format!(
            "  hint:  `shipit deploy {stage}` brings them together; so does \
             `shipit rollback {stage} --to ID`"
        ));
    }
    if hosts.iter().any(|(_, state)| state.undecided().is_some()) {
        let hint = format!("  hint:  `shipit deploy {stage}` settles what is undecided first");
        notes.push(hint);
    }
    let idle = |state: &HostState| state.holder.is_none() && !state.leftovers.is_empty();
    if hosts.iter().any(|(_, state)| idle(state)) {
        notes.push(format!("  hint:  `shipit prune {stage}` removes the leftovers"));
    }
    notes
}

/// What is live on a host, in one word; `None`: nothing.
pub(super) fn live(state: &HostState) -> Option<String> {
    match &state.current {
        Current::Absent => None,
        Current::Release(id) => Some(id.to_string()),
        Current::Foreign(target) => Some(clean::line(target)),
        Current::NotALink => Some("not a link".to_owned()),
    }
}

/// The same for machines.
pub fn status_json(hosts: &[(String, HostState)], context: Context<'_>) -> Value {
    let host = |(host, state): &(String, HostState)| {
        let undecided = state.undecided();
        json!({
            "host": host,
            "live": live(state),
            "since": live_entry(state).and_then(Entry::time).map(|at| at.to_rfc3339()),
            "unit": state.unit.as_ref().map(|unit| unit_json(unit, context.unit)),
            "undecided": undecided.map(|(id, _)| id),
            "locked_by": state.holder.as_deref().map(clean::line),
            "leftovers": state.leftovers.iter().map(|name| clean::line(name)).collect::<Vec<_>>(),
            "unfit": state.facts.missing.iter().map(|what| clean::line(what)).collect::<Vec<_>>(),
        })
    };
    let hosts: Vec<_> = hosts.iter().map(host).collect();
    let agree = hosts.windows(2).all(|pair| pair[0]["live"] == pair[1]["live"]);
    json!({ "v": VERSION, "stage": context.stage, "agree": agree, "hosts": hosts })
}

fn unit_json(unit: &UnitState, name: Option<&str>) -> Value {
    json!({
        "name": name,
        "load": clean::line(&unit.load),
        "active": clean::line(&unit.active),
        "sub": clean::line(&unit.sub),
        "since": clean::line(&unit.since),
        "restarts": unit.restarts,
    })
}
