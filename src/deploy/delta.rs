//! Finds what each host lacks of the release to be made. Every failure here falls back to sending
//! more: it costs bytes, never a deploy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::conversation::Conversation;
use super::source::Source;
use super::verify::drift;
use crate::artifact::PreparedDelta;
use crate::config::{Config, Host};
use crate::model::delta::{BaseState, Delta, PatchedFile};
use crate::model::digest::Digest;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::manifest::{Manifest, Sealed};
use crate::model::mutex::lock;
use crate::remote::answer::{LONGEST_MANIFEST, shareable, unpack};
use crate::remote::order::{DONE, MANIFEST_PIECE, ManifestOf, Order};

/// Finds the deltas of one release. Each manifest is fetched once, from the first host that has it,
/// and each delta is prepared once for all hosts in the same state.
pub struct DeltaFinder {
    pub release: Arc<Sealed>,
    source: Source,
    manifests: Mutex<BTreeMap<Digest, Arc<OnceCell<Manifest>>>>,
    deltas: Mutex<BTreeMap<BaseState, Arc<OnceCell<Arc<PreparedDelta>>>>>,
}

impl DeltaFinder {
    /// For making `release` from the files of `source`.
    pub fn new(release: Sealed, source: Source) -> Self {
        let release = Arc::new(release);
        Self { release, source, manifests: Mutex::default(), deltas: Mutex::default() }
    }

    /// Asks a host which files it could share. Waits for this one answer only.
    pub async fn ask(&self, host: &Conversation<'_>, config: &Config) -> BaseState {
        let Some(state) = host.state.as_ref().filter(|state| may_link(config, state)) else {
            return BaseState::default();
        };
        let live = state.live();
        if live.is_none() && state.parts().next().is_none() {
            return BaseState::default();
        }
        match host.ask(&Order::Base).await {
            Ok(answer) if answer.code == DONE => BaseState {
                patches: state.facts.tools.contains("zstd"),
                ..shareable(&answer.bytes, live, self.release.digest).unwrap_or_default()
            },
            _ => BaseState::default(),
        }
    }

    /// Returns what a host in `state` lacks of the release.
    pub async fn delta(&self, host: &Conversation<'_>, state: &BaseState) -> Arc<PreparedDelta> {
        let cell = Arc::clone(lock(&self.deltas).entry(state.clone()).or_default());
        Arc::clone(cell.get_or_init(|| self.prepare(host, state)).await)
    }

    /// Returns the delta, with patches of large files whose old versions are kept on this machine.
    async fn prepare(&self, host: &Conversation<'_>, state: &BaseState) -> Arc<PreparedDelta> {
        let base = self.base(host, state).await;
        let release = &self.release.manifest;
        let delta = Delta::new(release, base.as_ref(), state);
        let (Some(base), Some(artifact), true) = (base, self.source.here(), state.patches) else {
            return Arc::new(PreparedDelta::new(delta, None));
        };
        let with_old = |(path, file): (String, PatchedFile)| {
            let old = host.cx.cache.file(file.old, file.old_size)?;
            Some((path, (file, old)))
        };
        let changed = delta.changed(release, &base, state).into_iter().filter_map(with_old);
        let (changed, artifact) = (changed.collect(), Arc::clone(artifact));
        let work = move || artifact.patched(delta, changed);
        Arc::new(tokio::task::spawn_blocking(work).await.unwrap_or_default())
    }

    /// Returns the manifest of the live release of a host in `state`, if that can be had.
    async fn base(&self, host: &Conversation<'_>, state: &BaseState) -> Option<Manifest> {
        let (id, digest) = state.live?;
        let cell = Arc::clone(lock(&self.manifests).entry(digest).or_default());
        let sealed = || async { sealed_manifest(host, id, digest).await.ok_or(()) };
        cell.get_or_try_init(sealed).await.ok().cloned()
    }

    /// Returns the manifest of the live release of a host, also if no file of it may be shared;
    /// `None` if it cannot be had.
    pub async fn live_manifest(
        &self,
        host: &Conversation<'_>,
        state: &BaseState,
    ) -> Option<Manifest> {
        match self.base(host, state).await {
            None => manifest(host, host.state.as_ref()?.live()?, ManifestOf::Release).await,
            known => known,
        }
    }

    /// Returns the manifest of what the build brought to the live release, where hooks added more;
    /// `None` if nothing else came to it, or it cannot be had.
    pub async fn live_artifact(host: &Conversation<'_>) -> Option<Manifest> {
        manifest(host, host.state.as_ref()?.live()?, ManifestOf::Artifact).await
    }
}

/// Returns the orders that a deploy sends along with the greeting.
pub fn first(config: &Config, host: &Host) -> Vec<Order> {
    let base = config.upload.link.then_some(Order::Base);
    [drift(config, host)].into_iter().chain(base).collect()
}

/// Returns whether releases may share files there. Root writes to sealed files as well: where hooks
/// run as root, they would write to earlier releases.
fn may_link(config: &Config, state: &HostState) -> bool {
    let root_hooks = state.facts.root && !config.hooks.staged.is_empty();
    config.upload.link && !root_hooks
}

/// Returns a manifest of release `id` on a host, if it can be had.
pub async fn manifest(host: &Conversation<'_>, id: ReleaseId, of: ManifestOf) -> Option<Manifest> {
    Manifest::parse(&manifest_text(host, id, of).await?)
}

/// Returns the sealed manifest of release `id`, from this machine or from the host.
async fn sealed_manifest(
    host: &Conversation<'_>,
    id: ReleaseId,
    digest: Digest,
) -> Option<Manifest> {
    let cache = host.cx.cache;
    if let Some(text) = cache.manifest(digest) {
        return Manifest::parse(&text);
    }
    let text = manifest_text(host, id, ManifestOf::Release).await?;
    if Digest::of(text.as_bytes()) != digest {
        return None;
    }
    let manifest = Manifest::parse(&text);
    cache.keep_manifest(move || Some((digest, text)));
    manifest
}

/// Returns the text of a manifest of release `id` on a host, if it can be had. It comes piece by
/// piece.
pub async fn manifest_text(
    host: &Conversation<'_>,
    id: ReleaseId,
    of: ManifestOf,
) -> Option<String> {
    let mut packed = Vec::new();
    while (packed.len() as u64) < LONGEST_MANIFEST {
        let answer = host.ask(&Order::Manifest { id, of, after: packed.len() }).await.ok()?;
        if answer.code != DONE {
            return None;
        }
        packed.extend(&answer.bytes);
        if answer.bytes.len() < MANIFEST_PIECE {
            return unpack(&packed, LONGEST_MANIFEST).ok();
        }
    }
    None
}
