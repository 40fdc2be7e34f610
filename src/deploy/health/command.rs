//! A command on the host, in the release directory.

use std::time::Duration;

use super::{Miss, Ward, detour};
use crate::remote::order::{DONE, Order};

pub(super) async fn attempt(ward: &Ward<'_>, text: &str, limit: Duration) -> Result<(), Miss> {
    let order = Order::Try {
        id: ward.switch.id,
        command: text.to_owned(),
        vars: ward.switch.vars.clone(),
        limit: detour::whole(limit),
    };
    let answer = detour::ask(ward, &order).await?;
    if answer.code == DONE {
        return Ok(());
    }
    // The last line is the agent's, on how it ended: `it exited with code 1`.
    let (said, how) = answer.text.trim_end().rsplit_once('\n').unwrap_or(("", &answer.text));
    // What a command prints last says why it failed.
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(super::LINES)..].join("\n");
    let how = how.trim().trim_start_matches("it ");
    Err(Miss { said: tail, ..Miss::new(how) })
}
