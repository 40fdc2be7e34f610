//! A host far away, over several connections that can be refused, cut or counted.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use shipit::config::Host;
use shipit::deploy::context::Connect;
use shipit::remote::local::LocalSession;
use shipit::remote::session::{ByteStream, Channel, Output, Session, SessionError};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::link::runs;
use super::session::dial_and_close_of_inner;
use super::world::World;

/// Counts what crosses the link to a host, and holds its faults.
#[derive(Default)]
pub(crate) struct FarLink {
    /// Commands that were run.
    pub(crate) commands: AtomicUsize,
    /// Further connections.
    pub(crate) connections: AtomicUsize,
    /// The number of the connection that each stripe went over, 0 for the first.
    pub(crate) stripes: Mutex<Vec<usize>>,
    /// There is no further connection.
    pub(crate) refuse: bool,
    /// The number of the connection that is cut, and after how many bytes of its stripe.
    pub(crate) cut: Mutex<Option<(usize, u64)>>,
    /// Stops the run when the upload begins.
    pub(crate) stop: Option<watch::Sender<u8>>,
}

/// One connection of such a link.
#[derive(Clone)]
pub(crate) struct FarSession {
    pub(crate) inner: LocalSession,
    pub(crate) link: Arc<FarLink>,
    pub(crate) number: usize,
}

impl Connect for FarSession {
    fn connect<'a>(&'a self, _: &'a Host) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        let session: Arc<dyn Session> = Arc::new(self.clone());
        Box::pin(async move { Ok(session) })
    }
}

impl Session for FarSession {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        Box::pin(async move {
            self.link.commands.fetch_add(1, Ordering::SeqCst);
            let channel = self.inner.exec(command).await?;
            if let (true, Some(stop)) = (runs(command, "receive"), &self.link.stop) {
                stop.send_replace(1);
            }
            if !runs(command, "stripe") {
                return Ok(channel);
            }
            self.link.stripes.lock().unwrap().push(self.number);
            let mut cut = self.link.cut.lock().unwrap();
            match cut.take_if(|(number, _)| *number == self.number) {
                Some((_, after)) => Ok(cut_off(channel, after)),
                None => Ok(channel),
            }
        })
    }

    fn distance(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn round_trip(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(async { Some(Duration::from_millis(50)) })
    }

    fn another(&self) -> BoxFuture<'_, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(async {
            if self.link.refuse {
                let source = io::Error::from(io::ErrorKind::ConnectionReset);
                return Err(SessionError::Unreachable {
                    address: "web1:22".to_owned(),
                    source,
                    by_hand: Box::default(),
                });
            }
            let number = self.link.connections.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(Arc::new(Self { number, ..self.clone() }) as Arc<dyn Session>)
        })
    }

    dial_and_close_of_inner!();
}

/// A channel that is lost after `after` bytes. The end of its command is never reported.
pub(crate) fn cut_off(channel: Channel, after: u64) -> Channel {
    let (input, theirs) = tokio::io::duplex(1 << 16);
    let (sender, output) = mpsc::channel::<Output>(1);
    tokio::spawn(async move {
        let Channel { input: mut inner, output: _silent } = channel;
        let mut theirs = theirs.take(after);
        let _ = tokio::io::copy(&mut theirs, &mut inner).await;
        let _ = inner.shutdown().await;
        drop((sender, theirs));
    });
    let input: Pin<Box<dyn AsyncWrite + Send>> = Box::pin(input);
    Channel { input, output }
}

/// A world whose host is far away.
pub(crate) fn far(link: FarLink, inner: LocalSession) -> (World, Arc<FarLink>) {
    let (mut world, link) = (World::new(), Arc::new(link));
    world.connect = Box::new(FarSession { inner, link: Arc::clone(&link), number: 0 });
    (world, link)
}
