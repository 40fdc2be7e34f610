//! What the hosts of a run have of the release to be made. A host that knows less than it could
//! costs bytes, never a deploy: whatever fails here, the release is sent whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::conversation::Conversation;
use super::verify::drift;
use crate::artifact::Artifact;
use crate::cache::ReleaseCache;
use crate::config::Config;
use crate::model::delta::{BaseState, ChangedFile, Delta, Rebuild};
use crate::model::digest::Digest;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::manifest::{Manifest, Sealed};
use crate::remote::answer::{LONGEST_MANIFEST, shareable, unpack};
use crate::remote::order::{DONE, MANIFEST_PIECE, Order};

/// The deltas of one release. Each manifest is fetched once, from the first host that has it, and
/// each delta is worked out once for all hosts that have the same.
pub struct DeltaFinder {
    /// What the release is to hold.
    pub release: Arc<Sealed>,
    artifact: Arc<Artifact>,
    manifests: Mutex<BTreeMap<Digest, Arc<OnceCell<Manifest>>>>,
    deltas: Mutex<BTreeMap<DeltaKey, Arc<OnceCell<Arc<Delta>>>>>,
}

/// What hosts with the same delta have in common: what there is to share, and whether they have
/// zstd, which decodes patches.
type DeltaKey = (BaseState, bool);

impl DeltaFinder {
    /// For making `release`, whose bytes are in `artifact`.
    pub fn new(release: Sealed, artifact: Arc<Artifact>) -> Self {
        let release = Arc::new(release);
        Self { release, artifact, manifests: Mutex::default(), deltas: Mutex::default() }
    }

    /// Asks a host what there is to share. It never waits for more than this one answer.
    pub async fn ask(&self, host: &Conversation<'_>, config: &Config) -> BaseState {
        let Some(state) = host.state.as_ref().filter(|state| may_link(config, state)) else {
            return BaseState::default();
        };
        let live = state.live();
        if live.is_none() && state.parts().next().is_none() {
            return BaseState::default();
        }
        match host.ask(&Order::Base).await {
            Ok(answer) if answer.code == DONE => {
                shareable(&answer.bytes, live, self.release.digest).unwrap_or_default()
            }
            _ => BaseState::default(),
        }
    }

    /// What of the release is on a host that has `found` to share.
    pub async fn delta(
        &self,
        host: &Conversation<'_>,
        kept: &dyn ReleaseCache,
        found: &BaseState,
    ) -> Arc<Delta> {
        let patched = host.state.as_ref().is_some_and(|state| state.facts.tools.contains("zstd"));
        let likeness = (found.clone(), patched);
        let cell = Arc::clone(lock(&self.deltas).entry(likeness).or_default());
        Arc::clone(cell.get_or_init(|| self.work_out(host, kept, found, patched)).await)
    }

    async fn work_out(
        &self,
        host: &Conversation<'_>,
        kept: &dyn ReleaseCache,
        found: &BaseState,
        patched: bool,
    ) -> Arc<Delta> {
        let base = match found.live {
            Some((id, digest)) => {
                let cell = Arc::clone(lock(&self.manifests).entry(digest).or_default());
                let known = cell.get_or_try_init(|| manifest(host, kept, id, digest)).await;
                known.ok().cloned().map(|manifest| (id, manifest))
            }
            None => None,
        };
        let base = base.as_ref().map(|(id, manifest)| (*id, manifest));
        let release = &self.release.manifest;
        let mut delta = Delta::new(release, base, found);
        let Some(base) = base else { return Arc::new(delta.keyed()) };
        let changed = if patched { delta.changed(release, base, &found.apart) } else { Vec::new() };
        for change in changed {
            if let Some(made) = self.rebuild(kept, &change).await {
                delta.rebuilt.insert(change.path, made);
            }
        }
        Arc::new(delta.keyed())
    }

    /// How a large file is made from its old self, if that is known here. Whatever goes wrong, the
    /// file travels whole.
    async fn rebuild(&self, kept: &dyn ReleaseCache, change: &ChangedFile) -> Option<Rebuild> {
        let old = kept.file(change.old, change.old_size)?;
        let (artifact, change) = (Arc::clone(&self.artifact), change.clone());
        let work = move || artifact.rebuild(&change, &old);
        tokio::task::spawn_blocking(work).await.ok()?.ok()?
    }
}

/// What a deploy asks a host along with the greeting.
pub fn first(config: &Config) -> Vec<Order> {
    let base = config.upload.link.then_some(Order::Base);
    [drift(config)].into_iter().chain(base).collect()
}

/// Whether releases may share files there. Root writes to sealed files as well, so where hooks
/// run as root, they would write to earlier releases.
fn may_link(config: &Config, state: &HostState) -> bool {
    let root_hooks = state.facts.root && !config.hooks.staged.is_empty();
    config.upload.link && !root_hooks
}

/// The sealed manifest of release `id`, from this machine or from the host.
async fn manifest(
    host: &Conversation<'_>,
    kept: &dyn ReleaseCache,
    id: ReleaseId,
    digest: Digest,
) -> Result<Manifest, NoManifest> {
    if let Some(text) = kept.manifest(digest) {
        return Manifest::parse(&text).map_err(|_| NoManifest);
    }
    let text = unpack(&packed(host, id).await?, LONGEST_MANIFEST).map_err(|_| NoManifest)?;
    if Digest::of(text.as_bytes()) != digest {
        return Err(NoManifest);
    }
    let manifest = Manifest::parse(&text).map_err(|_| NoManifest);
    kept.keep_manifest(Box::new(move || Some((digest, text))));
    manifest
}

/// The host's packed text, piece by piece.
async fn packed(host: &Conversation<'_>, id: ReleaseId) -> Result<Vec<u8>, NoManifest> {
    let mut packed = Vec::new();
    while (packed.len() as u64) < LONGEST_MANIFEST {
        let order = Order::Manifest { id, after: packed.len() };
        let answer = host.ask(&order).await.map_err(|_| NoManifest)?;
        if answer.code != DONE {
            return Err(NoManifest);
        }
        packed.extend(&answer.bytes);
        if answer.bytes.len() < MANIFEST_PIECE {
            return Ok(packed);
        }
    }
    Err(NoManifest)
}

/// It could not be had, or read.
struct NoManifest;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
