//! Few small files that changed are packed against their old selves, or as ever: what is live in
//! the end is the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use shipit::deploy::goal::Build;
use shipit::deploy::outcome::{Done, HostResult, RunOutcome};
use shipit::model::digest::Digest;
use shipit::remote::local::LocalSession;

use super::delta::noise;
use super::health::tools_without;
use super::world::{Local, World, goal_of};
use crate::agent::{session_of, shells};

const SIZE: usize = 20_000;

/// Files by their names; each is of its own noise.
fn files() -> Vec<(String, Vec<u8>)> {
    let name = |number: u64| match number {
        7 => "lib/it's \\ \"odd\" -> $name".to_owned(),
        _ => format!("lib/part {number}"),
    };
    (1..=20).map(|number| (name(number), noise(number, SIZE))).collect()
}

/// Ten of them with some bytes written over and some put in.
fn edited() -> Vec<(String, Vec<u8>)> {
    let mut files = files();
    for (number, (_, bytes)) in files.iter_mut().enumerate().take(10) {
        bytes[9_000..9_020].copy_from_slice(&noise(99, 20));
        bytes.splice(15_000..15_000, noise(number as u64 + 50, 30));
    }
    files
}

fn write(world: &World, files: &[(String, Vec<u8>)]) -> PathBuf {
    let path = world.dir.path().join("dist");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(path.join("lib")).unwrap();
    fs::write(path.join("VERSION"), "one").unwrap();
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).unwrap();
    }
    path
}

async fn deploy(world: &World, files: &[(String, Vec<u8>)]) -> Done {
    let secret = Some(b"A=secret\n".to_vec());
    let goal = goal_of(write(world, files), |build| Build { env: secret, ..build });
    let report = world.run(&goal).await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    let live = world.root().join("current");
    for (name, bytes) in files {
        assert!(fs::read(live.join(name)).unwrap() == *bytes, "{name}");
    }
    assert_eq!(fs::read(live.join(".env")).unwrap(), b"A=secret\n");
    assert_eq!(fs::metadata(live.join(".env")).unwrap().permissions().mode() & 0o777, 0o600);
    let HostResult::Done(done) = report.hosts[0].1.clone() else { panic!("{report:?}") };
    done
}

/// This machine has the old selves; `but` may make something else of their bytes.
fn keep(world: &World, files: &[(String, Vec<u8>)], but: impl Fn(&mut Vec<u8>)) {
    let mut kept = world.cache.2.lock().unwrap();
    for (_, bytes) in files {
        let mut told = bytes.clone();
        but(&mut told);
        kept.insert(Digest::of(bytes), told);
    }
}

#[tokio::test]
async fn what_is_like_the_old_is_not_sent_under_every_shell() {
    for shell in shells() {
        let mut world = World::new();
        world.connect = Box::new(Local(session_of(shell, world.dir.path())));
        let whole = deploy(&world, &files()).await;
        assert!(whole.sent > 250_000, "{whole:?}");
        keep(&world, &files(), |_| ());
        let done = deploy(&world, &edited()).await;
        assert_eq!(world.warnings(), [""; 0], "{shell}");
        assert!(done.sent < 5_000, "{shell}: {done:?}");
        assert_eq!((done.linked, done.files), (11, 21));
    }
}

#[tokio::test]
async fn where_the_old_bytes_are_others_all_is_sent() {
    let world = World::new();
    deploy(&world, &files()).await;
    keep(&world, &files(), |bytes| bytes[9_000..9_020].copy_from_slice(&noise(99, 20)));
    let done = deploy(&world, &edited()).await;
    let warnings = world.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("what the host has could not be used"), "{warnings:?}");
    assert!(done.sent > 250_000 && done.linked == 0, "{done:?}");
}

#[tokio::test]
async fn what_was_touched_is_no_old_self() {
    let world = World::new();
    deploy(&world, &files()).await;
    keep(&world, &files(), |_| ());
    let touched = world.root().join("current/lib/part 1");
    fs::set_permissions(&touched, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&touched, noise(77, SIZE)).unwrap();
    let done = deploy(&world, &edited()).await;
    assert!(world.warnings().iter().all(|text| !text.contains("could not be used")));
    assert!((14_000..25_000).contains(&done.sent), "one file travels whole: {done:?}");
}

#[tokio::test]
async fn a_host_without_zstd_gets_them_whole() {
    let (mut world, tools) = (World::new(), tools_without(&["zstd"]));
    let path = tools.path().to_str().unwrap();
    world.connect = Box::new(Local(LocalSession::new().var("PATH", path)));
    deploy(&world, &files()).await;
    keep(&world, &files(), |_| ());
    let done = deploy(&world, &edited()).await;
    assert_eq!((world.warnings(), done.linked), (vec![], 11));
    assert!(done.sent > 120_000, "{done:?}");
}

#[tokio::test]
async fn what_is_too_much_for_a_parcel_is_packed_as_ever() {
    let world = World::new();
    deploy(&world, &files()).await;
    keep(&world, &files(), |_| ());
    let mut more = edited();
    more.extend((0..3).map(|number| (format!("lib/new {number}"), noise(number + 200, 900_000))));
    let done = deploy(&world, &more).await;
    assert_eq!((world.warnings(), done.linked), (vec![], 11));
    assert!(done.sent > 2_000_000, "{done:?}");
}
