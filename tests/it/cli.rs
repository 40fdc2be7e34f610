//! The program as a person runs it: argv in; exit code, stdout and stderr out.

mod after;
mod build;
mod check;
mod earlier;
mod secrets;
mod words;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;

/// A directory of its own, and nothing of this machine's environment.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A stage that is this machine, and a first build.
    pub(crate) fn local() -> Self {
        let world = Self::new();
        world.write(
            "deploy.toml",
            &format!(
                "app = \"todo\"\ndeploy_to = \"{}/srv\"\nlinked_dirs = [\"log\"]\n\n\
                 [artifact]\npath = \"dist\"\n\n[env]\nvars.A = \"b\"\n\
                 vars.SECRET = {{ command = \"echo p0isoned-value\" }}\n\n\
                 [hooks]\nstaged = [\"echo hook says; cat .env\"]\n\n\
                 [service]\nrestart = \"test -e VERSION\"\n\n[stages.here]\nhosts = [\"local\"]\n",
                world.dir.path().display()
            ),
        );
        world.write("dist/VERSION", "1\n");
        world
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipit"));
        command
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("USER", "ada");
        command
    }

    pub(crate) fn shipit(&self, line: &str) -> String {
        self.said(&mut self.command(line))
    }

    pub(crate) fn said(&self, command: &mut Command) -> String {
        let out = command.output().unwrap();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            let text = text.replace(self.dir.path().to_str().unwrap(), "<dir>");
            mask_ids(&text)
        };
        let (code, stdout, stderr) =
            (out.status.code().unwrap(), text(out.stdout), text(out.stderr));
        format!("exit: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap_or_default()
    }
}

#[test]
fn without_a_config_it_says_how_to_get_one() {
    assert_snapshot!(World::new().shipit("deploy production"), @r"
    exit: 2
    --- stdout
    --- stderr
    error: could not read deploy.toml
      cause: No such file or directory (os error 2)
      hint:  `shipit init` writes one
    ");
}

#[test]
fn usage_is_2_and_help_names_every_command() {
    let world = World::new();
    assert!(world.shipit("deplyo").starts_with("exit: 2"));
    let help = world.shipit("--help");
    let commands = [
        "init", "check", "deploy", "rollback", "releases", "status", "history", "verify", "pin",
        "unpin", "lock", "unlock", "prune", "demo",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
}

#[test]
fn an_empty_variable_is_none() {
    let world = World::local();
    let said = world.said(world.command("deploy -n").env("SHIPIT_CONFIG", ""));
    assert!(said.starts_with("exit: 0"), "{said}");
    let said = world.said(world.command("deploy -n").env("SHIPIT_CONFIG", "gone.toml"));
    assert!(said.contains("could not read gone.toml"), "{said}");
    let said = world.said(world.command("deploy -n").env_remove("HOME"));
    assert!(said.starts_with("exit: 0"), "{said}");
}

#[test]
fn a_large_file_is_made_from_what_this_machine_kept() {
    let world = World::local();
    let config = world.read("deploy.toml").replace("staged = [\"echo hook says; cat .env\"]", "");
    world.write("deploy.toml", &config);
    let mut bytes = crate::features::delta::noise(1, 5 << 20);
    let mut deploy = |seed| {
        bytes[2_000_000..2_001_000].copy_from_slice(&crate::features::delta::noise(seed, 1000));
        fs::write(world.dir.path().join("dist/large"), &bytes).unwrap();
        let said = world.shipit("deploy");
        assert!(fs::read(world.dir.path().join("srv/current/large")).unwrap() == bytes, "{said}");
        said
    };
    assert!(deploy(2).contains("3.9 MB sent"));
    let said = deploy(3);
    assert!(said.contains("5.2 MB of 1 large file taken from the ones before"), "{said}");
    let kept = fs::read_dir(world.dir.path().join(".cache/shipit/files")).unwrap().count();
    assert_eq!(kept, 2, "the large ones, and nothing else");
    fs::remove_dir_all(world.dir.path().join(".cache")).unwrap();
    assert!(!deploy(4).contains("large file"));
}

#[test]
fn a_dry_run_knows_that_nothing_changed() {
    let world = World::local();
    assert!(world.shipit("deploy").starts_with("exit: 0"));
    assert!(world.shipit("deploy -n").contains("nothing: exactly this is live"));
}

#[test]
fn a_missing_artifact_touches_nothing() {
    let world = World::local();
    assert_snapshot!(world.shipit("deploy --artifact gone.tar"), @r"
    exit: 2
    --- stdout
    --- stderr
    error: could not open the artifact `<dir>/gone.tar`
      cause: No such file or directory (os error 2)
      state: nothing was changed
      hint:  build it first, or name another one with `--artifact`
    ");
    assert!(!world.dir.path().join("srv").exists());
}

#[test]
fn a_refused_artifact_touches_nothing() {
    let world = World::local();
    let pipe = world.path().join("dist/pipe");
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let said = world.shipit("deploy");
    assert!(said.contains("`pipe` in <dir>/dist is a fifo"), "{said}");
    assert!(!world.dir.path().join("srv").exists());
}

#[test]
fn a_dry_run_shows_the_plan_and_does_nothing() {
    let world = World::local();
    assert_snapshot!(world.shipit("deploy -n"), @"
    exit: 0
    --- stdout
    local:
      upload 1 file, 2 B
      check every file against its SHA-256
      link log/ from shared/
      write .env (mode 600)
      run the staged hook `echo hook says; cat .env`
      seal: remove write bits from its files
      record it as complete
      flip current to <id>
      restart: test -e VERSION
      judge it; if it does not hold, go back to nothing
    nothing was changed: this was a dry run
    --- stderr
    ");
    assert!(!world.dir.path().join("srv").exists());
}

#[test]
fn this_machine_is_a_host_too_and_secrets_stay_unseen() {
    let world = World::local();
    let mut said = world.shipit("deploy -v");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(said.contains("hook says"), "{said}");
    assert_eq!(world.read("srv/current/.env"), "A='b'\nSECRET='p0isoned-value'\n");
    world.write("dist/VERSION", "2\n");
    said += &world.shipit("deploy --json");
    said += &world.shipit("rollback");
    said += &world.shipit("status");
    said += &world.shipit("releases --json");
    said += &world.shipit("check");
    said += &world.read("srv/.shipit/ledger.jsonl");
    said += &world.read("srv/revisions.log");
    assert!(!said.contains("p0isoned"), "{said}");
    assert_eq!(world.read("srv/current/VERSION"), "1\n");
    assert!(world.shipit("prune").starts_with("exit: 0\n--- stdout\n--- stderr\n"));
}

#[test]
fn prune_is_75_at_once_when_the_lock_is_held() {
    let world = World::local();
    world.shipit("deploy");
    let lock = world.dir.path().join("srv/.shipit/lock");
    let mut holder = Command::new("flock").arg(&lock).args(["sleep", "30"]).spawn().unwrap();
    while Command::new("flock").args(["-n"]).arg(&lock).arg("true").status().unwrap().success() {}
    let said = world.shipit("prune");
    holder.kill().unwrap();
    let _ = holder.wait();
    assert!(said.starts_with("exit: 75"), "{said}");
}

/// A host that takes the connection and then says nothing.
#[test]
fn one_interrupt_ends_what_has_only_looked() {
    for line in
        ["status", "releases", "check", "history", "verify", "unlock", "deploy -n", "deploy"]
    {
        let world = World::local();
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = world.read("deploy.toml");
        let host = format!("ada@{}", mute.local_addr().unwrap());
        world.write("deploy.toml", &text.replace("\"local\"", &format!("\"{host}\"")));
        let child = world.command(line).stderr(Stdio::piped()).spawn().unwrap();
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
    let world = World::local();
    let text = world.read("deploy.toml");
    let linked = "linked_dirs = [\"log\"]\nlinked_files = [\"config/key\"]";
    world.write("deploy.toml", &text.replace("linked_dirs = [\"log\"]", linked));
    // Who runs the tests is in the third line.
    let said = world.shipit("check");
    let lines: Vec<_> = said.lines().filter(|line| !line.contains("this machine")).collect();
    assert_snapshot!(lines.join("\n"), @"
    exit: 1
    --- stdout
    ok       <dir>/dist: 1 file, 2 B, digest 48fd0c43edb0
    ok       2 values for .env
    ok       local: <dir>/srv is not there yet and can be made
    ok       local: nothing is live yet
    problem  local: <dir>/srv/shared/config/key is not there
             fix: on the host: `mkdir -p <dir>/srv/shared/config && cat > <dir>/srv/shared/config/key` takes its content
    a deploy would not work: 5 ok, 0 warnings, 1 problem
    --- stderr
    ");
    assert!(world.shipit("deploy").starts_with("exit: 1"));
    world.write("srv/shared/config/key", "k");
    assert!(world.shipit("check").starts_with("exit: 0"));
    assert!(world.shipit("deploy").starts_with("exit: 0"));
}

#[test]
fn init_writes_a_config_once() {
    let world = World::new();
    assert!(world.shipit("init").starts_with("exit: 0"));
    assert!(world.shipit("init").starts_with("exit: 2"));
    assert!(Path::new(&world.dir.path().join("deploy.toml")).exists());
}

#[test]
fn the_demo_tells_the_whole_story() {
    let said = World::new().shipit("demo");
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
fn the_demo_heeds_no_settings_of_another_project() {
    let world = World::new();
    let mut demo = world.command("demo");
    let said = world.said(demo.env("SHIPIT_STAGE", "production").env("SHIPIT_CONFIG", "/gone"));
    assert!(said.starts_with("exit: 0"), "{said}");
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let world = World::new();
    let scratch = world.dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let mut demo = world.command("demo");
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

/// The text with every 14-digit id masked.
fn mask_ids(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        out.push_str(if digits.len() == 14 { "<id>" } else { &digits });
        digits.clear();
        out.push(c);
    }
    out.pop();
    out
}
