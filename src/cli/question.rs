//! The questions of a stage with `confirm = true`: what goes where, as far as it is known before
//! hosts are connected to.

use crate::artifact::file_name;
use crate::config::access::DigestSource;
use crate::config::{ArtifactSource, Config};
use crate::model::goal::GoalKind;
use crate::model::id::ReleaseId;
use crate::model::words::{count, short_revision};

/// Returns the question before a deploy, or before a build is staged.
pub(crate) fn deploy(config: &Config, kind: GoalKind, revision: Option<&str>) -> String {
    let what = match config.artifact.as_ref().map(|spec| &spec.source) {
        Some(ArtifactSource::Path { path, .. }) => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            format!(" `{}`", name.unwrap_or_else(|| path.display().to_string()))
        }
        Some(ArtifactSource::Url { sha256: Some(DigestSource::Known(sha256)), .. }) => {
            format!(" the artifact {}", sha256.short())
        }
        Some(ArtifactSource::Url { url, .. }) => format!(" `{}`", file_name(url)),
        None => String::new(),
    };
    let revision = revision.map(short_revision);
    let revision = revision.map_or_else(String::new, |it| format!(" at revision {it}"));
    let (verb, on) = if kind == GoalKind::Stage { ("Stage", "on") } else { ("Deploy", "to") };
    format!("{verb}{what}{revision} {on} {}", place(config))
}

pub(crate) fn promote(config: &Config, from: &Config) -> String {
    format!("Deploy what {} runs to {}", from.stage, place(config))
}

/// Returns the question before a deploy of the config alone.
pub(crate) fn env_only(config: &Config, kind: GoalKind) -> String {
    let verb = if kind == GoalKind::Stage { "Stage" } else { "Deploy" };
    format!("{verb} only the config of {}", place(config))
}

pub(crate) fn activate(config: &Config, id: Option<ReleaseId>) -> String {
    let what = id.map_or_else(|| "the newest staged release".to_owned(), |id| id.to_string());
    format!("Activate {what} on {}", place(config))
}

pub(crate) fn rollback(config: &Config, id: Option<ReleaseId>) -> String {
    let to = id.map_or_else(|| "the previous good release".to_owned(), |id| id.to_string());
    format!("Roll back {} to {to}", place(config))
}

pub(crate) fn prune(config: &Config) -> String {
    let keep = count(config.keep, "good release");
    format!("Delete old releases of {}, keeping {keep}", place(config))
}

fn place(config: &Config) -> String {
    let hosts: Vec<_> = config.hosts.iter().map(|host| host.name.as_str()).collect();
    format!("{} ({})", config.stage, hosts.join(", "))
}

/// Returns whether an answer means yes.
pub(crate) fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES")
}
