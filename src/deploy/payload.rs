//! The bytes of a deploy: packed once per codec and delta, shared by all hosts that take them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use tokio::sync::{Semaphore, watch};

use super::outcome::Failure;
use super::source::Source;
use crate::artifact::{Artifact, ArtifactError, Packed, PreparedDelta, pack_tail};
use crate::cache::LocalCache;
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
use crate::remote::upload::{CONNECTIONS_IN_ALL, Chunks, FileRange};

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
    release: Arc<Sealed>,
    /// The directory into which hosts unpack it, relative to `deploy_to`.
    prefix: Arc<str>,
    env: Vec<EnvFile>,
    /// Largest upload that goes between the orders. A larger one has a channel of its own, which
    /// costs two round trips and the script once more, and takes turns.
    inline_limit: u64,
    /// Keeps all uploads together below a rate.
    pub throttle: Option<Throttle>,
    /// Allows as many uploads at once as `[upload] parallel` says.
    pub turns: Semaphore,
    /// Allows further connections of uploads.
    pub permits: Semaphore,
    streams: Mutex<BTreeMap<StreamKey, watch::Receiver<Packed>>>,
    learnt: Mutex<BTreeSet<String>>,
}

/// Hosts with the same key are sent the same stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct StreamKey {
    codec: Codec,
    quick: bool,
    delta: Option<Digest>,
}

/// The upload to one host. It is sent while it is packed.
pub struct UploadStream {
    pub codec: Codec,
    /// Whether there are files in it that the host reads back while they arrive.
    pub large: bool,
    packing: watch::Receiver<Packed>,
    /// The end of it, which is for this host alone.
    pub tail: Bytes,
}

impl UploadStream {
    /// Returns all of its bytes if it goes between the orders; `None`: over channels of its own.
    pub fn inline(&self) -> Option<Vec<Bytes>> {
        let mut bytes = self.packing.borrow().inline.clone()?;
        bytes.push(self.tail.clone());
        Some(bytes)
    }

    /// Returns its estimated size in bytes; exact once packing is done.
    pub fn likely(&self) -> u64 {
        self.packing.borrow().likely + self.tail.len() as u64
    }

    /// Returns why it could not be packed, if packing failed.
    pub fn failure(&self) -> Option<Arc<ArtifactError>> {
        self.packing.borrow().end.clone()?.err()
    }

    /// Returns its chunks but for the tail, each as soon as it is packed.
    pub fn chunks(&self) -> Chunks {
        let next = async |(mut packing, place): (watch::Receiver<Packed>, usize)| {
            let chunk = {
                let there = |now: &Packed| now.end.is_some() || now.chunks.len() > place;
                let now = packing.wait_for(there).await;
                now.map_err(io::Error::other).and_then(|now| chunk(&now, place))
            };
            chunk.transpose().map(|chunk| (chunk, (packing, place + 1)))
        };
        Box::pin(stream::unfold((self.packing.clone(), 0), next))
    }
}

/// Returns the chunk at `place`, or nothing after the last one.
fn chunk(packed: &Packed, place: usize) -> io::Result<Option<FileRange>> {
    match (packed.chunks.get(place), &packed.end) {
        (Some(chunk), _) => Ok(Some(chunk.clone())),
        (None, Some(Err(error))) => Err(io::Error::other(Arc::clone(error))),
        (None, _) => Ok(None),
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
        Self {
            source,
            release,
            prefix: prefix.into(),
            env,
            inline_limit: if limited { INLINE_IF_LIMITED } else { INLINE },
            throttle: upload.limit.map(Throttle::new),
            turns: Semaphore::new(turns),
            permits: Semaphore::new(CONNECTIONS_IN_ALL),
            streams: Mutex::default(),
            learnt: Mutex::default(),
        }
    }

    /// Returns an artifact with all that a host is sent that lacks what `prepared` says.
    pub async fn artifact(&self, prepared: &PreparedDelta) -> Result<Arc<Artifact>, Failure> {
        self.source.artifact(&self.release.manifest, &prepared.delta).await
    }

    /// Returns the upload from `artifact` for a host with these facts, at this distance, that lacks
    /// what `prepared` says, with the env files `env`. Waits until enough is packed to know whether
    /// it goes between the orders.
    pub async fn upload(
        &self,
        artifact: &Arc<Artifact>,
        facts: &Facts,
        distance: Duration,
        prepared: &Arc<PreparedDelta>,
        env: &[&EnvSpec],
    ) -> Result<UploadStream, Arc<ArtifactError>> {
        let quick = distance <= BESIDE && self.throttle.is_none();
        let key = StreamKey { codec: codec_for(facts), quick, delta: prepared.key };
        let mut packing = self.packing(artifact, key, prepared);
        let most = self.inline_limit;
        let decided =
            |now: &Packed| now.end.is_some() || now.len > most || now.likely > SURELY * most;
        let now = packing.wait_for(decided).await.map_err(|_| ArtifactError::Stopped)?;
        if let Some(Err(error)) = &now.end {
            return Err(Arc::clone(error));
        }
        let (codec, large) = (now.codec, now.large);
        drop(now);
        let tail = self.tail(env, codec).map_err(Arc::new)?;
        Ok(UploadStream { codec, large, packing, tail })
    }

    /// Begins to pack, if `key` is new. Returns how far that is.
    fn packing(
        &self,
        artifact: &Arc<Artifact>,
        key: StreamKey,
        prepared: &Arc<PreparedDelta>,
    ) -> watch::Receiver<Packed> {
        let begin = || {
            let (to, packing) = Packed::channel(key.codec);
            let (release, prefix) = (Arc::clone(&self.release), Arc::clone(&self.prefix));
            let (artifact, prepared) = (Arc::clone(artifact), Arc::clone(prepared));
            let most = self.inline_limit;
            let quick_from = if key.quick { most + 1 } else { u64::MAX };
            tokio::task::spawn_blocking(move || {
                let packed =
                    artifact.pack(&release, &prefix, key.codec, quick_from, &prepared, &to);
                let inline = packed.and_then(|()| in_memory(&to.borrow(), most)).map_err(Arc::new);
                to.send_modify(|packed| match inline {
                    Ok(inline) => (packed.inline, packed.end) = (inline, Some(Ok(()))),
                    Err(error) => packed.end = Some(Err(error)),
                });
            });
            packing
        };
        lock(&self.streams).entry(key).or_insert_with(begin).clone()
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

    /// Keeps the manifest that a host has sealed, from its `response`: the next deploy builds on
    /// it.
    pub fn learn(&self, response: &str, cache: &LocalCache) {
        let mut learnt = lock(&self.learnt);
        if learnt.insert(response.to_owned()) {
            let (response, release) = (response.to_owned(), Arc::clone(&self.release));
            cache.keep_manifest(move || sealed(&response, &release.manifest));
        }
    }
}

/// Returns the bytes of all chunks, if they are at most `most`.
fn in_memory(packed: &Packed, most: u64) -> Result<Option<Vec<Bytes>>, ArtifactError> {
    if packed.len > most {
        return Ok(None);
    }
    let read = packed.chunks.iter().map(|chunk| chunk.read(0..chunk.len).map(Bytes::from));
    let read: io::Result<_> = read.collect();
    read.map(Some).map_err(|source| ArtifactError::Scratch { source })
}

/// Returns how uploads to a host with these facts are compressed.
pub(super) fn codec_for(facts: &Facts) -> Codec {
    let packers = [Codec::Zstd, Codec::Gzip];
    packers.into_iter().find(|codec| facts.tools.contains(codec.word())).unwrap_or(Codec::Plain)
}
