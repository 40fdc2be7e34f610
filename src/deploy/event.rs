//! What happens while it happens. The core tells; a reporter shows; nothing comes back.

use std::time::Duration;

use crate::model::id::ReleaseId;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A run begins.
    RunStarted {
        /// `deploy`, `rollback`, `prune`, `pin`, `unpin`, `lock`, `unlock`.
        goal: &'static str,
        /// The stage.
        stage: String,
        /// Its hosts, in order.
        hosts: Vec<String>,
    },
    /// What is deployed is known.
    ArtifactReady {
        /// As the user named it.
        name: String,
        /// Of the artifact.
        digest: String,
        /// Regular files.
        files: usize,
        /// Their bytes.
        size: u64,
        /// The source revision, where one is known.
        revision: Option<String>,
    },
    /// The release has its id.
    ReleaseNamed {
        /// The same on all hosts.
        id: ReleaseId,
    },
    /// A phase of the whole fleet begins.
    Phase(Phase),
    /// A host is reached, locked and looked at.
    Connected {
        /// Which.
        host: String,
        /// What is live there: an id, `nothing yet`, another tool's directory.
        live: String,
    },
    /// A host has done all of the phase that the fleet is in.
    Ready {
        /// Which.
        host: String,
    },
    /// One step on one host begins.
    StepStarted {
        /// Which.
        host: String,
        /// `upload`, `check`, `link`, `activate`, …
        step: &'static str,
    },
    /// It ended well.
    StepFinished {
        /// Which.
        host: String,
        /// The same word.
        step: &'static str,
        /// `4.2 MB`, `3 links`; may be empty.
        detail: String,
        /// How long it took.
        took: Duration,
    },
    /// It did not.
    StepFailed {
        /// Which.
        host: String,
        /// The same word.
        step: &'static str,
        /// One line.
        error: String,
    },
    /// Bytes of the upload that have left.
    Progress {
        /// Which.
        host: String,
        /// So far.
        sent: u64,
        /// In all.
        total: u64,
    },
    /// What a hook or a restart printed, already free of control sequences.
    Printed {
        /// Which host, or `local`.
        host: String,
        /// The step or hook it came from.
        source: String,
        /// Lines.
        text: String,
    },
    /// A line that went to a host (`-v`).
    Sent {
        /// Which.
        host: String,
        /// The order, without secrets.
        line: String,
    },
    /// Something to know that fails nothing.
    Warning {
        /// Which, if one.
        host: Option<String>,
        /// One line.
        text: String,
    },
    /// A host goes back to what ran before.
    Reverting {
        /// Which.
        host: String,
        /// To what: an id, or `nothing`.
        to: String,
    },
    /// The user asked to stop.
    Interrupted {
        /// Whether for the second time.
        again: bool,
    },
}

/// What the whole fleet is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connect, lock, look.
    Look,
    /// Make the release on every host.
    Prepare,
    /// Flip, batch by batch.
    Switch {
        /// From 1.
        batch: usize,
        /// How many there are.
        of: usize,
    },
    /// Tell every host that it stays.
    Commit,
    /// Prune and unlock.
    Tidy,
}

/// Where events go: a borrowed callback that cannot fail and cannot be waited for.
#[derive(Clone, Copy)]
pub struct Events<'a>(&'a (dyn Fn(Event) + Send + Sync));

impl<'a> Events<'a> {
    /// Events go to `sink`.
    pub fn new(sink: &'a (dyn Fn(Event) + Send + Sync)) -> Self {
        Self(sink)
    }

    /// Tells.
    pub fn emit(self, event: Event) {
        (self.0)(event);
    }
}
