//! Large uploads over a long way go over several channels at once.

use std::fs;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use shipit::config::Host;
use shipit::deploy::cancel::Cancel;
use shipit::deploy::fleet::Goal;
use shipit::deploy::host::Connect;
use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::remote::local::LocalSession;
use shipit::remote::session::{ByteStream, Channel, Output, Session, SessionError};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::world::{World, goal_of};
use crate::agent::{session_of, shells};
use crate::wire::noise;

/// More than one channel carries in the round trips that a further connection takes.
const LARGE: usize = 65 << 20;

/// What is seen of the way to a host, and what goes wrong on it.
#[derive(Default)]
pub(crate) struct Way {
    /// Commands that were run.
    pub(crate) commands: AtomicUsize,
    /// Further connections.
    connections: AtomicUsize,
    /// The number of the connection that each stripe went over, 0 for the first.
    stripes: Mutex<Vec<usize>>,
    /// There is no further connection.
    refuse: bool,
    /// The connection on which a stripe is cut off, when so many bytes have passed.
    cut: Mutex<Option<(usize, u64)>>,
    /// Stops the run when the upload begins.
    stop: Option<watch::Sender<u8>>,
}

/// One connection of such a way.
#[derive(Clone)]
pub(crate) struct Far {
    pub(crate) inner: LocalSession,
    pub(crate) way: Arc<Way>,
    pub(crate) number: usize,
}

impl Connect for Far {
    fn connect<'a>(&'a self, _: &'a Host) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        let session: Arc<dyn Session> = Arc::new(self.clone());
        Box::pin(async move { Ok(session) })
    }
}

impl Session for Far {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        Box::pin(async move {
            self.way.commands.fetch_add(1, Ordering::SeqCst);
            let channel = self.inner.exec(command).await?;
            if let (true, Some(stop)) = (command.contains("'receive'"), &self.way.stop) {
                stop.send_replace(1);
            }
            if !command.contains("'stripe'") {
                return Ok(channel);
            }
            self.way.stripes.lock().unwrap().push(self.number);
            let mut cut = self.way.cut.lock().unwrap();
            match cut.take_if(|(number, _)| *number == self.number) {
                Some((_, after)) => Ok(cut_off(channel, after)),
                None => Ok(channel),
            }
        })
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
        self.inner.dial(host, port)
    }

    fn distance(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn round_trip(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(async { Some(Duration::from_millis(50)) })
    }

    fn another(&self) -> BoxFuture<'_, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(async {
            if self.way.refuse {
                let source = io::Error::from(io::ErrorKind::ConnectionReset);
                return Err(SessionError::Unreachable {
                    address: "web1:22".to_owned(),
                    source,
                    by_hand: Box::default(),
                });
            }
            let number = self.way.connections.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(Arc::new(Self { number, ..self.clone() }) as Arc<dyn Session>)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// A channel that is lost when so many bytes have passed: nobody hears how its command ended.
fn cut_off(channel: Channel, after: u64) -> Channel {
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
fn far(way: Way, inner: LocalSession) -> (World, Arc<Way>) {
    let (mut world, way) = (World::new(), Arc::new(way));
    world.connect = Box::new(Far { inner, way: Arc::clone(&way), number: 0 });
    (world, way)
}

/// A build with a picture of so many bytes, and something small before it.
fn goal(world: &World, size: usize) -> Goal {
    let path = world.artifact("1", false);
    fs::write(path.join("picture"), noise(size)).unwrap();
    goal_of(path, |build| build)
}

/// The release is live, whole, and nothing is left of how it came.
#[track_caller]
fn arrived(world: &World, report: &Report, size: usize) {
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    assert!(fs::read(world.root().join("current/picture")).unwrap() == noise(size));
    nothing_runs(world);
}

/// Whoever brought bytes has ended with the conversation.
#[track_caller]
fn nothing_runs(world: &World) {
    assert_eq!(fs::read_dir(world.root().join(".shipit/run")).unwrap().count(), 0);
}

#[tokio::test]
async fn the_larger_the_stream_the_more_channels_carry_it() {
    for (size, connections, stripes) in
        [(7 << 20, 0, vec![]), (9 << 20, 0, vec![0]), (LARGE, 3, vec![0, 1, 1, 2, 2, 3, 3])]
    {
        let (world, way) = far(Way::default(), LocalSession::new());
        let report = world.run(&goal(&world, size)).await;
        arrived(&world, &report, size);
        assert_eq!(way.connections.load(Ordering::SeqCst), connections);
        assert_eq!(*way.stripes.lock().unwrap(), stripes);
        assert!(world.warnings().is_empty(), "{:?}", world.warnings());
    }
}

#[tokio::test]
async fn every_shell_puts_stripes_together() {
    for shell in shells() {
        let dir = tempfile::tempdir().unwrap();
        let (world, way) = far(Way::default(), session_of(shell, dir.path()));
        let report = world.run(&goal(&world, LARGE)).await;
        arrived(&world, &report, LARGE);
        assert_eq!(way.stripes.lock().unwrap().len(), 7, "{shell}");
    }
}

#[tokio::test]
async fn a_host_that_refuses_further_connections_gets_it_over_the_one() {
    let (world, way) = far(Way { refuse: true, ..Way::default() }, LocalSession::new());
    let report = world.run(&goal(&world, LARGE)).await;
    arrived(&world, &report, LARGE);
    assert_eq!(*way.stripes.lock().unwrap(), [0]);
    assert_eq!(
        world.warnings(),
        ["the upload goes over 0 of 3 further connections: could not connect to web1:22"]
    );
}

#[tokio::test]
async fn a_limit_that_one_channel_reaches_takes_no_more() {
    let (mut world, way) = far(Way::default(), LocalSession::new());
    world.config.upload.limit = Some(39 << 20);
    let report = world.run(&goal(&world, 9 << 20)).await;
    arrived(&world, &report, 9 << 20);
    assert!(way.stripes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stripe_that_is_cut_off_fails_the_upload_and_the_next_one_builds_on_it() {
    for number in [0, 2] {
        let way = Way { cut: Mutex::new(Some((number, 3 << 20))), ..Way::default() };
        let (world, way) = far(way, LocalSession::new());
        let report = world.run(&goal(&world, LARGE)).await;
        assert_eq!(report.verdict(), RunOutcome::NotDone, "{report:?}");
        let told = format!("{report:?}");
        assert!(told.contains("the connection was lost"), "{told}");
        assert_eq!(world.live(), "nothing");
        nothing_runs(&world);
        let report = world.run(&goal(&world, LARGE)).await;
        arrived(&world, &report, LARGE);
        let HostResult::Done(done) = &report.hosts[0].1 else { panic!("{report:?}") };
        assert!(done.linked > 0, "what came before the picture was there: {done:?}");
        assert_eq!(way.stripes.lock().unwrap().len(), 14, "the second upload had its stripes");
    }
}

#[tokio::test]
async fn who_stops_an_upload_stops_all_its_stripes() {
    let (stop, asked) = watch::channel(0);
    let (mut world, _) = far(Way { stop: Some(stop), ..Way::default() }, LocalSession::new());
    world.config.upload.limit = Some(45 << 20);
    let report = world.run_with(&goal(&world, LARGE), &Cancel::new(asked)).await;
    assert_eq!(report.verdict(), RunOutcome::Interrupted, "{report:?}");
    assert_eq!(world.live(), "nothing");
    nothing_runs(&world);
    world.config.upload.limit = None;
    let report = world.run(&goal(&world, LARGE)).await;
    arrived(&world, &report, LARGE);
}

#[tokio::test]
async fn a_throttled_parcel_can_be_stopped() {
    let (mut world, _) = far(Way::default(), LocalSession::new());
    world.config.upload.limit = Some(1);
    let goal = goal(&world, 1000);
    let (stop, asked) = watch::channel(0);
    let cancel = Cancel::new(asked);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.send_replace(1);
    };
    let (report, ()) = tokio::join!(world.run_with(&goal, &cancel), stopping);
    assert_eq!(report.verdict(), RunOutcome::Interrupted, "{report:?}");
}
