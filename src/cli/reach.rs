//! Connects to hosts ahead of the run: while this machine lists the artifact. Conversations open
//! only once everything is listed, so that a refused artifact has touched no host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, Host};
use crate::deploy::context::{Connect, OpenConversation};
use crate::deploy::outcome::Failure;
use crate::model::mutex::lock;
use crate::remote::acting::{ActingSession, Rights};
use crate::remote::conversation::Hello;
use crate::remote::session::{Session, SessionError};
use crate::ssh::connect::Connector;

/// A connection that was silent for longer may have been cut on the way.
const STALE: Duration = Duration::from_secs(30);

type Begun = JoinHandle<Result<OpenConversation, Failure>>;

/// Connects to hosts, with the rights of `[sudo]`.
#[derive(Clone)]
struct Way {
    connector: Arc<Connector>,
    rights: Option<Rights>,
}

impl Way {
    async fn session(&self, host: &Host) -> Result<Arc<dyn Session>, SessionError> {
        let session = self.connector.connect(host).await?;
        Ok(match self.rights.clone() {
            Some(rights) => Arc::new(ActingSession::new(session, rights)),
            None => session,
        })
    }
}

/// The way to hosts, and the conversations that were started early.
pub(crate) struct Reach {
    way: Way,
    begun: Mutex<BTreeMap<String, Begun>>,
}

impl Reach {
    /// Wraps a connector; nothing is connected yet.
    pub(crate) fn new(connector: Arc<Connector>, rights: Option<Rights>) -> Self {
        Self { way: Way { connector, rights }, begun: Mutex::default() }
    }

    /// Returns what comes after `ssh` to reach a host by hand; `None` for this machine.
    pub(crate) fn ssh_words(&self, host: &Host) -> Option<Vec<String>> {
        self.way.connector.words(host)
    }

    /// Connects to as many hosts as are worked on at once, and opens their conversations once
    /// `may_greet` is true. A run gets the result, also an error, when it asks for the host.
    #[must_use]
    pub(crate) fn ahead(
        self,
        config: &Config,
        hello: impl Fn(&Host) -> Hello,
        may_greet: &watch::Receiver<bool>,
    ) -> Self {
        for host in config.hosts.iter().take(config.parallel) {
            let (way, host, hello) = (self.way.clone(), host.clone(), hello(host));
            let (name, may_greet) = (host.name.clone(), may_greet.clone());
            let task = tokio::spawn(begin(way, host, hello, may_greet));
            self.begun().insert(name, task);
        }
        self
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<String, Begun>> {
        lock(&self.begun)
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        // Unused connections end, and the hosts release their locks.
        self.begun().values().for_each(JoinHandle::abort);
    }
}

async fn begin(
    way: Way,
    host: Host,
    hello: Hello,
    mut may_greet: watch::Receiver<bool>,
) -> Result<OpenConversation, Failure> {
    hello.pack_ahead();
    let begun = Instant::now();
    let mut session = way.session(&host).await?;
    if may_greet.wait_for(|may| *may).await.is_err() {
        return Err(Failure::new("the artifact was refused"));
    }
    if begun.elapsed() > STALE {
        session = way.session(&host).await?;
    }
    OpenConversation::new(session, hello).await
}

impl Connect for Reach {
    fn connect<'a>(
        &'a self,
        host: &'a Host,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(self.way.session(host))
    }

    fn greeted<'a>(
        &'a self,
        host: &'a Host,
    ) -> Option<BoxFuture<'a, Result<OpenConversation, Failure>>> {
        let task = self.begun().remove(&host.name)?;
        let stopped = |_| Failure::new("the work was stopped");
        Some(Box::pin(async move { task.await.map_err(stopped)? }))
    }
}
