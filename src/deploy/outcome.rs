//! The outcome of a run as a value, from which the exit code and the summary are made.

use std::collections::BTreeSet;
use std::iter::successors;

use serde::{Serialize, Serializer};

use crate::model::goal::GoalKind;
use crate::model::id::ReleaseId;
use crate::model::service::{Proof, ServiceProof, weakest_proof};
use crate::remote::error::AgentError;
use crate::remote::session::SessionError;

/// The outcome of a run, host by host.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub goal: GoalKind,
    pub stage: String,
    /// The release that the run was about.
    pub release: Option<ReleaseId>,
    /// In the order of the config: name and result.
    pub hosts: Vec<(String, HostResult)>,
    /// Warnings, which did not fail the run: the host, if it is about one, and a line of text.
    pub warnings: Vec<(Option<String>, String)>,
    /// Whether the user stopped the run.
    pub interrupted: bool,
    /// A failure outside any host, such as that of a local hook.
    pub failure: Option<Failure>,
    /// Whether the hosts diverged: contact was lost in the commit, and some reverted the release.
    pub split: bool,
}

/// The outcome of a run on one host. Its names are those of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum HostResult {
    /// All was done as asked.
    Done(Done),
    /// There was nothing to do.
    Unchanged { live: Option<ReleaseId> },
    /// What is `live`, as far as we know, was never touched; without a failure, because another
    /// host failed, or the user stopped the run.
    Untouched { live: Option<String>, failure: Option<Failure> },
    /// It could not be reached, and the run went on without it.
    Skipped { failure: Failure },
    /// The new release was live and was reverted after the failure. What ran before is `live`
    /// again: an id, another tool's directory, or nothing. `but` is the part that the revert did
    /// not restore, or did not see restored.
    #[serde(rename = "put-back")]
    Reverted { live: String, failure: Failure, but: Option<String> },
    /// Somebody else holds the lock; who, in the words of the owner's record.
    Locked { holder: String },
    /// The new release was live and, after `cause`, could not be reverted: a person must look.
    Stuck { cause: Failure, undo: Failure },
    /// Contact was lost, and nobody knows what is live.
    Unknown { failure: Failure },
}

/// The work that was done on a host.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Done {
    pub live: Option<ReleaseId>,
    /// The release that was live before, for people.
    pub before: Option<String>,
    /// The proof that each service runs the release.
    #[serde(flatten, serialize_with = "proofs")]
    pub services: Vec<ServiceProof>,
    /// Names of releases that were pruned.
    pub pruned: Vec<String>,
    /// The reason why a prune found nothing to delete.
    #[serde(skip)]
    pub kept: Option<String>,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes of all files of the release.
    pub size: u64,
    /// Regular files of the release.
    pub files: usize,
    /// Files that the host had already.
    pub linked: usize,
    /// Their bytes.
    pub linked_size: u64,
    /// Large files that were patched.
    pub rebuilt: usize,
    /// Bytes of these that were not sent.
    pub spared: u64,
}

impl Done {
    /// Returns the weakest proof of all services; `None`: there was nothing to prove.
    pub fn proof(&self) -> Option<Proof> {
        weakest_proof(&self.services)
    }
}

/// Writes the weakest proof, and that of each service.
fn proofs<S: Serializer>(services: &[ServiceProof], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Proofs<'a> {
        proof: Option<Proof>,
        services: &'a [ServiceProof],
    }
    Proofs { proof: weakest_proof(services), services }.serialize(to)
}

/// A cause that quotes an answer begins with this; only a few of its lines are shown.
pub const SAID: &str = "it said: ";

/// Something that failed, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The thing that could not be done, in lower case, without the host's name.
    pub what: String,
    /// The causes, the innermost last. Output of the host may have several lines.
    pub cause: Vec<String>,
    /// The next step for the user, in one line.
    pub hint: Option<String>,
}

impl AsRef<Self> for Failure {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The outcome of a run, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunOutcome {
    /// 0: all was done as asked.
    Done,
    /// 1: not all was done, but every host runs a healthy release.
    NotDone,
    /// 75: somebody else holds the lock; nothing was changed.
    Locked,
    /// 130: the user stopped the run.
    Interrupted,
    /// 3: a person must look at some host.
    NeedsAttention,
}

impl Report {
    /// Returns the report with the stage in every command of a hint.
    #[must_use]
    pub fn naming_stage(mut self) -> Self {
        let stage = self.stage.clone();
        for failure in self.failures_mut() {
            failure.hint = failure.hint.as_deref().map(|hint| naming_stage(hint, &stage));
        }
        self
    }

    /// Returns all failures, of hosts and of the run.
    pub fn failures_mut(&mut self) -> impl Iterator<Item = &mut Failure> {
        let of_hosts = self.hosts.iter_mut().flat_map(|(_, result)| result.failures_mut());
        of_hosts.chain(&mut self.failure)
    }

    /// Returns the outcome.
    pub fn verdict(&self) -> RunOutcome {
        let any = |test: fn(&HostResult) -> bool| self.hosts.iter().any(|(_, r)| test(r));
        if self.split || any(|r| matches!(r, HostResult::Stuck { .. } | HostResult::Unknown { .. }))
        {
            return RunOutcome::NeedsAttention;
        }
        if self.interrupted {
            return RunOutcome::Interrupted;
        }
        if any(|r| matches!(r, HostResult::Locked { .. })) {
            return RunOutcome::Locked;
        }
        let good = |r: &HostResult| matches!(r, HostResult::Done(_) | HostResult::Unchanged { .. });
        if self.failure.is_none() && self.hosts.iter().all(|(_, r)| good(r)) {
            return RunOutcome::Done;
        }
        RunOutcome::NotDone
    }
}

/// Returns the hint with the stage in its commands: `shipit check` becomes `shipit check
/// production`, so that it can be pasted if there are several stages.
pub fn naming_stage(hint: &str, stage: &str) -> String {
    let named = |hint: String, command: &&str| {
        hint.replace(&format!("`shipit {command}`"), &format!("`shipit {command} {stage}`"))
    };
    if stage.is_empty() { hint.to_owned() } else { STAGED.iter().fold(hint.to_owned(), named) }
}

/// The commands that take a stage.
const STAGED: [&str; 11] = [
    "activate", "check", "deploy", "history", "prune", "releases", "rollback", "stage", "status",
    "unlock", "verify",
];

impl HostResult {
    /// Returns all failures of the result.
    fn failures_mut(&mut self) -> Vec<&mut Failure> {
        match self {
            Self::Untouched { failure, .. } => failure.iter_mut().collect(),
            Self::Skipped { failure }
            | Self::Reverted { failure, .. }
            | Self::Unknown { failure } => {
                vec![failure]
            }
            Self::Stuck { cause, undo } => vec![cause, undo],
            Self::Done(_) | Self::Unchanged { .. } | Self::Locked { .. } => Vec::new(),
        }
    }
}

impl Failure {
    /// Returns a failure without a cause.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: Vec::new(), hint: None }
    }

    /// Returns the failure that the user asked to stop.
    pub fn stopped() -> Self {
        Self::new("stopped on request")
    }

    /// Returns the failure that a release could not be reverted; the host `said` why.
    pub fn not_reverted(id: ReleaseId, said: &str) -> Self {
        Self::new(format!("{id} had to be reverted, but could not be")).because(once(said))
    }

    /// Returns the failure of `what` with `error` and its sources as causes.
    pub fn of(what: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self::from_error(error).titled(what.into())
    }

    /// Returns `error` as a failure, with its sources as causes.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        let causes = successors(error.source(), |error| error.source());
        causes.fold(Self::new(error.to_string()), |failure, one| failure.because(one.to_string()))
    }

    /// Adds a cause, unless it is empty.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        if !cause.trim().is_empty() {
            self.cause.push(cause.trim_start_matches('\n').trim_end().to_owned());
        }
        self
    }

    /// Sets the hint, if there is a new one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into().or(self.hint);
        self
    }

    /// Sets what failed; what it was before becomes the first cause.
    #[must_use]
    pub fn titled(mut self, what: String) -> Self {
        self.cause.insert(0, std::mem::replace(&mut self.what, what));
        self
    }

    /// Returns what failed and all causes in one line.
    pub fn whole(&self) -> String {
        let causes = self.cause.iter().flat_map(|cause| cause.lines());
        let causes: Vec<_> = causes.map(str::trim).filter(|line| !line.is_empty()).collect();
        if causes.is_empty() {
            return self.what.clone();
        }
        format!("{}: {}", self.what, causes.join("; "))
    }

    /// Returns what failed and the first line of its cause, for warnings.
    pub fn one_line(&self) -> String {
        match self.cause.first().and_then(|cause| cause.lines().next()) {
            Some(cause) => format!("{}: {cause}", self.what),
            None => self.what.clone(),
        }
    }
}

impl RunOutcome {
    /// Returns the exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotDone => 1,
            Self::NeedsAttention => 3,
            Self::Locked => 75,
            Self::Interrupted => 130,
        }
    }

    /// Returns the word for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotDone => "not-done",
            Self::NeedsAttention => "needs-hands",
            Self::Locked => "locked",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let failure = Failure::from_error(&error).hint(error.hint());
        error.details().into_iter().fold(failure, Self::because)
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let details = match &error {
            AgentError::Session { source } => source.details(),
            other => other.said().map(ToOwned::to_owned).into_iter().collect(),
        };
        let failure = Failure::from_error(&error).hint(error.hint());
        details.into_iter().fold(failure, Self::because)
    }
}

/// Returns each different line once: a restart that fails is tried again, and says the same.
pub(super) fn once(said: &str) -> String {
    let mut seen = BTreeSet::new();
    let lines = said.lines().filter(|line| !line.trim().is_empty() && seen.insert(*line));
    lines.collect::<Vec<_>>().join("\n")
}
