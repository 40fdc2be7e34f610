//! The changes that a deploy would make on a host, beyond the steps of its plan.

use serde::Serialize;

use super::Fleet;
use crate::config::{Config, Host};
use crate::deploy::delta::DeltaFinder;
use crate::deploy::env_diff::live_keys;
use crate::deploy::goal::{Build, Goal};
use crate::deploy::host::HostRun;
use crate::deploy::payload::codec_for;
use crate::deploy::rollout::batches;
use crate::model::changes::{FileChange, changes};
use crate::model::codec::Codec;
use crate::model::env_keys::{EnvDifference, EnvKeys};
use crate::model::host_state::HostState;
use crate::model::manifest::{Manifest, is_below};

/// The fate of a part of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigFate {
    Same,
    Added,
    Changed,
    Removed,
}

/// The difference between what is live on a host and what a deploy would make live.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The live release, for people.
    pub live: String,
    /// Files that change; `None`: there is nothing to compare with.
    pub files: Option<Vec<FileChange>>,
    /// Files of the new release, and their bytes.
    pub count: usize,
    pub size: u64,
    /// The env files, taken together.
    pub env: ConfigFate,
    /// The values that differ in them; `None`: none does, or nobody can tell.
    pub values: Option<EnvDifference>,
    /// Whether links, `staged` hooks or services differ; `None`: nobody can tell.
    pub settings: Option<bool>,
    /// The compression of uploads to the host.
    pub codec: Codec,
    /// Bytes that are free now, and about how many will be before a prune.
    pub free: Option<u64>,
    pub free_after: Option<u64>,
}

impl Fleet<'_> {
    /// Returns the difference on each host, in their order; `None` if the goal is not a deploy.
    pub(super) async fn differences(&mut self, goal: &Goal) -> Vec<Option<Difference>> {
        let (Some(build), Some(finder)) = (goal.build(), &self.finder) else {
            return self.hosts.all.iter().map(|_| None).collect();
        };
        let config = self.cx.config;
        let compare = async |host: &mut HostRun<'_>| {
            let (whole, brought, values) = tokio::join!(
                finder.live_manifest(&host.talk, &host.base),
                DeltaFinder::live_artifact(&host.talk),
                live_keys(&host.talk)
            );
            // Hooks will make again all that they have made.
            difference(config, build, finder, host, brought.or(whole), values)
        };
        self.hosts.each(compare).await
    }
}

fn difference(
    config: &Config,
    build: &Build,
    finder: &DeltaFinder,
    host: &HostRun<'_>,
    old: Option<Manifest>,
    old_values: Option<EnvKeys>,
) -> Option<Difference> {
    let state = host.talk.state.as_ref()?;
    let new = &finder.release.manifest;
    let made: Vec<String> = made_on_hosts(config, new);
    let linked = host.plan.make.as_ref().map_or(0, |make| make.prepared.delta.linked);
    let taken = new.size().saturating_sub(linked);
    let (env, settings) = fates(config, build, host.talk.host, state);
    let new_values = build.all_env_keys(config, host.talk.host, &state.key);
    let values = old_values.zip(new_values).filter(|_| env != ConfigFate::Same);
    Some(Difference {
        live: host.talk.live_shown(),
        files: old.map(|old| changes(&old.without(&made), new)).map(|all| unkept(config, all)),
        count: new.files(),
        size: new.size(),
        env,
        values: values.map(|(old, new)| old.difference(&new)),
        settings,
        codec: codec_for(&state.facts),
        free: state.facts.free_bytes,
        free_after: state.facts.free_bytes.map(|free| free.saturating_sub(taken)),
    })
}

/// Leaves out files that are gone from the build and stay for pages that are still open.
fn unkept(config: &Config, mut all: Vec<FileChange>) -> Vec<FileChange> {
    let kept: Vec<_> = config.assets.iter().flat_map(|assets| &assets.keep).collect();
    let stays = |path: &str| kept.iter().any(|kept| is_below(path, kept));
    all.retain(|change| change.after.is_some() || !stays(&change.path));
    all
}

/// Returns what stands in manifests on hosts though no build brings it.
fn made_on_hosts(config: &Config, new: &Manifest) -> Vec<String> {
    let revision = (!new.holds("REVISION")).then(|| "REVISION".to_owned());
    config.links.iter().map(|link| link.path.clone()).chain(revision).collect()
}

/// Returns what becomes of the env file, and whether the other settings differ. The ledger keeps
/// one digest for all of them, so they are only known to differ while the env file does not.
fn fates(
    config: &Config,
    build: &Build,
    host: &Host,
    state: &HostState,
) -> (ConfigFate, Option<bool>) {
    let origin = state.live().and_then(|id| state.ledger.history(id)?.origin);
    let (old_env, old_config) = origin.map(|entry| (entry.env, entry.config)).unzip();
    let env = match (old_env.flatten(), build.env_digest(config, host, &state.key)) {
        (None, None) => ConfigFate::Same,
        (None, Some(_)) => ConfigFate::Added,
        (Some(_), None) => ConfigFate::Removed,
        (Some(old), Some(new)) if old == new => ConfigFate::Same,
        _ => ConfigFate::Changed,
    };
    let differ = |old| old != build.config_digest(config, host, &state.key);
    let settings = old_config.flatten().filter(|_| env == ConfigFate::Same).map(differ);
    (env, settings)
}

/// Returns the names of the hosts of each batch, in their order.
pub fn batch_names(config: &Config) -> Vec<Vec<String>> {
    let name = |place: usize| config.hosts[place].name.clone();
    let batch = |places: Vec<usize>| places.into_iter().map(name).collect();
    batches(&config.rollout, &config.hosts).into_iter().map(batch).collect()
}
