//! The line that says an order: its verb, and its arguments by name.

use std::fmt::Display;
use std::slice;
use std::time::Duration;

use super::{Activation, Fetch, ManifestOf, Order, Record, ServiceName, Verdicts};
use crate::model::hook::HookPlace;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::RevertReason;
use crate::model::link::{SharedKind, SharedLink};
use crate::model::slots::SlotChange;
use crate::remote::quote::{line_word, list};
use crate::remote::script::{ASSETS, FLAG, PROBE, bare};

/// An argument: the variable that the script's function reads, and its value.
type Argument = (&'static str, String);

impl Order {
    /// Returns the line without its newline: `'judge' id='20260821090000'`.
    pub fn line(&self) -> String {
        let named = self
            .arguments()
            .into_iter()
            .map(|(name, value)| format!(" {name}={}", line_word(&value)));
        line_word(self.verb()) + &named.collect::<String>()
    }

    /// Returns all arguments; none is left out where it is empty, for the script's variables would
    /// then keep what they had.
    pub fn arguments(&self) -> Vec<Argument> {
        match self {
            Self::Lock | Self::Look | Self::Base | Self::Commit { .. } | Self::Bye => Vec::new(),
            Self::Judge { id } | Self::Discard { id } | Self::Units { id } | Self::Image { id } => {
                vec![named("id", id)]
            }
            Self::Manifest { id, of, after } => {
                vec![named("file", of.file(*id)), named("after", after)]
            }
            Self::Check { id, base, digest } => {
                let base = base.map(|base| base.to_string()).unwrap_or_default();
                vec![named("id", id), named("base", base), named("digest", digest)]
            }
            Self::Unpack { codec, size, .. } => vec![named("codec", codec), named("size", size)],
            Self::Link { id, links } => {
                let words: Vec<_> = links.iter().flat_map(link_words).collect();
                vec![named("id", id), named("links", list(&words))]
            }
            Self::Env { id, from, file, mode, group, keys } => {
                env_file(*id, [from, file, mode, group.as_deref().unwrap_or_default(), keys])
            }
            Self::Revision { id, revision } => vec![named("id", id), named("revision", revision)],
            Self::Keep { id, from, paths } => keep(*id, from, paths),
            Self::Hook { name, id, command, vars, limit } => {
                [vec![named("name", name)], run_in_release(*id, command, vars, *limit)].concat()
            }
            Self::Try { id, command, vars, limit } => run_in_release(*id, command, vars, *limit),
            Self::Fetch { limit, fetch } => fetch.arguments(*limit),
            Self::Mask { text } => vec![named("text", &text.0)],
            Self::Reach { limit, address } => vec![within(*limit), named("address", address)],
            Self::Seal { id, relist, env } => {
                vec![named("id", id), named("relist", relist), named("env", list(env))]
            }
            Self::Stage { id, record } => [vec![named("id", id)], record.arguments()].concat(),
            Self::Activate(activation) | Self::Resume(activation) => activation.arguments(),
            Self::Switch { again, .. } => vec![named("again", if *again { "yes" } else { "no" })],
            Self::Revert { reason, cause, .. } => {
                vec![named("reason", reason), named("cause", &cause.0)]
            }
            Self::Conclude { activation, verdict, reason } => {
                let reason = named("reason", reason.map_or("", RevertReason::word));
                [vec![named("verdict", verdict), reason], activation.arguments()].concat()
            }
            Self::Record(record) => record.arguments(),
            Self::Prune { name, record } => {
                [vec![named("name", name)], record.arguments()].concat()
            }
            Self::CleanUp { keep } => vec![named("keep", keep.as_deref().unwrap_or_default())],
            Self::Journal { lines, service } => journal(*lines, service.as_ref()),
            Self::History { lines } => vec![named("lines", lines)],
            Self::Probe { shared, ports } => probe(shared, ports),
            Self::Flag { path } => probing(FLAG, "probe_flag", slice::from_ref(path), ""),
            Self::Verify { id, env } => vec![named("id", id), named("env", list(env))],
            Self::Drift { env } => vec![named("env", list(env))],
            Self::SetDeployLock { record, note } | Self::ClearDeployLock { record, note } => {
                vec![named("record", record), named("note", note)]
            }
            Self::Break { run, limit } => vec![named("holder", run), within(*limit)],
        }
    }
}

impl ManifestOf {
    /// Returns its file for the release `id`, below `.shipit`.
    fn file(self, id: ReleaseId) -> String {
        match self {
            Self::Release => Layout::manifest(id),
            Self::Artifact => Layout::manifest(id) + ".artifact",
            Self::Env => Layout::env_keys(id),
        }
    }
}

impl Activation {
    fn arguments(&self) -> Vec<Argument> {
        let Verdicts { activated, committed, left, reverted, failed } = &self.verdicts;
        vec![
            named("id", self.id),
            named("back", &self.back),
            named("activated", activated.words()),
            named("committed", committed.words()),
            named("left", left.as_ref().map(Record::words).unwrap_or_default()),
            named("reverted", reverted.words()),
            named("failed", failed.words()),
            named("variables", list(&self.vars)),
            named("before_switch_hooks", self.hooks_at(HookPlace::BeforeSwitch)),
            named("switched_hooks", self.hooks_at(HookPlace::Switched)),
            named("committed_hooks", self.hooks_at(HookPlace::Committed)),
            named("reverted_hooks", self.hooks_at(HookPlace::Reverted)),
            named("into", self.slot.as_ref().map(slot_words).unwrap_or_default()),
        ]
    }

    /// Returns the hooks of a place: the limit and the command of each.
    fn hooks_at(&self, place: HookPlace) -> String {
        let hooks = self.hooks.iter().filter(|hook| hook.place == place);
        let words = hooks.flat_map(|hook| [hook.limit.as_secs().to_string(), hook.command.clone()]);
        list(&words.collect::<Vec<_>>())
    }
}

impl Fetch {
    fn arguments(&self, limit: Duration) -> Vec<Argument> {
        vec![
            within(limit),
            named("request", &self.request.0),
            named("connect", self.connect.as_deref().unwrap_or_default()),
            named("trust", &self.trust),
            named("wanted", &self.wanted.0),
        ]
    }
}

impl Record {
    fn arguments(&self) -> Vec<Argument> {
        vec![named("line", &self.line), named("note", &self.note)]
    }

    /// Returns both lines as the value of one argument.
    fn words(&self) -> String {
        list(&[self.line.clone(), self.note.clone()])
    }
}

fn named(name: &'static str, value: impl Display) -> Argument {
    (name, value.to_string())
}

/// Whole seconds.
fn within(limit: Duration) -> Argument {
    named("within", limit.as_secs())
}

/// Returns the change from one slot to the other, as the agent's `remember_slot` reads it.
fn slot_words(change: &SlotChange) -> String {
    let SlotChange { slot, was, old, slots, text, old_text } = change;
    let traffic = &slots.traffic;
    let file = traffic.file.as_ref().map_or("", |file| &file.path);
    let old_port = old.as_ref().map(|old| old.port.to_string()).unwrap_or_default();
    list(&[
        format!("slot={}", slot.name),
        format!("slot_port={}", slot.port),
        format!("slot_was={}", was.map(Layout::slot_target).unwrap_or_default()),
        format!("old_slot={}", old.as_ref().map_or("", |old| &old.name)),
        format!("old_port={old_port}"),
        format!("traffic_file={file}"),
        format!("traffic_text={text}"),
        format!("old_text={old_text}"),
        format!("traffic_command={}", traffic.command.as_deref().unwrap_or_default()),
        format!("drain={}", slots.drain.as_secs()),
        format!("keep_warm={}", slots.keep_warm.as_secs()),
    ])
}

/// Returns the arguments of `env`: the name in the upload, the one in the release, and the mode.
fn env_file(id: ReleaseId, words: [&str; 5]) -> Vec<Argument> {
    let names = ["from", "file", "mode", "group", "keys"];
    let words = names.into_iter().zip(words).map(|(name, word)| named(name, word));
    [named("id", id)].into_iter().chain(words).collect()
}

fn run_in_release(id: ReleaseId, command: &str, vars: &[String], limit: Duration) -> Vec<Argument> {
    vec![named("id", id), within(limit), named("command", command), named("vars", list(vars))]
}

fn journal(lines: u32, service: Option<&ServiceName>) -> Vec<Argument> {
    let (name, unit) = service.map_or(("", ""), |service| (&service.name, &service.unit));
    vec![named("lines", lines), named("of_service", name), named("of_unit", unit)]
}

fn keep(id: ReleaseId, from: &[ReleaseId], paths: &[String]) -> Vec<Argument> {
    let from = from.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let (functions, paths) = (named("functions", bare(ASSETS)), named("paths", list(paths)));
    vec![functions, named("id", id), named("from", from), paths]
}

fn probe(shared: &[SharedLink], ports: &[u16]) -> Vec<Argument> {
    let shared: Vec<_> = shared.iter().flat_map(|link| [kind(link), link.path.clone()]).collect();
    let ports: Vec<_> = ports.iter().map(|port| format!("{port:04X}")).collect();
    probing(PROBE, "probe_host", &shared, &ports.join(" "))
}

/// Has the host call `function` of this part of the script with these words.
fn probing(part: &str, function: &str, words: &[String], ports: &str) -> Vec<Argument> {
    let functions = format!("{}\n{function} \"$@\"", bare(part));
    vec![named("functions", functions), named("shared", list(words)), named("ports", ports)]
}

fn kind(link: &SharedLink) -> String {
    if matches!(link.kind, SharedKind::Dir { .. }) { "d" } else { "f" }.to_owned()
}

/// Kind, path, mode or whether it must be there, group, and what the link holds.
fn link_words(link: &SharedLink) -> [String; 5] {
    let (first, second) = match &link.kind {
        SharedKind::Dir { mode, group } => {
            (mode.clone().unwrap_or_default(), group.clone().unwrap_or_default())
        }
        SharedKind::File { optional: true } => ("optional".to_owned(), String::new()),
        SharedKind::File { optional: false } => ("need".to_owned(), String::new()),
    };
    [kind(link), link.path.clone(), first, second, Layout::shared_target(&link.path)]
}
