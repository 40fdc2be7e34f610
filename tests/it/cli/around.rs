//! Commands that look around on hosts and act there: run, logs, ssh.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use crate::support::project::Project;

fn deployed() -> Project {
    let project = Project::local();
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    project
}

/// The output of `shipit run` about `command`.
fn run(project: &Project, line: &str, command: &str) -> String {
    project.said(project.command(line).arg("--").arg(command))
}

#[test]
fn command_runs_in_the_live_release_with_its_env_and_is_noted() {
    let project = deployed();
    let command = "echo $A $SECRET $SHIPIT_HOST; pwd; echo oops >&2; exit 3 # p0isoned-value";
    assert_snapshot!(run(&project, "run", command), @"
    exit: 1
    --- stdout
    b *** local
    <dir>/srv/releases/<id>
    --- stderr
    oops
    local: exited with code 3
    ");
    assert_snapshot!(run(&project, "run --once", "test -e VERSION"), @"
    exit: 0
    --- stdout
    --- stderr
    ");
    let told = project.shipit("history");
    let line = |outcome| told.lines().find(|line| line.contains(outcome)).unwrap_or_default();
    assert!(line("failed").contains("exit 3 # ***: exited with code 3"), "{told}");
    assert!(line(" run ").contains("test -e VERSION"), "{told}");
    assert!(!project.read("srv/.shipit/ledger.jsonl").contains("p0isoned"), "{told}");
    assert!(project.shipit("releases").contains("good"), "a command says nothing of a release");
    assert!(project.shipit("verify").starts_with("exit: 0"));
    assert!(project.shipit("deploy --force").starts_with("exit: 0"), "it left no lock");
}

#[test]
fn command_as_json_tells_each_line_and_the_code() {
    let project = deployed();
    let said = run(&project, "run --json", "echo out; echo err >&2; exit 4");
    let lines: Vec<serde_json::Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let printed = |source: &str, text: &str| {
        lines.iter().any(|line| line["source"] == source && line["text"] == text)
    };
    assert!(printed("stdout", "out") && printed("stderr", "err"), "{said}");
    let report = lines.last().unwrap();
    assert_eq!(report["exit_code"], 1);
    assert_eq!(report["hosts"][0]["code"], 4);
    assert_eq!(report["hosts"][0]["failure"], "exited with code 4");
}

#[test]
fn command_on_a_host_where_nothing_is_live_does_not_run() {
    let project = Project::local();
    assert_snapshot!(run(&project, "run", "touch ran"), @"
    exit: 1
    --- stdout
    --- stderr
    error: local: nothing is live here yet
      state: the command did not run there
    ");
    assert!(run(&project, "run -n", "x").contains("local: nothing is live here yet"));
    let project = deployed();
    let said = run(&project, "run -n", "touch ran");
    assert!(said.contains("local: would run `touch ran` in <id>"), "{said}");
    assert!(!project.read("srv/.shipit/ledger.jsonl").contains("ran"));
}

/// The program is killed, as by a closed terminal: the host hears it and ends the command.
#[test]
fn command_ends_on_the_host_when_the_program_is_gone() {
    let project = deployed();
    let mut shipit = project.command("run --");
    let mut shipit = shipit.arg("echo $$; sleep 60 & wait").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(shipit.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let process = format!("/proc/{}", line.trim());
    assert!(std::path::Path::new(&process).exists(), "{line}");
    shipit.kill().unwrap();
    shipit.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while std::path::Path::new(&process).exists() {
        assert!(Instant::now() < end, "the command still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A stage whose service logs to a file.
fn logging() -> Project {
    let project = Project::local();
    let config = project.read("deploy.toml");
    let service = "[service]\nrestart = \"printf 'up\\\\np0isoned-value \\\\033[31mred\\\\n' \
                   >>log/app.log\"\nlog = \"log/app.log\"";
    let config = config.replace("[service]\nrestart = \"test -e VERSION\"", service);
    project.write("deploy.toml", &config);
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    project
}

#[test]
fn logs_show_files_without_secrets_and_control_sequences() {
    let project = logging();
    assert_snapshot!(project.shipit("logs"), @"
    exit: 0
    --- stdout
    up
    *** red
    --- stderr
    ");
    assert!(project.shipit("logs --lines 1").contains("stdout\n*** red\n---"));
    assert!(project.shipit("logs --since 1h --service todo").contains("stdout\nup\n*** red\n---"));
    let said = project.shipit("logs --json");
    assert!(said.contains(r#""file_of":"todo","host":"local","text":"up""#), "{said}");
}

#[test]
fn logs_of_what_is_not_there_are_refused() {
    let project = logging();
    assert_snapshot!(project.shipit("logs --service web,todo"), @"
    exit: 2
    --- stdout
    --- stderr
    error: there is no service `web`
      hint:  there is todo
    ");
    assert!(project.shipit("logs --since yesterday").starts_with("exit: 2"));
}

#[test]
fn logs_that_are_followed_go_on_and_end_with_their_reader() {
    let project = logging();
    let mut shipit = project.command("logs -f");
    let mut shipit = shipit.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(shipit.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    assert_eq!(lines.next().unwrap().unwrap(), "*** red");
    let add = |text| {
        let path = project.path().join("srv/current/log/app.log");
        let log = std::fs::OpenOptions::new().append(true).open(path);
        std::io::Write::write_all(&mut log.unwrap(), text).unwrap();
    };
    add(b"more\n");
    assert_eq!(lines.next().unwrap().unwrap(), "more");
    drop(lines);
    let end = Instant::now() + Duration::from_secs(20);
    while shipit.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "nobody reads, and it still runs");
        add(b"nobody reads this\n");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A program in place of ssh, which says how it was called.
#[test]
fn ssh_opens_a_shell_in_the_live_release() {
    let project = deployed();
    let mut config = project.read("deploy.toml");
    config += "[stages.far]\nhosts = [\"ada@web1:2200\", \"web2\"]\n[stages.far.ssh]\nidentity_file = \"key\"\n";
    project.write("deploy.toml", &config.replacen('\n', "\ndefault_stage = \"here\"\n", 1));
    let ssh = project.path().join("bin/ssh");
    crate::support::tools::program(
        {
            std::fs::create_dir(ssh.parent().unwrap()).unwrap();
            &ssh
        },
        "#!/bin/sh\nprintf '<%s> ' \"$@\"\nexit 7\n",
    );
    let path = format!("{}:{}", ssh.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let said = |line: &str| project.said(project.command(line).env("PATH", &path));
    let first = said("ssh far");
    assert!(
        first.starts_with("exit: 7\n--- stdout\n<-t> <-i> <<dir>/key> <-p> <2200> <ada@web1>"),
        "{first}"
    );
    assert!(first.contains("cd '\\''<dir>/srv/current'\\'' || exit"), "{first}");
    assert!(said("ssh far web2").contains("<web2>"));
    assert!(said("console far web3").starts_with("exit: 2"));
    let missing = said("ssh web9");
    assert!(missing.contains("error: there is no stage or host `web9`"), "{missing}");
    assert!(missing.contains("hint:  there is far, here, local"), "{missing}");
    let here = project.command("ssh here").env("SHELL", "/bin/pwd").output().unwrap();
    let here = String::from_utf8(here.stdout).unwrap();
    assert!(here.trim().ends_with("/srv/current") || here.contains("/srv/releases/"), "{here}");
    let acting = project.read("deploy.toml") + "[stages.far.sudo]\nuser = \"app\"\n";
    project.write("deploy.toml", &acting);
    assert!(said("ssh far").contains(" <exec /bin/sh -c 'exec sudo -u "), "{}", said("ssh far"));
}

#[test]
fn diff_shows_what_a_deploy_would_change() {
    let project = Project::local();
    let config = project.read("deploy.toml").replace("echo hook says; cat .env", "true");
    project.write("deploy.toml", &config);
    project.write("dist/assets/old.js", "old");
    project.write("dist/bin/server", "1");
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    std::fs::remove_file(project.path().join("dist/assets/old.js")).unwrap();
    project.write("dist/assets/new.js", "newer");
    project.write("dist/bin/server", "22");
    project.write(
        "deploy.toml",
        &config.replace("vars.A = \"b\"", "vars.A = \"secret c\"\nvars.NEW = \"\""),
    );
    let said = project.shipit("diff");
    let (head, steps) = said.split_once("  free space: ").unwrap();
    assert_snapshot!(head, @"
    exit: 0
    --- stdout
    local:
      live now: <id>
      files: 1 added, 1 changed, 1 removed of 3 files, 9 B
        assets/
          + new.js  5 B
          - old.js  3 B
        bin/
          ~ server  1 B -> 2 B
      env file: changed
        + NEW (.env)
        ~ A (.env)
      links, hooks, services: unknown while the env file differs
    ");
    assert!(steps.contains("flip current to <id>") && !said.contains("secret"), "{said}");
    assert!(project.shipit("deploy -n").contains("~ server  1 B -> 2 B"));
    let said = project.shipit("diff --json");
    let json: serde_json::Value =
        said.lines().find_map(|it| serde_json::from_str(it).ok()).unwrap();
    let host = &json["hosts"][0];
    assert_eq!(host["files"][0]["path"], "assets/new.js");
    assert_eq!(host["files"][1]["after"], serde_json::Value::Null);
    assert_eq!((&host["env"], &host["count"]), (&"changed".into(), &3.into()));
    assert_eq!(host["env_values"]["changed"][0]["name"], "A");
    // An earlier shipit keeps no digests of values.
    std::fs::remove_dir_all(project.path().join("srv/.shipit/env")).unwrap();
    let said = project.shipit("diff");
    assert!(said.contains("changed; the host cannot tell which values differ"), "{said}");
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    assert!(project.shipit("diff").contains("nothing to do: this build and config are live"));
}

#[test]
fn diff_leaves_out_what_hooks_make() {
    let project = Project::local();
    let hook = "mkdir venv && echo made >venv/python && echo changed >server";
    let config = project.read("deploy.toml").replace("echo hook says; cat .env", hook);
    project.write("deploy.toml", &config);
    project.write("dist/server", "1");
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    assert!(project.read("srv/current/venv/python").contains("made"));
    project.write("dist/new", "");
    let said = project.shipit("diff");
    assert!(said.contains("files: 1 added of 3 files"), "{said}");
    assert!(said.contains("+ new") && !said.contains("- python"), "{said}");
}

#[test]
fn maintenance_page_comes_from_a_template_and_goes_again() {
    let project = deployed();
    assert!(project.shipit("maintenance on").contains("name it as `file` in [maintenance]"));
    let table = "[maintenance]\nfile = \"web/down.html\"\ntemplate = \"down.html\"\n[stages.here]";
    let config = project.read("deploy.toml").replace("[stages.here]", table);
    project.write("deploy.toml", &config);
    project.write("down.html", "<p>{message} ({by}, {stage}) {\n");
    let mut on = project.command("maintenance on -m");
    let said = project.said(on.arg("back at <2>"));
    assert!(said.contains("maintenance is on: local"), "{said}");
    assert!(project.shipit("status").contains("  mode:      maintenance since "));
    assert_eq!(project.read("srv/shared/web/down.html"), "<p>back at &lt;2&gt; (ada, here) {\n");
    assert!(project.read("srv/revisions.log").contains("maintenance on by ada back at <2>"));
    assert!(project.shipit("maintenance off -n").contains("would remove"));
    assert!(project.shipit("maintenance off").starts_with("exit: 0"));
    assert!(!project.path().join("srv/shared/web/down.html").exists());
    assert!(!project.shipit("status").contains("maintenance"));
}

/// Returns the program's output to a terminal of 80 columns during a deploy, with this in its
/// environment.
fn painted(project: &Project, name: &str, value: &str) -> String {
    let shipit = env!("CARGO_BIN_EXE_shipit");
    let line = format!("stty cols 80 rows 24; exec '{shipit}' deploy --force");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(project.path()).stdin(Stdio::null());
    script.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", project.path());
    let output = script.env("TERM", "xterm-256color").env(name, value).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn terminal_gets_rows_and_colours_only_where_it_takes_them() {
    let project = deployed();
    let (usual, frame, colour) = (painted(&project, "LANG", "C.UTF-8"), "\x1b[?2026h", "\x1b[1m");
    assert!(
        usual.contains(frame) && usual.contains(colour) && usual.contains(" is live"),
        "{usual}"
    );
    let plain = painted(&project, "NO_COLOR", "1");
    assert!(plain.contains(frame) && !plain.contains(colour), "{plain}");
    let dumb = painted(&project, "TERM", "dumb");
    assert!(!dumb.contains('\x1b') && dumb.contains("== prepare"), "{dumb}");
}

#[test]
fn status_that_is_watched_looks_again_until_its_end() {
    let project = deployed();
    let mut shipit = project.command("status --watch");
    let mut shipit = shipit.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(shipit.stdout.take().unwrap()).lines().map(Result::unwrap);
    let looks = lines.filter(|line| line.contains(", every 3s"));
    assert_eq!(looks.take(2).count(), 2);
    shipit.kill().unwrap();
    shipit.wait().unwrap();
}
