//! A command on the host, in the release directory.

use std::time::Duration;

use super::{CheckContext, ProbeFailure, via_host};
use crate::remote::order::{DONE, Order};

pub(super) async fn attempt(
    context: &CheckContext<'_>,
    text: &str,
    limit: Duration,
) -> Result<(), ProbeFailure> {
    let order = Order::Try {
        id: context.switch.id,
        command: text.to_owned(),
        vars: context.switch.vars.clone(),
        limit: via_host::whole(limit),
    };
    let answer = via_host::ask(context, &order).await?;
    if answer.code == DONE {
        return Ok(());
    }
    // The last line is the agent's, on how it ended: `it exited with code 1`.
    let (said, how) = answer.text.trim_end().rsplit_once('\n').unwrap_or(("", &answer.text));
    // The last lines of a command tell why it failed.
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(super::LINES)..].join("\n");
    let how = how.trim().trim_start_matches("it ");
    Err(ProbeFailure { said: tail, ..ProbeFailure::new(how) })
}
