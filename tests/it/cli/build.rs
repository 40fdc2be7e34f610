//! `local.before` builds what is deployed.

use std::process::Command;

use insta::assert_snapshot;

use crate::support::project::Project;

/// A stage that is this machine, whose build is made by these lines of `local.before`.
fn building(path: &str, hook: &str) -> Project {
    let project = Project::new();
    let text = format!(
        "app = \"todo\"\ndeploy_to = \"{}/srv\"\n\n[artifact]\npath = \"{path}\"\n\n\
         [hooks]\nlocal.before = [\"{hook}\"]\nlocal.failed = [\"echo failed >>ran\"]\n\n\
         [env]\nvars.A = {{ env = \"A\" }}\n\n[stages.here]\nhosts = [\"local\"]\n",
        project.path().display()
    );
    project.write("deploy.toml", &text);
    project
}

fn deploy(project: &Project) -> String {
    project.said(project.command("deploy here -q").env("A", "value"))
}

const ARCHIVE: &str =
    "echo new >BUILD; mkdir -p dist && cp BUILD dist && tar czf dist.tgz -C dist .";

#[test]
fn archive_rebuilt_by_the_hook_goes_live_as_rebuilt() {
    let project = building("dist.tgz", ARCHIVE);
    project.write("old/BUILD", "old\n");
    let tar = ["czf", "dist.tgz", "-C", "old", "."];
    assert!(Command::new("tar").args(tar).current_dir(project.path()).status().unwrap().success());
    assert_eq!(deploy(&project), "exit: 0\n--- stdout\n--- stderr\n");
    assert_eq!(project.read("srv/current/BUILD"), "new\n");
}

#[test]
fn missing_artifact_is_built_and_added_files_are_deployed() {
    let project =
        building("dist", "mkdir -p dist; touch ran; date +%s%N >>dist/BUILD; echo more >dist/more");
    assert_eq!(deploy(&project), "exit: 0\n--- stdout\n--- stderr\n");
    assert_eq!(project.read("srv/current/more"), "more\n");
    // A file that it changes is no file that changes while it is read.
    assert_eq!(deploy(&project), "exit: 0\n--- stdout\n--- stderr\n");
    assert_eq!(project.read("srv/current/BUILD").lines().count(), 2);
    assert_eq!(project.read("ran"), "");
}

#[test]
fn revision_is_that_of_the_built_artifact() {
    let hook =
        "mkdir -p dist; date >dist/at; git commit -q --allow-empty -m 2; git rev-parse HEAD >head";
    let project = building("dist", hook);
    let git = "git init -q . && git config user.name a && git config user.email a@b && \
               git commit -q --allow-empty -m 1";
    let made = Command::new("sh").args(["-c", git]).current_dir(project.path()).status();
    assert!(made.unwrap().success());
    assert_eq!(deploy(&project), "exit: 0\n--- stdout\n--- stderr\n");
    assert_eq!(project.read("srv/current/REVISION"), project.read("head"));
}

#[test]
fn artifact_the_hook_did_not_make_fails_the_run() {
    let project = building("dist", "echo building");
    assert_snapshot!(deploy(&project), @"
    exit: 1
    --- stdout
    --- stderr
    error: could not open the artifact `<dir>/dist`
      cause: No such file or directory (os error 2)
      state: local was not changed
      hint:  build it first, or name another one with `--artifact`
    ");
    assert_eq!(project.read("ran"), "failed\n");
    assert!(!project.path().join("srv").exists(), "the host was spoken with");
}

#[test]
fn config_errors_are_shown_before_a_long_build() {
    let project = building("dist", "touch ran");
    assert!(project.shipit("deploy here").contains("`A` comes from the variable `A`"));
    let text = project.read("deploy.toml").replace("[artifact]\npath = \"dist\"", "");
    project.write("deploy.toml", &text);
    assert!(deploy(&project).contains("there is no artifact to deploy"));
    assert!(!project.path().join("ran").exists());
}

#[test]
fn check_and_dry_run_say_they_skip_the_build_hook() {
    let project = building("dist", "mkdir dist");
    let checked = project.said(project.command("check here").env("A", "value"));
    let may = "ok       `<dir>/dist` is not there yet; `local.before` may build it\n";
    assert!(checked.starts_with("exit: 0") && checked.contains(may), "{checked}");
    // A file that cannot be opened for another reason is no matter of a build.
    let place = project.path().join("dist");
    std::os::unix::fs::symlink("dist", &place).unwrap();
    let looped = project.said(project.command("check here").env("A", "value"));
    assert!(looped.contains("problem  could not open the artifact `<dir>/dist`"), "{looped}");
    std::fs::remove_file(place).unwrap();
    let said = project.said(project.command("deploy here --dry-run").env("A", "value"));
    let not =
        "warning: a dry run does not run `local.before`: the artifact is taken as it is now\n";
    assert!(said.contains(not) && said.contains("could not open the artifact"), "{said}");
    project.write("dist/VERSION", "1\n");
    let text = project.read("deploy.toml");
    let more = "[hooks]\nlocal.after = [\"touch told\"]\n";
    project.write("deploy.toml", &text.replace("[hooks]\n", more));
    let said = project.said(project.command("deploy here --dry-run").env("A", "value"));
    assert!(said.starts_with("exit: 0") && said.contains(not), "{said}");
    let here = "here, once it is live, run the local.after hook `touch told`\n\
                here, if it fails, run the local.failed hook `echo failed >>ran`\n";
    assert!(said.contains(here), "{said}");
    assert!(!project.path().join("told").exists());
}
