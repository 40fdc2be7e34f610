//! The commands that README.md tells a newcomer to type are run here. Those that change a host as
//! root are run by the fleet's `readme::readme_commands_work_in_order`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::project::Project;

/// The fenced blocks of README.md: language and text, without the indentation of lists.
fn blocks() -> Vec<(String, String)> {
    let text = fs::read_to_string("README.md").unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines().map(str::trim_start) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, body))) => body.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    blocks
}

/// The lines of all shell blocks, without remarks.
fn commands() -> Vec<String> {
    let shell = blocks().into_iter().filter(|(language, _)| language == "sh");
    let lines = shell.flat_map(|(_, body)| body.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| line.split("   #").next().unwrap().trim_end().to_owned()).collect()
}

#[test]
fn readme_blocks_are_all_of_tested_kinds() {
    let mut kinds: Vec<_> = blocks().into_iter().map(|(language, _)| language).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["", "sh"], "crontab lines have no language");
}

#[test]
fn readme_shows_every_command() {
    let help = Project::new().shipit("help");
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let text = fs::read_to_string("README.md").unwrap();
    // Words that are wrapped stand further right.
    let begins = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let begins = begins.filter(|line| !line.starts_with(' '));
    for name in begins.filter_map(|line| line.split_whitespace().next()) {
        let shown = name == "help"
            || text.contains(&format!("| `shipit {name}"))
            || text.contains(&format!(", `shipit {name}"));
        assert!(shown, "README.md does not show `shipit {name}`");
    }
}

#[test]
fn readme_commands_work() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    project.write("deploy.toml", &text.replace("[stages.here]", "[stages.production]"));
    for line in commands() {
        match line.split(' ').next().unwrap() {
            "shipit" if line.starts_with("shipit setup") => {} // On a host, by the fleet.
            "shipit" if line == "shipit init" => {
                assert!(Project::new().shipit("init").starts_with("exit: 0"));
            }
            "shipit" => runs(&project, &line),
            // The demo has a test of its own, on the binary that cargo has just built.
            "cargo" => assert_eq!(line, "cargo run --release -- demo"),
            // This very test is run by it.
            "tests/run" => {
                let mode = fs::metadata(Path::new(&line)).unwrap().permissions().mode();
                assert_eq!(mode & 0o111, 0o111);
            }
            "install" => installs(&line),
            other => panic!("no test runs `{other}`: {line}"),
        }
    }
}

/// Installs the program into an empty home, and asks what was installed.
fn installs(line: &str) {
    let built = env!("CARGO_BIN_EXE_shipit");
    let line = line.replace("target/release/shipit", built);
    assert!(line.contains(built), "{line}");
    let home = tempfile::tempdir().unwrap();
    let script = format!("{line} && ~/.local/bin/shipit --version");
    let output =
        Command::new("/bin/sh").args(["-c", &script]).env("HOME", home.path()).output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"shipit "), "{output:?}");
}

fn runs(project: &Project, line: &str) {
    if line.starts_with("shipit rollback") {
        project.write("dist/VERSION", "2\n");
        assert!(project.shipit("deploy production").starts_with("exit: 0"));
    }
    let said = project.shipit(line.strip_prefix("shipit ").unwrap());
    assert!(said.starts_with("exit: 0"), "{line}: {said}");
}

#[test]
fn readme_crontab_line_runs_and_is_quiet() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    project.write("deploy.toml", &text.replace("[stages.here]", "[stages.production]"));
    assert!(project.shipit("deploy production").starts_with("exit: 0"));
    let (_, crontab) = blocks().into_iter().find(|(language, _)| language.is_empty()).unwrap();
    let command = crontab.trim().splitn(6, char::is_whitespace).nth(5).unwrap().trim();
    let program = Path::new(env!("CARGO_BIN_EXE_shipit")).parent().unwrap();
    let home = project.path().to_str().unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", &command.replace("/home/me/todo", home)])
        .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0), "cron would send a mail");
}
