//! Events, results and reports as a run makes them.

use std::time::Duration;

use shipit::deploy::event::{Event, Phase};
use shipit::deploy::outcome::{Done, Failure, HostResult, Report};
use shipit::model::goal::GoalKind;
use shipit::model::id::ReleaseId;
use shipit::model::service::Proof;
use shipit::report::Reporter;

use super::services::proved;

pub(crate) fn id(text: &str) -> ReleaseId {
    text.parse().unwrap()
}

pub(crate) const OLD: &str = "20260821090311";
pub(crate) const NEW: &str = "20260822101502";

pub(crate) fn failure(what: &str, cause: &[&str], hint: Option<&str>) -> Failure {
    let cause = cause.iter().map(ToString::to_string).collect();
    Failure { what: what.to_owned(), cause, hint: hint.map(str::to_owned) }
}

pub(crate) fn done() -> HostResult {
    HostResult::Done(Done {
        live: Some(id(NEW)),
        before: Some(OLD.to_owned()),
        services: proved(Proof::Seen),
        pruned: Vec::new(),
        kept: None,
        sent: 4_200_000,
        size: 9_100_000,
        files: 42,
        linked: 0,
        linked_size: 0,
        rebuilt: 0,
        spared: 0,
    })
}

pub(crate) fn report(hosts: Vec<(&str, HostResult)>) -> Report {
    Report {
        goal: GoalKind::Deploy,
        stage: "production".to_owned(),
        release: Some(id(NEW)),
        hosts: hosts.into_iter().map(|(host, result)| (host.to_owned(), result)).collect(),
        warnings: Vec::new(),
        interrupted: false,
        failure: None,
        split: false,
    }
}

/// Tells a reporter what happened.
pub(crate) fn tell(reporter: &mut dyn Reporter, events: &[Event]) {
    for event in events {
        reporter.on_event(event);
    }
}

/// One event of each kind, in an order that could be.
pub(crate) fn every_event() -> Vec<Event> {
    let web = |number: u8| format!("web{number}");
    vec![
        Event::RunStarted {
            goal: GoalKind::Deploy,
            stage: "production".to_owned(),
            hosts: vec![web(1), web(2)],
        },
        Event::ArtifactReady {
            name: "dist/".to_owned(),
            digest: "9f3c".repeat(16),
            files: 3,
            size: 4_200_000,
            revision: Some(format!("{}-dirty", "71c1".repeat(10))),
        },
        Event::Phase(Phase::Look),
        Event::Connected { host: web(1), live: OLD.to_owned() },
        Event::Connected { host: web(2), live: "nothing yet".to_owned() },
        Event::ReleaseNamed { id: id(NEW) },
        Event::Warning { host: None, text: "no revision is known".to_owned() },
        Event::Phase(Phase::Prepare),
        Event::StepStarted { host: web(1), step: "upload" },
        Event::Progress { host: web(1), sent: 1_900_000, total: 4_200_000 },
        Event::Sent { host: web(1), line: format!("check {NEW}") },
        Event::StepFinished {
            host: web(1),
            step: "upload",
            detail: "4.2 MB".to_owned(),
            took: Duration::from_millis(1300),
        },
        Event::Printed {
            host: web(1),
            source: "staged".to_owned(),
            text: "migrating\n3 tables".to_owned(),
        },
        Event::Ready { host: web(1) },
        Event::Phase(Phase::Switch { batch: 1, of: 2 }),
        Event::StepFailed {
            host: web(2),
            step: "activate",
            error: "`systemctl restart shop` exited with code 1".to_owned(),
        },
        Event::Reverting { host: web(2), to: OLD.to_owned() },
        Event::Warning { host: Some(web(1)), text: "the clock is 3 min ahead".to_owned() },
        Event::Interrupted { again: false },
        Event::Phase(Phase::Commit),
        Event::Phase(Phase::Tidy),
    ]
}
