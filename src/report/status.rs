//! `shipit status`: what is live where, since when, and what an interrupted run left.

use chrono::{DateTime, FixedOffset, Utc};
use serde_json::{Value, json};

use super::human::{self, group_by, list};
use super::{clean, json::VERSION};
use crate::deploy::split::find_split;
use crate::model::host_state::{Current, HostState, UnitState};
use crate::model::interrupted::{Interrupted, Stopped, interrupted};
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
    lines.extend(interrupted(state).iter().map(|one| ("stopped", stopped_line(one, context))));
    if let Some(freeze) = &state.lock.frozen {
        lines.push(("locked by", clean::line(freeze)));
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

/// Whose run it was, and how far it had come.
fn stopped_line(one: &Interrupted, context: Context<'_>) -> String {
    let run = one.run.as_deref().map_or_else(|| "a run".to_owned(), |run| format!("run {run}"));
    let whose = match (&one.entry, &one.record) {
        (Some(entry), _) => {
            format!("{run} by {} on {}{}", entry.who, entry.from, when(entry, context))
        }
        (None, Some(record)) => record.clone(),
        (None, None) => run,
    };
    let what = match (&one.release, one.step) {
        (Some(id), Stopped::Judge) => format!("{id} is live and has no verdict"),
        (Some(id), Stopped::Flip) => format!("{id} was about to go live, and is not"),
        (Some(id), Stopped::Make) => format!("{id} was being made"),
        (Some(id), Stopped::Upload) => format!("{id} was being uploaded"),
        (Some(id), Stopped::Prune) => format!("{id} was being deleted"),
        (_, Stopped::Flip) => "it was about to flip".to_owned(),
        _ => "it had only begun".to_owned(),
    };
    clean::line(&format!("{whose}: {what}"))
}

fn when(entry: &Entry, context: Context<'_>) -> String {
    entry.time().map_or_else(String::new, |at| {
        let (local, age) = (human::local(at, context.offset), human::age(at, context.now));
        format!(", {local} ({age})")
    })
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

/// Which hosts are behind, and whether it is known why.
fn why_different(hosts: &[(String, HostState)]) -> Option<String> {
    let states: Vec<_> = hosts.iter().map(|(host, state)| (host.as_str(), state)).collect();
    if let Some(split) = find_split(&states) {
        let (kept, back) = (split.committed.join(", "), split.behind.join(", "));
        let id = split.id;
        return Some(format!(
            "contact was lost while {id} was committed: {kept} kept it, {back} not"
        ));
    }
    let newest = hosts.iter().filter_map(|(_, state)| state.live()).max()?;
    let behind = hosts.iter().filter(|(_, state)| state.live() != Some(newest));
    let behind: Vec<_> = behind.map(|(host, _)| host).collect();
    Some(format!("behind {newest}, the newest that is live: {}", list(&behind)))
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
        notes.extend(why_different(hosts));
        notes.push(format!(
            "  hint:  `shipit deploy {stage}` brings them together; so does \
             `shipit rollback {stage} --to ID`"
        ));
    }
    let waits = |state: &HostState| interrupted(state).iter().any(|one| one.step.is_undecided());
    if hosts.iter().any(|(_, state)| waits(state)) {
        notes.push(format!(
            "  hint:  the next `shipit deploy {stage}` or `shipit rollback {stage}` settles what \
             has no verdict"
        ));
    }
    if hosts.iter().any(|(_, state)| state.lock.frozen.is_some()) {
        notes.push(format!("  hint:  `shipit unlock {stage}` lets deploys in again"));
    }
    let idle = |state: &HostState| {
        let left = !state.leftovers.is_empty() || !state.unfinished.is_empty();
        state.holder.is_none() && left
    };
    if hosts.iter().any(|(_, state)| idle(state)) {
        notes.push(format!("  hint:  `shipit prune {stage}` removes what was left"));
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
    let newest = hosts.iter().filter_map(|(_, state)| state.live()).max();
    let host = |(host, state): &(String, HostState)| {
        let stopped = interrupted(state);
        let undecided = stopped.iter().find(|one| one.step.is_undecided());
        json!({
            "host": host,
            "live": live(state),
            "behind": newest.is_some() && state.live() != newest,
            "since": live_entry(state).and_then(Entry::time).map(|at| at.to_rfc3339()),
            "unit": state.unit.as_ref().map(|unit| unit_json(unit, context.unit)),
            "undecided": undecided.and_then(|one| one.release.as_deref()).map(clean::line),
            "interrupted": stopped.iter().map(stopped_json).collect::<Vec<_>>(),
            "frozen": state.lock.frozen.as_deref().map(clean::line),
            "locked_by": state.holder.as_deref().map(clean::line),
            "leftovers": state.leftovers.iter().map(|name| clean::line(name)).collect::<Vec<_>>(),
            "unfit": state.facts.missing.iter().map(|what| clean::line(what)).collect::<Vec<_>>(),
        })
    };
    let hosts: Vec<_> = hosts.iter().map(host).collect();
    let agree = hosts.windows(2).all(|pair| pair[0]["live"] == pair[1]["live"]);
    json!({ "v": VERSION, "stage": context.stage, "agree": agree, "hosts": hosts })
}

fn stopped_json(one: &Interrupted) -> Value {
    let entry = one.entry.as_ref();
    json!({
        "run": one.run.as_deref().map(clean::line),
        "release": one.release.as_deref().map(clean::line),
        "step": one.step.word(),
        "who": entry.map(|entry| clean::line(&entry.who)),
        "from": entry.map(|entry| clean::line(&entry.from)),
        "at": entry.and_then(Entry::time).map(|at| at.to_rfc3339()),
        "record": one.record.as_deref().map(clean::line),
    })
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
