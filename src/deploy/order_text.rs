//! Orders in words for people: the name of each, and what it means that one was not done.

use super::outcome::Failure;
use crate::model::words::{count, size};
use crate::remote::frames::Response;
use crate::remote::order::{ODD, Order, PARTLY};

/// Returns one word for what an order does.
pub fn order_name(order: &Order) -> &'static str {
    match order {
        Order::Hook { name, .. } => name,
        other => other.verb(),
    }
}

/// Returns the failure that an order was not done, with what the host said.
pub(super) fn order_failure(order: &Order, answer: &Response) -> Failure {
    Failure::new(failed_to(order)).because(&answer.text).hint(hint_for(order, answer))
}

/// Returns what to do about an order that was not done, if its answer tells.
fn hint_for(order: &Order, answer: &Response) -> Option<String> {
    let text = answer.text.to_ascii_lowercase();
    match order {
        Order::Hook { .. } if text.contains("permission denied") || text.contains("eacces") => {
            Some(
                "files of a release are read-only: delete one before writing it again (`rm -f \
                 FILE`), or keep it in linked_dirs"
                    .to_owned(),
            )
        }
        Order::Seal { .. } if answer.code == ODD => {
            Some("have the hook remove them, or make them in a directory of linked_dirs".to_owned())
        }
        _ => None,
    }
}

/// Returns what an order that was not done means to the user.
pub(super) fn failed_to(order: &Order) -> String {
    match order {
        Order::Check { id, .. } => format!("{id} does not match what was sent"),
        Order::Link { .. } => "could not link from shared/".to_owned(),
        Order::Env { file, .. } => format!("could not write {file}"),
        Order::Keep { .. } => "could not keep files of earlier releases".to_owned(),
        Order::Hook { name, command, .. } => format!("the {name} hook `{command}` failed"),
        Order::Seal { id, .. } => format!("could not seal {id}"),
        Order::Units { id } => format!("systemd would not take the unit files of {id}"),
        Order::Image { id } => format!("could not load the image of {id}"),
        Order::Stage { id, .. } => format!("could not record {id} as complete"),
        Order::Prune { name, .. } => format!("could not prune {name}"),
        Order::CleanUp { .. } => "could not delete what was pruned".to_owned(),
        other => format!("the {} order failed", order_name(other)),
    }
}

/// Returns what the host said and, of a verdict, the last line if that says what did not go well.
pub(super) fn partly(answer: &Response) -> (&str, Option<String>) {
    let text = answer.text.trim_end();
    if answer.code != PARTLY {
        return (text, None);
    }
    let (said, but) = text.rsplit_once('\n').unwrap_or(("", text));
    (said, Some(but.to_owned()))
}

/// Returns the name of the step that an order does.
pub(super) fn step_name(order: &Order) -> &'static str {
    match order {
        Order::Unpack { .. } => "upload",
        other => order_name(other),
    }
}

/// Returns what to show of an order that is done; may be empty.
pub(super) fn detail(order: &Order, answer: &Response) -> String {
    match order {
        Order::Unpack { size: bytes, .. } => size(*bytes as u64),
        Order::Keep { .. } => {
            let files = answer.text.trim().parse().map(|files| count(files, "file"));
            files.unwrap_or_default()
        }
        _ => String::new(),
    }
}
