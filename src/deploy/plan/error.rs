//! The reasons why there is no plan for a host, and hints.

use chrono::{DateTime, Utc};

use crate::deploy::outcome::Failure;
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
    CurrentNotALink { path: String },
    /// Something that every deploy needs is missing on the host; `fix` is about the first thing.
    #[error("{0}", what.join("; "))]
    Unfit { what: Vec<String>, fix: Option<String> },
    /// It is `not-found`, `masked`, …
    #[error("systemd says {unit} is {load}")]
    NoUnit { unit: String, load: String },
    #[error("the artifact has no file `{file}`, which is to be a unit file")]
    NoUnitFile { file: String },
    /// The release is no archive of a container image, as a service wants it.
    #[error("the artifact is no container image: it holds no manifest.json and no index.json")]
    NoImage { image: String },
    #[error("{}", refused_by_sudo(user, command, refusal))]
    NoSudo { user: String, command: String, refusal: SudoRefusal },
    #[error("the release needs {}, but only {} are free", human_size(*need), human_size(*free))]
    NoSpace { need: u64, free: u64 },
    #[error(
        "the release needs {}, but only {free} are free",
        count(usize::try_from(*need).unwrap_or(usize::MAX), "inode")
    )]
    NoInodes { need: u64, free: u64 },
    #[error("the artifact holds `{file}`, which [env] would overwrite")]
    EnvInArtifact { file: String },
    /// `id` is the release of a rollback; `None`: the build of a deploy.
    #[error("a health check names `{{{name}}}`, which is not known of {}", whose(*id))]
    NoValue { name: &'static str, id: Option<ReleaseId> },
    /// A linked path would lie in something that is no directory.
    #[error("`{path}` cannot be linked: the artifact has a {kind} at `{at}`")]
    LinkInside { path: String, at: String, kind: &'static str },
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
    /// A release is dated later than all clocks. Ids only grow, so a new one would be later still.
    #[error("release {id} is dated more than a day ahead of this machine's clock and the host's")]
    Ahead { id: ReleaseId, layout: Layout, live: bool },
    /// By the ledger, the live release belongs to another app than that of the config.
    #[error("the live release belongs to the app `{there}`, but this is `{app}`")]
    OtherApp { there: String, app: String },
    /// A rollback could go to the `candidates`.
    #[error("release {id} is not on this host")]
    NotThere { id: ReleaseId, candidates: Vec<ReleaseId> },
    /// Another run made another release live in the meantime.
    #[error("{was}, whose config is to change, is not live here any more")]
    NotLive { was: ReleaseId },
    #[error("release {id} was never completed here")]
    Unfinished { id: ReleaseId },
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

    /// Returns what to do about it.
    pub fn hint(&self, stage: &str) -> String {
        match self {
            Self::CurrentNotALink { path } => {
                format!("move it away by hand: `mv {path} {path}.old`, then deploy again")
            }
            Self::Unfit { fix: Some(fix), .. } => fix.clone(),
            Self::Unfit { .. } | Self::NoUnit { .. } | Self::NoSudo { .. } => {
                format!("`shipit check {stage}` says how to mend it")
            }
            Self::NoUnitFile { .. } => {
                "build it into the artifact, or correct `file` of the service".to_owned()
            }
            Self::NoImage { image } => image_hint(image),
            Self::NoSpace { .. } | Self::NoInodes { .. } => {
                format!("`shipit prune {stage}` deletes old releases")
            }
            Self::EnvInArtifact { file } => {
                format!("leave it out with `exclude = [\"/{file}\"]` in [artifact]")
            }
            Self::NoValue { id: None, .. } => {
                "a file `REVISION` in the artifact tells its revision; so does git where \
                 deploy.toml is in a work tree"
                    .to_owned()
            }
            Self::NoValue { name, .. } => format!(
                "deploy its build again, or take `{{{name}}}` out of [health] for this rollback"
            ),
            Self::LinkInside { at, .. } => format!(
                "leave `{at}` out with `exclude = [\"/{at}\"]` in [artifact], or link another path"
            ),
            Self::Newer(Newer { tool: Some(tool), .. }) => {
                format!("use {tool}, which wrote it, or a newer one")
            }
            Self::Newer(_) => "use the shipit that wrote it, or a newer one".to_owned(),
            Self::Doubtful { layout, unreadable, unknown } => {
                doubtful_hint(layout, unreadable, unknown)
            }
            Self::Ahead { id, layout, live } => {
                let by_hand = format!("delete it by hand: `{}`", delete(layout, &id.to_string()));
                let first = format!("make another one live with `shipit rollback {stage} --to ID`");
                if *live { format!("{first}, then {by_hand}") } else { by_hand }
            }
            Self::OtherApp { .. } => "give each app a `deploy_to` of its own; if the app was \
                renamed, deploy it once with `--force`"
                .to_owned(),
            Self::NotThere { candidates, .. } if candidates.is_empty() => {
                format!("`shipit releases {stage}` shows what is there")
            }
            Self::NotThere { candidates, .. } => {
                format!("this host could roll back to {}", names(candidates))
            }
            Self::NotLive { .. } => format!("`shipit status {stage}` shows what is live"),
            Self::Unfinished { .. } => "deploy it again".to_owned(),
            Self::NotStaged {
                id,
                why: WhyNotStaged::Was(ReleaseStatus::Good | ReleaseStatus::RolledBack),
            } => format!("`shipit rollback {stage} --to {id}` makes it live again"),
            Self::NotStaged { .. } => format!("`shipit stage {stage}` stages its build anew"),
        }
    }
}

/// Returns releases for people.
pub(super) fn names<'a>(ids: impl IntoIterator<Item = &'a ReleaseId>) -> String {
    let names: Vec<_> = ids.into_iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn whose(id: Option<ReleaseId>) -> String {
    id.map_or_else(|| "this build".to_owned(), |id| format!("release {id}"))
}

fn image_hint(image: &str) -> String {
    let file = image.rsplit('/').next().unwrap_or(image);
    format!("`docker save --output {file}.tar {image}` writes one, or `podman save`")
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
