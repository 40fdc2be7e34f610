//! The words for events, shared by all reporters for people.

use super::human;
use crate::deploy::event::{Event, Phase};
use crate::model::words::short_revision;

/// A headline names at most this many hosts.
const MOST_NAMES: usize = 8;

/// Returns what the fleet is doing.
pub fn phase(phase: Phase) -> String {
    match phase {
        Phase::Switch { batch, of: of @ 2.. } => format!("activate, batch {batch} of {of}"),
        phase => step_of(phase).to_owned(),
    }
}

/// Returns the name of a phase, whatever the batch.
pub const fn step_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Look => "look",
        Phase::Prepare => "prepare",
        Phase::Switch { .. } => "activate",
        Phase::Commit => "commit",
        Phase::Tidy => "clean up",
    }
}

/// Returns the word for hosts that have completed a phase.
pub fn ready(phase: Phase) -> &'static str {
    match phase {
        Phase::Look => "looked at",
        Phase::Prepare => "prepared",
        Phase::Switch { .. } => "activated",
        Phase::Commit => "committed",
        Phase::Tidy => "cleaned up",
    }
}

/// Returns the line for an event of the whole run; none for other events.
pub fn of_run(event: &Event) -> Option<String> {
    match event {
        Event::RunStarted { goal, stage, hosts } => {
            Some(format!("{goal} {stage}: {}", human::short_list(hosts, MOST_NAMES)))
        }
        Event::ArtifactReady { name, digest, files, size, revision } => {
            let digest: String = digest.chars().take(12).collect();
            let (files, size) = (human::count(*files, "file"), human::size(*size));
            let revision = revision.as_deref().map(short_revision);
            let revision = revision.map_or_else(String::new, |it| format!(", revision {it}"));
            Some(format!("artifact {name}: {files}, {size}, digest {digest}{revision}"))
        }
        Event::ReleaseNamed { id } => Some(format!("release {id}")),
        _ => None,
    }
}

/// Returns the meaning of an interrupt at this moment.
pub fn interrupted(again: bool) -> &'static str {
    if again {
        "interrupted again: stopping now; the summary lists hosts in an unknown state"
    } else {
        "interrupted: nothing new is started, and an undecided release is reverted; press Ctrl-C \
         again to stop at once"
    }
}

/// Returns `web1, web2: text`, or the text alone if no host is named.
pub fn about(hosts: &str, text: &str) -> String {
    if hosts.is_empty() { text.to_owned() } else { format!("{hosts}: {text}") }
}

/// Returns what is shown of a finished step: `4.2 MB in 1.3s`.
pub fn finished(detail: &str, took: std::time::Duration) -> String {
    let took = human::duration(took);
    if detail.is_empty() { took } else { format!("{detail} in {took}") }
}
