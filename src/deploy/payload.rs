//! The bytes of a deploy: packed once per codec and delta, shared by all hosts that take it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use tokio::sync::{Semaphore, watch};

use crate::artifact::{Artifact, ArtifactError, FileRange, Packed, pack_bytes};
use crate::cache::ReleaseCache;
use crate::config::Upload;
use crate::model::codec::Codec;
use crate::model::delta::Delta;
use crate::model::digest::Digest;
use crate::model::host_state::Facts;
use crate::model::manifest::Sealed;
use crate::remote::answer::sealed;
use crate::remote::session::BESIDE;
use crate::remote::throttle::Throttle;
use crate::remote::upload::{Chunk, Parts, permits};

/// The most that is written at once, when nothing is to hold the sending back.
const PARCEL: u64 = 1 << 20;
/// The same where a rate or a number of uploads is not to be exceeded.
const SMALL_PARCEL: u64 = 128 << 10;
/// What is likely to be so many times as large is no inline upload.
const SURELY: u64 = 4;

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
    pub inline_upload: u64,
    /// The further connections that uploads may make.
    pub permits: Semaphore,
    packed: Mutex<BTreeMap<StreamKey, watch::Receiver<Progress>>>,
    learnt: Mutex<BTreeSet<String>>,
}

/// What tells streams apart: how they are packed, whether quickly, and what they leave out.
type StreamKey = (Codec, bool, Option<Digest>);

/// What one host is sent.
pub enum Transfer {
    /// So little that it goes between the orders.
    Inline {
        /// How it is compressed.
        codec: Codec,
        /// All of it.
        bytes: Vec<Bytes>,
    },
    /// What needs a channel of its own.
    Stream(Flow),
}

/// A stream that is sent while it is packed.
pub struct Flow {
    /// How it is compressed.
    pub codec: Codec,
    /// Whether there are large files in it.
    pub large: bool,
    packing: watch::Receiver<Progress>,
}

impl Flow {
    /// About how many bytes it has; exactly so many when all is packed.
    pub fn likely(&self) -> u64 {
        self.packing.borrow().likely()
    }

    /// Why it could not be packed, if it could not.
    pub fn failure(&self) -> Option<Arc<ArtifactError>> {
        self.packing.borrow().end.clone()?.err()
    }

    /// Its parts, each as soon as it is there.
    pub fn parts(&self) -> Parts {
        let next = async |(mut packing, place): (watch::Receiver<Progress>, usize)| {
            let part = {
                let there = |now: &Progress| now.end.is_some() || now.pieces() > place;
                let now = packing.wait_for(there).await;
                now.map_err(io::Error::other).and_then(|now| now.part(place))
            };
            part.transpose().map(|part| (part, (packing, place + 1)))
        };
        Box::pin(stream::unfold((self.packing.clone(), 0), next))
    }
}

/// A stream that is being packed for all hosts that take it.
#[derive(Default)]
struct Progress {
    packed: Option<Packed>,
    /// A small stream is read back into memory, once for all hosts.
    inline_upload: Option<Bytes>,
    /// Secrets travel in a part of their own, which is never on this machine's disk.
    tail: Bytes,
    /// How it ended.
    end: Option<Result<(), Arc<ArtifactError>>>,
}

impl Progress {
    fn pieces(&self) -> usize {
        self.packed.as_ref().map_or(0, |packed| packed.pieces.len())
    }

    /// What has come since.
    fn add(&mut self, packed: &Packed) {
        let mut pieces = self.packed.take().map_or_else(Vec::new, |packed| packed.pieces);
        pieces.extend_from_slice(&packed.pieces[pieces.len()..]);
        self.packed = Some(Packed { pieces, ..*packed });
    }

    fn likely(&self) -> u64 {
        self.packed.as_ref().map_or(0, |packed| packed.likely) + self.tail.len() as u64
    }

    /// The one at `place`; the last is the tail.
    fn part(&self, place: usize) -> io::Result<Option<Chunk>> {
        let piece = self.packed.as_ref().and_then(|packed| packed.pieces.get(place));
        if let Some(FileRange { file, at, len }) = piece.cloned() {
            return Ok(Some(Chunk::File { file, at, len }));
        }
        match &self.end {
            Some(Err(error)) => Err(io::Error::other(Arc::clone(error))),
            Some(Ok(())) if place == self.pieces() => Ok(Some(Chunk::Bytes(self.tail.clone()))),
            Some(Ok(())) | None => Ok(None),
        }
    }
}

fn in_memory(pieces: &[FileRange]) -> Result<Bytes, ArtifactError> {
    let mut all = Vec::new();
    for FileRange { file, at, len } in pieces {
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
            inline_upload: if held_back { SMALL_PARCEL } else { PARCEL },
            permits: permits(),
            packed: Mutex::default(),
            learnt: Mutex::default(),
        }
    }

    /// What a host with these facts, so far away, is sent, less what it has already. Waits until so
    /// much is packed that it is clear in which way.
    pub async fn transfer(
        &self,
        facts: &Facts,
        distance: Duration,
        delta: &Arc<Delta>,
    ) -> Result<Transfer, Arc<ArtifactError>> {
        let quick = distance <= BESIDE && self.throttle.is_none();
        let mut packing = self.packing((codec_for(facts), quick, delta.key), delta);
        let most = self.inline_upload;
        let is_large = |packed: &Packed| packed.len > most || packed.likely > SURELY * most;
        let clear = |now: &Progress| now.end.is_some() || now.packed.as_ref().is_some_and(is_large);
        let now = packing.wait_for(clear).await.map_err(|_| ArtifactError::Stopped)?;
        if let Some(Err(error)) = &now.end {
            return Err(Arc::clone(error));
        }
        let packed = now.packed.as_ref();
        let (codec, large) = packed.map_or((Codec::Plain, false), |one| (one.codec, one.large));
        if let Some(inline_upload) = &now.inline_upload {
            let bytes = vec![inline_upload.clone(), now.tail.clone()];
            return Ok(Transfer::Inline { codec, bytes });
        }
        drop(now);
        Ok(Transfer::Stream(Flow { codec, large, packing }))
    }

    /// The first host that needs a codec and a delta begins to pack; others like it send the same.
    fn packing(&self, like: StreamKey, delta: &Arc<Delta>) -> watch::Receiver<Progress> {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || {
            let (sender, packing) = watch::channel(Progress::default());
            let (artifact, release) = (Arc::clone(&self.artifact), Arc::clone(&self.release));
            let (prefix, delta) = (self.prefix.clone(), Arc::clone(delta));
            let (env, most) = (self.env.clone(), self.inline_upload);
            tokio::task::spawn_blocking(move || {
                let work = Work { artifact, release, prefix, delta, env, most };
                let end = work.pack(like, &sender).map_err(Arc::new);
                sender.send_modify(|packing| packing.end = Some(end));
            });
            packing
        };
        packed.entry(like).or_insert_with(begin).clone()
    }

    /// Keeps the manifest that a host has sealed: the next deploy builds on it.
    pub fn learn(&self, answer: &str, kept: &dyn ReleaseCache) {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if learnt.insert(answer.to_owned()) {
            let (answer, release) = (answer.to_owned(), Arc::clone(&self.release));
            kept.keep_manifest(Box::new(move || sealed(&answer, &release.manifest)));
        }
    }
}

/// All that packing takes.
struct Work {
    artifact: Arc<Artifact>,
    release: Arc<Sealed>,
    prefix: String,
    delta: Arc<Delta>,
    env: Option<Vec<u8>>,
    /// Up to so many bytes are a inline upload.
    most: u64,
}

impl Work {
    fn pack(
        &self,
        (codec, quick, _): StreamKey,
        to: &watch::Sender<Progress>,
    ) -> Result<(), ArtifactError> {
        let mut how = self.artifact.worth(&self.release.manifest, codec, &self.delta)?;
        how.quick = quick && how.likely > self.most;
        let env = self.env.as_deref().map(|bytes| ("meta/env", 0o600, bytes));
        let tail = pack_bytes(&self.prefix, env.as_slice(), how.codec)?;
        to.send_modify(|packing| packing.tail = tail.into());
        let told = &mut |packed: &Packed| {
            to.send_modify(|progress| progress.add(packed));
            !to.is_closed()
        };
        told(&Packed::new(&how));
        let packed = self.artifact.pack(&self.release, &self.prefix, how, &self.delta, told)?;
        let small = packed.len <= self.most;
        let inline_upload = if small { Some(in_memory(&packed.pieces)?) } else { None };
        to.send_modify(|progress| {
            progress.add(&packed);
            progress.inline_upload = inline_upload;
        });
        Ok(())
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
