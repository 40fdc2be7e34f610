//! `--json`: one object per line, each with `v` and `event`, then the fields of `docs/json.md`. The
//! last object is the report.

use std::io::Write;

use serde::Serialize;

use super::Reporter;
use crate::deploy::event::{Event, Phase};
use crate::deploy::outcome::{Done, Failure, HostResult, Report};
use crate::model::goal::GoalKind;
use crate::model::id::ReleaseId;
use crate::model::service::{Proof, ServiceProof};

/// The version of the format. It grows when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// The JSON Schema of everything that `--json` prints.
pub const SCHEMA: &str = include_str!("../../docs/output.schema.json");

/// Returns the report as its line in the output.
pub fn report_line(report: &Report) -> String {
    let line = JsonEvent::Report(Box::new(closing(report)));
    serde_json::to_string(&Envelope { v: VERSION, line: &line }).unwrap_or_default()
}

/// A reporter that writes JSON lines.
pub struct Json<W> {
    out: W,
}

impl<W: Write> Json<W> {
    /// Writes lines to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes a line; a closed pipe does not fail a run.
    fn put(&mut self, line: &JsonEvent<'_>) {
        let envelope = Envelope { v: VERSION, line };
        if let Ok(text) = serde_json::to_string(&envelope) {
            let _ = writeln!(self.out, "{text}");
            let _ = self.out.flush();
        }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn on_event(&mut self, event: &Event) {
        self.put(&line(event));
    }

    fn finish(&mut self, report: &Report) {
        self.put(&JsonEvent::Report(Box::new(closing(report))));
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u32,
    #[serde(flatten)]
    line: &'a JsonEvent<'a>,
}

/// The JSON form of [`Event`]: a type of its own, so that a change of events does not change the
/// format unnoticed.
#[derive(Serialize)]
#[serde(tag = "event")]
enum JsonEvent<'a> {
    #[serde(rename = "run-started")]
    RunStarted { goal: &'a GoalKind, stage: &'a str, hosts: &'a [String] },
    #[serde(rename = "artifact-ready")]
    ArtifactReady {
        name: &'a str,
        digest: &'a str,
        files: usize,
        size: u64,
        revision: Option<&'a str>,
    },
    #[serde(rename = "release-named")]
    ReleaseNamed { id: ReleaseId },
    #[serde(rename = "phase")]
    Phase { phase: &'static str, batch: Option<usize>, of: Option<usize> },
    #[serde(rename = "connected")]
    Connected { host: &'a str, live: &'a str },
    #[serde(rename = "ready")]
    Ready { host: &'a str },
    #[serde(rename = "step-started")]
    StepStarted { host: &'a str, step: &'a str },
    #[serde(rename = "step-finished")]
    StepFinished { host: &'a str, step: &'a str, detail: &'a str, took: f64 },
    #[serde(rename = "step-failed")]
    StepFailed { host: &'a str, step: &'a str, error: &'a str },
    #[serde(rename = "progress")]
    Progress { host: &'a str, sent: u64, total: u64 },
    #[serde(rename = "printed")]
    Printed { host: &'a str, source: &'a str, text: &'a str },
    #[serde(rename = "sent")]
    Sent { host: &'a str, line: &'a str },
    #[serde(rename = "warning")]
    Warning { host: Option<&'a str>, text: &'a str },
    #[serde(rename = "putting-back")]
    Reverting { host: &'a str, to: &'a str },
    #[serde(rename = "interrupted")]
    Interrupted { again: bool },
    #[serde(rename = "report")]
    Report(Box<Closing<'a>>),
}

fn line(event: &Event) -> JsonEvent<'_> {
    match event {
        Event::RunStarted { goal, stage, hosts } => JsonEvent::RunStarted { goal, stage, hosts },
        Event::ArtifactReady { name, digest, files, size, revision } => {
            let revision = revision.as_deref();
            JsonEvent::ArtifactReady { name, digest, files: *files, size: *size, revision }
        }
        Event::ReleaseNamed { id } => JsonEvent::ReleaseNamed { id: *id },
        Event::Phase(phase) => phase_line(*phase),
        Event::Connected { host, live } => JsonEvent::Connected { host, live },
        Event::Ready { host } => JsonEvent::Ready { host },
        Event::StepStarted { host, step } => JsonEvent::StepStarted { host, step },
        Event::StepFinished { host, step, detail, took } => JsonEvent::StepFinished {
            host,
            step,
            detail,
            took: (took.as_secs_f64() * 1000.0).round() / 1000.0,
        },
        Event::StepFailed { host, step, error } => JsonEvent::StepFailed { host, step, error },
        Event::Progress { host, sent, total } => {
            JsonEvent::Progress { host, sent: *sent, total: *total }
        }
        Event::Printed { host, source, text } => JsonEvent::Printed { host, source, text },
        Event::Sent { host, line } => JsonEvent::Sent { host, line },
        Event::Warning { host, text } => JsonEvent::Warning { host: host.as_deref(), text },
        Event::Reverting { host, to } => JsonEvent::Reverting { host, to },
        Event::Interrupted { again } => JsonEvent::Interrupted { again: *again },
    }
}

fn phase_line(phase: Phase) -> JsonEvent<'static> {
    let simple = |phase| JsonEvent::Phase { phase, batch: None, of: None };
    match phase {
        Phase::Look => simple("look"),
        Phase::Prepare => simple("prepare"),
        Phase::Switch { batch, of } => {
            JsonEvent::Phase { phase: "switch", batch: Some(batch), of: Some(of) }
        }
        Phase::Commit => simple("commit"),
        Phase::Tidy => simple("tidy"),
    }
}

#[derive(Serialize)]
struct Closing<'a> {
    goal: GoalKind,
    stage: &'a str,
    release: Option<ReleaseId>,
    verdict: &'static str,
    exit_code: u8,
    interrupted: bool,
    hosts: Vec<HostLine<'a>>,
    warnings: Vec<WarningLine<'a>>,
    failure: Option<FailureLine<'a>>,
    split: bool,
}

#[derive(Serialize)]
struct HostLine<'a> {
    host: &'a str,
    #[serde(flatten)]
    result: ResultLine<'a>,
}

#[derive(Serialize)]
#[serde(tag = "result")]
enum ResultLine<'a> {
    #[serde(rename = "done")]
    Done {
        live: Option<ReleaseId>,
        before: Option<&'a str>,
        proof: Option<&'static str>,
        services: Vec<ServiceLine>,
        pruned: &'a [String],
        sent: u64,
        size: u64,
        files: usize,
        linked: usize,
        linked_size: u64,
        rebuilt: usize,
        spared: u64,
    },
    #[serde(rename = "unchanged")]
    Unchanged { live: Option<ReleaseId> },
    #[serde(rename = "untouched")]
    Untouched { live: Option<&'a str>, failure: Option<FailureLine<'a>> },
    #[serde(rename = "skipped")]
    Skipped { failure: FailureLine<'a> },
    #[serde(rename = "put-back")]
    Reverted { live: &'a str, failure: FailureLine<'a>, but: Option<&'a str> },
    #[serde(rename = "locked")]
    Locked { holder: &'a str },
    #[serde(rename = "stuck")]
    Stuck { cause: FailureLine<'a>, undo: FailureLine<'a> },
    #[serde(rename = "unknown")]
    Unknown { failure: FailureLine<'a> },
}

#[derive(Serialize)]
struct ServiceLine {
    name: String,
    unit: Option<String>,
    proof: Option<&'static str>,
}

#[derive(Serialize)]
struct WarningLine<'a> {
    host: Option<&'a str>,
    text: &'a str,
}

#[derive(Serialize)]
struct FailureLine<'a> {
    what: &'a str,
    cause: &'a [String],
    hint: Option<&'a str>,
}

fn closing(report: &Report) -> Closing<'_> {
    let verdict = report.verdict();
    Closing {
        goal: report.goal,
        stage: &report.stage,
        release: report.release,
        verdict: verdict.word(),
        exit_code: verdict.exit_code(),
        interrupted: report.interrupted,
        hosts: report
            .hosts
            .iter()
            .map(|(host, result)| HostLine { host, result: result_line(result) })
            .collect(),
        warnings: report
            .warnings
            .iter()
            .map(|(host, text)| WarningLine { host: host.as_deref(), text })
            .collect(),
        failure: report.failure.as_ref().map(failure_line),
        split: report.split,
    }
}

fn result_line(result: &HostResult) -> ResultLine<'_> {
    match result {
        HostResult::Done(done) => done_line(done),
        HostResult::Unchanged { live } => ResultLine::Unchanged { live: *live },
        HostResult::Untouched { live, failure } => ResultLine::Untouched {
            live: live.as_deref(),
            failure: failure.as_ref().map(failure_line),
        },
        HostResult::Skipped { failure } => ResultLine::Skipped { failure: failure_line(failure) },
        HostResult::Reverted { live, failure, but } => {
            ResultLine::Reverted { live, failure: failure_line(failure), but: but.as_deref() }
        }
        HostResult::Locked { holder } => ResultLine::Locked { holder },
        HostResult::Stuck { cause, undo } => {
            ResultLine::Stuck { cause: failure_line(cause), undo: failure_line(undo) }
        }
        HostResult::Unknown { failure } => ResultLine::Unknown { failure: failure_line(failure) },
    }
}

fn done_line(done: &Done) -> ResultLine<'_> {
    let service = |service: &'_ ServiceProof| ServiceLine {
        name: service.service.clone(),
        unit: service.unit.clone(),
        proof: service.proof.map(Proof::word),
    };
    ResultLine::Done {
        live: done.live,
        before: done.before.as_deref(),
        proof: done.proof().map(Proof::word),
        services: done.services.iter().map(service).collect(),
        pruned: &done.pruned,
        sent: done.sent,
        size: done.size,
        files: done.files,
        linked: done.linked,
        linked_size: done.linked_size,
        rebuilt: done.rebuilt,
        spared: done.spared,
    }
}

fn failure_line(failure: &Failure) -> FailureLine<'_> {
    FailureLine { what: &failure.what, cause: &failure.cause, hint: failure.hint.as_deref() }
}
