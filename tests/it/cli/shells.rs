//! Variables for flags, completions of shells, and the manual: all made from the commands.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::support::project::Project;
use crate::support::ssh::skipped;

/// The names of all commands, as `shipit help` lists them.
fn commands(project: &Project) -> Vec<String> {
    let help = project.shipit("help");
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// The long flags of a command, without those that clap adds.
fn flags(project: &Project, command: &str) -> BTreeSet<String> {
    let help = project.shipit(&format!("{command} --help"));
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let long = |word: &&str| word.starts_with("--") && !word.starts_with("---");
    let words = lines.filter_map(|line| line.split([' ', '=']).find(long));
    let own = words.filter(|word| !["--help", "--version"].contains(word));
    own.map(str::to_owned).collect()
}

#[test]
fn every_flag_of_every_command_has_a_variable() {
    let project = Project::new();
    let listed = project.shipit("help env");
    let commands = commands(&project);
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        let flags = flags(&project, &command);
        assert!(flags.contains("--hosts"), "{command}: {flags:?}");
        for flag in flags {
            let rows: Vec<_> = listed
                .lines()
                .filter(|line| line.starts_with("  SHIPIT_"))
                .filter(|line| line.split([' ', ',']).any(|word| word == flag))
                .collect();
            assert!(!rows.is_empty(), "{flag} of {command} has no variable:\n{listed}");
        }
    }
    assert!(listed.contains("  SHIPIT_STAGE "), "{listed}");
    assert!(listed.contains("  SHIPIT_KEEP_RELEASES    --keep N of prune\n"), "{listed}");
}

#[test]
fn variable_stands_for_a_flag_and_a_flag_wins() {
    let project = Project::local();
    let with = |line: &str, name: &str, value: &str| {
        let mut command = project.command(line);
        project.said(command.env(name, value))
    };
    let dry = with("deploy", "SHIPIT_DRY_RUN", "1");
    assert!(dry.contains("this was a dry run"), "{dry}");
    assert!(with("deploy", "SHIPIT_JSON", "true").contains("{\"v\":1,\"event\":\"run-started\""));
    let id = fs::read_link(project.path().join("srv/current")).unwrap();
    let id = id.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(with("verify", "SHIPIT_RELEASE", &id).starts_with("exit: 0"));
    let gone = with("verify", "SHIPIT_RELEASE", "20200101000000");
    assert!(gone.starts_with("exit: 1"), "{gone}");
    let flag = with(&format!("verify --release {id}"), "SHIPIT_RELEASE", "20200101000000");
    assert!(flag.starts_with("exit: 0"), "{flag}");
    assert!(with("-c deploy.toml status", "SHIPIT_CONFIG", "gone").starts_with("exit: 0"));
    assert!(with("status", "SHIPIT_HOSTS", " local,local ").starts_with("exit: 0"));
    for no in ["", "0", "no", "false", "Off"] {
        let said = with("deploy --force", "SHIPIT_DRY_RUN", no);
        assert!(!said.contains("this was a dry run") && said.starts_with("exit: 0"), "{said}");
        assert!(with("status -v", "SHIPIT_QUIET", no).starts_with("exit: 0"), "{no}");
    }
}

#[test]
fn wrong_variable_is_named() {
    let project = Project::local();
    for (line, name, value) in [
        ("status", "SHIPIT_COLOR", "pink"),
        ("deploy", "SHIPIT_YES", "maybe"),
        ("history", "SHIPIT_LIMIT", "many"),
        ("prune", "SHIPIT_KEEP_RELEASES", "-1"),
    ] {
        let mut command = project.command(line);
        let said = project.said(command.env(name, value));
        assert!(said.starts_with("exit: 2"), "{said}");
        assert!(said.contains(&format!("{name} has this value")), "{said}");
    }
    assert!(!project.path().join("srv").exists());
}

#[test]
fn help_explains_commands_and_topics() {
    let project = Project::new();
    assert!(project.shipit("help deploy").contains("Usage: shipit deploy [OPTIONS] [STAGE]"));
    let unknown = project.shipit("help deplyo");
    assert!(unknown.starts_with("exit: 2") && unknown.contains("`env` or `exit-codes`"));
    let codes = project.shipit("help exit-codes");
    let readme = fs::read_to_string("README.md").unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: Vec<_> = rows.filter(|(code, _)| code.parse::<u8>().is_ok()).collect();
    assert_eq!(rows.len(), codes.lines().filter(|line| line.starts_with("  ")).count());
    for (code, meaning) in rows {
        let line = format!("  {code:>3}  {}\n", meaning.trim_end_matches(" |"));
        assert!(codes.contains(&line), "{line}{codes}");
    }
}

#[test]
fn every_command_has_a_manual_page_with_its_flags() {
    let project = Project::new();
    assert!(project.shipit("man pages/man1").starts_with("exit: 0"));
    for command in commands(&project) {
        let page = project.read(&format!("pages/man1/shipit-{command}.1"));
        for flag in flags(&project, &command) {
            let named = flag.replace('-', "\\-");
            assert!(page.contains(&named), "{command}: {named}\n{page}");
        }
    }
    assert!(project.shipit("man").contains(".TH shipit 1"));
}

/// A project with two stages, of which this machine knows a release.
fn known() -> Project {
    let project = Project::local();
    let text = project.read("deploy.toml");
    let more = "[stages.staging]\nhosts = [{ address = \"web1\", roles = [\"web\"] }, \"web2\"]\n";
    project.write("deploy.toml", &format!("{text}{more}"));
    assert!(project.shipit("deploy here").starts_with("exit: 0"));
    project
}

/// Returns what a shell offers after the words of a line, of which the last is not finished.
fn offered(project: &Project, words: &[&str]) -> BTreeSet<String> {
    let index = (words.len() - 1).to_string();
    let mut command = project.command("--");
    command.args(words).env("SHIPIT_COMPLETE", "zsh").env("_CLAP_COMPLETE_INDEX", index);
    command.env("_CLAP_IFS", "\n");
    let out = command.output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let values = text.lines().map(|line| line.split(':').next().unwrap().trim().to_owned());
    values.filter(|value| !value.starts_with('-')).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn commands_stages_hosts_roles_and_releases_are_offered() {
    let project = known();
    let offered = |words: &[&str]| offered(&project, words);
    assert_eq!(offered(&["shipit", "depl"]), set(&["deploy"]));
    assert_eq!(offered(&["shipit", "deploy", ""]), set(&["here", "staging"]));
    assert_eq!(offered(&["shipit", "deploy", "st"]), set(&["staging"]));
    assert_eq!(offered(&["shipit", "deploy", "--hosts", ""]), set(&["local", "web1", "web2"]));
    let two = offered(&["shipit", "deploy", "staging", "--hosts", "web1,"]);
    assert_eq!(two, set(&["web1,web1", "web1,web2"]));
    assert_eq!(offered(&["shipit", "status", "--roles", ""]), set(&["web"]));
    assert_eq!(offered(&["shipit", "--color", ""]), set(&["always", "auto", "never"]));
    let live = fs::read_link(project.path().join("srv/current")).unwrap();
    let live = live.file_name().unwrap().to_str().unwrap();
    assert_eq!(offered(&["shipit", "rollback", "here", "--to", ""]), set(&[live]));
    assert_eq!(offered(&["shipit", "pin", ""]), set(&[live]));
    assert_eq!(offered(&["shipit", "rollback", "staging", "--to", ""]), set(&[]));
    assert!(offered(&["shipit", "help", "ex"]).contains("exit-codes"));
}

#[test]
fn nothing_is_offered_and_nothing_said_without_a_config() {
    let project = Project::new();
    assert_eq!(offered(&project, &["shipit", "deploy", ""]), set(&[]));
    project.write("deploy.toml", "app = [");
    assert_eq!(offered(&project, &["shipit", "deploy", ""]), set(&[]));
    project.write("ops.toml", "app = \"a\"\ndeploy_to = \"/a\"\n[stages.x]\nhosts = [\"y\"]\n");
    assert_eq!(offered(&project, &["shipit", "-c", "ops.toml", "deploy", ""]), set(&["x"]));
}

/// Runs a script of a shell that has the program in its `PATH`; `None`: there is no such shell.
fn in_shell(project: &Project, shell: &[&str], script: &str) -> Option<String> {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_shipit")).parent().unwrap();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).current_dir(project.path());
    command.env("HOME", project.path()).env("TERM", "dumb");
    command.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
    let Ok(out) = command.output() else {
        skipped(&format!("there is no {}", shell[0]));
        return None;
    };
    Some(String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

#[test]
fn bash_completes_after_its_script_was_read() {
    let project = known();
    let script = "source <(shipit completions bash)\n\
                  f=$(complete -p shipit | sed 's/.* -F \\([^ ]*\\) .*/\\1/')\n\
                  COMP_WORDS=(shipit deploy st) COMP_CWORD=2 COMP_TYPE=9 COMP_LINE='shipit deploy st'\n\
                  COMP_POINT=16\n$f shipit st deploy\necho \"<${COMPREPLY[*]}>\"";
    let said = in_shell(&project, &["bash", "--norc", "-c"], script).unwrap();
    assert_eq!(said.trim(), "<staging>");
}

#[test]
fn fish_completes_after_its_script_was_read() {
    let project = known();
    let script = "shipit completions fish | source; complete -C 'shipit deploy st'";
    if let Some(said) = in_shell(&project, &["fish", "--no-config", "-c"], script) {
        assert_eq!(said.trim(), "staging");
    }
}

#[test]
fn zsh_reads_its_script_and_powershell_has_one() {
    let project = known();
    let script = "autoload -U compinit && compinit -u -D; source <(shipit completions zsh)\n\
                  print ${_comps[shipit]}";
    if let Some(said) = in_shell(&project, &["zsh", "-f", "-c"], script) {
        assert_eq!(said.trim(), "_clap_dynamic_completer_shipit");
    }
    let script = project.shipit("completions powershell");
    assert!(script.contains("Register-ArgumentCompleter"), "{script}");
}
