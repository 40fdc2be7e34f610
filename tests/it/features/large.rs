//! A large file that changed inside is put together on the host, or travels whole: what is live in
//! the end is the same.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use shipit::config::env::EnvFile;
use shipit::deploy::goal::Build;
use shipit::deploy::goal::Goal;
use shipit::deploy::outcome::{Done, HostResult, RunOutcome};
use shipit::model::digest::Digest;
use shipit::model::manifest::Sealed;
use shipit::remote::local::LocalSession;

use crate::support::bytes::random_text;
use crate::support::shells::{session_of, under_every_shell};
use crate::support::tools::tools;
use crate::support::world::{LocalConnect, World, goal_of};

const SIZE: usize = 5 << 20;
const OLD: &str = "20260821090001";

/// A deploy of one large program and a small file.
fn goal(world: &World, name: &str, bytes: &[u8]) -> Goal {
    let path = world.dir.path().join("dist");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(path.join("bin")).unwrap();
    let file = path.join("bin").join(name);
    fs::write(&file, bytes).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_mins(25_000_000);
    fs::File::open(&file).unwrap().set_modified(then).unwrap();
    fs::write(path.join("VERSION"), format!("{name} {}\n", Digest::of(bytes))).unwrap();
    goal_of(path, |build| Build { env: vec![EnvFile::raw(b"A=1\n".to_vec())], ..build })
}

async fn deploy(world: &World, name: &str, bytes: &[u8]) -> Done {
    let report = world.run(&goal(world, name, bytes)).await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    let live = world.root().join("current/bin").join(name);
    assert!(fs::read(&live).unwrap() == bytes, "{name}");
    let meta = fs::metadata(&live).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.mtime()), (0o555, 1_500_000_000));
    let HostResult::Done(done) = report.hosts[0].1.clone() else { panic!("{report:?}") };
    done
}

/// This machine has these bytes under the digest of `of`.
fn keep(world: &World, of: &[u8], bytes: &[u8]) {
    let dir = world.cache_dir().join("files");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(Digest::of(of).to_string()), bytes).unwrap();
}

/// The number of new bytes in an edited file.
const CHANGED: u64 = 4 * 3000 + 12_345;

/// Returns `old` with bytes overwritten in some places, some inserted, some removed, and what
/// follows moved.
fn edited(old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    for place in [0, 700_000, 1_500_000, SIZE - 3000] {
        new[place..place + 3000].copy_from_slice(&random_text(place as u64 + 99, 3000));
    }
    new.splice(2_000_000..2_000_000, random_text(55, 12_345));
    new.drain(3_000_000..3_070_000);
    new
}

fn on_host(world: &mut World, without: &[&str], scripts: &[(&str, &str)]) {
    let bin = tools(world.dir.path(), without, scripts);
    let session = LocalSession::new().var("PATH", bin.to_str().unwrap());
    world.connect = Box::new(LocalConnect(session));
}

under_every_shell! {
    async fn large_file_is_patched(shell: &str) {
        let mut world = World::new();
        world.connect = Box::new(LocalConnect(session_of(shell, world.dir.path())));
        let old = random_text(1, SIZE);
        deploy(&world, "a b's \\ server", &old).await;
        keep(&world, &old, &old);
        let done = deploy(&world, "a b's \\ server", &edited(&old)).await;
        assert_eq!((done.rebuilt, world.warnings()), (1, vec![]), "{shell}");
        assert!(done.sent < CHANGED, "{shell}: the change compresses: {done:?}");
        assert!(done.spared > SIZE as u64 - 4 * CHANGED, "{shell}: {done:?}");
        let base = world.root().join("releases").join(OLD).join("bin/a b's \\ server");
        assert!(fs::read(base).unwrap() == old, "{shell}: the base is as it was");
    }
}

#[tokio::test]
async fn large_file_is_patched_by_the_dd_of_busybox() {
    let mut world = World::new();
    on_host(&mut world, &[], &[("dd", "exec busybox dd \"$@\"")]);
    let old = random_text(1, SIZE);
    deploy(&world, "server", &old).await;
    keep(&world, &old, &old);
    let done = deploy(&world, "server", &edited(&old)).await;
    assert_eq!((done.rebuilt, world.warnings()), (1, vec![]));
}

#[tokio::test]
async fn large_file_without_zstd_on_the_host_travels_whole() {
    let mut world = World::new();
    on_host(&mut world, &["zstd"], &[]);
    let old = random_text(1, SIZE);
    deploy(&world, "server", &old).await;
    keep(&world, &old, &old);
    let done = deploy(&world, "server", &edited(&old)).await;
    assert_eq!((done.rebuilt, done.spared, world.warnings()), (0, 0, vec![]));
    assert!(done.sent > SIZE as u64 * 7 / 10, "{done:?}");
}

#[tokio::test]
async fn renamed_large_file_is_patched_from_its_old_name() {
    let world = World::new();
    let old = random_text(1, SIZE);
    deploy(&world, "app-1.0.jar", &old).await;
    keep(&world, &old, &old);
    assert_eq!(deploy(&world, "app-1.1.jar", &edited(&old)).await.rebuilt, 1);
    assert_eq!(deploy(&world, "app-1.2.zip", &old).await.rebuilt, 0, "another kind of file");
}

#[tokio::test]
async fn large_file_without_a_cached_base_travels_whole() {
    let world = World::new();
    let old = random_text(1, SIZE);
    deploy(&world, "server", &old).await;
    let done = deploy(&world, "server", &edited(&old)).await;
    assert_eq!((done.rebuilt, done.spared, world.warnings()), (0, 0, vec![]));
    assert!(done.sent > SIZE as u64 * 7 / 10, "{done:?}");
}

#[tokio::test]
async fn unrelated_large_file_travels_whole() {
    let world = World::new();
    let old = random_text(1, SIZE);
    deploy(&world, "server", &old).await;
    keep(&world, &old, &old);
    assert_eq!(deploy(&world, "server", &random_text(2, SIZE)).await.rebuilt, 0);
}

#[tokio::test]
async fn damaged_cache_costs_bytes_and_nothing_else() {
    let world = World::new();
    let old = random_text(1, SIZE);
    deploy(&world, "server", &old).await;
    let mut damaged = old.clone();
    damaged.rotate_left(1000);
    keep(&world, &old, &damaged);
    let done = deploy(&world, "server", &edited(&old)).await;
    assert_eq!((done.rebuilt, done.spared), (0, 0));
    let said = world.warnings();
    assert!(said.len() == 1 && said[0].contains("sending everything"), "{said:?}");
}

#[tokio::test]
async fn host_that_cannot_patch_gets_whole_files() {
    let old_dd = "case \"$*\" in *skip_bytes*) echo 'dd: invalid input flag' >&2; exit 1 ;; esac; \
                  exec /usr/bin/dd \"$@\"";
    let bad_zstd = "case \"$*\" in *-D*) echo 'zstd: no dictionaries' >&2; exit 1 ;; esac; \
                    exec /usr/bin/zstd \"$@\"";
    for script in [("dd", old_dd), ("zstd", bad_zstd)] {
        let mut world = World::new();
        on_host(&mut world, &[], &[script]);
        let old = random_text(1, SIZE);
        deploy(&world, "server", &old).await;
        keep(&world, &old, &old);
        let done = deploy(&world, "server", &edited(&old)).await;
        assert_eq!((done.rebuilt, done.spared), (0, 0), "{script:?}");
        let said = world.warnings();
        let why = "sending everything: ";
        assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
    }
}

#[tokio::test]
async fn touched_large_file_is_no_base() {
    let world = World::new();
    let old = random_text(1, SIZE);
    deploy(&world, "server", &old).await;
    keep(&world, &old, &old);
    let live = world.root().join("current/bin/server");
    fs::set_permissions(&live, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&live, random_text(3, SIZE)).unwrap();
    assert_eq!(deploy(&world, "server", &edited(&old)).await.rebuilt, 0);
}

#[tokio::test]
async fn partly_patched_file_is_patched_again() {
    let world = World::new();
    let old = random_text(1, SIZE);
    deploy(&world, "server", &old).await;
    keep(&world, &old, &old);
    let new = edited(&old);
    let Goal::Deploy(build) = goal(&world, "server", &new) else { unreachable!() };
    let part = world.root().join("releases/.20260821090002.run0000000000009");
    fs::create_dir_all(part.join("tree/bin")).unwrap();
    fs::create_dir_all(part.join("meta")).unwrap();
    fs::write(part.join("meta/of"), Sealed::from(build.manifest.clone()).digest.to_string())
        .unwrap();
    fs::write(part.join("meta/recipe"), "old x\nnew y\n").unwrap();
    fs::write(part.join("tree/bin/server"), "").unwrap();
    fs::copy(world.dir.path().join("dist/VERSION"), part.join("tree/VERSION")).unwrap();
    for path in ["tree/VERSION", "tree/bin/server"] {
        fs::set_permissions(part.join(path), fs::Permissions::from_mode(0o444)).unwrap();
    }
    let done = deploy(&world, "server", &new).await;
    assert_eq!((done.rebuilt, done.linked, world.warnings()), (1, 1, vec![]));
}

#[tokio::test]
async fn dry_run_says_which_files_are_patched() {
    let world = World::new();
    let old = random_text(1, SIZE);
    deploy(&world, "server", &old).await;
    keep(&world, &old, &old);
    let lines = world.rehearsed(&goal(&world, "server", &edited(&old))).await;
    let Some(sent) = lines[1].strip_prefix("patch bin/server: send ") else { panic!("{lines:?}") };
    let sent = sent.strip_suffix(" kB of 5.2 MB").unwrap();
    let sent: f64 = sent.parse().unwrap();
    assert!((10.0..30.0).contains(&sent), "{lines:?}");
    assert!(lines[0].starts_with("upload 2 of 2 files, "), "{lines:?}");
    assert!(lines[0].contains(" kB of 5.2 MB"), "{lines:?}");
}
