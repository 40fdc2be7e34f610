//! The bytes of a deploy: packed once per codec and delta, shared by all hosts that take it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::bases::Shelf;
use crate::artifact::{Artifact, ArtifactError, Packed, Piece, pack_bytes};
use crate::config::Upload;
use crate::model::codec::Codec;
use crate::model::delta::Delta;
use crate::model::digest::Digest;
use crate::model::host_state::Facts;
use crate::model::manifest::Sealed;
use crate::remote::answer::sealed;
use crate::remote::throttle::Throttle;
use crate::remote::upload::{Part, lanes};

/// The most that is written at once, when nothing is to hold the sending back.
const PARCEL: u64 = 1 << 20;
/// The same where a rate or a number of uploads is not to be exceeded.
const SMALL_PARCEL: u64 = 128 << 10;

/// What is sent to the hosts of one run.
pub struct Payload {
    artifact: Arc<Artifact>,
    release: Arc<Sealed>,
    prefix: String,
    env: Option<Vec<u8>>,
    /// Keeps all uploads together below a rate.
    pub throttle: Option<Throttle>,
    /// Holds as many as may be under way at once.
    pub turns: Semaphore,
    /// A stream of no more bytes goes between the orders. A larger one has a channel of its own,
    /// for which it pays two round trips and the script once more, and which takes turns.
    pub parcel: u64,
    /// The further connections that uploads may make.
    pub lanes: Semaphore,
    packed: Mutex<BTreeMap<Stream, Arc<OnceCell<Body>>>>,
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
    /// Its pieces that are in memory, as those of a parcel are.
    pub fn in_memory(self) -> Vec<Bytes> {
        let bytes = |part| if let Part::Bytes(bytes) = part { Some(bytes) } else { None };
        self.parts.into_iter().filter_map(bytes).collect()
    }
}

/// What is packed. A parcel is read back into memory, once for all hosts.
#[derive(Clone)]
struct Body {
    packed: Packed,
    parcel: Option<Bytes>,
    /// Secrets travel in a part of their own, which is never on this machine's disk.
    tail: Bytes,
}

impl Body {
    fn new(packed: Packed, tail: Bytes, most: u64) -> Result<Self, ArtifactError> {
        let parcel = if packed.len <= most { Some(in_memory(&packed.pieces)?) } else { None };
        Ok(Self { packed, parcel, tail })
    }

    fn parts(self) -> Vec<Part> {
        let piece = |Piece { file, at, len }| Part::File { file, at, len };
        let mut parts: Vec<Part> = match self.parcel {
            Some(bytes) => vec![Part::Bytes(bytes)],
            None => self.packed.pieces.into_iter().map(piece).collect(),
        };
        parts.push(Part::Bytes(self.tail));
        parts
    }
}

fn in_memory(pieces: &[Piece]) -> Result<Bytes, ArtifactError> {
    let mut all = Vec::new();
    for Piece { file, at, len } in pieces {
        let start = all.len();
        all.resize(start + usize::try_from(*len).unwrap_or(usize::MAX), 0);
        let read = file.read_exact_at(&mut all[start..], *at);
        read.map_err(|source| ArtifactError::Scratch { source })?;
    }
    Ok(all.into())
}

impl Payload {
    /// `release` is what of `artifact` goes into the release; `prefix` is where hosts unpack it.
    pub fn new(
        artifact: Arc<Artifact>,
        release: Arc<Sealed>,
        prefix: String,
        env: Option<Vec<u8>>,
        upload: &Upload,
    ) -> Self {
        let turns = upload.parallel.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        let held_back = upload.limit.is_some() || upload.parallel.is_some();
        Self {
            artifact,
            release,
            prefix,
            env,
            throttle: upload.limit.map(Throttle::new),
            turns: Semaphore::new(turns),
            parcel: if held_back { SMALL_PARCEL } else { PARCEL },
            lanes: lanes(),
            packed: Mutex::default(),
            learnt: std::sync::Mutex::default(),
        }
    }

    /// Of the sealed text of the release's manifest.
    pub fn digest(&self) -> Digest {
        self.release.digest
    }

    /// The stream for a host with these facts, less what it has already.
    pub async fn shipment(
        &self,
        facts: &Facts,
        delta: &Arc<Delta>,
    ) -> Result<Shipment, ArtifactError> {
        let body = self.body(codec_for(facts), delta).await?;
        let len = body.packed.len + body.tail.len() as u64;
        Ok(Shipment { codec: body.packed.codec, parts: body.parts(), len })
    }

    /// The first host that needs a codec and a delta packs; others like it wait for it, and
    /// nobody else does.
    async fn body(&self, codec: Codec, delta: &Arc<Delta>) -> Result<Body, ArtifactError> {
        let stream = (codec, delta.key);
        let cell = Arc::clone(self.packed.lock().await.entry(stream).or_default());
        let packing = async || {
            let (artifact, release) = (Arc::clone(&self.artifact), Arc::clone(&self.release));
            let (prefix, delta) = (self.prefix.clone(), Arc::clone(delta));
            let work = move || artifact.pack(&release, &prefix, codec, &delta);
            let packed = tokio::task::spawn_blocking(work).await;
            let packed = packed.map_err(|_| ArtifactError::Stopped)??;
            let env = self.env.as_deref().map(|bytes| ("meta/env", 0o600, bytes));
            let tail = pack_bytes(&self.prefix, env.as_slice(), packed.codec)?.into();
            Body::new(packed, tail, self.parcel)
        };
        cell.get_or_try_init(packing).await.cloned()
    }

    /// Keeps the manifest that a host has sealed: the next deploy builds on it.
    pub fn learn(&self, answer: &str, kept: &dyn Shelf) {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if learnt.insert(answer.to_owned())
            && let Some((digest, text)) = sealed(answer, &self.release.manifest)
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
