//! The bytes of a deploy: packed once per codec and delta, shared by all hosts that take it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::bases::Shelf;
use crate::artifact::{Artifact, ArtifactError, Packed, pack_bytes};
use crate::config::Upload;
use crate::model::codec::Codec;
use crate::model::delta::Delta;
use crate::model::digest::Digest;
use crate::model::host_state::Facts;
use crate::model::manifest::Manifest;
use crate::remote::agent::{AgentError, Part};
use crate::remote::answer::sealed;
use crate::remote::throttle::Throttle;

/// What is sent to the hosts of one run.
pub struct Payload {
    artifact: Arc<Artifact>,
    release: Arc<Manifest>,
    prefix: String,
    env: Option<Vec<u8>>,
    /// Of the sealed text of the release's manifest.
    pub digest: Digest,
    /// Keeps all uploads together below a rate.
    pub throttle: Option<Throttle>,
    /// Holds as many as may be under way at once.
    pub turns: Semaphore,
    packed: Mutex<BTreeMap<Stream, Arc<OnceCell<Packed>>>>,
    learnt: std::sync::Mutex<BTreeSet<String>>,
}

/// What tells streams apart: how they are packed, and what they leave out.
type Stream = (Codec, Option<Digest>);

/// The stream for one host.
pub struct Shipment {
    /// How it is compressed.
    pub codec: Codec,
    /// Its pieces, in order.
    pub parts: Vec<Part>,
    /// Bytes in all.
    pub len: u64,
}

impl Shipment {
    /// All of it: only for what is small.
    pub fn bytes(&self) -> Result<Vec<u8>, AgentError> {
        let mut all = Vec::new();
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => all.extend_from_slice(bytes),
                Part::File { file, len } => {
                    let start = all.len();
                    all.resize(start + usize::try_from(*len).unwrap_or(usize::MAX), 0);
                    file.read_exact_at(&mut all[start..], 0)
                        .map_err(|source| AgentError::Spool { source })?;
                }
            }
        }
        Ok(all)
    }
}

impl Payload {
    /// `release` is what of `artifact` goes into the release; `prefix` is where hosts unpack it.
    pub fn new(
        artifact: Arc<Artifact>,
        release: Manifest,
        prefix: String,
        env: Option<Vec<u8>>,
        upload: &Upload,
    ) -> Self {
        let digest = release.sealed_digest();
        let turns = upload.parallel.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self {
            artifact,
            release: Arc::new(release),
            prefix,
            env,
            digest,
            throttle: upload.limit.map(Throttle::new),
            turns: Semaphore::new(turns),
            packed: Mutex::default(),
            learnt: std::sync::Mutex::default(),
        }
    }

    /// The stream for a host with these facts, less what it has already.
    pub async fn shipment(
        &self,
        facts: &Facts,
        delta: &Arc<Delta>,
    ) -> Result<Shipment, ArtifactError> {
        let codec = codec_for(facts);
        let packed = self.packed(codec, delta).await?;
        // Secrets travel in a part of their own, which is never on this machine's disk.
        let env = self.env.as_deref().map(|bytes| ("meta/env", 0o600, bytes));
        let tail = pack_bytes(&self.prefix, env.as_slice(), codec)?;
        let len = packed.len + tail.len() as u64;
        let body = Part::File { file: packed.file, len: packed.len };
        Ok(Shipment { codec, parts: vec![body, Part::Bytes(Bytes::from(tail))], len })
    }

    /// The first host that needs a codec and a delta packs; others like it wait for it, and
    /// nobody else does.
    async fn packed(&self, codec: Codec, delta: &Arc<Delta>) -> Result<Packed, ArtifactError> {
        let stream = (codec, delta.key);
        let cell = Arc::clone(self.packed.lock().await.entry(stream).or_default());
        let packing = async || {
            let (artifact, release) = (Arc::clone(&self.artifact), Arc::clone(&self.release));
            let (prefix, delta) = (self.prefix.clone(), Arc::clone(delta));
            let work = move || artifact.pack(&release, &prefix, codec, &delta);
            tokio::task::spawn_blocking(work).await.map_err(|_| ArtifactError::Stopped)?
        };
        cell.get_or_try_init(packing).await.cloned()
    }

    /// Keeps the manifest that a host has sealed: the next deploy builds on it.
    pub fn learn(&self, answer: &str, kept: &dyn Shelf) {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if learnt.insert(answer.to_owned())
            && let Some((digest, text)) = sealed(answer, &self.release)
        {
            kept.keep(digest, &text);
        }
    }
}

fn codec_for(facts: &Facts) -> Codec {
    let has = |tool: &str| facts.tools.contains(tool);
    if has("zstd") {
        Codec::Zstd
    } else if has("gzip") {
        Codec::Gzip
    } else {
        Codec::Plain
    }
}
