//! The orders of the agent. An order is one line of a conversation: a verb and arguments by name.
//! The agent answers each with a code and a text, in order.
//!
//! A new order is a variant and a [`Spec`] here, its arguments in `words.rs`, and a function of the
//! script. `docs/protocol.md` lists all of them.

mod words;

use std::fmt;
use std::time::Duration;

use crate::model::codec::Codec;
use crate::model::digest::Digest;
use crate::model::enum_words::words;
use crate::model::hook::HookPlace;
use crate::model::id::ReleaseId;
use crate::model::ledger::RevertReason;
use crate::model::link::SharedLink;
use crate::model::slots::SlotChange;

/// The order was done, or was done before.
pub const DONE: u32 = 0;
/// The order was not done and what is live has not changed; the text says why.
pub const NOT_DONE: u32 = 1;
/// The line was not understood.
pub const MALFORMED: u32 = 2;
/// An activation failed and was reverted: what was live before runs again.
pub const REVERTED: u32 = 3;
/// An activation failed and could not be reverted: a person must look.
pub const NOT_REVERTED: u32 = 4;
/// It was reverted and what was live before runs again, or it was committed, except for what the
/// last line of the text says.
pub const PARTLY: u32 = 5;
/// Hooks made what no release can hold; the text names it.
pub const ODD: u32 = 6;
/// Another run, or a deploy lock, holds the run lock; the text is its record.
pub const HELD: u32 = 75;
/// A chained order was not obeyed because the one before it failed.
pub const SKIPPED: u32 = 125;

/// Size of a piece of a manifest, in bytes.
pub const MANIFEST_PIECE: usize = 512 * 1024;

/// A ready-made ledger line, and the line for people in `revisions.log`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Lines of JSON with [`crate::model::ledger::TIME`] (and perhaps `REASON`), which the agent
    /// fills in.
    pub line: String,
    /// Text for people, empty for none; the agent puts the host's time before it.
    pub note: String,
}

/// The records that an activation may need. They are made before it begins, so that the agent can
/// write them when the connection is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// Written and synced before the flip.
    pub activated: Record,
    /// Written by `commit`.
    pub committed: Record,
    /// Written by `commit` too, about the release that a rollback leaves.
    pub left: Option<Record>,
    /// Written when the release was reverted.
    pub reverted: Record,
    /// Written when it could not be reverted.
    pub failed: Record,
}

/// An activation: all that the agent needs to make a release live, and to revert by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    pub id: ReleaseId,
    /// The content of `current` to return to; empty if there was none.
    pub back: String,
    /// The records to write.
    pub verdicts: Verdicts,
    /// `NAME=value` words for the user's commands. `SHIPIT_RELEASE` is not among them: the agent
    /// sets it where a command runs.
    pub vars: Vec<String>,
    /// The hooks of all places, in their order.
    pub hooks: Vec<AgentHook>,
    /// The change to another slot, if the host has slots.
    pub slot: Option<SlotChange>,
}

/// A hook that the agent runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentHook {
    pub place: HookPlace,
    /// The command for the hook shell.
    pub command: String,
    /// The limit, after which it is ended.
    pub limit: Duration,
}

impl AgentHook {
    /// Returns how long those of `hooks` that run at these places may take together.
    pub fn limit(hooks: &[Self], places: &[HookPlace]) -> Duration {
        let there = hooks.iter().filter(|hook| places.contains(&hook.place));
        there.map(|hook| hook.limit + Duration::from_secs(10)).sum()
    }
}

/// A GET request that the host makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The address and the headers, as curl's configuration has them.
    pub request: Hidden,
    /// The address to connect to instead, as curl's `--connect-to` has it.
    pub connect: Option<String>,
    /// `public`, `anybody`, or certificates in PEM form.
    pub trust: String,
    /// A text that the body should hold; empty: anything.
    pub wanted: Hidden,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A service of a host, by its name in the config and its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName {
    pub name: String,
    pub unit: String,
}

/// The subject of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestOf {
    Release,
    /// The artifact of a release, as far as it went into it. Kept where it does not follow from the
    /// release: see [`Relist::Keep`].
    Artifact,
    /// The values of its env files: see `model::env_keys`.
    Env,
}

words! {
    /// The work of `seal` before it completes the manifest.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Relist {
        /// Nothing.
        No = "no",
        /// It keeps the manifest of the artifact: what it lacks does not follow from the release.
        Keep = "keep",
        /// It keeps that manifest and lists the tree again, to which hooks may have added files.
        Yes = "yes",
    }
}

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Tries to take the run lock.
    Lock,
    /// Looks at the host, as for the greeting.
    Look,
    /// Unpacks the bytes that follow the message into `releases/`: an inline upload. Larger ones
    /// take a channel of their own.
    Unpack {
        id: ReleaseId,
        codec: Codec,
        /// The number of bytes.
        size: usize,
    },
    /// Takes an upload (`releases/.<id>.<run>/tree`) for the release, if kind, mode, size and
    /// target of everything are as its manifest says, and the bytes of all files that were written.
    /// Otherwise the upload is deleted and the text lists the differences.
    Check {
        id: ReleaseId,
        /// The release whose manifest the new one builds on; `None` if it was sent whole.
        base: Option<ReleaseId>,
        digest: Digest,
    },
    /// Deletes what has arrived of a release.
    Discard { id: ReleaseId },
    /// Lists what a new release can share with the live one, and what has arrived of earlier
    /// uploads: see `answer::shareable`.
    Base,
    /// Sends a piece of the manifest of a release, compressed or not: see `answer::unpack`. The
    /// last one is shorter than [`MANIFEST_PIECE`].
    Manifest {
        id: ReleaseId,
        of: ManifestOf,
        /// The number of bytes before the piece.
        after: usize,
    },
    /// Makes the links into `shared/`, with missing parents.
    Link { id: ReleaseId, links: Vec<SharedLink> },
    /// Moves an env file into the release.
    Env {
        id: ReleaseId,
        /// Its name in `meta/` of the upload.
        from: String,
        /// File name inside the release, `.env`.
        file: String,
        /// Octal text, `600`.
        mode: String,
        /// The group, set before the mode lets others read the file.
        group: Option<String>,
        /// The digests of its values that the host keeps: see `model::env_keys`.
        keys: String,
    },
    /// Writes the `REVISION` file.
    Revision {
        id: ReleaseId,
        /// The only line of the file.
        revision: String,
    },
    /// Links files of earlier releases into the release, unless it has something at their place.
    /// The text is their number.
    Keep {
        id: ReleaseId,
        /// The earlier releases, the newest first.
        from: Vec<ReleaseId>,
        /// The directories that the files are below.
        paths: Vec<String>,
    },
    /// Runs a command of the user in the release directory, with `SHIPIT_*` in its environment.
    Hook {
        /// `staged` or `activated`.
        name: &'static str,
        id: ReleaseId,
        /// The command for the hook shell.
        command: String,
        /// `NAME=value` words.
        vars: Vec<String>,
        /// The limit, after which it is ended.
        limit: Duration,
    },
    /// Runs a health check of the user like a hook. If it fails, the last line of the text says how
    /// it ended.
    Try { id: ReleaseId, command: String, vars: Vec<String>, limit: Duration },
    /// Makes a GET request from the host. The text is a line with the status and what else decides,
    /// then the beginning of the body; or the reason why there is none.
    Fetch { limit: Duration, fetch: Fetch },
    /// Removes the values of env files on the host from a text. The answer to a health check of
    /// ours may hold them.
    Mask { text: Hidden },
    /// Tries whether a process listens, from the host.
    Reach {
        limit: Duration,
        /// `host:port`.
        address: String,
    },
    /// Completes the manifest of the release. If hooks ran, removes write bits from its files and
    /// lists the tree again. See `answer::sealed` for the text.
    Seal {
        id: ReleaseId,
        relist: Relist,
        /// The names of its env files, which no manifest lists.
        env: Vec<String>,
    },
    /// Verifies the unit files that the release brings: that each is there, that systemd has no
    /// other of its name, and that `systemd-analyze` accepts it, where the host has that. The text
    /// is what it says.
    Units { id: ReleaseId },
    /// Loads the container images of the release, each with its id as the tag.
    Image { id: ReleaseId },
    /// Syncs the release to disk and records that it is complete.
    Stage {
        id: ReleaseId,
        /// The `staged` line.
        record: Record,
    },
    /// Records, flips `current`, syncs, restarts; the release is undecided from then on. The code
    /// is [`REVERTED`], [`PARTLY`] or [`NOT_REVERTED`] if the restart failed.
    Activate(Box<Activation>),
    /// Resumes an activation that an interrupted run left undecided: it is not flipped or recorded
    /// again, and committed or reverted like our own.
    Resume(Box<Activation>),
    /// Moves the traffic to the slot of the undecided release, flips `current` and restarts the
    /// services that are in no slot. The code is that of `Activate`.
    Switch {
        /// Whether an interrupted run may have done so.
        again: bool,
        /// The limit for all hooks that may run.
        hooks: Duration,
    },
    /// Looks at the units, to judge whether the release runs.
    Judge { id: ReleaseId },
    /// Records that the undecided release stays, and runs its `committed` hooks. The code is
    /// [`PARTLY`] if one of them failed.
    Commit {
        /// The limit for all `committed` hooks.
        hooks: Duration,
    },
    /// Reverts the undecided release. The code is [`DONE`] or [`PARTLY`] if what was live before
    /// runs again, [`NOT_REVERTED`] if not.
    Revert {
        reason: RevertReason,
        /// The failure, for `reverted` hooks.
        cause: Hidden,
        /// The limit for all `reverted` hooks.
        hooks: Duration,
    },
    /// Concludes on a release that an interrupted run left without its hooks. The code
    /// is [`PARTLY`] if one of them failed.
    Conclude {
        activation: Box<Activation>,
        /// `Committed` or `Reverted`.
        verdict: HookPlace,
        /// The reason of a revert that the ledger does not tell of yet.
        reason: Option<RevertReason>,
    },
    /// Appends to the ledger.
    Record(Record),
    /// Moves a release into the trash and records it; `CleanUp` deletes it.
    Prune {
        /// A name in `releases/`.
        name: String,
        /// The `pruned` line.
        record: Record,
    },
    /// Deletes the trash and what interrupted runs left.
    CleanUp {
        /// The name in `releases/` of an upload that stays.
        keep: Option<String>,
    },
    /// Shows the last lines since the flip: of the unit's journal, of the log file of a command
    /// service, or else of what the restart command printed.
    Journal {
        lines: u32,
        /// `None`: of each.
        service: Option<ServiceName>,
    },
    /// Gathers facts for `shipit check`: see `answer::CheckFacts`.
    Probe {
        /// The links: directories, and files that must exist.
        shared: Vec<SharedLink>,
        /// The ports to try.
        ports: Vec<u16>,
    },
    /// Tells when a file was put in place, in seconds since 1970; nothing if it is not there.
    Flag {
        /// Its path below `shared/`.
        path: String,
    },
    /// Shows the last lines of the ledger: see `answer::LedgerTail`.
    History { lines: u32 },
    /// Compares a release with its manifest, byte for byte: see `answer::Compared`.
    Verify {
        id: ReleaseId,
        /// The names of its env files.
        env: Vec<String>,
    },
    /// Compares the live release with its manifest without reading files.
    Drift {
        /// The names of its env files.
        env: Vec<String>,
    },
    SetDeployLock {
        /// The person who set it, and the reason; the agent adds the time.
        record: String,
        /// The line of `revisions.log`.
        note: String,
    },
    ClearDeployLock {
        /// The record that a look showed; another one stays.
        record: String,
        /// The line of `revisions.log`.
        note: String,
    },
    /// Ends the conversation that holds the run lock. The text says if it had to be killed.
    Break {
        /// Its run.
        run: String,
        /// The time that it has to revert.
        limit: Duration,
    },
    /// Unlocks and ends the conversation.
    Bye,
}

/// The facts of an order that a conversation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Its first word, which is part of the name of the script's function.
    pub verb: &'static str,
    /// Whether the agent refuses it without the run lock.
    pub needs_lock: bool,
    /// The limit for its answer, beyond the conversation's deadline.
    pub limit: Duration,
    /// Whether it restarts the service; the limit of a restart is then added.
    pub restarts: bool,
}

/// Limit for the answers to most orders.
const SHORT: Duration = Duration::from_mins(1);
/// Limit for orders that touch every file of a release.
const LONG: Duration = Duration::from_mins(15);
/// Limit for the command that moves the traffic from one slot to the other.
pub const TRAFFIC: Duration = Duration::from_mins(1);
/// Time that the host may need to end a command that took too long.
const MARGIN: Duration = Duration::from_secs(15);

impl Spec {
    /// Returns the `Spec` of an order that the agent obeys without the run lock as well.
    const fn free(verb: &'static str) -> Self {
        Self { verb, needs_lock: false, limit: SHORT, restarts: false }
    }

    /// Returns the `Spec` of an order that needs the run lock.
    const fn locked(verb: &'static str) -> Self {
        Self { needs_lock: true, ..Self::free(verb) }
    }

    const fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    const fn restarts(self) -> Self {
        Self { restarts: true, ..self }
    }
}

impl Order {
    /// Returns what is fixed for an order of this kind.
    pub fn spec(&self) -> Spec {
        match self {
            Self::Lock => Spec::free("lock"),
            Self::Look => Spec::free("look"),
            Self::Unpack { .. } => Spec::locked("unpack"),
            Self::Check { .. } => Spec::locked("check").within(LONG),
            Self::Discard { .. } => Spec::locked("discard").within(LONG),
            Self::Base => Spec::free("base"),
            Self::Manifest { .. } => Spec::free("manifest"),
            Self::Link { .. } => Spec::locked("link"),
            Self::Env { .. } => Spec::locked("env"),
            Self::Revision { .. } => Spec::locked("revision"),
            Self::Keep { .. } => Spec::locked("keep").within(LONG),
            Self::Hook { limit, .. } => Spec::locked("hook").within(*limit + MARGIN),
            Self::Try { limit, .. } => Spec::locked("try").within(*limit + MARGIN),
            Self::Fetch { limit, .. } => Spec::locked("fetch").within(*limit + MARGIN),
            Self::Mask { .. } => Spec::free("mask"),
            Self::Reach { limit, .. } => Spec::locked("reach").within(*limit + MARGIN),
            Self::Seal { .. } => Spec::locked("seal").within(LONG),
            Self::Units { .. } => Spec::locked("units").within(SHORT * 3),
            Self::Image { .. } => Spec::locked("image").within(LONG),
            Self::Stage { .. } => Spec::locked("stage").within(LONG),
            Self::Activate(activation) => {
                let places = [HookPlace::BeforeSwitch, HookPlace::Switched, HookPlace::Reverted];
                let hooks = AgentHook::limit(&activation.hooks, &places);
                Spec::locked("activate").restarts().within(SHORT + TRAFFIC + hooks)
            }
            Self::Resume(_) => Spec::locked("resume"),
            Self::Switch { hooks, .. } => {
                Spec::locked("switch").restarts().within(SHORT + TRAFFIC * 2 + *hooks)
            }
            Self::Judge { .. } => Spec::free("judge"),
            Self::Commit { hooks } => Spec::locked("commit").restarts().within(SHORT + *hooks),
            Self::Revert { hooks, .. } => {
                Spec::locked("revert").restarts().within(SHORT + TRAFFIC + *hooks)
            }
            Self::Conclude { activation, verdict, .. } => Spec::locked("conclude")
                .within(SHORT + TRAFFIC + AgentHook::limit(&activation.hooks, &[*verdict])),
            Self::Record(_) => Spec::locked("record"),
            Self::Prune { .. } => Spec::locked("prune"),
            Self::CleanUp { .. } => Spec::locked("sweep").within(LONG),
            Self::Journal { .. } => Spec::free("journal"),
            Self::Probe { .. } | Self::Flag { .. } => Spec::free("probe"),
            Self::History { .. } => Spec::free("history"),
            Self::Verify { .. } => Spec::free("verify").within(LONG),
            Self::Drift { .. } => Spec::free("drift"),
            Self::SetDeployLock { .. } => Spec::locked("lock_deploys"),
            Self::ClearDeployLock { .. } => Spec::free("unlock_deploys"),
            Self::Break { limit, .. } => Spec::free("break").within(*limit + MARGIN),
            Self::Bye => Spec::free("bye"),
        }
    }

    /// Returns its first word, as the agent knows it.
    pub fn verb(&self) -> &'static str {
        self.spec().verb
    }
}
