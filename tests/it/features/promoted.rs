//! The artifact of a live release, for another stage or for another config.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use shipit::config::Assets;
use shipit::config::env::EnvFile;
use shipit::deploy::goal::{Build, Goal};
use shipit::deploy::outcome::{Done, HostResult, Report, RunOutcome};
use shipit::deploy::promote::LiveRelease;
use shipit::model::link::{SharedKind, SharedLink};
use shipit::remote::local::LocalSession;

use crate::support::world::{LocalConnect, World, goal_of, hook};

/// The goal to deploy the artifact of `live` with this env file.
fn promoted(live: &LiveRelease, env: &str, of_live: bool) -> Goal {
    let build = live.build(Arc::new(LocalConnect(LocalSession::new())));
    let env = vec![EnvFile::raw(env.as_bytes().to_vec())];
    Goal::Deploy(Box::new(Build { env, of_live: of_live.then_some(live.id), ..build }))
}

#[track_caller]
fn done(report: &Report) -> &Done {
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    match &report.hosts[0].1 {
        HostResult::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

/// A stage with links, one of which the artifact holds too.
fn staging() -> World {
    let mut world = World::new();
    let dir = |path: &str| SharedLink {
        path: path.to_owned(),
        kind: SharedKind::Dir { mode: None, group: None },
    };
    "staging".clone_into(&mut world.config.stage);
    world.config.links = vec![dir("log"), dir("tmp/pids")];
    world
}

fn built(world: &World, version: &str) -> Goal {
    let dir = world.artifact(version, false);
    fs::create_dir_all(dir.join("log")).unwrap();
    fs::write(dir.join("log/.keep"), "").unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    fs::write(dir.join("nothing"), "").unwrap();
    goal_of(dir, |build| Build {
        revision: Some(format!("rev-{version}")),
        env: vec![EnvFile::raw(b"SECRET=of-staging\n".to_vec())],
        ..build
    })
}

/// The files below `dir` with their modes, times and bytes, except what a stage adds.
fn tree(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name().min_depth(1) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(dir).unwrap().display().to_string();
        let meta = entry.path().symlink_metadata().unwrap();
        if meta.is_symlink() {
            all.push(format!("{path} -> {}", fs::read_link(entry.path()).unwrap().display()));
        } else if meta.is_file() {
            let bytes = fs::read_to_string(entry.path()).unwrap();
            let mode = meta.permissions().mode() & 0o777;
            all.push(format!("{path} {mode:o} {} {bytes:?}", meta.mtime()));
        } else {
            all.push(format!("{path}/"));
        }
    }
    all
}

#[tokio::test]
async fn artifact_goes_to_another_stage_with_the_config_of_that_stage() {
    let (staging, mut production) = (staging(), World::new());
    production.config.links = staging.config.links.clone();
    done(&staging.run(&built(&staging, "1")).await);
    done(&production.deploy("0").await);
    fs::remove_dir_all(staging.dir.path().join("dist")).unwrap();
    let live = staging.live_release(true).await.unwrap();
    let report = production.run(&promoted(&live, "V=production\n", false)).await;
    let moved = done(&report).clone();
    assert!(moved.linked > 0, "what production has does not travel: {moved:?}");
    let (from, to) = (staging.root().join("current"), production.root().join("current"));
    let tree = |dir: &Path| -> Vec<_> {
        tree(&fs::canonicalize(dir).unwrap())
            .into_iter()
            .filter(|line| !line.starts_with(".env "))
            .collect()
    };
    let unchanged = |line: &String| {
        !["bin/server ", "with space", "REVISION "].iter().any(|own| line.starts_with(own))
    };
    let both =
        [tree(&from), tree(&to)].map(|all| all.into_iter().filter(unchanged).collect::<Vec<_>>());
    assert_eq!(both[0], both[1]);
    assert_eq!(production.read("current/.env"), "V=production\n");
    let digest = |world: &World| {
        let ledger = world.read(".shipit/ledger.jsonl");
        let at = ledger.rfind("\"artifact\":\"").unwrap() + 12;
        ledger[at..at + 64].to_owned()
    };
    assert_eq!(digest(&staging), digest(&production));
    let again = production.run(&promoted(&live, "V=production\n", false)).await;
    assert!(matches!(again.hosts[0].1, HostResult::Unchanged { .. }), "{again:?}");
}

#[tokio::test]
async fn what_hooks_of_staging_made_stays_there() {
    let (mut staging, mut production) = (staging(), World::new());
    staging.config.hooks.staged = vec![hook("cat .env >hooked; mkdir cache; echo a >cache/a")];
    done(&staging.run(&built(&staging, "1")).await);
    let live = staging.live_release(true).await.unwrap();
    let failure = live.check(&production.config).unwrap_err();
    let lacks =
        "release 20260821090001 of staging lacks what its artifact has at `log`, which is linked";
    assert_eq!(failure.what, lacks);
    production.config.links = staging.config.links[..1].to_vec();
    assert!(live.check(&production.config).unwrap_err().what.contains("`tmp/pids`"));
    production.config.links.clone_from(&staging.config.links);
    live.check(&production.config).unwrap();
    done(&production.run(&promoted(&live, "V=production\n", false)).await);
    assert_eq!(production.read("current/VERSION"), "1\n");
    assert_eq!(production.read("current/REVISION"), "rev-1\n");
    for path in ["hooked", "cache"] {
        assert!(!production.root().join("current").join(path).exists(), "{path}");
    }
    // A second promotion builds on the list that production kept of the artifact.
    let mut next = World::new();
    next.config.links.clone_from(&staging.config.links);
    let live = production.live_release(true).await.unwrap();
    done(&next.run(&promoted(&live, "V=next\n", false)).await);
    assert_eq!(next.read("current/VERSION"), "1\n");
}

#[tokio::test]
async fn file_that_hooks_of_staging_changed_is_refused() {
    let (mut staging, production) = (staging(), World::new());
    staging.config.hooks.staged =
        vec![hook("chmod u+w VERSION && echo other >VERSION && chmod a-w VERSION")];
    done(&staging.run(&built(&staging, "1")).await);
    let live = staging.live_release(true).await.unwrap();
    let report = production.run(&promoted(&live, "V=production\n", false)).await;
    assert_eq!(report.verdict(), RunOutcome::NotDone);
    let HostResult::Untouched { failure: Some(failure), .. } = &report.hosts[0].1 else {
        panic!("{report:?}")
    };
    assert!(failure.whole().contains("could not read release 20260821090001 of staging from web1"));
    assert!(failure.whole().contains("`VERSION`"), "{failure:?}");
    assert_eq!(production.live(), "nothing");
}

#[tokio::test]
async fn release_that_drifted_is_not_promoted() {
    let staging = staging();
    done(&staging.run(&built(&staging, "1")).await);
    let path = staging.root().join("current/VERSION");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, "2\n").unwrap();
    let Err(failure) = staging.live_release(true).await else { panic!("it was promoted") };
    assert_eq!(failure.what, "web1 of staging: 20260821090001 is not as it was released");
    assert!(failure.cause[0].contains("VERSION changed"), "{failure:?}");
}

#[tokio::test]
async fn config_alone_changes_without_the_artifact() {
    let world = World::new();
    done(&world.deploy("1").await);
    let first = fs::canonicalize(world.root().join("current")).unwrap();
    fs::remove_dir_all(world.dir.path().join("dist")).unwrap();
    let live = world.live_release(false).await.unwrap();
    let report = world.run(&promoted(&live, "V=other\n", true)).await;
    let changed = done(&report);
    assert_eq!((changed.linked, changed.linked_size), (3, changed.size), "{changed:?}");
    assert_eq!(world.read("current/.env"), "V=other\n");
    assert_eq!(world.read("restarts"), "1\n1\n");
    let inode = |dir: &Path| fs::metadata(dir.join("VERSION")).unwrap().ino();
    assert_eq!(inode(&first), inode(&world.root().join("current")), "nothing was copied");
    let again = world.run(&promoted(&live, "V=other\n", false)).await;
    assert!(matches!(again.hosts[0].1, HostResult::Unchanged { .. }), "{again:?}");
    // A newer build went live in the meantime: its artifact must not be undone.
    done(&world.deploy("2").await);
    let report = world.run(&promoted(&live, "V=third\n", true)).await;
    let HostResult::Untouched { failure: Some(failure), .. } = &report.hosts[0].1 else {
        panic!("{report:?}")
    };
    assert!(failure.what.contains("whose config is to change, is not live here"), "{failure:?}");
}

#[tokio::test]
async fn host_that_shares_nothing_is_sent_everything() {
    let mut world = World::new();
    world.config.upload.link = false;
    done(&world.deploy("1").await);
    let live = world.live_release(false).await.unwrap();
    let report = world.run(&promoted(&live, "V=other\n", true)).await;
    assert_eq!(done(&report).linked, 0);
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(world.read("current/with space \\ and 'quote'"), "odd");
}

#[tokio::test]
async fn files_that_came_from_earlier_releases_are_no_part_of_the_artifact() {
    let (mut staging, production) = (World::new(), World::new());
    staging.config.assets = Some(Assets { keep: vec!["assets".to_owned()], releases: 2 });
    for version in ["1", "2"] {
        let dir = staging.artifact(version, false);
        fs::create_dir_all(dir.join("assets")).unwrap();
        fs::remove_file(dir.join("assets/1")).ok();
        fs::write(dir.join("assets").join(version), version).unwrap();
        done(&staging.run(&goal_of(dir, |build| build)).await);
    }
    assert_eq!(staging.read("current/assets/1"), "1");
    let live = staging.live_release(true).await.unwrap();
    done(&production.run(&promoted(&live, "V=production\n", false)).await);
    assert_eq!(production.read("current/assets/2"), "2");
    assert!(!production.root().join("current/assets/1").exists());
}
