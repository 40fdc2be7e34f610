//! The bytes of a deploy: packed once per codec, shared by all hosts that take it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::artifact::{Artifact, ArtifactError, Packed, pack_bytes};
use crate::model::codec::Codec;
use crate::model::host_state::Facts;
use crate::model::manifest::Manifest;
use crate::remote::agent::Part;

/// What is sent to the hosts of one run.
pub struct Payload {
    artifact: Arc<Artifact>,
    release: Manifest,
    prefix: String,
    env: Option<Vec<u8>>,
    packed: Mutex<BTreeMap<Codec, Arc<Packed>>>,
}

/// The stream for one host.
pub struct Shipment {
    /// How it is compressed.
    pub codec: Codec,
    /// Its pieces, in order.
    pub parts: Vec<Part>,
    /// Bytes in all.
    pub len: u64,
}

impl Payload {
    /// `release` is what of `artifact` goes into the release; `prefix` is where hosts unpack it.
    pub fn new(
        artifact: Arc<Artifact>,
        release: Manifest,
        prefix: String,
        env: Option<Vec<u8>>,
    ) -> Self {
        Self { artifact, release, prefix, env, packed: Mutex::default() }
    }

    /// The stream for a host with these facts.
    pub async fn shipment(&self, facts: &Facts) -> Result<Shipment, ArtifactError> {
        let codec = codec_for(facts);
        let packed = self.packed(codec).await?;
        // Secrets travel in a part of their own, which is never on this machine's disk.
        let env = self.env.as_deref().map(|bytes| ("meta/env", 0o600, bytes));
        let tail = pack_bytes(&self.prefix, env.as_slice(), codec)?;
        let len = packed.len + tail.len() as u64;
        let body = Part::File { file: Arc::clone(&packed.file), len: packed.len };
        Ok(Shipment { codec, parts: vec![body, Part::Bytes(Bytes::from(tail))], len })
    }

    /// The first host that needs a codec packs; the others wait for it.
    async fn packed(&self, codec: Codec) -> Result<Arc<Packed>, ArtifactError> {
        let mut all = self.packed.lock().await;
        if let Some(packed) = all.get(&codec) {
            return Ok(Arc::clone(packed));
        }
        let (artifact, release) = (Arc::clone(&self.artifact), self.release.clone());
        let prefix = self.prefix.clone();
        let work = tokio::task::spawn_blocking(move || artifact.pack(&release, &prefix, codec));
        let packed = Arc::new(work.await.map_err(|_| ArtifactError::Stopped)??);
        all.insert(codec, Arc::clone(&packed));
        Ok(packed)
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
