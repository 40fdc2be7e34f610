//! How a run ended: a value, from which the exit code and the summary are made.

use crate::model::id::ReleaseId;
use crate::remote::agent::AgentError;
use crate::remote::session::SessionError;

/// How a run ended, host by host.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// `deploy`, `rollback`, `prune`, `pin`, `unpin`, `lock`, `unlock`.
    pub goal: &'static str,
    /// The stage.
    pub stage: String,
    /// What should be live now.
    pub release: Option<ReleaseId>,
    /// In the order of the config: name and result.
    pub hosts: Vec<(String, HostResult)>,
    /// What did not fail the run but should be known: host (if one) and one line.
    pub warnings: Vec<(Option<String>, String)>,
    /// Whether the user stopped it.
    pub interrupted: bool,
    /// What failed outside any host (a local hook), if something did.
    pub failure: Option<Failure>,
    /// Contact was lost while the release was committed: some hosts kept it and others, which
    /// were to keep it too, took it back.
    pub split: bool,
}

/// How it ended on one host.
#[derive(Debug, Clone, PartialEq)]
pub enum HostResult {
    /// As asked.
    Done(Done),
    /// What was asked for is so already.
    Unchanged {
        /// What is live.
        live: Option<ReleaseId>,
    },
    /// What is live was never touched; `None`: because another host failed.
    Untouched {
        /// What is live, as far as we know.
        live: Option<String>,
        /// Why.
        failure: Option<Failure>,
    },
    /// It could not be reached, and the run was to go on without it: it is behind.
    Skipped {
        /// Why.
        failure: Failure,
    },
    /// It was switched and put back; what ran before runs again.
    Reverted {
        /// What is live again: an id, another tool's directory, or nothing.
        live: String,
        /// Why.
        failure: Failure,
        /// What is not as it was before all the same, or was not seen to be.
        but: Option<String>,
    },
    /// Somebody else holds the lock.
    Locked {
        /// Who, in the words of the owner's record.
        holder: String,
    },
    /// It was switched and could not be put back: a person must look.
    Stuck {
        /// Why it was to be put back.
        cause: Failure,
        /// Why that did not work.
        undo: Failure,
    },
    /// Contact was lost and looking again did not recover what is live.
    Unknown {
        /// What is known.
        failure: Failure,
    },
}

/// What was done on a host where all went well.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Done {
    /// What is live now.
    pub live: Option<ReleaseId>,
    /// What was live before, as shown to people.
    pub before: Option<String>,
    /// How it was proven: `seen` or `inferred`; `None` where there was nothing to prove.
    pub proof: Option<Proof>,
    /// What was pruned.
    pub pruned: Vec<String>,
    /// Why a prune had nothing to delete.
    pub kept: Option<String>,
    /// Bytes that travelled.
    pub sent: u64,
    /// Bytes of all files of the release.
    pub size: u64,
    /// How many files it has.
    pub files: usize,
    /// How many of them were on the host already.
    pub linked: usize,
    /// Their bytes.
    pub linked_size: u64,
    /// How many were put together from their old selves.
    pub rebuilt: usize,
    /// The bytes of those that did not travel.
    pub spared: u64,
}

/// How it was proven that the new release is what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The main process's cwd or exe lies inside the release.
    Seen,
    /// /proc was closed to us; the unit restarted after the flip and goes through `current`.
    Inferred,
    /// The unit was reloaded after the flip and is the same process as before: its checks, which
    /// look at what it answers, are all that tells of what it runs.
    Reloaded,
}

/// How a cause begins that is what somebody answered: of its lines little is shown.
pub const SAID: &str = "it said: ";

/// Something that failed, ready to be shown as error / cause / state / hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What could not be done, lower case, without the host's name.
    pub what: String,
    /// Why, each on its own line: the innermost last; remote output's last lines among them.
    pub cause: Vec<String>,
    /// One command to type next.
    pub hint: Option<String>,
}

impl AsRef<Self> for Failure {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// What a run comes to, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunOutcome {
    /// 0: all as asked.
    Done,
    /// 1: not (fully) as asked, but every host is on a healthy release.
    NotDone,
    /// 75: somebody else holds the lock; nothing was changed.
    Locked,
    /// 130: the user stopped it.
    Interrupted,
    /// 3: some host needs hands.
    NeedsAttention,
}

impl Report {
    /// The same, with the stage in every command of a hint.
    #[must_use]
    pub fn naming_stage(mut self) -> Self {
        let of_hosts = self.hosts.iter_mut().flat_map(|(_, result)| result.failures_mut());
        for failure in of_hosts.chain(&mut self.failure) {
            failure.hint = failure.hint.as_deref().map(|hint| naming_stage(hint, &self.stage));
        }
        self
    }

    /// What it comes to.
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

/// A hint whose commands name the stage: `shipit check` becomes `shipit check production`, so that
/// it can be pasted where there is more than one.
pub fn naming_stage(hint: &str, stage: &str) -> String {
    let named = |hint: String, command: &&str| {
        hint.replace(&format!("`shipit {command}`"), &format!("`shipit {command} {stage}`"))
    };
    if stage.is_empty() { hint.to_owned() } else { STAGED.iter().fold(hint.to_owned(), named) }
}

/// The commands that take a stage.
const STAGED: [&str; 9] =
    ["check", "deploy", "history", "prune", "releases", "rollback", "status", "unlock", "verify"];

impl HostResult {
    /// The failures it is made of.
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
    /// A failure that is its own explanation.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: Vec::new(), hint: None }
    }

    /// The user asked to stop.
    pub fn stopped() -> Self {
        Self::new("stopped on request")
    }

    /// A release is to be reverted and could not be; the host `said` why.
    pub fn not_reverted(id: ReleaseId, said: &str) -> Self {
        Self::new(format!("{id} is to be reverted and could not be")).because(once(said))
    }

    /// The failure to do `what` because of `error` and everything behind it.
    pub fn of(what: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(what).because(error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            failure = failure.because(error.to_string());
            source = error.source();
        }
        failure
    }

    /// `error` as a failure: what it says, because of everything behind it.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        match error.source() {
            Some(source) => Self::of(error.to_string(), source),
            None => Self::new(error.to_string()),
        }
    }

    /// The same with one more cause, unless it is empty.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        if !cause.trim().is_empty() {
            self.cause.push(cause.trim_start_matches('\n').trim_end().to_owned());
        }
        self
    }

    /// The same with a hint, if there is one.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The same under another title; the old one becomes the first cause.
    #[must_use]
    pub fn titled(mut self, what: String) -> Self {
        self.cause.insert(0, std::mem::replace(&mut self.what, what));
        self
    }

    /// Returns what and all of why in one line.
    pub fn whole(&self) -> String {
        let causes = self.cause.iter().flat_map(|cause| cause.lines());
        let causes: Vec<_> = causes.map(str::trim).filter(|line| !line.is_empty()).collect();
        if causes.is_empty() {
            return self.what.clone();
        }
        format!("{}: {}", self.what, causes.join("; "))
    }

    /// What and why in one line, for warnings.
    pub fn one_line(&self) -> String {
        match self.cause.first().and_then(|cause| cause.lines().next()) {
            Some(cause) => format!("{}: {cause}", self.what),
            None => self.what.clone(),
        }
    }
}

impl RunOutcome {
    /// The exit code that stands for it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotDone => 1,
            Self::NeedsAttention => 3,
            Self::Locked => 75,
            Self::Interrupted => 130,
        }
    }

    /// The word for machines.
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
    let mut lines: Vec<&str> = Vec::new();
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}
