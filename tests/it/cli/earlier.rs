//! Hosts that other versions and other apps wrote to, through the program.

use std::fs;
use std::process::Command;

use super::World;

const CONFIG: &str = "app = \"todo\"\nkeep_releases = 2\n[artifact]\npath = \"dist\"\n\
                      [env]\nvars.PORT = \"3000\"\n[stages.production]\nhosts = [\"local\"]\n";

fn world() -> World {
    let world = World::new();
    let config =
        CONFIG.replacen('\n', &format!("\ndeploy_to = \"{}/srv\"\n", world.path().display()), 1);
    world.write("deploy.toml", &config);
    world.write("dist/app.txt", "new\n");
    world
}

/// A host of four releases: the oldest pinned, the newest left by a rollback; and the lock that a
/// killed run left. Written by 0.1.0.
fn host_of_0_1_0() -> World {
    let world = world();
    fs::create_dir(world.path().join("srv")).unwrap();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/host-0.1.0.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "-xpzf", archive, "-C"]).arg(world.path().join("srv"));
    assert!(tar.status().unwrap().success());
    world
}

/// The exit code and all that was said, with ids as they are.
fn run(world: &World, line: &str) -> (i32, String) {
    let out = world.command(line).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn releases(world: &World) -> Vec<String> {
    let names = fs::read_dir(world.path().join("srv/releases")).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn live(world: &World) -> String {
    let link = fs::read_link(world.path().join("srv/current")).unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_host_of_0_1_0_is_read() {
    let world = host_of_0_1_0();
    let (code, said) = run(&world, "releases");
    assert_eq!(code, 0, "{said}");
    for (id, state) in [
        ("20261128093930", "rolled back"),
        ("20261128093929", "good"),
        ("20261128093927", "good"),
        ("20261128093926", "good, pinned"),
    ] {
        let line = said.lines().find(|line| line.contains(id)).unwrap_or_default();
        assert!(line.contains(state), "{id}: {said}");
    }
    let (code, said) = run(&world, "status");
    assert!(code == 0 && said.contains("20261128093929"), "{said}");
    let (code, said) = run(&world, "history");
    assert!(code == 0 && said.contains("rollback"), "{said}");
    let (code, said) = run(&world, "verify");
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_host_of_0_1_0_is_deployed_to_rolled_back_and_pruned() {
    let world = host_of_0_1_0();
    let (code, said) = run(&world, "deploy");
    assert_eq!(code, 0, "{said}");
    assert!(
        !world.path().join("srv/.shipit/lock.held").is_symlink(),
        "a dead run's lock is removed"
    );
    let new = live(&world);
    assert_eq!(world.read("srv/current/app.txt"), "new\n");
    // Two good ones are kept, the pinned one besides, and the one that was left for bad goes.
    assert_eq!(releases(&world), ["20261128093926", "20261128093929", &new]);
    let (code, said) = run(&world, "rollback");
    assert!(code == 0 && live(&world) == "20261128093929", "{said}");
    assert_eq!(world.read("srv/current/app.txt"), "version 3\n");
    let (code, said) = run(&world, "prune --keep 1");
    assert_eq!(code, 0, "{said}");
    assert!(releases(&world).contains(&"20261128093926".to_owned()), "it is pinned: {said}");
    assert!(releases(&world).contains(&"20261128093929".to_owned()), "it is live: {said}");
}

/// Refused, and nothing is changed; what only looks goes on and says why.
#[track_caller]
fn refused(world: &World, needle: &str) {
    let (before, target) = (releases(world), live(world));
    for line in ["deploy", "rollback", "prune", "pin 20261128093927 production", "lock -m why"] {
        let (code, said) = run(world, line);
        assert!(code == 1 && said.contains(needle), "{line}: {code}: {said}");
    }
    for line in ["releases", "status", "history"] {
        let (code, said) = run(world, line);
        assert_eq!(code, 0, "{line}: {said}");
    }
    assert_eq!((releases(world), live(world)), (before, target));
}

#[test]
fn a_ledger_of_a_newer_shipit_is_only_read() {
    let world = host_of_0_1_0();
    let ledger = world.read("srv/.shipit/ledger.jsonl");
    let last = ledger.lines().last().unwrap().replace("\"v\":1", "\"v\":2");
    let last = last.replace("shipit 0.1.0", "shipit 7.0.0");
    world.write("srv/.shipit/ledger.jsonl", &format!("{ledger}{last}\n"));
    refused(&world, "shipit 7.0.0");
}

#[test]
fn a_directory_of_a_newer_format_is_only_read() {
    let world = host_of_0_1_0();
    world.write("srv/.shipit/format", "2 shipit 7.0.0\n");
    refused(&world, "shipit 7.0.0");
}

#[test]
fn a_manifest_of_a_newer_format_is_not_built_on() {
    let world = host_of_0_1_0();
    let manifest = "srv/.shipit/manifests/20261128093929";
    let text = world.read(manifest);
    fs::remove_file(world.path().join(manifest)).unwrap();
    world.write(manifest, &format!("v 2\n{text}"));
    refused(&world, "version 2");
}

#[test]
fn a_release_far_in_the_future_refuses_deploys_and_is_named() {
    let world = host_of_0_1_0();
    let far = "99991231235958";
    fs::create_dir(world.path().join("srv/releases").join(far)).unwrap();
    let (code, said) = run(&world, "deploy");
    assert_eq!(code, 0, "a directory that nobody made counts for nothing: {said}");
    assert!(live(&world).starts_with("20"), "{}", live(&world));
    let ledger = world.read("srv/.shipit/ledger.jsonl");
    let staged = ledger.lines().next().unwrap().replace("20261128093926", far);
    world.write("srv/.shipit/ledger.jsonl", &format!("{ledger}{staged}\n"));
    let (code, said) = run(&world, "deploy --force");
    assert!(code == 1 && said.contains(far), "{said}");
}

#[test]
fn another_app_in_the_same_place_is_refused() {
    let world = world();
    assert_eq!(run(&world, "deploy").0, 0);
    let first = live(&world);
    world.write("deploy.toml", &world.read("deploy.toml").replace("\"todo\"", "\"shop\""));
    for line in ["deploy", "prune"] {
        let (code, said) = run(&world, line);
        assert!(code == 1 && said.contains("todo"), "{line}: {said}");
        assert_eq!(live(&world), first);
    }
    let (code, said) = run(&world, "deploy --force");
    assert!(code == 0 && live(&world) != first, "{said}");
}
