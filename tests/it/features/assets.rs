//! Files of earlier releases that stay in a new one, for pages that are still open.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use shipit::config::Assets;
use shipit::deploy::outcome::{HostResult, RunOutcome};

use crate::support::world::{World, goal_of, hook};

/// A world whose releases keep the assets of this many earlier ones.
fn keeping(releases: usize) -> World {
    let mut world = World::new();
    world.config.keep = 5;
    world.config.assets = Some(Assets { keep: vec!["public/assets".to_owned()], releases });
    world
}

/// Deploys these files, each with its own path as content.
async fn deploy(world: &World, files: &[&str]) {
    let path = world.artifact(&files.join(" "), false);
    for file in files {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, file.file_name().unwrap().as_encoded_bytes()).unwrap();
    }
    let report = world.run(&goal_of(path, |build| build)).await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    let warnings = world.warnings();
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// Returns the files below `public` of the live release.
fn assets(world: &World) -> String {
    let root = world.root().join("current/public");
    let files = walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    let names = files.map(|file| file.path().strip_prefix(&root).unwrap().display().to_string());
    names.collect::<Vec<_>>().join(" ")
}

fn inode(world: &World, path: &str) -> u64 {
    fs::metadata(world.root().join(path)).unwrap().ino()
}

#[tokio::test]
async fn assets_stay_for_as_many_releases_as_configured() {
    let world = keeping(2);
    let build = |number| {
        [format!("public/assets/{number}.js"), format!("public/assets/a 'b/{number} \\.css")]
    };
    let build = |number| [build(number).to_vec(), vec!["public/page".to_owned()]].concat();
    for number in 1..=2 {
        let files = build(number);
        deploy(&world, &files.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    assert_eq!(
        assets(&world),
        "assets/1.js assets/2.js assets/a 'b/1 \\.css assets/a 'b/2 \\.css page"
    );
    let (old, live) = (&world.releases()[0], world.live());
    let file = "public/assets/1.js";
    assert_eq!(
        inode(&world, &format!("releases/{old}/{file}")),
        inode(&world, &format!("{live}/{file}"))
    );
    deploy(&world, &["public/assets/3.js", "public/page"]).await;
    let all = "assets/1.js assets/2.js assets/3.js assets/a 'b/1 \\.css assets/a 'b/2 \\.css page";
    assert_eq!(assets(&world), all);
    deploy(&world, &["public/assets/4.js", "public/assets/2.js"]).await;
    assert_eq!(assets(&world), "assets/2.js assets/3.js assets/4.js assets/a 'b/2 \\.css");
    let id = world.releases().pop().unwrap();
    let manifest = world.read(format!(".shipit/manifests/{id}"));
    assert_eq!(manifest.matches("./public/assets/").count(), 5, "with the directory: {manifest}");
    assert_eq!(world.read(format!(".shipit/kept/{id}")).lines().count(), 2);
    world.rollback().await;
    deploy(&world, &["public/assets/5.js"]).await;
    assert_eq!(assets(&world), "assets/2.js assets/3.js assets/4.js assets/5.js");
    world.prune(1).await;
    deploy(&world, &["public/assets/6.js"]).await;
    let names = fs::read_dir(world.root().join(".shipit/kept")).unwrap();
    let names = names.map(|list| list.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| world.releases().contains(&name)), "lists go too");
}

#[tokio::test]
async fn assets_that_hooks_made_are_kept_and_no_hook_sees_kept_ones() {
    let mut world = keeping(1);
    world.config.hooks.staged = vec![hook(
        "mkdir -p public/assets && ls public/assets >public/seen && \
         echo 1 >\"public/assets/$SHIPIT_RELEASE\"",
    )];
    for _ in 0..2 {
        deploy(&world, &["public/page"]).await;
    }
    let releases = world.releases();
    let [old, new] = &releases[..] else { panic!("{releases:?}") };
    assert_eq!(assets(&world), format!("assets/{old} assets/{new} page seen"));
    assert_eq!(world.read("current/public/seen"), "");
    deploy(&world, &["public/page"]).await;
    assert!(!assets(&world).contains(old.as_str()), "{}", assets(&world));
}

#[tokio::test]
async fn assets_that_were_changed_or_have_no_place_are_not_kept() {
    let world = keeping(3);
    deploy(&world, &["public/assets/a/x", "public/assets/y", "public/assets/z"]).await;
    let old = world.root().join("current/public/assets/z");
    fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(9);
    fs::write(&old, "changed").unwrap();
    fs::File::options().write(true).open(&old).unwrap().set_modified(later).unwrap();
    let path = world.artifact("2", false);
    fs::create_dir_all(path.join("public/assets")).unwrap();
    fs::create_dir_all(path.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", path.join("public/assets/a")).unwrap();
    let report = world.run(&goal_of(path, |build| build)).await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
    assert_eq!(assets(&world), "assets/y");
    assert_eq!(fs::read_dir(world.root().join("current/elsewhere")).unwrap().count(), 0);
}

#[tokio::test]
async fn assets_are_planned_and_do_not_make_a_build_another_one() {
    let mut world = keeping(2);
    world.deploy("1").await;
    let first = world.releases();
    let plan = world.rehearsed(&world.deploy_goal("2", "", false)).await.join("\n");
    let line = format!("keep the files of {} below public/assets", first[0]);
    assert!(plan.contains(&line), "{plan}");
    world.deploy("2").await;
    let again = world.deploy("2").await;
    assert!(matches!(again.hosts[0].1, HostResult::Unchanged { .. }), "{again:?}");
    world.config.assets = None;
    let other = world.deploy("2").await;
    assert!(matches!(other.hosts[0].1, HostResult::Done(_)), "the config changed: {other:?}");
}
