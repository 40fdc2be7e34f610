//! The source of a build's bytes: an artifact on this machine, or a release on a host.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::outcome::Failure;
use crate::artifact::Artifact;
use crate::model::delta::Delta;
use crate::model::manifest::{Manifest, Node};

/// Reads the files at these paths of a release on a host. Returns an artifact that has their bytes,
/// and no others. Fails if they are not what the manifest says.
pub type ReadStored =
    dyn Fn(Vec<String>) -> BoxFuture<'static, Result<Artifact, Failure>> + Send + Sync;

/// The source of the bytes of a build.
#[derive(Clone)]
pub enum Source {
    /// An artifact on this machine.
    Artifact(Arc<Artifact>),
    /// A release on a host: only files that some other host lacks are read.
    Release {
        stored: Arc<ReadStored>,
        /// The files that were read so far.
        read: Arc<Mutex<Vec<Arc<Artifact>>>>,
    },
}

impl Source {
    /// Returns the files of a release on a host; none is read yet.
    pub fn release(stored: Arc<ReadStored>) -> Self {
        Self::Release { stored, read: Arc::default() }
    }

    /// Returns the artifact if it is on this machine.
    pub fn here(&self) -> Option<&Arc<Artifact>> {
        match self {
            Self::Artifact(artifact) => Some(artifact),
            Self::Release { .. } => None,
        }
    }

    /// Returns an artifact that has every file of `release` whose bytes `delta` sends. Hosts that
    /// lack the same wait for one reading.
    pub async fn artifact(
        &self,
        release: &Manifest,
        delta: &Delta,
    ) -> Result<Arc<Artifact>, Failure> {
        let (stored, read) = match self {
            Self::Artifact(artifact) => return Ok(Arc::clone(artifact)),
            Self::Release { stored, read } => (stored, read),
        };
        let sent = |(path, node): &(&String, &Node)| {
            matches!(node, Node::File { .. }) && delta.sends(path)
        };
        let wanted: Vec<_> =
            release.nodes().iter().filter(sent).map(|(path, _)| path.clone()).collect();
        let mut read = read.lock().await;
        if let Some(artifact) = read.iter().find(|one| wanted.iter().all(|path| one.has(path))) {
            return Ok(Arc::clone(artifact));
        }
        let artifact = Arc::new(stored(wanted).await?);
        read.push(Arc::clone(&artifact));
        Ok(artifact)
    }
}
