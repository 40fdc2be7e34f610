//! A stream is sent while it is still being packed.

use std::fs;
use std::time::Duration;

use shipit::deploy::event::Event;
use shipit::deploy::goal::Goal;
use shipit::deploy::outcome::{HostResult, RunOutcome};
use shipit::remote::local::LocalSession;

use crate::support::bytes::random_bytes;
use crate::support::shells::{session_of, under_every_shell};
use crate::support::tools::{program, tools_without};
use crate::support::world::{LocalConnect, World, goal_of};

/// The number of bytes of the build that do not compress.
const RANDOM: usize = 24 << 20;

/// A build that is larger than one write of an upload. Half of each page is random and half is
/// zeros: it compresses, but stays large enough for a stream of its own.
fn goal(world: &World) -> Goal {
    let path = world.artifact("1", false);
    let page: Vec<u8> =
        random_bytes(RANDOM).chunks(2048).flat_map(|half| [half, &[0; 2048]].concat()).collect();
    for (number, part) in page.chunks(512 << 10).enumerate() {
        fs::write(path.join(format!("part{number:03}")), part).unwrap();
    }
    goal_of(path, |build| build)
}

fn progress(world: &World) -> Vec<(u64, u64)> {
    let of = |event: &Event| match event {
        Event::Progress { sent, total, .. } => Some((*sent, *total)),
        _ => None,
    };
    world.events.lock().unwrap().iter().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_arrives_whole_and_its_size_becomes_known() {
    let world = World::new();
    let report = world.run(&goal(&world)).await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    let progress = progress(&world);
    let (sent, total) = *progress.last().unwrap();
    assert_eq!(sent, total);
    assert!(progress.iter().all(|(sent, total)| sent <= total));
    // The random half does not compress; the zeros almost vanish.
    let random = RANDOM as u64;
    assert!((random..random + random / 10).contains(&total), "{total}");
    let (first, likely) = progress[0];
    assert!(first < total / 10, "{first} of {total}");
    assert!((random * 3 / 4..random * 4 / 3).contains(&likely), "{likely}");
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_changes_during_the_stream_fails_the_upload() {
    // zstd's threads hold much back, where there are many.
    let (mut world, tools) = (World::new(), tools_without(&["zstd"]));
    let path = tools.path().to_str().unwrap();
    world.connect = Box::new(LocalConnect(LocalSession::new().var("PATH", path)));
    let goal = goal(&world);
    let last = world.dir.path().join("dist/part095");
    fs::write(&last, "other").unwrap();
    let report = world.run(&goal).await;
    let HostResult::Untouched { failure: Some(failure), .. } = &report.hosts[0].1 else {
        panic!("{report:?}")
    };
    assert!(failure.what.starts_with("could not pack 2"), "{failure:?}");
    assert_eq!(failure.cause, ["`part095` changed while it was being read"]);
    assert!(!progress(&world).is_empty(), "it was being sent");
    assert!(!world.root().join("current").exists());
    fs::remove_dir_all(last.parent().unwrap()).unwrap();
    assert_eq!(world.deploy("1").await.verdict(), RunOutcome::Done);
}

/// Deploys a build with one large file and returns the calls of openssl on the host.
async fn asked_of_openssl(shell: &str, script: &str) -> Vec<String> {
    let mut world = World::new();
    let (dir, tools) = (world.dir.path().to_owned(), tempfile::tempdir().unwrap());
    let script = script.replace("LOG", &dir.join("asked").display().to_string());
    program(&tools.path().join("openssl"), &script);
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    world.connect = Box::new(LocalConnect(session_of(shell, &dir).var("PATH", &path)));
    let build = world.artifact("1", false);
    let large = [random_bytes(8 << 20), vec![0; 57 << 20]].concat();
    fs::write(build.join("a b's \\ picture"), &large).unwrap();
    let report = world.run(&goal_of(build, |build| build)).await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{shell}: {report:?}");
    assert!(fs::read(world.root().join("current/a b's \\ picture")).unwrap() == large, "{shell}");
    let asked = fs::read_to_string(dir.join("asked")).unwrap();
    asked.lines().map(ToOwned::to_owned).collect()
}

under_every_shell! {
    async fn large_file_is_hashed_while_it_arrives(shell: &str) {
        let script = "#!/bin/sh\necho \"$*\" >>LOG\nexec /usr/bin/openssl \"$@\"\n";
        assert_eq!(asked_of_openssl(shell, script).await, ["dgst -sha256 -r"], "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_file_with_a_wrong_hash_is_read_again() {
    let script = "#!/bin/sh\necho \"$*\" >>LOG\n[ $# != 3 ] || exec echo 00 '*stdin'\n\
                  exec /usr/bin/openssl \"$@\"\n";
    let asked = asked_of_openssl("/bin/sh", script).await;
    assert_eq!(asked[0], "dgst -sha256 -r");
    let again = asked[1..].iter().filter(|line| line.contains("./a b's \\ picture"));
    assert_eq!(again.count(), 1, "{asked:?}");
}

/// The process that hashes a file stops waiting when the file never becomes whole.
#[tokio::test(flavor = "multi_thread")]
async fn tar_that_fails_within_a_large_file_ends_the_upload_at_once() {
    let (mut world, tools) = (World::new(), tempfile::tempdir().unwrap());
    let script = "#!/bin/sh\nhead -c 20000000 | /usr/bin/tar \"$@\"\nexit 2\n";
    program(&tools.path().join("tar"), script);
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    world.connect = Box::new(LocalConnect(LocalSession::new().var("PATH", &path)));
    let build = world.artifact("1", false);
    fs::write(build.join("picture"), random_bytes(65 << 20)).unwrap();
    let goal = goal_of(build, |build| build);
    let report = tokio::time::timeout(Duration::from_secs(30), world.run(&goal)).await.unwrap();
    assert!(matches!(report.hosts[0].1, HostResult::Untouched { .. }), "{report:?}");
    world.connect = Box::new(LocalConnect(LocalSession::new()));
    assert_eq!(world.run(&goal).await.verdict(), RunOutcome::Done);
}
