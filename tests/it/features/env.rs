//! Several env files in one release, each for its hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shipit::config::EnvSpec;
use shipit::config::env::EnvFile;
use shipit::deploy::goal::{Build, Goal};
use shipit::deploy::outcome::HostResult;

use crate::support::world::{World, goal_of, hook};

/// A host of the role `web`, with a file for all hosts, one for its role and one for another.
fn world() -> World {
    let mut world = World::new();
    world.config.hosts[0].roles = vec!["web".to_owned()];
    let one = world.config.env[0].clone();
    let file = |number, file: &str, mode: &str, role: &str| EnvSpec {
        number,
        file: file.to_owned(),
        mode: mode.to_owned(),
        roles: vec![role.to_owned()],
        ..one.clone()
    };
    world.config.env.push(file(1, "conf/worker [1].env", "600", "worker"));
    world.config.env.push(file(2, "conf/web [1].env", "640", "web"));
    world
}

fn goal(world: &World, version: &str) -> Goal {
    let file = |text: &str| EnvFile::raw(format!("{text}={version}\n").into_bytes());
    goal_of(world.artifact(version, false), |build| Build {
        env: vec![file("ALL"), file("SECRET_OF_WORKERS"), file("WEB")],
        force: false,
        ..build
    })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn host_gets_the_env_files_of_its_roles_only() {
    let world = world();
    let report = world.run(&goal(&world, "1")).await;
    assert!(matches!(report.hosts[0].1, HostResult::Done(_)), "{report:?}");
    assert_eq!(world.read("current/.env"), "ALL=1\n");
    assert_eq!(world.read("current/conf/web [1].env"), "WEB=1\n");
    assert_eq!(mode(&world.root().join("current/conf/web [1].env")), 0o640);
    for entry in walkdir::WalkDir::new(world.root()).into_iter().flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("OF_WORKERS"), "{}", entry.path().display());
    }
    let again = world.run(&goal(&world, "1")).await;
    assert!(matches!(again.hosts[0].1, HostResult::Unchanged { .. }), "{again:?}");
}

#[tokio::test]
async fn verify_looks_at_every_env_file() {
    let mut world = world();
    world.config.hooks.staged = vec![hook("echo made >made")];
    world.run(&goal(&world, "1")).await;
    let clean = world.verified().await;
    assert!(clean.is_clean(), "{clean:?}");
    let manifest = world.read(Path::new(".shipit/manifests").join(&world.releases()[0]));
    assert!(manifest.contains("./made") && !manifest.contains(".env"), "{manifest}");
    assert_eq!(mode(&world.root().join("current/conf/web [1].env")), 0o640);

    world.touch("current/conf/web [1].env", "WEB=2\n");
    let found = world.verified().await;
    assert_eq!(found.problems, ["one of .env, conf/web [1].env is not as it was written"]);
    world.run(&goal(&world, "2")).await;
    let warned = world.warnings();
    let drift = warned.iter().filter(|text| text.contains("is not as it was released"));
    assert!(drift.clone().all(|text| text.contains(": conf/web [1].env;")), "{warned:?}");
    assert_eq!(drift.count(), 1, "{warned:?}");
    assert!(world.verified().await.is_clean());
    fs::remove_file(world.root().join("current/conf/web [1].env")).unwrap();
    let found = world.verified().await;
    let missing = found.drift.iter().map(|drift| (drift.path.as_str(), drift.change.word()));
    assert_eq!(missing.collect::<Vec<_>>(), [("conf/web [1].env", "missing")]);
}
