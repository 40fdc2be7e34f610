//! The dry run as text and JSON, with equal plans of several hosts together.

use std::collections::BTreeMap;
use std::iter;

use serde_json::{Value, json};

use super::human::{count, group_by, list, short_list, size};
use super::json::answer;
use super::{clean, words};
use crate::config::Hooks;
use crate::deploy::goal::describe_link;
use crate::deploy::order_text::order_name;
use crate::deploy::plan::{ActivationPlan, HostPlan, MakeRelease, Recovery};
use crate::model::delta::PatchedFile;
use crate::model::goal::GoalKind;
use crate::model::hook::HookPlace;
use crate::model::slots::Slot;
use crate::remote::order::{AgentHook, Order};

/// Returns what a plan does, one line a step.
pub fn plan_lines(plan: &HostPlan) -> Vec<String> {
    let mut lines: Vec<_> = plan.recover.iter().flat_map(recover_lines).collect();
    lines.extend(plan.make.iter().flat_map(make_lines));
    if plan.waiting.is_some() {
        lines.push("record that it waits to be activated".to_owned());
    }
    lines.extend(plan.activate.iter().flat_map(activate_lines));
    lines.extend(plan.clean.iter().map(describe));
    lines
}

fn recover_lines(recovery: &Recovery) -> Vec<String> {
    match recovery {
        Recovery::Judge(plan) => vec![format!(
            "recover {}, which an interrupted run left undecided: judge it, then commit or revert",
            plan.id
        )],
        Recovery::Conclude { plan, verdict, reason } => {
            let id = plan.id;
            let found = reason.map(|_| format!("recover {id}: record that it was reverted"));
            found.into_iter().chain(hook_lines(plan, *verdict, "")).collect()
        }
        Recovery::Forward(plan) => {
            let what = format!("recover {}: make it live here as on other hosts", plan.id);
            iter::once(what).chain(activate_lines(plan)).collect()
        }
    }
}

fn make_lines(make: &MakeRelease) -> Vec<String> {
    let delta = &make.prepared.delta;
    let mut lines: Vec<_> = make.clean_up.iter().map(describe).collect();
    lines.push(upload_line(make));
    lines.extend(delta.patched.iter().map(|(path, file)| patch_line(path, file)));
    let check = match delta.base {
        None => "check every file against its SHA-256",
        Some(_) => "check every file that is sent against its SHA-256, all others by size and mode",
    };
    lines.push(check.to_owned());
    lines.extend(make.then.iter().map(describe));
    lines
}

fn upload_line(make: &MakeRelease) -> String {
    let delta = &make.prepared.delta;
    let (files, linked, spared) = (make.files, delta.links.len(), delta.spared());
    if linked == 0 && spared == 0 {
        return format!("upload {}, {}", count(files, "file"), size(make.size));
    }
    format!(
        "upload {} of {}, {} of {}; the others are there already",
        files - linked,
        count(files, "file"),
        size(make.size - delta.linked - spared),
        size(make.size)
    )
}

fn patch_line(path: &str, file: &PatchedFile) -> String {
    let (sent, size) = (size(file.sent), size(file.size));
    format!("patch {path}: send {sent} of {size}")
}

fn activate_lines(plan: &ActivationPlan) -> Vec<String> {
    let mut lines = hook_lines(plan, HookPlace::BeforeSwitch, "");
    if let Some(change) = &plan.slot {
        let Slot { name, port } = &change.slot;
        lines.push(format!("start it in slot {name}, port {port}"));
        lines.extend(plan.activated.iter().map(describe));
        lines.push("judge it there; if it fails, no traffic went to it".to_owned());
    }
    lines.push(format!("flip current to {}", plan.id));
    lines.extend(hook_lines(plan, HookPlace::Switched, ""));
    if let Some(change) = &plan.slot {
        lines.push(format!("move the traffic to slot {}", change.slot.name));
    }
    lines.extend(plan.restarts.iter().map(|how| format!("restart: {how}")));
    if plan.slot.is_none() {
        lines.extend(plan.activated.iter().map(describe));
    }
    lines.push(format!("judge it; if it fails, revert to {}", plan.back_shown()));
    lines.extend(hook_lines(plan, HookPlace::Reverted, "after that revert, "));
    lines.extend(hook_lines(plan, HookPlace::Committed, "once it is committed, "));
    lines
}

/// Returns a line for each hook that the agent runs by itself at `place`.
fn hook_lines(plan: &ActivationPlan, place: HookPlace, when: &str) -> Vec<String> {
    let hooks = plan.hooks.iter().filter(|hook| hook.place == place);
    let line = |hook: &AgentHook| format!("{when}{}", describe_hook(place.word(), &hook.command));
    hooks.map(line).collect()
}

fn describe_hook(name: &str, command: &str) -> String {
    format!("run the {name} hook `{command}`")
}

fn describe(order: &Order) -> String {
    match order {
        Order::Link { links, .. } => {
            let links: Vec<_> = links.iter().map(describe_link).collect();
            format!("link {} from shared/", links.join(", "))
        }
        Order::Env { file, mode, .. } => format!("write {file} (mode {mode})"),
        Order::Revision { revision, .. } => format!("write REVISION ({revision})"),
        Order::Keep { from, paths, .. } => {
            let from: Vec<_> = from.iter().map(ToString::to_string).collect();
            format!("keep the files of {} below {}", from.join(", "), paths.join(", "))
        }
        Order::Hook { name, command, .. } => describe_hook(name, command),
        Order::Seal { .. } => "seal: remove write bits from its files".to_owned(),
        Order::Units { .. } => "verify its unit files; once it is live, systemd links what is new and reads what changed"
            .to_owned(),
        Order::Image { .. } => "load its container image; once it is live, it has the tag `current`".to_owned(),
        Order::Stage { .. } => "record it as complete".to_owned(),
        Order::Prune { name, .. } => format!("prune {name}"),
        Order::CleanUp { keep: None } => {
            "delete what was pruned or left by interrupted runs".to_owned()
        }
        Order::CleanUp { keep: Some(_) } => {
            "delete leftovers of interrupted runs, except the partial upload of this release"
                .to_owned()
        }
        other => order_name(other).to_owned(),
    }
}

/// Returns the plans of all hosts as text, after the warnings, which may change the reader's mind.
pub fn plan_view(plans: &[(String, Vec<String>)], warnings: &[(Option<String>, String)]) -> String {
    let mut all = Vec::new();
    let groups = group_by(warnings.iter().map(|(host, text)| (host.as_deref(), text)));
    for (warning, hosts) in groups {
        let hosts: Vec<_> = hosts.into_iter().flatten().collect();
        let line = words::about(&list(&hosts), &clean::line(warning));
        all.push(format!("warning: {line}"));
    }
    all.extend(below_hosts(plans));
    all.push("nothing was changed: this was a dry run\n".to_owned());
    all.join("\n")
}

/// Returns what is to be done on each host, with equal hosts together.
pub(super) fn below_hosts(hosts: &[(String, Vec<String>)]) -> Vec<String> {
    let mut all = Vec::new();
    for (lines, hosts) in group_by(hosts.iter().map(|(host, lines)| (host, lines))) {
        all.push(format!("{}:", list(&hosts)));
        if lines.is_empty() {
            all.push("  nothing to do".to_owned());
        }
        all.extend(lines.iter().map(|line| format!("  {}", clean::line(line))));
    }
    all
}

/// Returns the order in which hosts become live, if that is in several batches.
pub fn batches_line(batches: &[Vec<String>]) -> Option<String> {
    let line = || {
        let named = batches.iter().map(|batch| short_list(batch, 8));
        format!("{}: {}", count(batches.len(), "batch"), named.collect::<Vec<_>>().join("; "))
    };
    (batches.len() > 1).then(line)
}

/// Returns the hooks that a run of this kind runs on this machine once hosts are asked, one line
/// each.
pub fn local_hook_lines(hooks: &Hooks, kind: GoalKind) -> Vec<String> {
    let stages = matches!(kind, GoalKind::Deploy | GoalKind::Stage);
    let activates = matches!(kind, GoalKind::Deploy | GoalKind::Activate);
    let places = [
        (stages, "staged", "once every host is ready", &hooks.local_staged),
        (activates, "after", "once it is live", &hooks.after),
        (stages || activates, "failed", "if it fails", &hooks.failed),
    ];
    let mut lines = Vec::new();
    for (_, name, when, hooks) in places.into_iter().filter(|(runs, ..)| *runs) {
        let hooks = hooks.iter().map(|hook| describe_hook(&format!("local.{name}"), &hook.run));
        lines.extend(hooks.map(|what| format!("here, {when}, {what}")));
    }
    lines
}

/// Returns the plans of all hosts as JSON, with the `details` of each host.
pub fn plan_json(
    plans: &[(String, Vec<String>)],
    details: &BTreeMap<String, Value>,
    warnings: &[(Option<String>, String)],
) -> Value {
    let host = |(host, lines): &(String, Vec<String>)| {
        let mut fields = details.get(host).cloned().unwrap_or_else(|| json!({}));
        fields["host"] = json!(host);
        fields["steps"] = json!(lines);
        fields
    };
    let warning = |(host, text): &(Option<String>, String)| json!({ "host": host, "text": text });
    answer(json!({
        "dry_run": true,
        "hosts": plans.iter().map(host).collect::<Value>(),
        "warnings": warnings.iter().map(warning).collect::<Value>(),
    }))
}
