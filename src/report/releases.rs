//! `shipit releases`: the releases on the hosts, newest first.

use chrono::{DateTime, Utc};
use console::Style;
use serde_json::{Value, json};

use super::clean;
use super::human::{self, group_by, list};
use super::json::answer;
use super::status::StatusContext;
use super::styles::Styles;
use super::table::{self, Column};
use crate::deploy::retention::rollback_candidates;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::ledger::{Entry, History, ReleaseStatus};
use crate::model::words::short_revision;

const COLUMNS: [Column; 9] = [
    Column::text("", 0),
    Column::text("release", 0),
    Column::text("made", 4),
    Column::text("age", 1),
    Column::text("state", 0),
    Column::text("who", 2),
    Column::text("revision", 3),
    Column::text("digest", 6),
    Column::number("size", 5),
];

/// Returns the releases of all hosts: one table for hosts that agree, else a section per group.
pub fn releases_table(
    hosts: &[(String, HostState)],
    context: StatusContext<'_>,
    styles: &Styles,
) -> String {
    let views = hosts.iter().map(|(host, state)| (host.as_str(), View::of(state, context, styles)));
    let groups = group_by(views);
    let several = groups.len() > 1;
    let mut sections = Vec::new();
    for (view, names) in groups {
        let title = format!("{}:", list(&names));
        let mut lines = if several { vec![title] } else { Vec::new() };
        lines.extend(view.lines(styles.table_width()));
        sections.push(lines.join("\n") + "\n");
    }
    if hosts.iter().any(|(_, state)| !state.ids().is_empty()) {
        sections.push(human::zone(context.offset) + "\n");
    }
    let gap = if several { "\n" } else { "" };
    sections.join(gap)
}

/// The table of one host.
#[derive(PartialEq)]
struct View {
    rows: Vec<Vec<String>>,
    foreign: Vec<String>,
    notes: Vec<String>,
}

impl View {
    fn of(state: &HostState, context: StatusContext<'_>, styles: &Styles) -> Self {
        let row = |release: &Release| release.row(context, styles);
        let foreign = foreign(state).into_iter().map(clean::line).collect();
        Self { rows: releases(state).iter().map(row).collect(), foreign, notes: notes(state) }
    }

    fn lines(&self, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        if self.rows.is_empty() {
            let whose = if self.foreign.is_empty() { "" } else { " by shipit" };
            lines.push(format!("no releases{whose} yet"));
        } else {
            lines.extend(table::render(&COLUMNS, &self.rows, width));
        }
        if !self.foreign.is_empty() {
            let (many, names) = (self.foreign.len(), list(&self.foreign));
            lines.push(format!("{many} left by another tool, which `prune` keeps: {names}"));
        }
        lines.extend(self.notes.iter().cloned());
        lines
    }
}

/// Returns lines about what is not understood on a host, and its consequences.
fn notes(state: &HostState) -> Vec<String> {
    let mut notes = Vec::new();
    let foreign = state.foreign_ids();
    if !foreign.is_empty() {
        let mut ways_back = rollback_candidates(state).into_iter();
        let back = ways_back
            .find(|id| foreign.contains(id))
            .map(|id| format!("`rollback` may go to {id}, "));
        let (back, them) = back.map_or((String::new(), "them"), |back| (back, "others"));
        notes.push(format!("  {back}only `rollback --to` makes {them} live"));
    }
    notes.extend(state.not_understood().iter().map(|line| clean::line(line)));
    if !state.unknown.is_empty() {
        notes.push(
            "  only `rollback --to` makes an unknown release live, and nothing is pruned"
                .to_owned(),
        );
    }
    notes
}

/// A release of shipit on one host.
struct Release {
    id: ReleaseId,
    live: bool,
    pinned: bool,
    in_use: bool,
    state: &'static str,
    /// `None`: the ledger does not know it.
    status: Option<ReleaseStatus>,
    /// Until when it may be activated, if it was staged for that.
    expires: Option<DateTime<Utc>>,
    origin: Option<Entry>,
}

impl Release {
    fn of(id: ReleaseId, history: Option<History>, host: &HostState) -> Self {
        let name = id.to_string();
        let is_unknown = host.unknown.contains(&name);
        Self {
            id,
            live: host.live() == Some(id),
            pinned: history.as_ref().is_some_and(|history| history.pinned),
            in_use: host.in_use.contains(&name),
            state: match &history {
                _ if is_unknown => "unknown",
                Some(history) => history.status.word(),
                None => "unfinished",
            },
            status: history.as_ref().map(|history| history.status),
            expires: history.as_ref().filter(|_| !is_unknown).and_then(History::expires),
            origin: history.and_then(|history| history.origin),
        }
    }

    fn style<'s>(&self, styles: &'s Styles) -> &'s Style {
        match self.status {
            Some(ReleaseStatus::Good) => &styles.good,
            Some(ReleaseStatus::Reverted | ReleaseStatus::RolledBack | ReleaseStatus::Failed) => {
                &styles.bad
            }
            Some(ReleaseStatus::Undecided) => &styles.warn,
            Some(ReleaseStatus::Staged | ReleaseStatus::Pruned) | None => &styles.dim,
        }
    }

    fn row(
        &self,
        StatusContext { now, offset, .. }: StatusContext<'_>,
        styles: &Styles,
    ) -> Vec<String> {
        let origin = self.origin.as_ref();
        let word = |text: Option<&str>| text.map_or_else(String::new, clean::line);
        let mut state = self.state.to_owned();
        if let Some(until) = self.expires {
            state = format!("{state} until {}", human::day(until, offset));
        }
        if self.pinned {
            state += ", pinned";
        }
        if self.in_use && !self.live {
            state += ", in use";
        }
        vec![
            if self.live { "*".to_owned() } else { String::new() },
            self.id.to_string(),
            human::local(self.id.time(), offset),
            human::age(self.id.time(), now),
            self.style(styles).apply_to(state).to_string(),
            word(origin.map(|entry| entry.who.as_str())),
            short_revision(&word(origin.and_then(|e| e.revision.as_deref()))),
            origin.and_then(|e| e.artifact).map_or_else(String::new, |digest| digest.short()),
            origin.and_then(|e| e.size).map_or_else(String::new, human::size),
        ]
    }

    fn json(&self) -> Value {
        let origin = self.origin.as_ref();
        json!({
            "id": self.id,
            "made": self.id.time().to_rfc3339(),
            "state": self.state.replace(' ', "-"),
            "expires": self.expires.map(|until| until.to_rfc3339()),
            "live": self.live,
            "pinned": self.pinned,
            "in_use": self.in_use,
            "who": origin.map(|entry| &entry.who),
            "from": origin.map(|entry| &entry.from),
            "revision": origin.and_then(|entry| entry.revision.as_ref()),
            "artifact": origin.and_then(|entry| entry.artifact),
            "size": origin.and_then(|entry| entry.size),
        })
    }
}

/// Returns the releases of shipit, newest first.
fn releases(state: &HostState) -> Vec<Release> {
    let mut histories = state.ledger.histories();
    let ids = state.ours().into_iter().rev();
    ids.map(|id| Release::of(id, histories.remove(&id.to_string()), state)).collect()
}

/// Returns the directories that neither shipit nor the ledger knows.
fn foreign(state: &HostState) -> Vec<&str> {
    let ours: Vec<_> = state.ours().iter().map(ToString::to_string).collect();
    let foreign = |name: &&String| !ours.contains(name);
    state.present.iter().filter(foreign).map(String::as_str).collect()
}

/// Returns the releases as JSON.
pub fn releases_json(hosts: &[(String, HostState)]) -> Value {
    let host = |(host, state): &(String, HostState)| {
        json!({
            "host": host,
            "live": super::status::live(state),
            "releases": releases(state).iter().map(Release::json).collect::<Value>(),
            "foreign": foreign(state),
            "unreadable_ledger_lines": state.ledger.unreadable(),
            "newer": state.newer().map(ToString::to_string),
        })
    };
    answer(json!({ "hosts": hosts.iter().map(host).collect::<Value>() }))
}
