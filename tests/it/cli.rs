//! The program as a person runs it: argv in; exit code, stdout and stderr out.

mod after;
mod around;
mod build;
mod check;
mod ci;
mod earlier;
mod env_diff;
mod foreign;
mod init;
mod notices;
mod output;
mod promote;
mod secrets;
mod setup;
mod shells;
mod sources;
mod words;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use crate::support::bytes::random_text;
use crate::support::project::Project;

#[test]
fn missing_config_hints_at_init() {
    assert_snapshot!(Project::new().shipit("deploy production"), @r"
    exit: 2
    --- stdout
    --- stderr
    error: could not read deploy.toml
      cause: No such file or directory (os error 2)
      hint:  `shipit init` writes one
    ");
}

#[test]
fn usage_error_exits_2_and_help_names_every_command() {
    let project = Project::new();
    assert!(project.shipit("deplyo").starts_with("exit: 2"));
    let help = project.shipit("--help");
    let commands = [
        "init",
        "check",
        "diff",
        "deploy",
        "stage",
        "activate",
        "promote",
        "rollback",
        "releases",
        "status",
        "history",
        "verify",
        "env",
        "logs",
        "run",
        "ssh",
        "maintenance",
        "pin",
        "unpin",
        "lock",
        "unlock",
        "prune",
        "demo",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
}

#[test]
fn empty_environment_variable_counts_as_unset() {
    let project = Project::local();
    let said = project.said(project.command("deploy -n").env("SHIPIT_CONFIG", ""));
    assert!(said.starts_with("exit: 0"), "{said}");
    let said = project.said(project.command("deploy -n").env("SHIPIT_CONFIG", "gone.toml"));
    assert!(said.contains("could not read gone.toml"), "{said}");
    let said = project.said(project.command("deploy -n").env_remove("HOME"));
    assert!(said.starts_with("exit: 0"), "{said}");
}

#[test]
fn large_file_is_patched_from_the_local_cache() {
    let project = Project::local();
    let config = project.read("deploy.toml").replace("staged = [\"echo hook says; cat .env\"]", "");
    project.write("deploy.toml", &config);
    let mut bytes = random_text(1, 5 << 20);
    let mut deploy = |seed| {
        bytes[2_000_000..2_001_000].copy_from_slice(&random_text(seed, 1000));
        fs::write(project.dir.path().join("dist/large"), &bytes).unwrap();
        let said = project.shipit("deploy");
        assert!(fs::read(project.dir.path().join("srv/current/large")).unwrap() == bytes, "{said}");
        said
    };
    assert!(deploy(2).contains("3.9 MB sent"));
    let said = deploy(3);
    assert!(said.contains("1 large file patched (5.2 MB saved)"), "{said}");
    let kept = fs::read_dir(project.dir.path().join(".cache/shipit/files")).unwrap().count();
    assert_eq!(kept, 2, "the large ones, and nothing else");
    fs::remove_dir_all(project.dir.path().join(".cache")).unwrap();
    assert!(!deploy(4).contains("large file"));
}

#[test]
fn dry_run_of_an_unchanged_artifact_says_so() {
    let project = Project::local();
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    assert!(project.shipit("deploy -n").contains("nothing to do: this build and config are live"));
}

#[test]
fn missing_artifact_touches_nothing() {
    let project = Project::local();
    assert_snapshot!(project.shipit("deploy --artifact gone.tar"), @r"
    exit: 2
    --- stdout
    --- stderr
    error: could not open the artifact `<dir>/gone.tar`
      cause: No such file or directory (os error 2)
      state: nothing was changed
      hint:  build it first, or name another one with `--artifact`
    ");
    assert!(!project.dir.path().join("srv").exists());
}

#[test]
fn refused_artifact_touches_nothing() {
    let project = Project::local();
    let pipe = project.path().join("dist/pipe");
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let said = project.shipit("deploy");
    assert!(said.contains("`pipe` in <dir>/dist is a fifo"), "{said}");
    assert!(!project.dir.path().join("srv").exists());
}

#[test]
fn dry_run_shows_the_plan_and_does_nothing() {
    let project = Project::local();
    let said = project.shipit("deploy -n");
    let (of_disk, said): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| line.starts_with("  free space: "));
    assert_eq!(of_disk.len(), 1);
    assert_snapshot!(said.join("\n"), @"
    exit: 0
    --- stdout
    local:
      live now: nothing yet
      files: 1 file, 2 B; there is nothing to compare them with
      env file: new
      uploads: compressed by zstd
      upload 1 file, 2 B
      check every file against its SHA-256
      link log/ from shared/
      write .env (mode 600)
      run the staged hook `echo hook says; cat .env`
      seal: remove write bits from its files
      record it as complete
      flip current to <id>
      restart: test -e VERSION
      judge it; if it fails, revert to nothing
    nothing was changed: this was a dry run
    --- stderr
    ");
    assert!(!project.dir.path().join("srv").exists());
}

#[test]
fn local_host_deploys_and_secrets_stay_hidden() {
    let project = Project::local();
    let mut said = project.shipit("deploy -v");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(said.contains("hook says"), "{said}");
    assert_eq!(project.read("srv/current/.env"), "A='b'\nSECRET='p0isoned-value'\n");
    project.write("dist/VERSION", "2\n");
    said += &project.shipit("deploy --json");
    said += &project.shipit("rollback");
    said += &project.shipit("status");
    said += &project.shipit("releases --json");
    said += &project.shipit("check");
    said += &project.read("srv/.shipit/ledger.jsonl");
    said += &project.read("srv/revisions.log");
    assert!(!said.contains("p0isoned"), "{said}");
    assert_eq!(project.read("srv/current/VERSION"), "1\n");
    assert!(project.shipit("prune").starts_with("exit: 0\n--- stdout\n--- stderr\n"));
}

#[test]
fn prune_with_the_lock_held_exits_75_at_once() {
    let project = Project::local();
    project.shipit("deploy");
    let lock = project.dir.path().join("srv/.shipit/lock");
    let mut holder = Command::new("flock").arg(&lock).args(["sleep", "30"]).spawn().unwrap();
    while Command::new("flock").args(["-n"]).arg(&lock).arg("true").status().unwrap().success() {}
    let said = project.shipit("prune");
    holder.kill().unwrap();
    let _ = holder.wait();
    assert!(said.starts_with("exit: 75"), "{said}");
}

/// A host that takes the connection and then says nothing.
#[test]
fn one_interrupt_ends_a_run_that_only_looked() {
    for line in
        ["status", "releases", "check", "history", "verify", "unlock", "deploy -n", "deploy"]
    {
        let project = Project::local();
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = project.read("deploy.toml");
        let host = format!("ada@{}", mute.local_addr().unwrap());
        project.write("deploy.toml", &text.replace("\"local\"", &format!("\"{host}\"")));
        let child = project.command(line).stderr(Stdio::piped()).spawn().unwrap();
        // It speaks to the host, so it listens to signals.
        let _connection = mute.accept().unwrap();
        let began = Instant::now();
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(130), "{line}");
        // The host would have had 15 seconds to answer.
        assert!(began.elapsed() < Duration::from_secs(10), "{line}");
        let said = String::from_utf8(out.stderr).unwrap();
        let stopped = "error: stopped on request\n  state: nothing was changed\n";
        // A deploy greets hosts while it still opens the artifact.
        if line == "deploy" && said != stopped {
            assert!(said.contains("error: the deploy was interrupted\n"), "{said}");
            assert!(said.contains(" was not changed\n"), "{said}");
        } else {
            assert_eq!(said, stopped, "{line}");
        }
    }
}

#[test]
fn check_finds_what_would_stop_a_deploy() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    let linked = "linked_dirs = [\"log\"]\nlinked_files = [\"config/key\"]";
    project.write("deploy.toml", &text.replace("linked_dirs = [\"log\"]", linked));
    // The third line names the user who runs the tests.
    let said = project.shipit("check");
    let lines: Vec<_> = said.lines().filter(|line| !line.contains("this machine")).collect();
    assert_snapshot!(lines.join("\n"), @"
    exit: 1
    --- stdout
    ok       <dir>/dist: 1 file, 2 B, digest 48fd0c43edb0
    ok       2 values for .env
    ok       local: <dir>/srv does not exist yet and can be created
    ok       local: nothing is live yet
    problem  local: <dir>/srv/shared/config/key does not exist
             fix: on the host: `mkdir -p <dir>/srv/shared/config && cat > <dir>/srv/shared/config/key` takes its content
    a deploy would not work: 5 ok, 0 warnings, 1 problem
    --- stderr
    ");
    assert!(project.shipit("deploy").starts_with("exit: 1"));
    project.write("srv/shared/config/key", "k");
    assert!(project.shipit("check").starts_with("exit: 0"));
    assert!(project.shipit("deploy").starts_with("exit: 0"));
}

#[test]
fn init_writes_a_config_once() {
    let project = Project::new();
    assert!(project.shipit("init").starts_with("exit: 0"));
    assert!(project.shipit("init").starts_with("exit: 2"));
    assert!(Path::new(&project.dir.path().join("deploy.toml")).exists());
}

#[test]
fn demo_shows_deploy_failure_and_rollback() {
    let said = Project::new().shipit("demo");
    assert!(said.starts_with("exit: 0"), "{said}");
    for line in [
        "$ shipit deploy demo",
        "the release was not healthy within",
        " is back on ",
        "reverted ",
        "$ shipit rollback demo",
        "pruned 1 release",
        "current/VERSION on the server says 2.0",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}

#[test]
fn demo_ignores_settings_of_other_projects() {
    let project = Project::new();
    let mut demo = project.command("demo");
    let said = project.said(demo.env("SHIPIT_STAGE", "production").env("SHIPIT_CONFIG", "/gone"));
    assert!(said.starts_with("exit: 0"), "{said}");
}

#[test]
fn interrupted_demo_leaves_nothing() {
    let project = Project::new();
    let scratch = project.dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let mut demo = project.command("demo");
    let demo = demo.env("TMPDIR", &scratch).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = demo.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "$ shipit deploy demo"));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}
