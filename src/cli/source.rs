//! The artifact before it is opened: the revision and the branch in its path, the values of its
//! headers, and what downloads need of this machine.

use tokio::process::Command;

use super::error::CliError;
use super::world::World;
use crate::config::access::{FetchEnv, SourceFacts};
use crate::config::gather::{self, OF_ARTIFACT};
use crate::config::{ArtifactSpec, Config};
use crate::model::words::DIRTY;

/// Fills in what the path of the artifact leaves open.
pub(crate) async fn name(world: &World, config: &mut Config) -> Result<(), CliError> {
    let facts = match &config.artifact {
        Some(spec) if spec.is_open() => facts(world, config).await,
        _ => return Ok(()),
    };
    let Some(spec) = &mut config.artifact else { return Ok(()) };
    spec.fill(&facts).map_err(|word| CliError::Open { word })
}

/// Fetches the values of headers, and what else downloads need. Returns the values that no output
/// may show.
pub(crate) async fn gather(world: &World, config: &mut Config) -> Result<Vec<String>, CliError> {
    let base = config.base.clone();
    let Some(spec) = &mut config.artifact else { return Ok(Vec::new()) };
    if spec.access.machine.is_some() {
        return Ok(Vec::new());
    }
    let headers = &mut spec.access.headers;
    let secrets = gather::headers(headers, OF_ARTIFACT, &base, &|name| world.given(name)).await?;
    spec.access.machine =
        Some(FetchEnv { env: world.env.clone(), home: world.home(), now: world.now });
    Ok(secrets)
}

/// Returns the artifact of the config, ready to be opened.
pub(crate) async fn ready(world: &World, config: &Config) -> Result<ArtifactSpec, CliError> {
    let mut config = config.clone();
    name(world, &mut config).await?;
    gather(world, &mut config).await?;
    config.artifact.ok_or(CliError::NoArtifact)
}

async fn facts(world: &World, config: &Config) -> SourceFacts {
    let revision = revision(world, config).await;
    let revision = revision.map(|text| text.trim_end_matches(DIRTY).to_owned());
    SourceFacts { revision, branch: branch(world, config).await }
}

/// Returns the source revision: from CI, else of the work tree that contains deploy.toml.
pub(crate) async fn revision(world: &World, config: &Config) -> Option<String> {
    if let Some(said) = ["GITHUB_SHA", "CI_COMMIT_SHA"].iter().find_map(|name| world.var(name)) {
        return Some(said);
    }
    let head = git(config, &["rev-parse", "HEAD"]).await?;
    let changed = git(config, &["status", "--porcelain", "-uno"]).await?;
    Some(if changed.is_empty() { head } else { format!("{head}{DIRTY}") })
}

/// Returns the branch: from CI, else the one that is checked out.
async fn branch(world: &World, config: &Config) -> Option<String> {
    let names = ["GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME"];
    match names.iter().find_map(|name| world.var(name)) {
        Some(said) => Some(said),
        None => git(config, &["symbolic-ref", "--short", "-q", "HEAD"]).await,
    }
}

async fn git(config: &Config, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    let output = git.arg("-C").arg(&config.base).args(arguments).output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
