//! The bytes of a deploy: packed once per codec and delta, shared by all hosts that take them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::sync::{Semaphore, watch};

use super::outcome::Failure;
use super::source::Source;
use crate::artifact::{Artifact, ArtifactError, PackOptions, Packed, PreparedDelta, pack_tail};
use crate::cache::ReleaseCache;
use crate::config::env::EnvFile;
use crate::config::{EnvSpec, Upload};
use crate::model::codec::Codec;
use crate::model::digest::Digest;
use crate::model::host_state::Facts;
use crate::model::manifest::Sealed;
use crate::model::mutex::lock;
use crate::remote::answer::sealed;
use crate::remote::session::BESIDE;
use crate::remote::throttle::Throttle;
use crate::remote::upload::{Chunk, Chunks, permits};

/// Largest upload between the orders.
const INLINE: u64 = 1 << 20;
/// Largest upload between the orders where `[upload]` has a limit or a number of uploads at once:
/// those between the orders are not counted.
const INLINE_IF_LIMITED: u64 = 128 << 10;
/// An upload is not inline if its estimate is this many times the largest inline upload. Below
/// that, the end of packing is waited for.
const SURELY: u64 = 4;

/// Uploads to the hosts of one run.
pub struct Payload {
    source: Source,
    packs: Arc<PackSource>,
    /// Keeps all uploads together below a rate.
    pub throttle: Option<Throttle>,
    /// Allows as many uploads at once as `[upload] parallel` says.
    pub turns: Semaphore,
    /// Allows further connections of uploads.
    pub permits: Semaphore,
    streams: Mutex<BTreeMap<StreamKey, watch::Receiver<Progress>>>,
    learnt: Mutex<BTreeSet<String>>,
}

/// The content that streams are packed from, but for the artifact.
struct PackSource {
    release: Arc<Sealed>,
    /// The directory into which hosts unpack them, relative to `deploy_to`.
    prefix: String,
    env: Vec<EnvFile>,
    /// Largest upload that goes between the orders. A larger one has a channel of its own, which
    /// costs two round trips and the script once more, and takes turns.
    inline_limit: u64,
}

/// Hosts with the same key are sent the same stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct StreamKey {
    codec: Codec,
    quick: bool,
    delta: Option<Digest>,
}

/// The way in which one host gets its upload.
pub enum Transfer {
    /// Between the orders.
    Inline { codec: Codec, bytes: Vec<Bytes> },
    /// Over channels of its own, while it is packed.
    Stream(UploadStream),
}

/// An upload that is sent while it is packed.
pub struct UploadStream {
    pub codec: Codec,
    /// Whether there are files in it that the host reads back while they arrive.
    pub large: bool,
    packing: watch::Receiver<Progress>,
    tail: Bytes,
}

impl UploadStream {
    /// Returns its estimated size in bytes; exact once packing is done.
    pub fn likely(&self) -> u64 {
        let packed = self.packing.borrow().packed.as_ref().map_or(0, |packed| packed.likely);
        packed + self.tail.len() as u64
    }

    /// Returns why it could not be packed, if packing failed.
    pub fn failure(&self) -> Option<Arc<ArtifactError>> {
        self.packing.borrow().end.clone()?.err()
    }

    /// Returns its chunks, each as soon as it is packed.
    pub fn chunks(&self) -> Chunks {
        let tail = Chunk::Bytes(self.tail.clone());
        let next = async |(mut packing, place): (watch::Receiver<Progress>, usize)| {
            let chunk = {
                let there = |now: &Progress| now.end.is_some() || now.chunks().len() > place;
                let now = packing.wait_for(there).await;
                now.map_err(io::Error::other).and_then(|now| now.chunk(place))
            };
            chunk.transpose().map(|chunk| (chunk, (packing, place + 1)))
        };
        let packed = stream::unfold((self.packing.clone(), 0), next);
        Box::pin(packed.chain(stream::once(async { Ok(tail) })))
    }
}

/// A stream that is being packed for all hosts that take it.
#[derive(Default)]
struct Progress {
    packed: Option<Packed>,
    /// All bytes of an inline upload, in memory once for all hosts.
    inline: Option<Vec<Bytes>>,
    end: Option<Result<(), Arc<ArtifactError>>>,
}

impl Progress {
    fn chunks(&self) -> &[Chunk] {
        self.packed.as_ref().map_or(&[], |packed| &packed.chunks)
    }

    /// Takes over the chunks that were added since.
    fn update(&mut self, packed: &Packed) {
        let mut chunks = self.packed.take().map_or_else(Vec::new, |packed| packed.chunks);
        chunks.extend_from_slice(&packed.chunks[chunks.len()..]);
        self.packed = Some(Packed { chunks, ..*packed });
    }

    /// Returns the chunk at `place`, or nothing after the last one.
    fn chunk(&self, place: usize) -> io::Result<Option<Chunk>> {
        match (self.chunks().get(place), &self.end) {
            (Some(chunk), _) => Ok(Some(chunk.clone())),
            (None, Some(Err(error))) => Err(io::Error::other(Arc::clone(error))),
            (None, _) => Ok(None),
        }
    }
}

impl Payload {
    /// Returns the payload of a run. `release` is what goes into the release and has its bytes in
    /// `source`, `prefix` the directory into which hosts unpack it.
    pub fn new(
        source: Source,
        release: Arc<Sealed>,
        prefix: String,
        env: Vec<EnvFile>,
        upload: &Upload,
    ) -> Self {
        let turns = upload.parallel.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        let limited = upload.limit.is_some() || upload.parallel.is_some();
        let inline_limit = if limited { INLINE_IF_LIMITED } else { INLINE };
        Self {
            source,
            packs: Arc::new(PackSource { release, prefix, env, inline_limit }),
            throttle: upload.limit.map(Throttle::new),
            turns: Semaphore::new(turns),
            permits: permits(),
            streams: Mutex::default(),
            learnt: Mutex::default(),
        }
    }

    /// Returns an artifact with all that a host is sent that lacks what `prepared` says.
    pub async fn artifact(&self, prepared: &PreparedDelta) -> Result<Arc<Artifact>, Failure> {
        self.source.artifact(&self.packs.release.manifest, &prepared.delta).await
    }

    /// Returns the upload from `artifact` for a host with these facts, at this distance, that lacks
    /// what `prepared` says, with the env files `env`. Waits until enough is packed to know whether
    /// it goes between the orders.
    pub async fn transfer(
        &self,
        artifact: &Arc<Artifact>,
        facts: &Facts,
        distance: Duration,
        prepared: &Arc<PreparedDelta>,
        env: &[&EnvSpec],
    ) -> Result<Transfer, Arc<ArtifactError>> {
        let quick = distance <= BESIDE && self.throttle.is_none();
        let key = StreamKey { codec: codec_for(facts), quick, delta: prepared.delta.key() };
        let mut packing = self.packing(artifact, key, prepared);
        let most = self.packs.inline_limit;
        let is_large = |packed: &Packed| packed.len > most || packed.likely > SURELY * most;
        let decided =
            |now: &Progress| now.end.is_some() || now.packed.as_ref().is_some_and(is_large);
        let now = packing.wait_for(decided).await.map_err(|_| ArtifactError::Stopped)?;
        if let Some(Err(error)) = &now.end {
            return Err(Arc::clone(error));
        }
        let packed = now.packed.as_ref();
        let (codec, large) = packed.map_or((Codec::Plain, false), |one| (one.codec, one.large));
        let inline = now.inline.clone();
        drop(now);
        let tail = self.packs.tail(env, codec).map_err(Arc::new)?;
        if let Some(mut bytes) = inline {
            bytes.push(tail);
            return Ok(Transfer::Inline { codec, bytes });
        }
        Ok(Transfer::Stream(UploadStream { codec, large, packing, tail }))
    }

    /// Begins to pack, if `key` is new. Returns how far that is.
    fn packing(
        &self,
        artifact: &Arc<Artifact>,
        key: StreamKey,
        prepared: &Arc<PreparedDelta>,
    ) -> watch::Receiver<Progress> {
        let mut streams = lock(&self.streams);
        let begin = || {
            let (sender, packing) = watch::channel(Progress::default());
            let (packs, prepared) = (Arc::clone(&self.packs), Arc::clone(prepared));
            let artifact = Arc::clone(artifact);
            tokio::task::spawn_blocking(move || {
                let end = packs.pack(&artifact, key, &prepared, &sender).map_err(Arc::new);
                sender.send_modify(|packing| packing.end = Some(end));
            });
            packing
        };
        streams.entry(key).or_insert_with(begin).clone()
    }

    /// Keeps the manifest that a host has sealed, from its `response`: the next deploy builds on
    /// it.
    pub fn learn(&self, response: &str, cache: &dyn ReleaseCache) {
        let mut learnt = lock(&self.learnt);
        if learnt.insert(response.to_owned()) {
            let (response, release) = (response.to_owned(), Arc::clone(&self.packs.release));
            cache.keep_manifest(Box::new(move || sealed(&response, &release.manifest)));
        }
    }
}

impl PackSource {
    fn pack(
        &self,
        artifact: &Artifact,
        key: StreamKey,
        prepared: &PreparedDelta,
        to: &watch::Sender<Progress>,
    ) -> Result<(), ArtifactError> {
        let quick_from = if key.quick { self.inline_limit + 1 } else { u64::MAX };
        let options = PackOptions { codec: key.codec, quick_from };
        let told = &mut |packed: &Packed| {
            to.send_modify(|progress| progress.update(packed));
            !to.is_closed()
        };
        let (release, prefix) = (&self.release, &self.prefix);
        let packed = artifact.pack(release, prefix, options, prepared, told)?;
        let is_inline = packed.len <= self.inline_limit;
        let inline = if is_inline { Some(in_memory(&packed.chunks)?) } else { None };
        to.send_modify(|progress| {
            progress.update(&packed);
            progress.inline = inline;
        });
        Ok(())
    }

    /// Returns the end of the stream for a host with these env files. Secrets travel in a chunk of
    /// their own, which is never on this machine's disk, and to no host that must not have them.
    fn tail(&self, env: &[&EnvSpec], codec: Codec) -> Result<Bytes, ArtifactError> {
        let paths: Vec<_> = env.iter().map(|spec| format!("meta/{}", spec.uploaded())).collect();
        let mut files = Vec::new();
        for (spec, path) in env.iter().zip(&paths) {
            files
                .extend(self.env.get(spec.number).map(|file| (path.as_str(), 0o600, file.bytes())));
        }
        pack_tail(&self.prefix, &files, codec).map(Bytes::from)
    }
}

fn in_memory(chunks: &[Chunk]) -> Result<Vec<Bytes>, ArtifactError> {
    let read = |chunk: &Chunk| match chunk {
        Chunk::Bytes(bytes) => Ok(bytes.clone()),
        Chunk::File { file, at, len } => {
            let mut bytes = vec![0; usize::try_from(*len).unwrap_or(usize::MAX)];
            let read = file.read_exact_at(&mut bytes, *at);
            read.map(|()| bytes.into()).map_err(|source| ArtifactError::Scratch { source })
        }
    };
    chunks.iter().map(read).collect()
}

/// Returns how uploads to a host with these facts are compressed.
pub(super) fn codec_for(facts: &Facts) -> Codec {
    let has = |tool: &str| facts.tools.contains(tool);
    if has("zstd") {
        Codec::Zstd
    } else if has("gzip") {
        Codec::Gzip
    } else {
        Codec::Plain
    }
}
