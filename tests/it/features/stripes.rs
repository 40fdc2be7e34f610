//! Large uploads over a long link go over several channels at once.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shipit::deploy::cancel::Cancel;
use shipit::deploy::goal::Goal;
use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::remote::local::LocalSession;
use tokio::sync::watch;

use crate::support::bytes::random_bytes;
use crate::support::far::{FarLink, far};
use crate::support::shells::{session_of, under_every_shell};
use crate::support::world::{World, goal_of};

/// More than one channel carries in the round trips that a further connection takes.
const LARGE: usize = 65 << 20;

/// A build with a picture of `size` bytes and small files before it.
fn goal(world: &World, size: usize) -> Goal {
    let path = world.artifact("1", false);
    fs::write(path.join("picture"), random_bytes(size)).unwrap();
    goal_of(path, |build| build)
}

/// The release is live, whole, and nothing is left of how it came.
#[track_caller]
fn arrived(world: &World, report: &Report, size: usize) {
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    assert!(fs::read(world.root().join("current/picture")).unwrap() == random_bytes(size));
    nothing_runs(world);
}

/// The processes of all data channels have ended with the conversation.
#[track_caller]
fn nothing_runs(world: &World) {
    assert_eq!(fs::read_dir(world.root().join(".shipit/run")).unwrap().count(), 0);
}

#[tokio::test]
async fn larger_streams_use_more_channels() {
    for (size, large) in [(9 << 20, false), (LARGE, true)] {
        let (world, link) = far(FarLink::default(), LocalSession::new());
        let report = world.run(&goal(&world, size)).await;
        arrived(&world, &report, size);
        let connections = link.connections.load(Ordering::SeqCst);
        assert_eq!(connections > 0, large, "{connections} connections for {size} bytes");
        let carried: BTreeSet<_> = link.stripes.lock().unwrap().iter().copied().collect();
        let all = if large { (0..=connections).collect() } else { BTreeSet::new() };
        assert_eq!(carried, all, "each connection carries a stripe");
        assert!(world.warnings().is_empty(), "{:?}", world.warnings());
    }
}

under_every_shell! {
    async fn stripes_are_merged(shell: &str) {
        let dir = tempfile::tempdir().unwrap();
        let (world, link) = far(FarLink::default(), session_of(shell, dir.path()));
        let report = world.run(&goal(&world, LARGE)).await;
        arrived(&world, &report, LARGE);
        assert!(link.stripes.lock().unwrap().len() > 1, "{shell}");
    }
}

#[tokio::test]
async fn refused_connections_leave_the_upload_on_one() {
    let (world, link) = far(FarLink { refuse: true, ..FarLink::default() }, LocalSession::new());
    let report = world.run(&goal(&world, LARGE)).await;
    arrived(&world, &report, LARGE);
    assert_eq!(*link.stripes.lock().unwrap(), [0]);
    assert_eq!(
        world.warnings(),
        ["the upload goes over 0 of 3 further connections: could not connect to web1:22"]
    );
}

#[tokio::test]
async fn upload_limit_of_one_channel_uses_no_more() {
    let (mut world, link) = far(FarLink::default(), LocalSession::new());
    world.config.upload.limit = Some(39 << 20);
    let report = world.run(&goal(&world, LARGE)).await;
    arrived(&world, &report, LARGE);
    assert!(link.stripes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn cut_stripe_fails_the_upload_and_the_next_resumes() {
    for number in [0, 2] {
        let link = FarLink { cut: Mutex::new(Some((number, 3 << 20))), ..FarLink::default() };
        let (world, link) = far(link, LocalSession::new());
        let report = world.run(&goal(&world, LARGE)).await;
        assert_eq!(report.verdict(), RunOutcome::NotDone, "{report:?}");
        let told = format!("{report:?}");
        assert!(told.contains("the connection was lost"), "{told}");
        assert_eq!(world.live(), "nothing");
        nothing_runs(&world);
        let before = link.stripes.lock().unwrap().len();
        let report = world.run(&goal(&world, LARGE)).await;
        arrived(&world, &report, LARGE);
        let HostResult::Done(done) = &report.hosts[0].1 else { panic!("{report:?}") };
        assert!(done.linked > 0, "what came before the picture was there: {done:?}");
        let after = link.stripes.lock().unwrap().len();
        assert!(after > before + 1, "the second upload had its stripes: {before}, {after}");
    }
}

#[tokio::test]
async fn interrupt_stops_all_stripes() {
    let (stop, asked) = watch::channel(0);
    let (mut world, _) =
        far(FarLink { stop: Some(stop), ..FarLink::default() }, LocalSession::new());
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
async fn interrupt_stops_a_throttled_inline_upload() {
    let (mut world, _) = far(FarLink::default(), LocalSession::new());
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
