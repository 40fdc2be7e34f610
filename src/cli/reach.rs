//! The way to hosts as the engine wants it, with a head start: while this machine still reads an
//! artifact, hosts can be connected to already. Nothing is asked of them before the run begins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::config::{Config, Host};
use crate::deploy::host::Connect;
use crate::remote::session::{Session, SessionError};
use crate::ssh::connect::Connector;

/// A connection on which nothing was said for longer may have been cut somewhere on the way.
const STALE: Duration = Duration::from_secs(30);

type Connected = Result<Arc<dyn Session>, SessionError>;

/// The connector, and the connections that were begun early.
pub(crate) struct Reach {
    connector: Connector,
    begun: Mutex<BTreeMap<String, (Instant, JoinHandle<Connected>)>>,
}

impl Reach {
    /// Nothing is begun yet.
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector, begun: Mutex::default() }
    }

    /// Begins to connect to as many hosts as may be worked on at once. What comes of it is told
    /// when the run wants it.
    #[must_use]
    pub(crate) fn ahead(self, config: &Config) -> Self {
        for host in config.hosts.iter().take(config.parallel) {
            let (connector, wanted) = (self.connector.clone(), host.clone());
            let task = tokio::spawn(async move { connector.connect(&wanted).await });
            self.begun().insert(host.name.clone(), (Instant::now(), task));
        }
        self
    }

    fn begun(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<String, (Instant, JoinHandle<Connected>)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connect for Reach {
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Connected> {
        let begun = self.begun().remove(&host.name);
        Box::pin(async move {
            if let Some((at, task)) = begun {
                if at.elapsed() > STALE {
                    task.abort();
                } else if let Ok(connected) = task.await {
                    return connected;
                }
            }
            self.connector.connect(host).await
        })
    }
}
