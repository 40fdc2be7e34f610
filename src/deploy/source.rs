//! The source of a build's bytes: an artifact on this machine, or a release on a host.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::outcome::Failure;
use crate::artifact::Artifact;
use crate::model::delta::Delta;
use crate::model::manifest::{Manifest, Node};

/// A release on a host, whose files can be read.
pub trait StoredRelease: Send + Sync {
    /// Returns an artifact that has the bytes of the files at `paths`, and of no others. Fails if
    /// they are not what the manifest says.
    fn read(&self, paths: Vec<String>) -> BoxFuture<'_, Result<Artifact, Failure>>;
}

/// The source of the bytes of a build.
#[derive(Clone)]
pub enum Source {
    /// An artifact on this machine.
    Artifact(Arc<Artifact>),
    /// A release on a host: only files that some other host lacks are read.
    Release(Arc<RemoteFiles>),
}

/// The files of a release on a host that were read so far.
pub struct RemoteFiles {
    stored: Box<dyn StoredRelease>,
    read: Mutex<Vec<Arc<Artifact>>>,
}

impl Source {
    /// Returns the files of a release on a host; none is read yet.
    pub fn release(stored: impl StoredRelease + 'static) -> Self {
        Self::Release(Arc::new(RemoteFiles { stored: Box::new(stored), read: Mutex::default() }))
    }

    /// Returns the artifact if it is on this machine.
    pub fn here(&self) -> Option<&Arc<Artifact>> {
        match self {
            Self::Artifact(artifact) => Some(artifact),
            Self::Release(_) => None,
        }
    }

    /// Returns an artifact that has every file of `release` whose bytes `delta` sends. Hosts that
    /// lack the same wait for one reading.
    pub async fn artifact(
        &self,
        release: &Manifest,
        delta: &Delta,
    ) -> Result<Arc<Artifact>, Failure> {
        let files = match self {
            Self::Artifact(artifact) => return Ok(Arc::clone(artifact)),
            Self::Release(files) => files,
        };
        let sent = |(path, node): &(&String, &Node)| {
            matches!(node, Node::File { .. }) && delta.sends(path)
        };
        let wanted: Vec<_> =
            release.nodes().iter().filter(sent).map(|(path, _)| path.clone()).collect();
        let mut read = files.read.lock().await;
        if let Some(artifact) = read.iter().find(|one| wanted.iter().all(|path| one.has(path))) {
            return Ok(Arc::clone(artifact));
        }
        let artifact = Arc::new(files.stored.read(wanted).await?);
        read.push(Arc::clone(&artifact));
        Ok(artifact)
    }
}
