//! The steps of `setup`, planned or done, as text and JSON.

use serde_json::{Value, json};

use super::json::answer;
use super::plan::below_hosts;
use crate::deploy::setup::{HostSteps, SetupStep, StepState};

/// Returns a step in words: a line, and further ones that belong to it.
fn lines(step: &SetupStep, user: &str) -> Vec<String> {
    let line = match step {
        SetupStep::Account => {
            format!("make the user {user}, who may log in with the keys of this login")
        }
        SetupStep::Member { group, .. } => format!("put {user} into the group {group}"),
        SetupStep::Directory { path } => format!("make {path}, in which {user} can write"),
        SetupStep::File { path, template, .. } => {
            format!("write {path} as in {template}, for you to fill in")
        }
        SetupStep::Rules { file, commands } => {
            let line = format!("let sudo allow {user}, in {file}, without a password:");
            let commands = commands.iter().map(|command| format!("  {command}"));
            return [line].into_iter().chain(commands).collect();
        }
        SetupStep::Linger => format!("let units of {user} run without a login"),
        SetupStep::Brought { path, .. } => {
            format!("{path} is missing, and has no template: bring it")
        }
    };
    vec![line]
}

/// Returns the first line of a step.
pub fn step_line(step: &SetupStep, user: &str) -> String {
    lines(step, user).swap_remove(0)
}

/// Returns the steps that are not as wanted, with equal hosts together.
pub fn setup_view(hosts: &[(String, HostSteps)]) -> String {
    let left = |host: &HostSteps| -> Vec<String> {
        let steps = host.steps.iter().filter(|(_, state)| *state == StepState::Differs);
        steps.flat_map(|(step, _)| lines(step, &host.user)).collect()
    };
    let left: Vec<_> = hosts.iter().map(|(name, host)| (name.clone(), left(host))).collect();
    below_hosts(&left).iter().flat_map(|line| [line, "\n"]).collect()
}

/// Returns every step with what became of it.
pub fn setup_json(hosts: &[(String, HostSteps)]) -> Value {
    let word = |state: &StepState| match state {
        StepState::Same => "same",
        StepState::Differs => "differs",
        StepState::Done => "done",
        StepState::Failed(_) => "failed",
        StepState::Skipped => "skipped",
    };
    let host = |(name, host): &(String, HostSteps)| {
        let steps = host.steps.iter().map(|(step, state)| {
            json!({ "step": lines(step, &host.user).join("\n"), "state": word(state) })
        });
        json!({ "host": name, "user": host.user, "steps": steps.collect::<Value>() })
    };
    answer(json!({ "setup": hosts.iter().map(host).collect::<Value>() }))
}
