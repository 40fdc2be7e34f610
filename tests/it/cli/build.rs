//! `local.before` builds what is deployed.

use super::*;

/// A stage that is this machine, whose build is made by these lines of `local.before`.
fn building(path: &str, hook: &str) -> World {
    let world = World::new();
    let text = format!(
        "app = \"todo\"\ndeploy_to = \"{}/srv\"\n\n[artifact]\npath = \"{path}\"\n\n\
         [hooks]\nlocal.before = [\"{hook}\"]\nlocal.failed = [\"echo failed >>ran\"]\n\n\
         [env]\nvars.A = {{ env = \"A\" }}\n\n[stages.here]\nhosts = [\"local\"]\n",
        world.path().display()
    );
    world.write("deploy.toml", &text);
    world
}

fn deploy(world: &World) -> String {
    world.said(world.command("deploy here -q").env("A", "value"))
}

const ARCHIVE: &str =
    "echo new >BUILD; mkdir -p dist && cp BUILD dist && tar czf dist.tgz -C dist .";

#[test]
fn an_archive_that_the_hook_rebuilds_goes_live_as_rebuilt() {
    let world = building("dist.tgz", ARCHIVE);
    world.write("old/BUILD", "old\n");
    let tar = ["czf", "dist.tgz", "-C", "old", "."];
    assert!(Command::new("tar").args(tar).current_dir(world.path()).status().unwrap().success());
    assert_eq!(deploy(&world), "exit: 0\n--- stdout\n--- stderr\n");
    assert_eq!(world.read("srv/current/BUILD"), "new\n");
}

#[test]
fn what_is_not_there_is_made_and_a_file_that_is_added_goes_along() {
    let world =
        building("dist", "mkdir -p dist; touch ran; date +%s%N >>dist/BUILD; echo more >dist/more");
    assert_eq!(deploy(&world), "exit: 0\n--- stdout\n--- stderr\n");
    assert_eq!(world.read("srv/current/more"), "more\n");
    // A file that it changes is no file that changes while it is read.
    assert_eq!(deploy(&world), "exit: 0\n--- stdout\n--- stderr\n");
    assert_eq!(world.read("srv/current/BUILD").lines().count(), 2);
    assert_eq!(world.read("ran"), "");
}

#[test]
fn the_revision_is_that_of_what_the_hook_built() {
    let hook =
        "mkdir -p dist; date >dist/at; git commit -q --allow-empty -m 2; git rev-parse HEAD >head";
    let world = building("dist", hook);
    let git = "git init -q . && git config user.name a && git config user.email a@b && \
               git commit -q --allow-empty -m 1";
    let made = Command::new("sh").args(["-c", git]).current_dir(world.path()).status();
    assert!(made.unwrap().success());
    assert_eq!(deploy(&world), "exit: 0\n--- stdout\n--- stderr\n");
    assert_eq!(world.read("srv/current/REVISION"), world.read("head"));
}

#[test]
fn what_the_hook_did_not_make_is_an_error_of_the_run() {
    let world = building("dist", "echo building");
    assert_snapshot!(deploy(&world), @"
    exit: 1
    --- stdout
    --- stderr
    error: could not open the artifact `<dir>/dist`
      cause: No such file or directory (os error 2)
      state: local was not changed
      hint:  build it first, or name another one with `--artifact`
    ");
    assert_eq!(world.read("ran"), "failed\n");
    assert!(!world.path().join("srv").exists(), "the host was spoken with");
}

#[test]
fn what_is_wrong_anyway_is_told_before_a_long_build() {
    let world = building("dist", "touch ran");
    assert!(world.shipit("deploy here").contains("`A` comes from the variable `A`"));
    let text = world.read("deploy.toml").replace("[artifact]\npath = \"dist\"", "");
    world.write("deploy.toml", &text);
    assert!(deploy(&world).contains("there is no artifact to deploy"));
    assert!(!world.path().join("ran").exists());
}

#[test]
fn check_and_a_dry_run_say_that_they_do_not_run_it() {
    let world = building("dist", "mkdir dist");
    let checked = world.said(world.command("check here").env("A", "value"));
    let may = "ok       could not open the artifact `<dir>/dist`; `local.before` may make it\n";
    assert!(checked.starts_with("exit: 0") && checked.contains(may), "{checked}");
    let said = world.said(world.command("deploy here --dry-run").env("A", "value"));
    let not =
        "warning: a dry run does not run `local.before`: the artifact is taken as it is now\n";
    assert!(said.contains(not) && said.contains("could not open the artifact"), "{said}");
    world.write("dist/VERSION", "1\n");
    let said = world.said(world.command("deploy here --dry-run").env("A", "value"));
    assert!(said.starts_with("exit: 0") && said.contains(not), "{said}");
}
