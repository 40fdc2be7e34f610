//! Hosts that other versions and other apps wrote to, through the program.

use std::fs;
use std::process::Command;

use crate::support::project::Project;

const CONFIG: &str = "app = \"todo\"\nkeep_releases = 2\n[artifact]\npath = \"dist\"\n\
                      [env]\nvars.PORT = \"3000\"\n[stages.production]\nhosts = [\"local\"]\n";

fn project() -> Project {
    let project = Project::new();
    let config =
        CONFIG.replacen('\n', &format!("\ndeploy_to = \"{}/srv\"\n", project.path().display()), 1);
    project.write("deploy.toml", &config);
    project.write("dist/app.txt", "new\n");
    project
}

/// A host of four releases: the oldest pinned, the newest left by a rollback; and the lock that a
/// killed run left. Written by 0.1.0.
fn host_of_0_1_0() -> Project {
    let project = project();
    fs::create_dir(project.path().join("srv")).unwrap();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/host-0.1.0.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "-xpzf", archive, "-C"]).arg(project.path().join("srv"));
    assert!(tar.status().unwrap().success());
    project
}

/// The exit code and all that was said, with ids as they are.
fn run(project: &Project, line: &str) -> (i32, String) {
    let out = project.command(line).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn releases(project: &Project) -> Vec<String> {
    let names = fs::read_dir(project.path().join("srv/releases")).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn live(project: &Project) -> String {
    let link = fs::read_link(project.path().join("srv/current")).unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn host_of_0_1_0_is_read() {
    let project = host_of_0_1_0();
    let (code, said) = run(&project, "releases");
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
    let (code, said) = run(&project, "status");
    assert!(code == 0 && said.contains("20261128093929"), "{said}");
    let (code, said) = run(&project, "history");
    assert!(code == 0 && said.contains("rollback"), "{said}");
    let (code, said) = run(&project, "verify");
    assert_eq!(code, 0, "{said}");
}

#[test]
fn host_of_0_1_0_is_deployed_to_rolled_back_and_pruned() {
    let project = host_of_0_1_0();
    let (code, said) = run(&project, "deploy");
    assert_eq!(code, 0, "{said}");
    assert!(
        !project.path().join("srv/.shipit/lock.held").is_symlink(),
        "a dead run's lock is removed"
    );
    let new = live(&project);
    assert_eq!(project.read("srv/current/app.txt"), "new\n");
    // Two good releases and the pinned one are kept; the bad one is deleted.
    assert_eq!(releases(&project), ["20261128093926", "20261128093929", &new]);
    let (code, said) = run(&project, "rollback");
    assert!(code == 0 && live(&project) == "20261128093929", "{said}");
    assert_eq!(project.read("srv/current/app.txt"), "version 3\n");
    let (code, said) = run(&project, "prune --keep 1");
    assert_eq!(code, 0, "{said}");
    assert!(releases(&project).contains(&"20261128093926".to_owned()), "it is pinned: {said}");
    assert!(releases(&project).contains(&"20261128093929".to_owned()), "it is live: {said}");
}

/// It had no list of releases that were begun.
#[test]
fn release_that_0_1_0_left_unfinished_survives_prune() {
    let world = host_of_0_1_0();
    let torn = "20261128093928";
    fs::create_dir(world.path().join("srv/releases").join(torn)).unwrap();
    world.write(&format!("srv/.shipit/manifests/{torn}"), "");
    let (code, said) = run(&world, "prune --keep 1");
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        releases(&world),
        ["20261128093926", "20261128093927", torn, "20261128093929", "20261128093930"]
    );
    let by_hand = format!("rm -rf '{}/srv/releases/{torn}'", world.path().display());
    assert!(said.contains(&by_hand), "{said}");
    let (code, said) = run(&world, "deploy");
    assert!(code == 0 && said.contains(&by_hand), "{said}");
    assert_eq!(releases(&world), ["20261128093926", torn, "20261128093929", &live(&world)]);
    let (code, said) = run(&world, "releases");
    let line = said.lines().find(|line| line.contains(torn)).unwrap_or_default();
    assert!(code == 0 && line.contains("unknown"), "{said}");
}

#[test]
fn a_live_release_without_a_line_keeps_a_deploy_from_pruning() {
    let world = host_of_0_1_0();
    let before = releases(&world);
    let ledger = world.read("srv/.shipit/ledger.jsonl");
    let told = |line: &&str| !line.contains("\"release\":\"20261128093929\"");
    let left: Vec<_> = ledger.lines().filter(told).collect();
    world.write("srv/.shipit/ledger.jsonl", &format!("{}\n", left.join("\n")));
    let (code, said) = run(&world, "deploy");
    assert!(code == 0 && said.contains("nothing is pruned until that is resolved"), "{said}");
    assert!(before.iter().all(|id| releases(&world).contains(id)), "{said}");
}

#[test]
fn damaged_lines_of_a_ledger_are_named_by_their_numbers() {
    let world = host_of_0_1_0();
    let ledger = world.read("srv/.shipit/ledger.jsonl");
    let mut lines: Vec<_> = ledger.lines().collect();
    (lines[1], lines[2], lines[4]) = ("{torn", "?", "?");
    world.write("srv/.shipit/ledger.jsonl", &format!("{}\n", lines.join("\n")));
    let before = releases(&world);
    let (code, said) = run(&world, "prune --keep 1");
    assert!(code == 1 && said.contains("srv/.shipit/ledger.jsonl by hand: 2-3, 5"), "{said}");
    assert_eq!(releases(&world), before);
}

/// Commands that change are refused; commands that look work and say why.
#[track_caller]
fn refused(project: &Project, needle: &str) {
    let (before, target) = (releases(project), live(project));
    for line in ["deploy", "rollback", "prune", "pin 20261128093927 production", "lock -m why"] {
        let (code, said) = run(project, line);
        assert!(code == 1 && said.contains(needle), "{line}: {code}: {said}");
    }
    for line in ["releases", "status", "history"] {
        let (code, said) = run(project, line);
        assert_eq!(code, 0, "{line}: {said}");
    }
    assert_eq!((releases(project), live(project)), (before, target));
}

#[test]
fn ledger_of_a_newer_shipit_is_only_read() {
    let project = host_of_0_1_0();
    let ledger = project.read("srv/.shipit/ledger.jsonl");
    let last = ledger.lines().last().unwrap().replace("\"v\":1", "\"v\":2");
    let last = last.replace("shipit 0.1.0", "shipit 7.0.0");
    project.write("srv/.shipit/ledger.jsonl", &format!("{ledger}{last}\n"));
    refused(&project, "shipit 7.0.0");
}

#[test]
fn directory_of_a_newer_format_is_only_read() {
    let project = host_of_0_1_0();
    project.write("srv/.shipit/format", "2 shipit 7.0.0\n");
    refused(&project, "shipit 7.0.0");
}

#[test]
fn manifest_of_a_newer_format_is_no_base() {
    let project = host_of_0_1_0();
    let manifest = "srv/.shipit/manifests/20261128093929";
    let text = project.read(manifest);
    fs::remove_file(project.path().join(manifest)).unwrap();
    project.write(manifest, &format!("v 2\n{text}"));
    refused(&project, "version 2");
}

#[test]
fn release_far_in_the_future_refuses_deploys() {
    let project = host_of_0_1_0();
    let far = "99991231235958";
    fs::create_dir(project.path().join("srv/releases").join(far)).unwrap();
    let (code, said) = run(&project, "deploy");
    assert_eq!(code, 0, "a directory that nobody made counts for nothing: {said}");
    assert!(live(&project).starts_with("20"), "{}", live(&project));
    let ledger = project.read("srv/.shipit/ledger.jsonl");
    let staged = ledger.lines().next().unwrap().replace("20261128093926", far);
    project.write("srv/.shipit/ledger.jsonl", &format!("{ledger}{staged}\n"));
    let (code, said) = run(&project, "deploy --force");
    assert!(code == 1 && said.contains(far), "{said}");
}

#[test]
fn another_app_in_the_directory_is_refused() {
    let project = project();
    assert_eq!(run(&project, "deploy").0, 0);
    let first = live(&project);
    project.write("deploy.toml", &project.read("deploy.toml").replace("\"todo\"", "\"shop\""));
    for line in ["deploy", "prune"] {
        let (code, said) = run(&project, line);
        assert!(code == 1 && said.contains("todo"), "{line}: {said}");
        assert_eq!(live(&project), first);
    }
    let (code, said) = run(&project, "deploy --force");
    assert!(code == 0 && live(&project) != first, "{said}");
}
