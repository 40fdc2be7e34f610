//! Finds what each host lacks of the release to be made. Every failure here falls back to sending
//! more: it costs bytes, never a deploy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::conversation::Conversation;
use super::source::Source;
use super::verify::drift;
use crate::artifact::{FilePatch, PreparedDelta};
use crate::cache::ReleaseCache;
use crate::config::{Config, Host};
use crate::model::delta::{Base, BaseState, ChangedFile, DeltaBuilder};
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
    deltas: Mutex<BTreeMap<DeltaKey, Arc<OnceCell<Arc<PreparedDelta>>>>>,
}

/// Hosts with the same key get the same delta.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct DeltaKey {
    state: BaseState,
    /// Whether they have zstd, which decodes patches.
    patches: bool,
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
            Ok(answer) if answer.code == DONE => {
                shareable(&answer.bytes, live, self.release.digest).unwrap_or_default()
            }
            _ => BaseState::default(),
        }
    }

    /// Returns what a host in `state` lacks of the release.
    pub async fn delta(
        &self,
        host: &Conversation<'_>,
        cache: &dyn ReleaseCache,
        state: &BaseState,
    ) -> Arc<PreparedDelta> {
        let patches = host.state.as_ref().is_some_and(|state| state.facts.tools.contains("zstd"));
        let key = DeltaKey { state: state.clone(), patches };
        let cell = Arc::clone(lock(&self.deltas).entry(key.clone()).or_default());
        Arc::clone(cell.get_or_init(|| self.prepare(host, cache, &key)).await)
    }

    async fn prepare(
        &self,
        host: &Conversation<'_>,
        cache: &dyn ReleaseCache,
        DeltaKey { state, patches }: &DeltaKey,
    ) -> Arc<PreparedDelta> {
        let base = self.base(host, cache, state).await;
        let base = base.as_ref().map(|(id, manifest)| Base { id: *id, manifest });
        let mut builder = DeltaBuilder::new(&self.release.manifest, base, state);
        let mut made = BTreeMap::new();
        let changed = if *patches { builder.changed() } else { Vec::new() };
        for file in changed {
            if let Some(patch) = self.patch(cache, &file).await {
                let (path, sent) = (file.path.clone(), patch.sent);
                builder.patch(file, sent);
                made.insert(path, patch);
            }
        }
        Arc::new(PreparedDelta { delta: builder.finish(), patches: made })
    }

    /// Returns the live release of a host in `state` and its manifest, if that can be had.
    async fn base(
        &self,
        host: &Conversation<'_>,
        cache: &dyn ReleaseCache,
        state: &BaseState,
    ) -> Option<(ReleaseId, Manifest)> {
        let (id, digest) = state.live?;
        let cell = Arc::clone(lock(&self.manifests).entry(digest).or_default());
        let known = cell.get_or_try_init(|| manifest(host, cache, id, digest)).await;
        Some((id, known.ok()?.clone()))
    }

    /// Returns the manifest of the live release of a host, also if no file of it may be shared;
    /// `None` if it cannot be had.
    pub async fn live_manifest(
        &self,
        host: &Conversation<'_>,
        cache: &dyn ReleaseCache,
        state: &BaseState,
    ) -> Option<Manifest> {
        if let Some((_, manifest)) = self.base(host, cache, state).await {
            return Some(manifest);
        }
        let id = host.state.as_ref()?.live()?;
        Manifest::parse(&manifest_text(host, id, ManifestOf::Release).await?).ok()
    }

    /// Returns the manifest of what the build brought to the live release, where hooks added more;
    /// `None` if nothing else came to it, or it cannot be had.
    pub async fn live_artifact(host: &Conversation<'_>) -> Option<Manifest> {
        let id = host.state.as_ref()?.live()?;
        Manifest::parse(&manifest_text(host, id, ManifestOf::Artifact).await?).ok()
    }

    /// Returns the patch of a large file, if its old version is kept on this machine and a patch is
    /// much smaller. Otherwise, and whatever fails, the file travels whole.
    async fn patch(&self, cache: &dyn ReleaseCache, file: &ChangedFile) -> Option<FilePatch> {
        let old = cache.file(file.old, file.old_size)?;
        let (artifact, file) = (Arc::clone(self.source.here()?), file.clone());
        let work = move || artifact.patch(&file, &old);
        tokio::task::spawn_blocking(work).await.ok()?.ok()?
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

/// Returns the text of a manifest of release `id` on a host, if it can be had.
pub async fn manifest_text(
    host: &Conversation<'_>,
    id: ReleaseId,
    of: ManifestOf,
) -> Option<String> {
    unpack(&packed(host, id, of).await.ok()?, LONGEST_MANIFEST).ok()
}

/// Returns the sealed manifest of release `id`, from this machine or from the host.
async fn manifest(
    host: &Conversation<'_>,
    cache: &dyn ReleaseCache,
    id: ReleaseId,
    digest: Digest,
) -> Result<Manifest, NoManifest> {
    if let Some(text) = cache.manifest(digest) {
        return Manifest::parse(&text).map_err(|_| NoManifest);
    }
    let text = manifest_text(host, id, ManifestOf::Release).await.ok_or(NoManifest)?;
    if Digest::of(text.as_bytes()) != digest {
        return Err(NoManifest);
    }
    let manifest = Manifest::parse(&text).map_err(|_| NoManifest);
    cache.keep_manifest(Box::new(move || Some((digest, text))));
    manifest
}

/// Fetches the host's packed text, piece by piece.
async fn packed(
    host: &Conversation<'_>,
    id: ReleaseId,
    of: ManifestOf,
) -> Result<Vec<u8>, NoManifest> {
    let mut packed = Vec::new();
    while (packed.len() as u64) < LONGEST_MANIFEST {
        let order = Order::Manifest { id, of, after: packed.len() };
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

/// A manifest that could not be had, or not read.
struct NoManifest;
