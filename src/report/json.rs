//! `--json`: one object per line, each with `v` and `event`, then the fields of `docs/json.md`. The
//! last object is the report.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use super::{Reporter, clean};
use crate::deploy::event::Event;
use crate::deploy::outcome::{Failure, HostResult, Report};
use crate::model::goal::GoalKind;
use crate::model::id::ReleaseId;

/// The version of the format. It grows when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// The JSON Schema of everything that `--json` prints.
pub const SCHEMA: &str = include_str!("../../docs/output.schema.json");

/// Returns the report as its line in the output.
pub fn report_line(report: &Report) -> String {
    versioned(&closing(report))
}

fn versioned(fields: &impl Serialize) -> String {
    serde_json::to_string(&Envelope { v: VERSION, fields }).unwrap_or_default()
}

/// Returns the answer of a command: its fields, every text of them in one clean line, and the
/// version.
pub fn answer(mut fields: Value) -> Value {
    clean_texts(&mut fields);
    fields["v"] = VERSION.into();
    fields
}

fn clean_texts(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean::line(text),
        Value::Array(items) => items.iter_mut().for_each(clean_texts),
        Value::Object(fields) => fields.values_mut().for_each(clean_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
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
    fn put(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }
}

impl<W: Write> Reporter for Json<W> {
    fn on_event(&mut self, event: &Event) {
        self.put(&versioned(event));
    }

    fn finish(&mut self, report: &Report) {
        self.put(&report_line(report));
    }
}

#[derive(Serialize)]
struct Envelope<'a, F> {
    v: u32,
    #[serde(flatten)]
    fields: &'a F,
}

#[derive(Serialize)]
#[serde(tag = "event", rename = "report")]
struct Closing<'a> {
    goal: GoalKind,
    stage: &'a str,
    release: Option<ReleaseId>,
    verdict: &'static str,
    exit_code: u8,
    interrupted: bool,
    hosts: Vec<HostLine<'a>>,
    warnings: Vec<WarningLine<'a>>,
    failure: &'a Option<Failure>,
    split: bool,
}

#[derive(Serialize)]
struct HostLine<'a> {
    host: &'a str,
    #[serde(flatten)]
    result: &'a HostResult,
}

#[derive(Serialize)]
struct WarningLine<'a> {
    host: &'a Option<String>,
    text: &'a str,
}

fn closing(report: &Report) -> Closing<'_> {
    let verdict = report.verdict();
    let hosts = report.hosts.iter().map(|(host, result)| HostLine { host, result });
    let warnings = report.warnings.iter().map(|(host, text)| WarningLine { host, text });
    Closing {
        goal: report.goal,
        stage: &report.stage,
        release: report.release,
        verdict: verdict.word(),
        exit_code: verdict.exit_code(),
        interrupted: report.interrupted,
        hosts: hosts.collect(),
        warnings: warnings.collect(),
        failure: &report.failure,
        split: report.split,
    }
}
