//! Hooks on this machine: `local.before`, `local.staged`, `local.after`, `local.failed`.

use std::pin::pin;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::context::RunContext;
use super::event::Event;
use super::outcome::{Failure, Report, RunOutcome};
use super::plan::run_vars;
use crate::config::Hook;
use crate::model::goal::GoalKind;
use crate::model::id::ReleaseId;

/// Runs `local.before`. Fails with the first command that fails; no host was touched then.
pub async fn before(cx: &RunContext<'_>) -> Result<(), Failure> {
    for hook in &cx.config.hooks.before {
        run(cx, "local.before", hook, &[], "").await?;
    }
    Ok(())
}

/// Runs `local.staged`. Fails with the first command that fails; nothing live has changed then.
pub async fn staged(cx: &RunContext<'_>, release: ReleaseId) -> Result<(), Failure> {
    let vars = [format!("SHIPIT_RELEASE={release}")];
    for hook in &cx.config.hooks.local_staged {
        run(cx, "local.staged", hook, &vars, "").await?;
    }
    Ok(())
}

/// Runs `local.after` once a new release is live, or `local.failed`, with the report on their
/// standard input. A failure there is a warning.
pub async fn after(cx: &RunContext<'_>, report: &Report) {
    let (name, hooks) = match (report.goal, report.verdict()) {
        (GoalKind::Deploy | GoalKind::Activate, RunOutcome::Done) => {
            ("local.after", &cx.config.hooks.after)
        }
        (GoalKind::Stage, RunOutcome::Done) => return,
        (GoalKind::Deploy | GoalKind::Activate | GoalKind::Stage, _) => {
            ("local.failed", &cx.config.hooks.failed)
        }
        _ => return,
    };
    let release = report.release.map(|id| id.to_string()).unwrap_or_default();
    let vars = [format!("SHIPIT_RELEASE={release}")];
    let told = (cx.told)(report);
    for hook in hooks {
        if let Err(failure) = run(cx, name, hook, &vars, &told).await {
            cx.events.emit(Event::Warning { host: None, text: failure.one_line() });
        }
    }
}

/// Runs a hook that gets `input` on its standard input.
async fn run(
    cx: &RunContext<'_>,
    name: &str,
    hook: &Hook,
    vars: &[String],
    input: &str,
) -> Result<(), Failure> {
    let what = format!("the {name} hook `{}` failed", hook.run);
    let all = run_vars(cx.config, cx.run, cx.config.hosts.iter());
    let pairs = all.iter().chain(vars).filter_map(|var| var.split_once('='));
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&hook.run).current_dir(&cx.config.base).envs(pairs);
    let ended = cx.cancel.unless_asked(timeout(hook.limit, output(command, input))).await;
    let seconds = hook.limit.as_secs();
    let output = ended
        .ok_or_else(Failure::stopped)?
        .map_err(|_| Failure::new(what.clone()).because(format!("it ran longer than {seconds}s")))?
        .map_err(|error| Failure::of(what.clone(), &error))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() {
        let source = name.to_owned();
        cx.events.emit(Event::Printed { host: "local".to_owned(), source, text });
        return Ok(());
    }
    Err(Failure::new(what).because(output.status.to_string()).because(text))
}

/// Runs a command with `input` on its standard input. The command need not read it.
async fn output(mut command: Command, input: &str) -> std::io::Result<Output> {
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let mut ended = pin!(child.wait_with_output());
    let feed = async {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    tokio::select! {
        output = &mut ended => return output,
        () = feed => {}
    }
    ended.await
}
