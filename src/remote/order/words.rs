//! The line that says an order: its verb, and its arguments by name.

use std::time::Duration;

use super::{Activation, Fetch, Hidden, ManifestOf, Order, Record, Relist, ServiceName};
use crate::model::digest::Digest;
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
                vec![release(*id)]
            }
            Self::Manifest { id, of, after } => manifest(*id, *of, *after),
            Self::Check { id, base, digest } => check(*id, *base, *digest),
            Self::Unpack { codec, size, .. } => {
                vec![("codec", codec.word().to_owned()), ("size", size.to_string())]
            }
            Self::Link { id, links } => {
                let words: Vec<_> = links.iter().flat_map(link_words).collect();
                vec![release(*id), ("links", list(&words))]
            }
            Self::Env { id, from, file, mode, group, keys } => {
                let group = group.as_deref().unwrap_or_default();
                env_file(*id, [from, file, mode, group, keys])
            }
            Self::Revision { id, revision } => vec![release(*id), ("revision", revision.clone())],
            Self::Keep { id, from, paths } => keep(*id, from, paths),
            Self::Hook { name, id, command, vars, limit } => {
                let name = vec![("name", (*name).to_owned())];
                [name, run_in_release(*id, command, vars, *limit).into()].concat()
            }
            Self::Try { id, command, vars, limit } => {
                run_in_release(*id, command, vars, *limit).into()
            }
            Self::Fetch { limit, fetch } => fetch.arguments(*limit),
            Self::Mask { text } => vec![("text", text.0.clone())],
            Self::Reach { limit, address } => vec![within(*limit), ("address", address.clone())],
            Self::Seal { id, relist, env } => {
                vec![release(*id), ("relist", relist.word().to_owned()), ("env", list(env))]
            }
            Self::Stage { id, record } => [vec![release(*id)], record.arguments()].concat(),
            Self::Activate(activation) | Self::Resume(activation) => activation.arguments(),
            Self::Switch { again, .. } => vec![yes_or_no("again", *again)],
            Self::Revert { reason, cause, .. } => revert(*reason, cause),
            Self::Conclude { activation, verdict, reason } => {
                [concluded(*verdict, *reason), activation.arguments()].concat()
            }
            Self::Record(record) => record.arguments(),
            Self::Prune { name, record } => {
                [vec![("name", name.clone())], record.arguments()].concat()
            }
            Self::CleanUp { keep } => vec![("keep", keep.clone().unwrap_or_default())],
            Self::Journal { lines, service } => journal(*lines, service.as_ref()),
            Self::History { lines } => vec![("lines", lines.to_string())],
            Self::Probe { shared, ports } => probe(shared, ports),
            Self::Flag { path } => flag(path.clone()),
            Self::Verify { id, env } => vec![release(*id), ("env", list(env))],
            Self::Drift { env } => vec![("env", list(env))],
            Self::SetDeployLock { record, note } | Self::ClearDeployLock { record, note } => {
                vec![("record", record.clone()), ("note", note.clone())]
            }
            Self::Break { run, limit } => vec![("holder", run.clone()), within(*limit)],
        }
    }
}

impl Relist {
    /// Returns the agent's word.
    const fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Keep => "keep",
            Self::Yes => "yes",
        }
    }
}

impl Activation {
    fn arguments(&self) -> Vec<Argument> {
        let verdicts = &self.verdicts;
        let left = verdicts.left.clone().unwrap_or_default();
        vec![
            release(self.id),
            ("back", self.back.clone()),
            ("activated", verdicts.activated.line.clone()),
            ("activated_note", verdicts.activated.note.clone()),
            ("committed", verdicts.committed.line.clone()),
            ("committed_note", verdicts.committed.note.clone()),
            ("left", left.line),
            ("left_note", left.note),
            ("reverted", verdicts.reverted.line.clone()),
            ("reverted_note", verdicts.reverted.note.clone()),
            ("failed", verdicts.failed.line.clone()),
            ("failed_note", verdicts.failed.note.clone()),
            ("variables", list(&self.vars)),
            ("before_switch_hooks", self.hooks_at(HookPlace::BeforeSwitch)),
            ("switched_hooks", self.hooks_at(HookPlace::Switched)),
            ("committed_hooks", self.hooks_at(HookPlace::Committed)),
            ("reverted_hooks", self.hooks_at(HookPlace::Reverted)),
            ("into", self.slot.as_ref().map(slot_words).unwrap_or_default()),
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
            ("request", self.request.0.clone()),
            ("connect", self.connect.clone().unwrap_or_default()),
            ("trust", self.trust.clone()),
            ("wanted", self.wanted.0.clone()),
        ]
    }
}

impl Record {
    fn arguments(&self) -> Vec<Argument> {
        vec![("line", self.line.clone()), ("note", self.note.clone())]
    }
}

fn check(id: ReleaseId, base: Option<ReleaseId>, digest: Digest) -> Vec<Argument> {
    let base = base.map_or_else(String::new, |id| id.to_string());
    vec![release(id), ("base", base), ("digest", digest.to_string())]
}

fn revert(reason: RevertReason, cause: &Hidden) -> Vec<Argument> {
    vec![("reason", reason.word().to_owned()), ("cause", cause.0.clone())]
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

fn concluded(verdict: HookPlace, reason: Option<RevertReason>) -> Vec<Argument> {
    let reason = reason.map_or("", RevertReason::word).to_owned();
    vec![("verdict", verdict.word().to_owned()), ("reason", reason)]
}

fn yes_or_no(name: &'static str, yes: bool) -> Argument {
    (name, if yes { "yes" } else { "no" }.to_owned())
}

fn release(id: ReleaseId) -> Argument {
    ("id", id.to_string())
}

/// Whole seconds.
fn within(limit: Duration) -> Argument {
    ("within", limit.as_secs().to_string())
}

/// Returns the arguments of `env`: the name in the upload, the one in the release, and the mode.
fn env_file(id: ReleaseId, words: [&str; 5]) -> Vec<Argument> {
    let names = ["from", "file", "mode", "group", "keys"];
    [release(id)].into_iter().chain(names.into_iter().zip(words.map(str::to_owned))).collect()
}

fn run_in_release(id: ReleaseId, command: &str, vars: &[String], limit: Duration) -> [Argument; 4] {
    [release(id), within(limit), ("command", command.to_owned()), ("vars", list(vars))]
}

fn journal(lines: u32, service: Option<&ServiceName>) -> Vec<Argument> {
    let name = service.map(|service| service.name.clone()).unwrap_or_default();
    let unit = service.map(|service| service.unit.clone()).unwrap_or_default();
    vec![("lines", lines.to_string()), ("of_service", name), ("of_unit", unit)]
}

fn keep(id: ReleaseId, from: &[ReleaseId], paths: &[String]) -> Vec<Argument> {
    let from = from.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    vec![("functions", bare(ASSETS)), release(id), ("from", from), ("paths", list(paths))]
}

fn manifest(id: ReleaseId, of: ManifestOf, after: usize) -> Vec<Argument> {
    let file = match of {
        ManifestOf::Release => Layout::manifest(id),
        ManifestOf::Artifact => Layout::manifest(id) + ".artifact",
        ManifestOf::Env => Layout::env_keys(id),
    };
    vec![("file", file), ("after", after.to_string())]
}

fn probe(shared: &[SharedLink], ports: &[u16]) -> Vec<Argument> {
    let shared: Vec<_> = shared.iter().flat_map(|link| [kind(link), link.path.clone()]).collect();
    let ports: Vec<_> = ports.iter().map(|port| format!("{port:04X}")).collect();
    probing(PROBE, "probe_host", &shared, ports.join(" "))
}

fn flag(path: String) -> Vec<Argument> {
    probing(FLAG, "probe_flag", &[path], String::new())
}

/// Has the host call `function` of this part of the script with these words.
fn probing(part: &str, function: &str, words: &[String], ports: String) -> Vec<Argument> {
    let functions = format!("{}\n{function} \"$@\"", bare(part));
    vec![("functions", functions), ("shared", list(words)), ("ports", ports)]
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
