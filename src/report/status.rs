//! `shipit status`: what is live on each host, since when, and what interrupted runs have left.

use std::collections::BTreeSet;
use std::iter;

use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};
use console::Style;
use serde_json::{Value, json};

use super::clean;
use super::human::{self, group_by, hanging, list};
use super::json::answer;
use super::styles::Styles;
use crate::deploy::divergence::find_split;
use crate::deploy::retention::activation_candidates;
use crate::model::host_state::{Current, HostState, OwedHooks, UnitState};
use crate::model::id::ReleaseId;
use crate::model::interrupted::{Interrupted, Stopped, interrupted};
use crate::model::ledger::{Entry, History, LedgerEvent, ReleaseStatus};
use crate::model::slots::SlotState;
use crate::model::words::{short_revision, times};

/// The context of the view, besides the hosts.
#[derive(Debug, Clone, Copy)]
pub struct StatusContext<'a> {
    /// The name of the stage.
    pub stage: &'a str,
    /// The present time.
    pub now: DateTime<Utc>,
    /// The time zone of the reader.
    pub offset: FixedOffset,
}

/// Returns the state of all hosts as text, with equal states together.
pub fn status_view(
    hosts: &[(String, HostState)],
    context: StatusContext<'_>,
    styles: &Styles,
) -> String {
    let blocks = hosts.iter().map(|(host, state)| {
        let lines = block(state, context);
        let since: Vec<_> = lines.iter().map(|line| line.since.clone()).collect();
        ((host, since), lines)
    });
    let mut all = Vec::new();
    for (lines, members) in group_by(blocks) {
        let names: Vec<_> = members.iter().map(|(host, _)| host).collect();
        all.extend(hanging("", 2, &format!("{}:", list(&names)), styles.width));
        for (row, StatusLine { label, text, rest, .. }) in lines.into_iter().enumerate() {
            let since = span(members.iter().filter_map(|(_, since)| since[row].as_ref()));
            let text = style(label, &text, styles).apply_to(&text);
            let label = format!("  {:10}", format!("{label}:"));
            all.extend(hanging(&label, 13, &format!("{text}{since}{rest}"), styles.width));
        }
    }
    let differences = differences(hosts);
    all.extend(differences.iter().flat_map(|line| hanging("", 2, line, styles.width)));
    let hints = hints(hosts, context.stage, !differences.is_empty());
    all.extend(hints.iter().flat_map(|hint| hanging("  hint: ", 9, hint, styles.width)));
    all.join("\n") + "\n"
}

/// Colours a line: green for good, red for bad, plain for the rest.
fn style(label: &str, text: &str, styles: &Styles) -> Style {
    match label {
        "live" => styles.strong.clone(),
        "service" if text.contains(" is active ") || text.ends_with(ENDED_WELL) => {
            styles.good.clone()
        }
        "service" | "unfit" => styles.bad.clone(),
        "stopped" | "locked by" | "mode" => styles.warn.clone(),
        _ => Style::new(),
    }
}

/// A line about a host: a fact, since when, and details.
struct StatusLine {
    label: &'static str,
    text: String,
    since: Option<Since>,
    rest: String,
}

/// Hosts with equal lines are shown together. Times need not be equal: a fleet goes live within
/// seconds, not in one.
impl PartialEq for StatusLine {
    fn eq(&self, other: &Self) -> bool {
        (self.label, &self.text, self.since.is_some(), &self.rest)
            == (other.label, &other.text, other.since.is_some(), &other.rest)
    }
}

/// A moment as text, below the time it sorts by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Since {
    sorts: String,
    shown: String,
}

impl StatusLine {
    fn plain(label: &'static str, text: String) -> Self {
        Self { label, text, since: None, rest: String::new() }
    }
}

/// Formats the first and the last of these moments.
fn span<'s>(all: impl Iterator<Item = &'s Since> + Clone) -> String {
    match (all.clone().min(), all.max()) {
        (Some(first), Some(last)) if first.sorts == last.sorts => format!(" since {}", first.shown),
        (Some(first), Some(last)) => format!(" since {} … {}", first.shown, last.shown),
        _ => String::new(),
    }
}

fn block(state: &HostState, context: StatusContext<'_>) -> Vec<StatusLine> {
    let mut lines = vec![live_line(state, context)];
    lines.extend(made_line(state));
    lines.extend(state.maintenance.map(|at| {
        let since = Some(since(at, context));
        StatusLine { since, ..StatusLine::plain("mode", "maintenance".to_owned()) }
    }));
    lines.extend(state.waiting().into_iter().map(|(id, until)| {
        let until = human::day(until, context.offset);
        StatusLine::plain("staged", format!("{id}, until {until}"))
    }));
    lines.extend(state.slots.iter().map(slot_line));
    let several = state.units.len() > 1;
    lines.extend(state.units.iter().map(|unit| unit_line(unit, several, context)));
    let mut tell = |label, text| lines.push(StatusLine::plain(label, text));
    if let Some(entry) = state.stuck() {
        tell("stuck", failure_line(entry, "could not be reverted", context));
    }
    for entry in state.unmade() {
        tell("failed", failure_line(entry, "could not be made", context));
    }
    for one in interrupted(state) {
        tell("stopped", stopped_line(&one, context));
    }
    if let Some(OwedHooks { id, place }) = state.owed_hooks() {
        tell("owed", format!("its `{}` hooks for {id} were not run to their end", place.word()));
    }
    for holder in state.lock.deploy_lock.iter().chain(&state.holder) {
        tell("locked by", clean::line(&human::zoned_record(holder, context.offset)));
    }
    if !state.leftovers.is_empty() {
        let names: Vec<_> = state.leftovers.iter().map(|name| clean::line(name)).collect();
        tell("leftovers", list(&names));
    }
    if !state.facts.missing.is_empty() {
        let missing: Vec<_> = state.facts.missing.iter().map(|what| clean::line(what)).collect();
        tell("unfit", list(&missing));
    }
    for line in state.not_understood() {
        tell("unclear", clean::line(&line));
    }
    lines
}

/// Returns the line about a release for which something could not be done: whose it was, and why.
fn failure_line(entry: &Entry, what: &str, context: StatusContext<'_>) -> String {
    let Entry { release, who, from, reason, .. } = entry;
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let when = when(entry, context);
    clean::line(&format!("{release} by {who} on {from}{when}: {what}{reason}"))
}

/// Returns whose run was interrupted, and at which step.
fn stopped_line(one: &Interrupted, context: StatusContext<'_>) -> String {
    let run = one.run.as_deref().map_or_else(|| "a run".to_owned(), |run| format!("run {run}"));
    let whose = match (&one.entry, &one.record) {
        (Some(entry), _) => {
            format!("{run} by {} on {}{}", entry.who, entry.from, when(entry, context))
        }
        (None, Some(record)) => human::zoned_record(record, context.offset),
        (None, None) => run,
    };
    let what = match (&one.release, one.step) {
        (Some(id), Stopped::Judge) => format!("{id} is live and undecided"),
        (Some(id), Stopped::Flip) => format!("{id} was about to go live, but is not"),
        (Some(id), Stopped::Make) => format!("{id} was being made"),
        (Some(id), Stopped::Upload) => format!("{id} was being uploaded"),
        (Some(id), Stopped::Prune) => format!("{id} was being deleted"),
        (_, Stopped::Flip) => "it was about to activate".to_owned(),
        _ => "it had only begun".to_owned(),
    };
    clean::line(&format!("{whose}: {what}"))
}

fn when(entry: &Entry, context: StatusContext<'_>) -> String {
    entry.time().map_or_else(String::new, |at| format!(", {}", moment(at, context)))
}

fn live_line(state: &HostState, context: StatusContext<'_>) -> StatusLine {
    let text = match &state.current {
        Current::Absent => "nothing yet".to_owned(),
        Current::Release(id) if state.foreign_ids().contains(id) => {
            format!("{id} (not made by shipit)")
        }
        Current::Release(id) => id.to_string(),
        Current::Foreign(target) => format!("{} (not made by shipit)", clean::line(target)),
        Current::NotALink => "`current` is not a link: shipit leaves it alone".to_owned(),
    };
    let at = live_entry(state).and_then(Entry::time);
    StatusLine { since: at.map(|at| since(at, context)), ..StatusLine::plain("live", text) }
}

/// Returns who deployed the live release, and its revision.
fn made_line(state: &HostState) -> Option<StatusLine> {
    let origin = state.ledger.history(state.live()?)?.origin?;
    let revision = origin.revision.as_deref().map(short_revision);
    let revision = revision.map_or_else(String::new, |it| format!(", revision {it}"));
    let text = format!("by {} on {}{revision}", origin.who, origin.from);
    Some(StatusLine::plain("made", clean::line(&text)))
}

fn since(at: DateTime<Utc>, context: StatusContext<'_>) -> Since {
    Since { shown: moment(at, context), sorts: at.to_rfc3339() }
}

fn moment(at: DateTime<Utc>, context: StatusContext<'_>) -> String {
    format!("{} ({})", human::zoned(at, context.offset), human::age(at, context.now))
}

/// Returns when the live release was flipped to: its last `activated`. It is live since then, not
/// since it was committed some seconds later.
fn live_entry(state: &HostState) -> Option<&Entry> {
    let live = state.live()?.to_string();
    let flips = |entry: &&Entry| entry.event == LedgerEvent::Activated && entry.release == live;
    state.ledger.entries().iter().rfind(flips)
}

fn slot_line(state: &SlotState) -> StatusLine {
    let SlotState { slot, activity, release } = state;
    let name = clean::line(&slot.name);
    let text = match release {
        Some(id) => format!("{name} (port {}) is {}: {id}", slot.port, activity.word()),
        None => format!("{name} is {}", activity.word()),
    };
    StatusLine::plain("slot", text)
}

fn unit_line(unit: &UnitState, several: bool, context: StatusContext<'_>) -> StatusLine {
    let name = if several { format!("{}: {}", unit.service, unit.name) } else { unit.name.clone() };
    let name = clean::line(&name);
    if unit.load == "not-found" {
        return StatusLine::plain("service", format!("{name} does not exist"));
    }
    let rest = match unit.restarts {
        0 => String::new(),
        restarts => format!(", restarted {} by itself{COUNTED}", times(restarts)),
    };
    let (active, sub) = (clean::line(&unit.active), clean::line(&unit.sub));
    let ended = if unit.has_ended_well() && active == "inactive" { ENDED_WELL } else { "" };
    let text = format!("{name} is {active} ({sub}){ended}");
    StatusLine { label: "service", text, since: unit_since(&unit.since, context), rest }
}

/// The words about a unit that runs only for a while.
const ENDED_WELL: &str = ", ended well";

/// Systemd does not reset this counter at a flip.
const COUNTED: &str = " since it was last stopped";

/// Parses a time of systemd, which has the weekday before the date, and UTC after it if the host's
/// clock is in UTC.
fn unit_since(text: &str, context: StatusContext<'_>) -> Option<Since> {
    if let Ok(at) = NaiveDateTime::parse_from_str(text.trim(), "%a %Y-%m-%d %H:%M:%S UTC") {
        return Some(since(at.and_utc(), context));
    }
    let shown = clean::line(text);
    let sorts = shown.split_once(' ').map_or(&*shown, |(_, date)| date).to_owned();
    (!shown.is_empty()).then_some(Since { sorts, shown })
}

/// Returns which hosts are behind, and why if it is known.
fn why_different(hosts: &[(String, HostState)]) -> Option<String> {
    let states: Vec<_> = hosts.iter().map(|(host, state)| (host.as_str(), state)).collect();
    if let Some(split) = find_split(&states) {
        let (kept, back) = (split.committed.join(", "), split.behind.join(", "));
        let id = split.id;
        return Some(format!(
            "contact was lost while {id} was committed: {kept} kept it, {back} did not"
        ));
    }
    let newest = hosts.iter().filter_map(|(_, state)| state.live()).max()?;
    let behind = hosts.iter().filter(|(_, state)| state.live() != Some(newest));
    let behind: Vec<_> = behind.map(|(host, _)| host).collect();
    Some(format!("behind {newest}, the newest that is live: {}", list(&behind)))
}

/// Returns the newest release that is complete and good on every host.
fn common(hosts: &[(String, HostState)]) -> Option<ReleaseId> {
    let good = |state: &HostState| -> BTreeSet<ReleaseId> {
        let histories = state.histories().into_iter();
        let good = |history: &History| history.staged && history.status == ReleaseStatus::Good;
        histories.filter(|(_, history)| good(history)).map(|(id, _)| id).collect()
    };
    let each = hosts.iter().map(|(_, state)| good(state));
    each.reduce(|all, here| &all & &here)?.last().copied()
}

/// Returns which releases the hosts are on, and why they differ, if they do.
fn differences(hosts: &[(String, HostState)]) -> Vec<String> {
    let groups = group_by(hosts.iter().map(|(host, state)| (host.as_str(), live(state))));
    if groups.len() < 2 {
        return Vec::new();
    }
    let each = |(live, hosts): &(Option<String>, Vec<&str>)| {
        let live = live.as_deref().map_or_else(|| "nothing".to_owned(), clean::line);
        format!("{live} on {}", list(hosts))
    };
    let all: Vec<_> = groups.iter().map(each).collect();
    let different = format!("the hosts are on different releases: {}", all.join("; "));
    iter::once(different).chain(why_different(hosts)).collect()
}

/// A test of the state of a host.
type IsSo = fn(&HostState) -> bool;

/// What may be typed next if the state of a host is so.
const HINTS: [(IsSo, &str); 7] = [
    (
        |state| !activation_candidates(state).is_empty(),
        "`shipit activate {stage}` makes what is staged live",
    ),
    (
        |state| state.owed_hooks().is_some(),
        "the next `shipit deploy {stage}` or `shipit prune {stage}` runs them",
    ),
    (
        |state| interrupted(state).iter().any(|one| one.step.is_undecided()),
        "the next `shipit deploy {stage}` or `shipit rollback {stage}` recovers what is undecided",
    ),
    (
        |state| state.stuck().is_some(),
        "once the service runs again, the next `shipit deploy {stage}` or `shipit rollback {stage}` \
         that succeeds clears this",
    ),
    (|state| state.lock.deploy_lock.is_some(), "`shipit unlock {stage}` allows deploys again"),
    (|state| state.maintenance.is_some(), "`shipit maintenance off {stage}` ends it"),
    (is_littered, "`shipit prune {stage}` deletes the leftovers"),
];

fn is_littered(state: &HostState) -> bool {
    state.holder.is_none() && !(state.leftovers.is_empty() && state.unfinished.is_empty())
}

/// Returns what may be typed next.
fn hints(hosts: &[(String, HostState)], stage: &str, differ: bool) -> Vec<String> {
    let back = common(hosts)
        .map_or_else(String::new, |id| format!("; so does `shipit rollback {stage} --to {id}`"));
    let together = differ.then(|| format!("`shipit deploy {stage}` brings them together{back}"));
    let fitting = HINTS.iter().filter(|(is_so, _)| hosts.iter().any(|(_, state)| is_so(state)));
    let others = fitting.map(|(_, hint)| hint.replace("{stage}", stage));
    together.into_iter().chain(others).collect()
}

/// Returns what is live on a host, in one word; none if nothing is.
pub(super) fn live(state: &HostState) -> Option<String> {
    match &state.current {
        Current::Absent => None,
        Current::Release(id) => Some(id.to_string()),
        Current::Foreign(target) => Some(target.clone()),
        Current::NotALink => Some("not a link".to_owned()),
    }
}

/// Returns the state of all hosts as JSON.
pub fn status_json(hosts: &[(String, HostState)], context: StatusContext<'_>) -> Value {
    let newest = hosts.iter().filter_map(|(_, state)| state.live()).max();
    let host = |(host, state): &(String, HostState)| {
        let stopped = interrupted(state);
        let undecided = stopped.iter().find(|one| one.step.is_undecided());
        let staged = state.waiting().into_iter();
        let staged = staged.map(|(id, at)| json!({ "release": id, "expires": at.to_rfc3339() }));
        let service = |unit: &UnitState| json!({ "name": unit.service, "unit": unit_json(unit) });
        json!({
            "host": host,
            "live": live(state),
            "behind": newest.is_some() && state.live() != newest,
            "staged": staged.collect::<Value>(),
            "since": live_entry(state).and_then(Entry::time).map(|at| at.to_rfc3339()),
            "unit": state.units.first().map(unit_json),
            "slots": state.slots.iter().map(slot_json).collect::<Value>(),
            "services": state.units.iter().map(service).collect::<Value>(),
            "undecided": undecided.and_then(|one| one.release.as_ref()),
            "stuck": state.stuck().map(stuck_json),
            "owed": state.owed_hooks().map(|OwedHooks { id, place }| {
                json!({ "release": id, "hook": place.word() })
            }),
            "interrupted": stopped.iter().map(stopped_json).collect::<Value>(),
            "frozen": state.lock.deploy_lock,
            "maintenance": state.maintenance.map(|at| at.to_rfc3339()),
            "locked_by": state.holder,
            "leftovers": state.leftovers,
            "unfit": state.facts.missing,
            "unclear": state.not_understood(),
        })
    };
    let hosts: Vec<_> = hosts.iter().map(host).collect();
    let agree = hosts.windows(2).all(|pair| pair[0]["live"] == pair[1]["live"]);
    answer(json!({ "stage": context.stage, "agree": agree, "hosts": hosts }))
}

fn stuck_json(entry: &Entry) -> Value {
    json!({
        "release": entry.release,
        "reason": entry.reason,
        "who": entry.who,
        "from": entry.from,
        "at": entry.time().map(|at| at.to_rfc3339()),
    })
}

fn stopped_json(one: &Interrupted) -> Value {
    let entry = one.entry.as_ref();
    json!({
        "run": one.run,
        "release": one.release,
        "step": one.step.word(),
        "who": entry.map(|entry| &entry.who),
        "from": entry.map(|entry| &entry.from),
        "at": entry.and_then(Entry::time).map(|at| at.to_rfc3339()),
        "record": one.record,
    })
}

fn slot_json(state: &SlotState) -> Value {
    let SlotState { slot, activity, release } = state;
    json!({ "name": slot.name, "port": slot.port, "state": activity.word(), "release": release })
}

fn unit_json(unit: &UnitState) -> Value {
    json!({
        "name": unit.name,
        "load": unit.load,
        "active": unit.active,
        "sub": unit.sub,
        "since": unit.since,
        "restarts": unit.restarts,
    })
}
