//! The reasons why there is no plan for a host, or no release to roll back to, and hints.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::deploy::outcome::Failure;
use crate::deploy::retention::{activation_candidates, rollback_candidates};
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::{Newer, ReleaseStatus};
use crate::model::sudo::SudoRefusal;
use crate::model::words::{count, size as human_size};
use crate::remote::quote::word;

/// The reason why there is no plan for a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// `current` is a directory or a file.
    #[error("{path} is not a symbolic link, so it cannot be flipped")]
    CurrentNotALink {
        /// `<deploy_to>/current`.
        path: String,
    },
    /// Something that every deploy needs is missing on the host.
    #[error("{0}", what.join("; "))]
    Unfit {
        /// The requirements that are missing.
        what: Vec<String>,
        /// The fix for the first of them, if one is known.
        fix: Option<String>,
    },
    /// systemd has no such unit, or does not start it.
    #[error("systemd says {unit} is {load}")]
    NoUnit {
        /// The name in deploy.toml.
        unit: String,
        /// `not-found`, `masked`, …
        load: String,
    },
    /// The release lacks a unit file that it should bring.
    #[error("the artifact has no file `{file}`, which is to be a unit file")]
    NoUnitFile { file: String },
    /// The release is no archive of a container image, as a service wants it.
    #[error("the artifact is no container image: it holds no manifest.json and no index.json")]
    NoImage { image: String },
    /// sudo does not allow to restart the unit.
    #[error("{}", refused_by_sudo(user, command, refusal))]
    NoSudo { user: String, command: String, refusal: SudoRefusal },
    /// There are too few free bytes.
    #[error("the release needs {}, but only {} are free", human_size(*need), human_size(*free))]
    NoSpace { need: u64, free: u64 },
    /// There are too few free inodes.
    #[error(
        "the release needs {}, but only {free} are free",
        count(usize::try_from(*need).unwrap_or(usize::MAX), "inode")
    )]
    NoInodes { need: u64, free: u64 },
    /// The artifact brings its own env file.
    #[error("the artifact holds `{file}`, which [env] would overwrite")]
    EnvInArtifact { file: String },
    /// A health check names something that is not known.
    #[error("a health check names `{{{name}}}`, which is not known of {}", whose(*id))]
    NoValue {
        /// The placeholder.
        name: &'static str,
        /// The release of a rollback; `None`: the build of a deploy.
        id: Option<ReleaseId>,
    },
    /// A linked path would lie in something that is no directory.
    #[error("`{path}` cannot be linked: the artifact has a {kind} at `{at}`")]
    LinkInside {
        /// The entry of linked_files or linked_dirs.
        path: String,
        /// The path above it that is no directory.
        at: String,
        /// `file` or `symbolic link`.
        kind: &'static str,
    },
    /// A newer program was here; nobody else knows what its files mean.
    #[error("{0}")]
    Newer(Newer),
    /// The ledger is in doubt: lines are missing or not understood.
    #[error("nothing is pruned here, because the state of some releases is unknown")]
    Doubtful {
        layout: Layout,
        /// The numbers of the lines that are not understood.
        unreadable: Vec<usize>,
        /// The releases that they may be about, or that no line is about, without the live one.
        unknown: Vec<String>,
    },
    /// A release is dated later than all clocks. Ids only grow, so a new one would have to be later
    /// still.
    #[error("release {id} is dated more than a day ahead of this machine's clock and the host's")]
    Ahead { id: ReleaseId, layout: Layout, live: bool },
    /// The directory belongs to another app.
    #[error("the live release belongs to the app `{there}`, but this is `{app}`")]
    OtherApp {
        /// The app in the ledger.
        there: String,
        /// The app in the config.
        app: String,
    },
    /// The release is not on this host.
    #[error("release {id} is not on this host")]
    NotThere {
        id: ReleaseId,
        /// The releases that a rollback could go to.
        candidates: Vec<ReleaseId>,
    },
    /// Another run made another release live in the meantime.
    #[error("{was}, whose config is to change, is not live here any more")]
    NotLive { was: ReleaseId },
    /// The release was never completed.
    #[error("release {id} was never completed here")]
    Unfinished { id: ReleaseId },
    /// The release does not wait to be activated.
    #[error("release {id} cannot be activated: {why}")]
    NotStaged { id: ReleaseId, why: WhyNotStaged },
}

/// The reason why a release does not wait to be activated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNotStaged {
    #[error("it is not on this host")]
    Absent,
    #[error("its state is `{}`", .0.word())]
    Was(ReleaseStatus),
    #[error("no `shipit stage` that ended well made it")]
    Unfinished,
    #[error("it expired at {}", until.format("%Y-%m-%d %H:%M UTC"))]
    Expired { until: DateTime<Utc> },
    #[error("{live}, which was made later, is live")]
    Older { live: ReleaseId },
}

impl PlanError {
    /// Returns the error as a failure on a host of `stage`.
    pub fn failure(&self, stage: &str) -> Failure {
        Failure::new(self.to_string()).hint(self.hint(stage))
    }

    /// Returns what to do about it, if there is an answer.
    pub fn hint(&self, stage: &str) -> Option<String> {
        match self {
            Self::CurrentNotALink { path } => {
                Some(format!("move it away by hand: `mv {path} {path}.old`, then deploy again"))
            }
            Self::Unfit { fix: Some(fix), .. } => Some(fix.clone()),
            Self::Unfit { .. } | Self::NoUnit { .. } | Self::NoSudo { .. } => {
                Some(format!("`shipit check {stage}` says how to mend it"))
            }
            Self::NoUnitFile { .. } => {
                Some("build it into the artifact, or correct `file` of the service".to_owned())
            }
            Self::NoImage { image } => Some(image_hint(image)),
            Self::NoSpace { .. } | Self::NoInodes { .. } => {
                Some(format!("`shipit prune {stage}` deletes old releases"))
            }
            Self::EnvInArtifact { file } => {
                Some(format!("leave it out with `exclude = [\"/{file}\"]` in [artifact]"))
            }
            Self::NoValue { id: None, .. } => Some(
                "a file `REVISION` in the artifact tells its revision; so does git where \
                 deploy.toml is in a work tree"
                    .to_owned(),
            ),
            Self::NoValue { name, .. } => Some(format!(
                "deploy its build again, or take `{{{name}}}` out of [health] for this rollback"
            )),
            Self::LinkInside { at, .. } => Some(format!(
                "leave `{at}` out with `exclude = [\"/{at}\"]` in [artifact], or link another path"
            )),
            Self::Newer(Newer { tool, .. }) => Some(newer_hint(tool.as_deref())),
            Self::Doubtful { layout, unreadable, unknown } => {
                Some(doubtful_hint(layout, unreadable, unknown))
            }
            Self::Ahead { id, layout, live: false } => {
                Some(format!("delete it by hand: `{}`", delete(layout, &id.to_string())))
            }
            Self::Ahead { id, layout, live: true } => Some(format!(
                "make another one live with `shipit rollback {stage} --to ID`, then delete it by hand: `{}`",
                delete(layout, &id.to_string())
            )),
            Self::OtherApp { .. } => Some(
                "give each app a `deploy_to` of its own; if the app was renamed, deploy it once \
                 with `--force`"
                    .to_owned(),
            ),
            Self::NotThere { candidates, .. } if candidates.is_empty() => {
                Some(format!("`shipit releases {stage}` shows what is there"))
            }
            Self::NotThere { candidates, .. } => {
                let names: Vec<_> = candidates.iter().map(ToString::to_string).collect();
                Some(format!("this host could roll back to {}", names.join(", ")))
            }
            Self::NotLive { .. } => Some(format!("`shipit status {stage}` shows what is live")),
            Self::Unfinished { .. } => Some("deploy it again".to_owned()),
            Self::NotStaged { id, why } => Some(why.hint(*id, stage)),
        }
    }
}

fn whose(id: Option<ReleaseId>) -> String {
    id.map_or_else(|| "this build".to_owned(), |id| format!("release {id}"))
}

impl WhyNotStaged {
    fn hint(&self, id: ReleaseId, stage: &str) -> String {
        match self {
            Self::Was(ReleaseStatus::Good | ReleaseStatus::RolledBack) => {
                format!("`shipit rollback {stage} --to {id}` makes it live again")
            }
            _ => format!("`shipit stage {stage}` stages its build anew"),
        }
    }
}

fn image_hint(image: &str) -> String {
    let file = image.rsplit('/').next().unwrap_or(image);
    format!("`docker save --output {file}.tar {image}` writes one, or `podman save`")
}

fn newer_hint(tool: Option<&str>) -> String {
    let tool =
        tool.map_or("the shipit that wrote it".to_owned(), |it| format!("{it}, which wrote it"));
    format!("use {tool}, or a newer one")
}

/// Returns the command that deletes a release and its manifest by hand.
pub(super) fn delete(layout: &Layout, name: &str) -> String {
    let [release, manifest] = layout.parts(name).map(|path| word(&path));
    format!("rm -rf {release} {manifest}")
}

fn doubtful_hint(layout: &Layout, unreadable: &[usize], unknown: &[String]) -> String {
    let ledger = layout.ledger();
    match (unreadable, unknown) {
        ([], []) => "deploy once, so that the ledger tells of the live release".to_owned(),
        ([], [name, ..]) => {
            format!("delete by hand what is not needed, for example `{}`", delete(layout, name))
        }
        ([line], _) => format!("take line {line}, which cannot be read, out of {ledger} by hand"),
        (lines, _) => {
            format!("take the lines that cannot be read out of {ledger} by hand: {}", ranges(lines))
        }
    }
}

/// Returns growing numbers as `3, 7-9, 12`, at most ten of them or their ranges.
fn ranges(numbers: &[usize]) -> String {
    const MOST: usize = 10;
    let runs: Vec<_> = numbers.chunk_by(|one, next| one + 1 == *next).collect();
    let mut shown: Vec<_> = runs
        .iter()
        .take(MOST)
        .map(|run| match run {
            [first, .., last] => format!("{first}-{last}"),
            run => run.iter().map(ToString::to_string).collect(),
        })
        .collect();
    if runs.len() > MOST {
        shown.push("and more after these".to_owned());
    }
    shown.join(", ")
}

fn refused_by_sudo(user: &str, command: &str, refusal: &SudoRefusal) -> String {
    let may_not = format!("sudo does not let {user} run \"{command}\" without a password");
    match refusal {
        SudoRefusal::NoRule => may_not,
        SudoRefusal::Password { rule } => {
            format!("{may_not}: its last rule that matches is {rule}")
        }
        SudoRefusal::Says { words } => {
            format!("sudo does not let {user} run \"{command}\": {words}")
        }
    }
}

/// The releases that a host could roll back to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Those that a rollback may choose by itself.
    pub candidates: Vec<ReleaseId>,
    /// Those that another tool left: only their owner knows what they are.
    pub foreign: Vec<ReleaseId>,
    /// Those that the ledger does not tell enough about.
    pub unknown: Vec<ReleaseId>,
}

impl Offer {
    fn of(state: &HostState) -> Self {
        let live = state.live();
        let not_live = |ids: Vec<ReleaseId>| -> Vec<_> {
            ids.into_iter().rev().filter(|id| Some(*id) != live).collect()
        };
        let unknown = state.unknown.iter().filter_map(|name| name.parse().ok()).collect();
        let candidates = rollback_candidates(state);
        let mut only_named = state.foreign_ids();
        only_named.retain(|id| !candidates.contains(id));
        Self { candidates, foreign: not_live(only_named), unknown: not_live(unknown) }
    }

    fn lines(&self, host: &str) -> Vec<String> {
        let names =
            |ids: &[ReleaseId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut lines = match self.candidates.as_slice() {
            [] => vec![format!("{host} has none that was live and good")],
            ids => vec![format!("{host} could roll back to {}", names(ids))],
        };
        let mut only_named = |ids: &[ReleaseId], why: &str| {
            if !ids.is_empty() {
                lines.push(format!("{host} has, {why}, so only with `--to`: {}", names(ids)));
            }
        };
        only_named(&self.foreign, "left by another tool");
        only_named(&self.unknown, "unknown to the ledger");
        lines
    }
}

/// There is no staged release that every host may activate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", no_common_staged(staged))]
pub struct ActivateError {
    /// The releases that each host may activate.
    pub staged: Vec<(String, BTreeSet<ReleaseId>)>,
}

fn no_common_staged(staged: &[(String, BTreeSet<ReleaseId>)]) -> &'static str {
    if staged.iter().all(|(_, ids)| ids.is_empty()) {
        "no release is staged"
    } else {
        "there is no staged release that all hosts have"
    }
}

impl ActivateError {
    pub(super) fn of(states: &[(&str, &HostState)]) -> Self {
        let of =
            |(name, state): &(&str, &HostState)| ((*name).to_owned(), activation_candidates(state));
        Self { staged: states.iter().map(of).collect() }
    }

    /// Returns the failure of the run on `stage`.
    pub fn failure(&self, stage: &str) -> Failure {
        let none = "none that is newer than what is live and has not expired";
        let line = |(host, ids): &(String, BTreeSet<ReleaseId>)| {
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            let there = if ids.is_empty() { none.to_owned() } else { ids.join(", ") };
            format!("{host} has {there}")
        };
        let failure = Failure::new(self.to_string());
        let failure = self.staged.iter().map(line).fold(failure, Failure::because);
        failure.hint(Some(format!("`shipit stage {stage}` stages a build")))
    }
}

/// The reason why there is no release to roll back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// The hosts do not run the same release.
    #[error("the hosts do not run the same release")]
    HostsDisagree {
        /// The live release of each host.
        live: Vec<(String, Option<ReleaseId>)>,
    },
    /// No release was live and good on all of them.
    #[error("{}", no_common(offers))]
    NoCommon {
        /// The releases that each host offers.
        offers: Vec<(String, Offer)>,
    },
}

fn no_common(offers: &[(String, Offer)]) -> &'static str {
    if offers.iter().all(|(_, offer)| offer.candidates.is_empty()) {
        "there is no earlier release to roll back to"
    } else {
        "there is no earlier good release that all hosts have"
    }
}

impl RollbackError {
    /// No release was live and good on all of these hosts.
    pub(super) fn no_common(states: &[(&str, &HostState)]) -> Self {
        let offer = |(name, state): &(&str, &HostState)| ((*name).to_owned(), Offer::of(state));
        Self::NoCommon { offers: states.iter().map(offer).collect() }
    }

    /// Returns the causes, for each host.
    pub fn causes(&self) -> Vec<String> {
        match self {
            Self::HostsDisagree { live } => live
                .iter()
                .map(|(host, id)| match id {
                    Some(id) => format!("{host} runs {id}"),
                    None => format!("{host} runs no release of shipit"),
                })
                .collect(),
            Self::NoCommon { offers } => {
                offers.iter().flat_map(|(host, offer)| offer.lines(host)).collect()
            }
        }
    }

    /// Returns what to type next.
    pub fn hint(&self, stage: &str) -> String {
        match self {
            Self::HostsDisagree { .. } => {
                format!("name one with `--to ID`; `shipit releases {stage}` shows them")
            }
            Self::NoCommon { offers } => {
                let can = offers.iter().find(|(_, offer)| !offer.candidates.is_empty());
                match can.filter(|_| offers.len() > 1) {
                    Some((host, _)) => format!(
                        "one host at a time: `shipit rollback {stage} --hosts {host}`; or deploy, \
                         which brings all hosts to one release"
                    ),
                    None => format!(
                        "`shipit releases {stage}` shows what is there and why it is not chosen"
                    ),
                }
            }
        }
    }
}
