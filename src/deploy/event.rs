//! Events of a run, for reporters. The core emits them and never hears back.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::goal::GoalKind;
use crate::model::id::ReleaseId;

/// Something that happened. Its names are those of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run on these hosts begins; they are in the order of the config.
    RunStarted { goal: GoalKind, stage: String, hosts: Vec<String> },
    /// The artifact is open.
    ArtifactReady {
        /// As the user named it.
        name: String,
        digest: String,
        /// Regular files.
        files: usize,
        /// Their bytes.
        size: u64,
        revision: Option<String>,
    },
    /// The new release has its id.
    ReleaseNamed { id: ReleaseId },
    /// A phase of the whole fleet begins.
    Phase(Phase),
    /// A host was reached and looked at, with the lock if the run needs it. What is `live` is an
    /// id, `nothing yet`, or another tool's directory.
    Connected { host: String, live: String },
    /// A host has finished the current phase.
    Ready { host: String },
    /// A step on one host begins: `upload`, `check`, `link`, `activate`, …
    StepStarted { host: String, step: &'static str },
    /// A step ended well; `detail` is `4.2 MB`, `3 links`, or empty.
    StepFinished {
        host: String,
        step: &'static str,
        detail: String,
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// A step failed; `error` is one line.
    StepFailed { host: String, step: &'static str, error: String },
    /// Bytes of the upload that were sent, of an estimated total.
    Progress { host: String, sent: u64, total: u64 },
    /// Output of the step or hook `source`, free of control sequences; `host` may be `local`.
    Printed { host: String, source: String, text: String },
    /// An order was sent to a host; `line` names it, without arguments.
    Sent { host: String, line: String },
    /// Something that the user should know though it fails nothing, in one line.
    Warning { host: Option<String>, text: String },
    /// A host reverts the new release to an id, another tool's directory, or `nothing`.
    #[serde(rename = "putting-back")]
    Reverting { host: String, to: String },
    /// The user asked to stop; `again`: for the second time.
    Interrupted { again: bool },
}

/// A phase of a run: all hosts end it before the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "PhaseFields")]
pub enum Phase {
    /// Connect, lock, look.
    Look,
    /// Make the release on every host.
    Prepare,
    /// Activate one batch, counted from 1, of `of`.
    Switch { batch: usize, of: usize },
    /// Tell every host that the release stays.
    Commit,
    /// Prune and clean up.
    Tidy,
}

/// A phase in JSON.
#[derive(Serialize)]
struct PhaseFields {
    phase: &'static str,
    batch: Option<usize>,
    of: Option<usize>,
}

impl From<Phase> for PhaseFields {
    fn from(phase: Phase) -> Self {
        let simple = |phase| Self { phase, batch: None, of: None };
        match phase {
            Phase::Look => simple("look"),
            Phase::Prepare => simple("prepare"),
            Phase::Switch { batch, of } => {
                Self { phase: "switch", batch: Some(batch), of: Some(of) }
            }
            Phase::Commit => simple("commit"),
            Phase::Tidy => simple("tidy"),
        }
    }
}

/// Writes a duration as seconds, to the millisecond.
fn seconds<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// The receiver of events: a borrowed callback that cannot fail.
#[derive(Clone, Copy)]
pub struct Events<'a>(&'a (dyn Fn(Event) + Send + Sync));

impl<'a> Events<'a> {
    /// Returns events that go to `sink`.
    pub fn new(sink: &'a (dyn Fn(Event) + Send + Sync)) -> Self {
        Self(sink)
    }

    /// Sends an event.
    pub fn emit(self, event: Event) {
        (self.0)(event);
    }
}
