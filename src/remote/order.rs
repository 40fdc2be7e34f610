//! What can be asked of the agent: one order is one line on the control channel, a verb and quoted
//! words. The agent answers each with one frame (a code and a text), in order.
//!
//! Codes: [`DONE`], [`NOT_DONE`], [`MALFORMED`], [`REVERTED`], [`NOT_REVERTED`], [`HELD`],
//! [`PARTLY`], [`SKIPPED`].

use std::fmt;
use std::time::Duration;

use super::quote::line_word;
use crate::model::codec::Codec;
use crate::model::digest::Digest;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::link::{SharedKind, SharedLink};

/// It is done, or was so already.
pub const DONE: u32 = 0;
/// It is not done and what is live has not changed; the text says why.
pub const NOT_DONE: u32 = 1;
/// The line could not be understood.
pub const MALFORMED: u32 = 2;
/// An activation failed and was taken back: what was live before runs again.
pub const REVERTED: u32 = 3;
/// An activation failed and could not be taken back: a person must look.
pub const NOT_REVERTED: u32 = 4;
/// It was taken back, and what was live before runs again, but for what the last line of the text says.
pub const PARTLY: u32 = 5;
/// Hooks made what no release can hold; the text names it.
pub const ODD: u32 = 6;
/// Somebody else holds the lock; the text is the owner's record.
pub const HELD: u32 = 75;
/// A chained order that was not run because the one before it failed.
pub const SKIPPED: u32 = 125;

/// Bytes of a piece of a manifest.
pub const MANIFEST_PIECE: usize = 512 * 1024;

/// A ready-made ledger line, and the line for people in `revisions.log` (empty: none).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Lines of JSON with [`crate::model::ledger::TIME`] (and perhaps `REASON`) where the agent fills in.
    pub line: String,
    /// Text for people; the agent puts the host's time before it.
    pub note: String,
}

/// The lines an activation may need, all made before it begins: the agent writes them by itself
/// when nobody is there any more to tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// Written and synced before the flip.
    pub activated: Record,
    /// Written by `commit`.
    pub committed: Record,
    /// Written by `commit` too, about the release that a rollback leaves.
    pub left: Option<Record>,
    /// Written when the release was taken back.
    pub reverted: Record,
    /// Written when it could not be.
    pub failed: Record,
}

/// An activation: all that the agent needs to make a release live, and to go back by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The release.
    pub id: ReleaseId,
    /// The raw content of `current` to return to; empty: there was none.
    pub back: String,
    /// What to record.
    pub verdicts: Verdicts,
    /// `NAME=value` words for the user's commands. `SHIPIT_RELEASE` is not among them: it is what is
    /// live when they run.
    pub vars: Vec<String>,
    /// Commands for the hook shell, run after a revert.
    pub reverted: Vec<String>,
    /// How long one of these may take.
    pub limit: Duration,
}

impl Activation {
    /// How long the `reverted` hooks may take together.
    pub fn hooks_limit(&self) -> Duration {
        let count = u32::try_from(self.reverted.len()).unwrap_or(u32::MAX);
        (self.limit + Duration::from_secs(10)).saturating_mul(count)
    }

    fn words(&self) -> Vec<String> {
        let list =
            |all: &[String]| all.iter().map(|word| line_word(word)).collect::<Vec<_>>().join(" ");
        let mut words = vec![self.id.to_string(), self.back.clone()];
        words.extend(self.verdicts.words());
        let limit = self.limit.as_secs().to_string();
        words.extend([list(&self.vars), list(&self.reverted), limit]);
        words
    }
}

/// A GET that the host is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// `curl` or `wget`.
    pub tool: &'static str,
    /// What to get.
    pub url: String,
    /// Where to connect instead, as curl's `--connect-to` has it.
    pub connect: Option<String>,
    /// `public`, `anybody`, or certificates in PEM form.
    pub trust: String,
    /// `Name: value` lines. With wget at most one, which everybody on the host can see.
    pub headers: Hidden,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Try to take the lock. [`HELD`] with the owner's record if somebody has it.
    Lock,
    /// The text of the greeting again.
    Look,
    /// Unpack a small stream into `releases/`: the bytes that follow the line. What does not fit
    /// between orders goes through `receive`, over a channel of its own.
    Unpack {
        /// What is made of it.
        id: ReleaseId,
        /// How it is packed.
        codec: Codec,
        /// How many bytes follow.
        size: usize,
    },
    /// Take what `receive` or `unpack` unpacked (`releases/.<id>.<run>/tree`) for the release: kind, mode, size
    /// and target of everything must be as its manifest says, and the bytes of what was written.
    /// What is not so is thrown away, and the text lists it.
    Check {
        /// The release.
        id: ReleaseId,
        /// Whose manifest the sent one builds on; `None`: it was sent whole.
        base: Option<ReleaseId>,
        /// Of the sealed text of its manifest.
        digest: Digest,
    },
    /// Throw away what has arrived of a release.
    Discard {
        /// The release.
        id: ReleaseId,
    },
    /// What a new release could share with what is live and what has arrived of releases before: see
    /// `answer::shareable`.
    Base,
    /// A piece of the manifest of a release, as bytes that are packed or not: see
    /// `answer::unpack`. The last one is shorter than [`MANIFEST_PIECE`].
    Manifest {
        /// The release.
        id: ReleaseId,
        /// How many bytes came before.
        after: usize,
    },
    /// Make all links into `shared/`, with missing parents.
    Link {
        /// The release.
        id: ReleaseId,
        /// Which.
        links: Vec<SharedLink>,
    },
    /// Move `meta/env` into the release.
    Env {
        /// The release.
        id: ReleaseId,
        /// File name inside the release, `.env`.
        file: String,
        /// Octal text, `600`.
        mode: String,
        /// Set before the bytes are there to be read.
        group: Option<String>,
    },
    /// Write the `REVISION` file.
    Revision {
        /// The release.
        id: ReleaseId,
        /// Its one line.
        revision: String,
    },
    /// Run a command of the user's in the release directory, with `SHIPIT_*` in its environment.
    Hook {
        /// `staged` or `activated`.
        name: &'static str,
        /// The release.
        id: ReleaseId,
        /// The user's text for the hook shell.
        command: String,
        /// `NAME=value` words.
        vars: Vec<String>,
        /// Ended after this.
        limit: Duration,
    },
    /// Run a check of the user's in the release directory, as a hook is run. The last line of the
    /// text of one that fails says how it ended.
    Try {
        /// The release.
        id: ReleaseId,
        /// The user's text for the hook shell.
        command: String,
        /// `NAME=value` words.
        vars: Vec<String>,
        /// Ended after this.
        limit: Duration,
    },
    /// One GET from the host itself. The text is the status in a line, then the beginning of the
    /// body; or why there is none.
    Fetch {
        /// Ended after this.
        limit: Duration,
        /// Of what, and how.
        fetch: Fetch,
    },
    /// The text without the values of env files on the host: what was answered over a connection of
    /// ours may hold them too.
    Mask {
        /// Lines.
        text: Hidden,
    },
    /// Whether somebody listens, as the host itself sees it.
    Reach {
        /// Ended after this.
        limit: Duration,
        /// `host:port`.
        address: String,
    },
    /// Complete the release's manifest. Where hooks ran, remove write bits from its files and list
    /// the tree anew; else its modes are those that `check` found. See `answer::sealed` for the text.
    Seal {
        /// The release.
        id: ReleaseId,
        /// Whether hooks may have added files.
        relist: bool,
    },
    /// `sync -f` the release and record that it is complete.
    Stage {
        /// The release.
        id: ReleaseId,
        /// The `staged` line.
        record: Record,
    },
    /// Record, flip, sync, restart; undecided from then on. [`REVERTED`], [`PARTLY`] or
    /// [`NOT_REVERTED`] when the restart failed.
    Activate(Box<Activation>),
    /// Take over an activation that an interrupted run left undecided, without flipping: from
    /// then on it is held, committed or reverted like our own. (`activated` is not written again.)
    Resume(Box<Activation>),
    /// The unit now, in the lines of the greeting.
    Judge {
        /// The release that should run.
        id: ReleaseId,
    },
    /// The undecided release stays.
    Commit,
    /// The undecided release goes: [`DONE`] or [`PARTLY`] when what was live before runs again,
    /// [`NOT_REVERTED`] when not.
    Revert {
        /// One of the fixed words of the ledger: `unhealthy`, `fleet`, `interrupted`, `asked`.
        reason: &'static str,
        /// How long the `reverted` hooks may take.
        hooks: Duration,
    },
    /// Append to the ledger.
    Record(Record),
    /// Rename a release into the trash and record it; `CleanUp` deletes.
    Prune {
        /// A name in `releases/`.
        name: String,
        /// The `pruned` line.
        record: Record,
    },
    /// Delete the trash and what interrupted runs left.
    CleanUp {
        /// But for this in `releases/`: what arrived of the release that is being made.
        keep: Option<String>,
    },
    /// The last lines since the flip of the unit's journal, or of the file that a command service
    /// logs to; what the restart command printed, where neither is there.
    Journal {
        /// How many.
        lines: u32,
    },
    /// What `check` wants to know beyond the greeting: see `agent::CheckFacts`.
    Probe {
        /// Who the service's unit says it runs as; empty: nobody in particular.
        runner: String,
        /// What is linked: directories, and files that must be there.
        shared: Vec<SharedLink>,
        /// Whether anybody listens there.
        ports: Vec<u16>,
    },
    /// The last lines of the ledger: see `agent::LedgerTail`.
    History {
        /// At most so many.
        lines: u32,
    },
    /// Compare a release with its manifest, byte for byte: see `agent::Compared`.
    Verify {
        /// The release.
        id: ReleaseId,
        /// The name of its env file, if it has one.
        env: Option<String>,
    },
    /// Look for drift of what is live without reading bytes: a path a line.
    Drift {
        /// The name of its env file, if it has one.
        env: Option<String>,
    },
    /// Keep everybody who wants the lock off.
    SetDeployLock {
        /// Who and why; the agent adds since when.
        record: String,
        /// The line of `revisions.log`.
        note: String,
    },
    /// End a freeze.
    ClearDeployLock {
        /// As a look showed it.
        record: String,
        /// The line of `revisions.log`.
        note: String,
    },
    /// End the conversation that holds the lock. The text says so if it had to be killed.
    Break {
        /// Its run.
        run: String,
        /// How long it has to put things back.
        limit: Duration,
    },
    /// Still deciding. Not answered.
    Hold,
    /// Let go of everything and end.
    Bye,
}

impl Order {
    /// The line that says it, without its newline.
    pub fn line(&self) -> String {
        let mut words = vec![self.verb().to_owned()];
        words.extend(self.arguments());
        let quoted: Vec<_> = words.iter().map(|word| line_word(word)).collect();
        quoted.join(" ")
    }

    /// How long its answer may take, beyond the conversation's deadline.
    pub fn limit(&self) -> Duration {
        match self {
            Self::Hook { limit, .. }
            | Self::Try { limit, .. }
            | Self::Fetch { limit, .. }
            | Self::Reach { limit, .. }
            | Self::Break { limit, .. } => *limit + Duration::from_secs(15),
            Self::Check { .. }
            | Self::Discard { .. }
            | Self::Seal { .. }
            | Self::Stage { .. }
            | Self::CleanUp { .. }
            | Self::Verify { .. } => Duration::from_mins(15),
            Self::Activate(activation) => Duration::from_mins(1) + activation.hooks_limit(),
            Self::Revert { hooks, .. } => Duration::from_mins(1) + *hooks,
            _ => Duration::from_mins(1),
        }
    }

    /// Whether it restarts the service, whose limit then counts too (twice, where a failed
    /// restart is taken back).
    pub const fn restarts(&self) -> bool {
        matches!(self, Self::Activate(_) | Self::Revert { .. })
    }

    /// One word, as the agent knows it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Look => "look",
            Self::Unpack { .. } => "unpack",
            Self::Check { .. } => "check",
            Self::Discard { .. } => "discard",
            Self::Base => "base",
            Self::Manifest { .. } => "manifest",
            Self::Link { .. } => "link",
            Self::Env { .. } => "env",
            Self::Revision { .. } => "revision",
            Self::Hook { .. } => "hook",
            Self::Try { .. } => "try",
            Self::Fetch { .. } => "fetch",
            Self::Mask { .. } => "mask",
            Self::Reach { .. } => "reach",
            Self::Seal { .. } => "seal",
            Self::Stage { .. } => "stage",
            Self::Activate(_) => "activate",
            Self::Resume(_) => "resume",
            Self::Judge { .. } => "judge",
            Self::Commit => "commit",
            Self::Revert { .. } => "revert",
            Self::Record(_) => "record",
            Self::Prune { .. } => "prune",
            Self::CleanUp { .. } => "sweep",
            Self::Journal { .. } => "journal",
            Self::Probe { .. } => "probe",
            Self::History { .. } => "history",
            Self::Verify { .. } => "verify",
            Self::Drift { .. } => "drift",
            Self::SetDeployLock { .. } => "freeze",
            Self::ClearDeployLock { .. } => "thaw",
            Self::Break { .. } => "break",
            Self::Hold => "hold",
            Self::Bye => "bye",
        }
    }

    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Judge { id } | Self::Discard { id } => vec![id.to_string()],
            Self::Manifest { id, after } => vec![id.to_string(), (after + 1).to_string()],
            Self::Check { id, base, digest } => {
                vec![id.to_string(), name(*base), digest.to_string()]
            }
            Self::Unpack { codec, size, .. } => vec![codec.word().to_owned(), size.to_string()],
            Self::Link { id, links } => {
                followed(vec![id.to_string()], links.iter().flat_map(link_words))
            }
            Self::Env { id, file, mode, group } => {
                vec![id.to_string(), file.clone(), mode.clone(), group.clone().unwrap_or_default()]
            }
            Self::Revision { id, revision } => vec![id.to_string(), revision.clone()],
            Self::Hook { name, id, command, vars, limit } => {
                let limit = limit.as_secs().to_string();
                let words = vec![(*name).to_owned(), id.to_string(), limit, command.clone()];
                followed(words, vars.iter().cloned())
            }
            Self::Try { id, command, vars, limit } => {
                let words = vec![id.to_string(), limit.as_secs().to_string(), command.clone()];
                followed(words, vars.iter().cloned())
            }
            Self::Fetch { limit, fetch } => fetch.words(*limit),
            Self::Mask { text } => vec![text.0.clone()],
            Self::Reach { limit, address } => vec![limit.as_secs().to_string(), address.clone()],
            Self::Seal { id, relist } => {
                vec![id.to_string(), if *relist { "yes" } else { "no" }.to_owned()]
            }
            Self::Stage { id, record } => {
                vec![id.to_string(), record.line.clone(), record.note.clone()]
            }
            Self::Activate(activation) | Self::Resume(activation) => activation.words(),
            Self::Revert { reason, .. } => vec![(*reason).to_owned()],
            Self::Record(record) => vec![record.line.clone(), record.note.clone()],
            Self::Prune { name, record } => {
                vec![name.clone(), record.line.clone(), record.note.clone()]
            }
            Self::Journal { lines } | Self::History { lines } => vec![lines.to_string()],
            Self::Probe { runner, shared, ports } => probe_words(runner, shared, ports),
            Self::Verify { id, env } => vec![id.to_string(), env.clone().unwrap_or_default()],
            Self::Drift { env } => vec![env.clone().unwrap_or_default()],
            Self::SetDeployLock { record, note } | Self::ClearDeployLock { record, note } => {
                vec![record.clone(), note.clone()]
            }
            Self::Break { run, limit } => vec![run.clone(), limit.as_secs().to_string()],
            Self::CleanUp { keep } => keep.iter().cloned().collect(),
            Self::Lock | Self::Look | Self::Base | Self::Commit | Self::Hold | Self::Bye => {
                Vec::new()
            }
        }
    }
}

impl Fetch {
    fn words(&self, limit: Duration) -> Vec<String> {
        let connect = self.connect.clone().unwrap_or_default();
        let limit = limit.as_secs().to_string();
        let (url, trust, headers) = (self.url.clone(), self.trust.clone(), self.headers.0.clone());
        vec![self.tool.to_owned(), limit, url, connect, trust, headers]
    }
}

impl Verdicts {
    fn words(&self) -> Vec<String> {
        let left = self.left.clone().unwrap_or_default();
        [&self.activated, &self.committed, &left, &self.reverted, &self.failed]
            .into_iter()
            .flat_map(|record| [record.line.clone(), record.note.clone()])
            .collect()
    }
}

fn followed(mut words: Vec<String>, more: impl IntoIterator<Item = String>) -> Vec<String> {
    words.extend(more);
    words
}

fn name(id: Option<ReleaseId>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

fn probe_words(runner: &str, shared: &[SharedLink], ports: &[u16]) -> Vec<String> {
    let ports = ports.iter().map(|port| ["p".to_owned(), format!("{port:04X}")]);
    followed(vec![runner.to_owned()], shared.iter().map(place_words).chain(ports).flatten())
}

fn place_words(link: &SharedLink) -> [String; 2] {
    let kind = if matches!(link.kind, SharedKind::Dir { .. }) { "d" } else { "f" };
    [kind.to_owned(), link.path.clone()]
}

fn link_words(link: &SharedLink) -> [String; 5] {
    let target = Layout::shared_target(&link.path);
    let (kind, first, second) = match &link.kind {
        SharedKind::Dir { mode, group } => {
            ("d", mode.clone().unwrap_or_default(), group.clone().unwrap_or_default())
        }
        SharedKind::File { optional: true } => ("f", "optional".to_owned(), String::new()),
        SharedKind::File { optional: false } => ("f", "need".to_owned(), String::new()),
    };
    [kind.to_owned(), link.path.clone(), first, second, target]
}
