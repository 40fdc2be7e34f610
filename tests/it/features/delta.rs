//! Unchanged files do not travel, and shared files are safe.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use shipit::config::env::EnvFile;
use shipit::deploy::event::Event;
use shipit::deploy::goal::Build;
use shipit::deploy::goal::Goal;
use shipit::deploy::outcome::{Done, HostResult, Report, RunOutcome};
use shipit::remote::local::LocalSession;

use crate::support::bytes::random_text;
use crate::support::link::{FaultyLinks, LinkFault};
use crate::support::tools::program;
use crate::support::world::{LocalConnect, World, goal_of, hook, host};

/// A deploy of these files: path and seed.
fn goal(world: &World, files: &[(&str, u64)]) -> Goal {
    let path = world.dir.path().join("dist");
    let _ = fs::remove_dir_all(&path);
    for (name, seed) in files {
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, random_text(*seed, 100_000)).unwrap();
    }
    fs::write(path.join("VERSION"), format!("{files:?}")).unwrap();
    fs::write(path.join("empty"), "").unwrap();
    goal_of(path, |build| Build {
        revision: Some("rev".to_owned()),
        env: vec![EnvFile::raw(b"A=1\n".to_vec())],
        ..build
    })
}

async fn deploy(world: &World, files: &[(&str, u64)]) -> Done {
    let report = world.run(&goal(world, files)).await;
    done(&report)
}

#[track_caller]
fn done(report: &Report) -> Done {
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    let HostResult::Done(done) = report.hosts[0].1.clone() else { panic!("{report:?}") };
    done
}

/// The live release holds exactly these files.
#[track_caller]
fn holds(world: &World, files: &[(&str, u64)]) {
    for (name, seed) in files {
        let bytes = fs::read(world.root().join("current").join(name)).unwrap();
        assert!(bytes == random_text(*seed, 100_000), "{name}");
    }
}

/// Returns the least size of `len` bytes of random text after compression: 6 of 8 bits.
const fn compressed_size(len: u64) -> u64 {
    len * 6 / 8
}

fn inode(world: &World, path: &str) -> u64 {
    fs::metadata(world.root().join(path)).unwrap().ino()
}

/// Returns how often a request of this name was sent or a warning with this text was given.
fn times(world: &World, what: &str) -> usize {
    let told = |event: &Event| match event {
        Event::Sent { line, .. } => line == what,
        Event::Warning { text, .. } => text.contains(what),
        _ => false,
    };
    world.events.lock().unwrap().iter().filter(|event| told(event)).count()
}

const ONE: [(&str, u64); 3] = [("a", 1), ("lib/b", 2), ("lib/with \\ 'c'", 3)];
const TWO: [(&str, u64); 3] = [("a", 9), ("lib/b", 2), ("lib/moved", 3)];

#[tokio::test]
async fn unchanged_files_are_shared_and_changed_ones_are_not() {
    let world = World::new();
    let first = deploy(&world, &ONE).await;
    assert_eq!((first.linked, first.files), (0, 5));
    let second = deploy(&world, &TWO).await;
    assert_eq!((second.linked, second.files), (2, 5));
    let changed = compressed_size(100_000);
    assert!((changed..changed * 11 / 10).contains(&second.sent), "{second:?}");
    holds(&world, &TWO);
    let (old, new) = ("releases/20260821090001", "releases/20260821090002");
    let at = |release: &str, path: &str| inode(&world, &format!("{release}/{path}"));
    assert_eq!(at(old, "lib/b"), at(new, "lib/b"));
    assert_eq!(at(old, "lib/with \\ 'c'"), at(new, "lib/moved"), "a rename costs nothing");
    assert_ne!(at(old, "a"), at(new, "a"));
    assert_ne!(at(old, "empty"), at(new, "empty"), "there may be too many of them");
    let back = world.rollback().await;
    assert_eq!(back.verdict(), RunOutcome::Done, "{back:?}");
    holds(&world, &ONE);
}

#[tokio::test]
async fn manifest_is_fetched_only_if_not_cached() {
    let mut world = World::new();
    let shared = shipit::model::link::SharedLink {
        path: "var/log".to_owned(),
        kind: shipit::model::link::SharedKind::Dir { mode: None, group: None },
    };
    world.config.links = vec![shared];
    deploy(&world, &ONE).await;
    assert_eq!(deploy(&world, &TWO).await.linked, 2);
    assert_eq!(times(&world, "manifest"), 0, "it is what was sealed by ourselves");
    let manifests = world.cache_dir().join("manifests");
    std::fs::remove_dir_all(&manifests).unwrap();
    assert_eq!(deploy(&world, &ONE).await.linked, 2);
    assert_eq!(times(&world, "manifest"), 1);
    let kept = std::fs::read_dir(manifests).unwrap().count();
    assert_eq!(kept, 2, "what was fetched and what was sealed");
}

#[tokio::test]
async fn files_added_by_a_hook_are_part_of_the_base() {
    let mut world = World::new();
    world.config.hooks.staged =
        vec![hook("cp a made && chmod u+w lib && rm -f lib/b && echo x >lib/b")];
    deploy(&world, &ONE).await;
    world.config.hooks.staged.clear();
    let next = deploy(&world, &[("a", 1), ("lib/b", 2), ("made", 1)]).await;
    assert_eq!(next.linked, 2, "the hook's own b is not ours");
    holds(&world, &[("a", 1), ("lib/b", 2), ("made", 1)]);
}

#[tokio::test]
async fn root_with_hooks_shares_nothing() {
    let mut world = World::new();
    let run = "echo more >>a".to_owned();
    world.config.hooks.staged = vec![hook(&run)];
    let root = fs::metadata(world.dir.path()).unwrap().uid() == 0;
    if !root {
        world.config.hooks.staged[0].run = "true".to_owned();
    }
    deploy(&world, &ONE).await;
    let second = deploy(&world, &ONE).await;
    assert_eq!(second.linked, if root { 0 } else { 4 });
}

#[tokio::test]
async fn touched_files_are_not_shared() {
    let world = World::new();
    deploy(&world, &ONE).await;
    let live = world.root().join("current");
    fs::set_permissions(live.join("a"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut changed = random_text(1, 100_000);
    changed[500] ^= 1;
    fs::write(live.join("a"), changed).unwrap();
    fs::set_permissions(live.join("a"), fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(deploy(&world, &ONE).await.linked, 3);
    holds(&world, &ONE);
}

#[tokio::test]
async fn future_mtimes_are_no_changes() {
    let world = World::new();
    let first = goal(&world, &ONE);
    let ahead = std::time::SystemTime::now() + std::time::Duration::from_hours(5);
    let file = fs::File::open(world.dir.path().join("dist/lib/b")).unwrap();
    file.set_modified(ahead).unwrap();
    let Goal::Deploy(build) = first else { unreachable!() };
    let dist = world.dir.path().join("dist");
    let same = goal_of(dist, |new| Build { source: new.source, ..*build });
    done(&world.run(&same).await);
    assert_eq!(deploy(&world, &ONE).await.linked, 4);
    assert_eq!(times(&world, "not as it was released"), 0);
}

#[tokio::test]
async fn sharing_can_be_turned_off() {
    let mut world = World::new();
    world.config.upload.link = false;
    deploy(&world, &ONE).await;
    assert_eq!(deploy(&world, &ONE).await.linked, 0);
    assert_eq!(times(&world, "base"), 0);
}

/// A host on which `tar` is this, and what it needs comes from BusyBox if wanted.
fn host_with(world: &mut World, tar: &str, busybox: bool) -> bool {
    let bin = world.dir.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let has = |tool: &str| {
        let ask = format!("command -v {tool} >/dev/null");
        Command::new("sh").args(["-c", &ask]).status().unwrap().success()
    };
    if !has(tar.split(' ').next().unwrap()) || (busybox && !has("busybox")) {
        assert!(std::env::var_os("SHIPIT_TEST_ALL_SHELLS").is_none(), "{tar} is missing");
        return false;
    }
    let script = |name: &str, text: &str| {
        program(&bin.join(name), &format!("#!/bin/sh\n{text}\n"));
    };
    script("tar", &format!("PATH=/usr/bin:/bin exec {tar} \"$@\""));
    for tool in
        ["find", "stat", "sort", "uniq", "sha256sum", "readlink", "sed", "grep", "head", "cp"]
    {
        if busybox {
            script(tool, &format!("exec busybox {tool} \"$@\""));
        }
    }
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    world.connect = Box::new(LocalConnect(LocalSession::new().var("PATH", &path)));
    true
}

#[tokio::test]
async fn every_tar_creates_hard_links() {
    let tars = [("tar", false), ("busybox tar", false), ("bsdtar", false), ("busybox tar", true)];
    for (tar, busybox) in tars {
        let mut world = World::new();
        if !host_with(&mut world, tar, busybox) {
            continue;
        }
        deploy(&world, &ONE).await;
        assert_eq!(deploy(&world, &TWO).await.linked, 2, "{tar}");
        holds(&world, &TWO);
        assert_eq!(times(&world, "cannot reuse files"), 0, "{tar}");
    }
}

#[tokio::test]
async fn tar_that_cannot_link_makes_everything_travel() {
    let mut world = World::new();
    deploy(&world, &ONE).await;
    let count = world.dir.path().join("count");
    let refuse = format!(
        "sh -c 'echo >>{0}; [ $(wc -l <{0}) != 1 ] && exec tar \"$@\"; exec \
                          tar \"$@\" --exclude=lib/moved -C /nowhere' tar",
        count.display()
    );
    assert!(host_with(&mut world, &refuse, false));
    let second = deploy(&world, &TWO).await;
    assert_eq!(second.linked, 0);
    assert_eq!(times(&world, "cannot reuse files"), 1);
    holds(&world, &TWO);
}

/// A host whose `tar` does this once, before it unpacks.
fn host_that(world: &mut World, does: &str) {
    let once = world.dir.path().join("once");
    let (once, releases) = (once.display(), world.root().join("releases"));
    let wrapped = format!(
        "sh -c '[ -e {once} ] || {{ >{once}; cd {}; {does}; }}; exec tar \"$@\"' tar",
        releases.display()
    );
    assert!(host_with(world, &wrapped, false));
}

#[tokio::test]
async fn base_that_changes_during_the_upload_is_not_used() {
    let mut world = World::new();
    deploy(&world, &ONE).await;
    host_that(
        &mut world,
        "chmod u+w */lib/b; head -c 100000 /dev/zero >20260821090001/lib/b; chmod a-w */lib/b",
    );
    let second = deploy(&world, &TWO).await;
    assert_eq!((second.linked, second.linked_size), (0, 0));
    let (changed, all) = (compressed_size(100_000), compressed_size(300_000));
    assert!(second.sent > changed + all, "both streams count: {second:?}");
    assert_eq!(times(&world, "changed 20260821090001 in the meantime"), 1);
    holds(&world, &TWO);
}

#[tokio::test]
async fn base_that_vanishes_during_the_upload_is_not_used() {
    let mut world = World::new();
    deploy(&world, &ONE).await;
    host_that(&mut world, "rm -rf */lib");
    assert_eq!(deploy(&world, &TWO).await.linked, 0);
    assert_eq!(times(&world, "cannot reuse files"), 1);
    assert_eq!(times(&world, "discard"), 1);
    holds(&world, &TWO);
}

/// Makes the user of the host one without rights, if root runs the tests.
fn as_nobody(world: &mut World) {
    if fs::metadata(world.dir.path()).unwrap().uid() != 0 {
        return;
    }
    let shell = world.dir.path().join("nobody");
    let user = "--reuid=65534 --regid=65534 --clear-groups";
    program(&shell, &format!("#!/bin/sh\nexec setpriv {user} /bin/sh \"$@\"\n"));
    std::os::unix::fs::chown(world.dir.path(), Some(65534), Some(65534)).unwrap();
    world.connect = Box::new(LocalConnect(LocalSession::new().shell(shell.to_str().unwrap())));
}

#[tokio::test]
async fn hook_that_writes_to_shared_files_fails() {
    let mut world = World::new();
    as_nobody(&mut world);
    deploy(&world, &ONE).await;
    world.config.hooks.staged = vec![hook("chmod u+w lib/b && echo more >>lib/b")];
    let report = world.run(&goal(&world, &TWO)).await;
    assert_eq!(report.verdict(), RunOutcome::NotDone, "{report:?}");
    let why = format!("{report:?}");
    assert!(why.contains("shared with 20260821090001, and so changed it"), "{why}");
    assert!(why.contains("./lib/b"), "{why}");
    world.config.hooks.staged =
        vec![hook("cp a new && mv -f new a && ln a copy && chmod 600 copy")];
    assert_eq!(deploy(&world, &TWO).await.linked, 1, "what the first hook wrote to is not shared");
}

#[tokio::test]
async fn dry_run_says_what_would_travel() {
    let world = World::new();
    deploy(&world, &ONE).await;
    let lines = world.rehearsed(&goal(&world, &TWO)).await;
    assert_eq!(
        lines[..2],
        [
            "upload 3 of 5 files, 100 kB of 300 kB; the others are there already",
            "check every file that is sent against its SHA-256, all others by size and mode",
        ]
    );
}

#[tokio::test]
async fn sharing_costs_no_round_trip() {
    let mut world = World::new();
    world.config.hosts = ["web1", "web2"].map(host).to_vec();
    world.connect = Box::new(FaultyLinks::new(world.config.layout.root()));
    done(&world.run(&goal(&world, &ONE)).await);
    let before = world.events.lock().unwrap().len();
    done(&world.run(&goal(&world, &TWO)).await);
    let events = world.events.lock().unwrap();
    let lines = events[before..].iter().filter_map(|event| match event {
        Event::Sent { host, line } if host == "web2" => Some(line.as_str()),
        _ => None,
    });
    let asked: Vec<_> = lines.take_while(|line| *line != "activate").collect();
    // The first two come with the greeting, all others are sent at once.
    assert_eq!(asked, ["drift", "base", "unpack", "check", "env", "revision", "seal", "stage"]);
}

#[tokio::test]
async fn uploads_at_once_stay_within_the_limit() {
    let mut world = World::new();
    world.config.hosts = ["web1", "web2", "web3"].map(host).to_vec();
    world.config.upload.parallel = Some(1);
    world.connect = Box::new(FaultyLinks::new(world.config.layout.root()));
    done(&world.run(&goal(&world, &MANY)).await);
    let mut order = Vec::new();
    for event in world.events.lock().unwrap().iter() {
        if let Event::Progress { host, .. } = event
            && order.last() != Some(host)
        {
            order.push(host.clone());
        }
    }
    order.sort();
    assert_eq!(order, ["web1", "web2", "web3"], "each had its turn once");
}

/// Makes uploads take turns: then a stream of this size does not travel between the requests.
fn own_channel(world: &mut World) {
    world.config.upload.parallel = Some(1);
}

/// An upload that breaks off. Of what it leaves, `damage` makes what it wants.
async fn after_half_an_upload(damage: impl FnOnce(&Path)) -> (World, Done) {
    let mut world = World::new();
    world.config.deadline = std::time::Duration::from_secs(2);
    own_channel(&mut world);
    let root = format!("{}-web1", world.config.layout.root());
    let links = FaultyLinks::new(world.config.layout.root());
    links.faults().lock().unwrap().insert("web1".to_owned(), LinkFault::HalfUpload);
    world.connect = Box::new(links);
    let report = world.run(&goal(&world, &MANY)).await;
    assert_eq!(report.verdict(), RunOutcome::NotDone, "{report:?}");
    let left: Vec<_> = fs::read_dir(Path::new(&root).join("releases")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    damage(&left[0].as_ref().unwrap().path().join("tree"));
    let done = deploy(&world, &MANY).await;
    for (name, seed) in MANY {
        let bytes = fs::read(Path::new(&root).join("current").join(name)).unwrap();
        assert!(bytes == random_text(seed, 100_000), "{name}");
    }
    (world, done)
}

const MANY: [(&str, u64); 8] =
    [("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5), ("6", 6), ("7", 7), ("8", 8)];

#[tokio::test]
async fn partial_upload_is_used_by_the_next() {
    let (_, done) = after_half_an_upload(|_| {}).await;
    assert!(done.linked > 0, "{done:?}");
}

#[tokio::test]
async fn partial_upload_is_verified_before_use() {
    let (world, done) = after_half_an_upload(|tree| {
        let file = tree.join("1");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&file, random_text(9, 100_000)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    })
    .await;
    assert_eq!(done.linked, 0, "{done:?}");
    assert_eq!(times(&world, "other bytes than were sent"), 1);
}

/// The names in `releases/` of web1.
fn there(world: &World) -> Vec<String> {
    let root = format!("{}-web1", world.config.layout.root());
    let names = fs::read_dir(Path::new(&root).join("releases")).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn old_partial_uploads_are_deleted() {
    let mut world = World::new();
    own_channel(&mut world);
    let links = FaultyLinks::new(world.config.layout.root());
    let faults = links.faults();
    world.connect = Box::new(links);
    let broken = async |files: &[(&str, u64)]| {
        faults.lock().unwrap().insert("web1".to_owned(), LinkFault::HalfUpload);
        let report = world.run(&goal(&world, files)).await;
        assert_eq!(report.verdict(), RunOutcome::NotDone, "{report:?}");
        there(&world)
    };
    let first = broken(&MANY).await;
    assert_eq!(first.len(), 1, "{first:?}");
    let second = broken(&MANY).await;
    assert!(second.len() <= 2 && second.contains(&first[0]), "{second:?}");
    let third = broken(&MANY).await;
    assert!(third.len() <= 2, "no more than what is used and what is new: {third:?}");
    assert!(third.iter().any(|name| second.contains(name)), "what is used stays: {third:?}");
    let other = broken(&ONE).await;
    assert!(
        other.len() <= 1 && !other.contains(&first[0]),
        "what is of no use goes first: {other:?}"
    );
    assert_eq!(world.prune(5).await.verdict(), RunOutcome::Done);
    assert!(there(&world).is_empty());
    broken(&MANY).await;
    deploy(&world, &TWO).await;
    let left = there(&world);
    assert!(left.len() == 1 && !left[0].starts_with('.'), "{left:?}");
}

#[tokio::test]
async fn base_with_an_unreadable_manifest_is_not_used() {
    let world = World::new();
    deploy(&world, &ONE).await;
    let manifest = world.root().join(".shipit/manifests/20260821090001");
    fs::write(&manifest, "what is this\n").unwrap();
    assert_eq!(deploy(&world, &TWO).await.linked, 0);
    holds(&world, &TWO);
}
