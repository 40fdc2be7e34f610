//! Texts for the person who runs the program: who deployed from where, what was meant, what is
//! missing.

use std::io::{BufRead as _, Read as _};
use std::process::Command;

use crate::support::project::Project;
use crate::support::ssh::skipped;

#[test]
fn user_is_known_without_environment_variables() {
    let project = Project::local();
    let mut deploy = project.command("deploy");
    assert!(project.said(deploy.env_remove("USER")).starts_with("exit: 0"));
    let account = Command::new("id").arg("-un").output().unwrap().stdout;
    let account = String::from_utf8(account).unwrap();
    let ledger = project.read("srv/.shipit/ledger.jsonl");
    assert!(ledger.contains(&format!("\"who\":\"{}\"", account.trim())), "{ledger}");
}

/// Returns the command as run by an account without a name, as in containers that run under any
/// number. `None`: this machine allows no such accounts.
fn nameless(command: &Command) -> Option<Command> {
    let mut wrapped = Command::new("/usr/bin/unshare");
    wrapped.args(["--user", "--map-user=54321"]);
    if !wrapped.arg("true").status().is_ok_and(|status| status.success()) {
        skipped("unshare makes no accounts here");
        return None;
    }
    let mut wrapped = Command::new("/usr/bin/unshare");
    wrapped.args(["--user", "--map-user=54321"]).arg(command.get_program());
    wrapped.args(command.get_args()).current_dir(command.get_current_dir().unwrap()).env_clear();
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(wrapped)
}

#[test]
fn nameless_account_takes_the_name_from_git() {
    let project = Project::local();
    project.write(".gitconfig", "[user]\nname = Ada Lovelace\n");
    let Some(mut lock) = nameless(project.command("lock -m why").env_remove("USER")) else {
        return;
    };
    let said = project.said(&mut lock);
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(project.read("srv/.shipit/frozen").starts_with("Ada Lovelace on "), "{said}");
}

const REMOTE: &str = "app = \"myapp\"\n[artifact]\npath = \"build\"\n[stages.production]\n\
                      deploy_to = \"/srv/app\"\nhosts = [\"web1.invalid\"]\n";

#[test]
fn nameless_account_is_not_called_root() {
    let project = Project::new();
    project.write("deploy.toml", REMOTE);
    let Some(mut status) = nameless(project.command("status").env_remove("USER")) else { return };
    let said = project.said(&mut status);
    assert!(said.contains("No user exists for uid 54321"), "{said}");
    assert!(
        said.contains("ssh wants this account to have a name: add it to /etc/passwd"),
        "{said}"
    );
    let said = project.said(status.env("PATH", "/none"));
    assert!(said.contains("the name of this account is unknown; set `user` in [ssh]"), "{said}");
}

#[test]
fn named_ssh_config_without_ssh_is_an_error() {
    let project = Project::new();
    project.write("deploy.toml", &format!("{REMOTE}[ssh]\nconfig = \"own\"\n"));
    project.write("own", "Host web1.invalid\n");
    let said = project.said(project.command("status").env("PATH", "/none"));
    assert!(said.contains("own cannot be used: it takes the program `ssh` to read it"), "{said}");
}

#[test]
fn nearest_config_upwards_is_used() {
    let project = Project::local();
    std::fs::create_dir_all(project.path().join("src/deep")).unwrap();
    let below = |line: &str| {
        let mut command = project.command(line);
        command.current_dir(project.path().join("src/deep"));
        project.said(&mut command)
    };
    let said = below("deploy -v");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(said.contains("config: ../../deploy.toml\n"), "{said}");
    assert_eq!(project.read("srv/current/VERSION"), "1\n", "paths are relative to the file");
    assert!(below("deploy -c deploy.toml").contains("could not read deploy.toml"));
    let said = below("init");
    assert!(said.contains("used here in place of ../../deploy.toml"), "{said}");
}

#[test]
fn init_says_which_app_name_it_chose() {
    let project = Project::new();
    std::fs::create_dir(project.path().join("_My App!")).unwrap();
    let mut init = project.command("init");
    let said = project.said(init.current_dir(project.path().join("_My App!")));
    assert!(said.contains("the app is named `MyApp` in it"), "{said}");
    let text = project.read("_My App!/deploy.toml");
    let column = |part: &str| text.lines().find(|line| line.contains(part)).unwrap().find('#');
    assert_eq!(column("owned by the user"), column("an archive or a single file"), "{text}");
    assert_eq!(column("owned by the user"), column("as you would write them"), "{text}");
}

#[test]
fn missing_env_values_are_all_named_at_once() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    let more = "vars.DB = { env = \"DB_URL\" }\nvars.KEY = { env = \"KEY\" }\n\n[health]\n\
                checks = [{ http = \"http://127.0.0.1:1/\", headers = { X = { env = \"TOKEN\" } } }]\n\n[hooks]";
    project.write("deploy.toml", &text.replace("\n[hooks]", more));
    let said = project.said(project.command("deploy").env("KEY", ""));
    assert!(said.starts_with("exit: 2"), "{said}");
    for one in ["`DB_URL` (for `DB`) is not set", "`KEY` (for `KEY`) is empty", "`TOKEN` (for `X`)"]
    {
        assert!(said.contains(one), "{one}: {said}");
    }
    let said = project.shipit("check");
    assert!(said.contains("`DB_URL` (for `DB`)") && said.contains("`KEY` (for `KEY`)"), "{said}");
}

#[test]
fn env_file_without_values_is_warned_of() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    let at = text.find("vars.A").unwrap();
    let end = text.find("\n[hooks]").unwrap();
    let only = |env: &str| project.write("deploy.toml", &[&text[..at], env, &text[end..]].concat());
    only("file = \".env.production\"\n");
    for line in ["check", "deploy", "deploy -n"] {
        let said = project.shipit(line);
        assert_eq!(said.matches(".env.production will be empty").count(), 1, "{line}: {said}");
    }
    only("");
    assert!(!project.shipit("check").contains("will be empty"));
    only("vars = { file = \".env.production\" }\n");
    let said = project.shipit("check");
    assert!(said.contains("`vars.NAME = { file = \"…\" }`"), "{said}");
}

#[test]
fn dirty_tree_is_warned_of_and_recorded() {
    let project = Project::local();
    let git = |line: &str| {
        let mut git = Command::new("git");
        git.args(line.split(' ')).current_dir(project.path()).env("HOME", project.path());
        assert!(git.status().unwrap().success(), "{line}");
    };
    git("init -q .");
    git("add dist deploy.toml");
    git("-c user.name=a -c user.email=a@b commit -q -m first");
    let said = project.shipit("deploy");
    assert!(!said.contains("not committed") && said.contains(", revision "), "{said}");
    project.write("dist/VERSION", "2\n");
    let said = project.shipit("check");
    assert!(said.contains("-dirty\n         fix: commit them, so that"), "{said}");
    let said = project.shipit("deploy");
    assert!(said.contains("warning: the work tree has changes that are not committed"), "{said}");
    let said = project.shipit("releases");
    assert_eq!(said.matches("-dirty").count(), 1, "{said}");
    let said = project.shipit("status");
    assert!(said.contains("-dirty") && said.contains("by ada on "), "{said}");
}

#[test]
fn linked_env_file_clashes_only_with_a_written_one() {
    let project = Project::local();
    let text = project
        .read("deploy.toml")
        .replace("linked_dirs", "linked_files = [\".env\"]\nlinked_dirs");
    project.write("srv/shared/.env", "A=b\n");
    project.write("deploy.toml", &text);
    assert!(project.shipit("check").contains("`.env` cannot be used here"));
    project.write(
        "deploy.toml",
        &text.replace("[env]\n", "[env]\nfile = \"env/app\"\n").replace("cat .env", "true"),
    );
    let said = project.shipit("deploy");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert_eq!(project.read("srv/current/.env"), "A=b\n");
    let (at, end) = (text.find("[env]").unwrap(), text.find("[hooks]").unwrap());
    project.write("deploy.toml", &[&text[..at], &text[end..]].concat());
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let said = project.shipit("deploy --force") + &project.shipit("verify");
    assert!(!said.contains("not as it was released"), "{said}");
    assert_eq!(project.read("srv/current/.env"), "A=b\n");
}

/// Runs a command line on a terminal, as a person has one by `script`, and answers its question.
fn answered(project: &Project, line: &str, answer: &str) -> (i32, String) {
    let shipit = env!("CARGO_BIN_EXE_shipit");
    let mut script = Command::new("script");
    script.args(["-E", "never", "-qec", &format!("{shipit} {line}"), "/dev/null"]);
    script.current_dir(project.path()).env("CI_COMMIT_SHA", "71c11b7e786e39fe10cc");
    let child = script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), answer.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    (out.status.code().unwrap(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn confirmation_names_release_and_hosts_and_no_changes_nothing() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    project.write("deploy.toml", &text.replace("[artifact]", "confirm = true\n\n[artifact]"));
    for (line, question) in [
        ("deploy", "Deploy `dist` at revision 71c11b7e786e to here (local)? [y/N]"),
        ("rollback", "Roll back here (local) to the previous good release? [y/N]"),
        ("prune", "Delete old releases of here (local), keeping 5 good releases? [y/N]"),
    ] {
        let (code, said) = answered(&project, line, "n\n");
        assert_eq!(code, 130, "{said}");
        assert!(said.contains(question) && said.contains("nothing was changed"), "{said}");
    }
    assert!(!project.path().join("srv").exists());
    assert!(project.shipit("prune").contains("--yes"), "nobody can be asked");
}

/// The question comes when the release is complete on the host. Without a terminal nothing is
/// begun.
#[test]
fn confirmation_of_what_is_staged_comes_before_the_switch() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    project.write("deploy.toml", &text.replace("[artifact]", "confirm = \"staged\"\n\n[artifact]"));
    let refused = project.shipit("deploy");
    assert!(refused.starts_with("exit: 2") && refused.contains("pass `--yes`"), "{refused}");
    assert!(!project.path().join("srv").exists(), "nothing was begun");
    let (code, said) = answered(&project, "deploy", "n\n");
    assert_eq!(code, 130, "{said}");
    assert!(said.contains("Activate 2") && said.contains(" on 1 host? [y/N]"), "{said}");
    assert!(!project.path().join("srv/current").exists(), "{said}");
    assert_eq!(
        std::fs::read_dir(project.path().join("srv/releases")).unwrap().count(),
        1,
        "{said}"
    );
    let (code, said) = answered(&project, "deploy", "y\n");
    assert_eq!(code, 0, "{said}");
    assert!(project.path().join("srv/current").exists(), "{said}");
    let rollback = project.shipit("rollback --yes");
    assert!(rollback.contains("no earlier release"), "{rollback}");
    assert!(project.shipit("deploy --yes --force").starts_with("exit: 0"));
}

#[test]
fn prune_that_deletes_nothing_says_why() {
    let project = Project::local();
    project.shipit("deploy");
    project.write("dist/VERSION", "2\n");
    project.shipit("deploy");
    let said = project.shipit("prune -v");
    assert!(
        said.contains("nothing to prune on local: 2 good releases present, 5 to keep"),
        "{said}"
    );
    let said = project.shipit("prune -v --keep 1");
    assert!(said.contains("every one beyond 1 is live, the way back"), "{said}");
}

#[test]
fn waiting_names_the_holder_and_refusal_hints_at_wait() {
    let project = Project::local();
    project.shipit("deploy");
    project.shipit("lock -m audit");
    project.write("dist/VERSION", "2\n");
    let mut waiting =
        project.command("deploy --wait").stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut output = std::io::BufReader::new(waiting.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("waits for ") {
        assert_ne!(output.read_line(&mut told).unwrap(), 0, "{told}");
    }
    // Meanwhile it asks again, and prints nothing.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let said = project.shipit("unlock -y");
    // The two may meet: each takes the run lock for a moment, and the other names it.
    let met = said.contains("another run holds the lock");
    assert!(said.starts_with("exit: 0") || met, "{said}");
    output.read_to_string(&mut told).unwrap();
    assert!(waiting.wait().unwrap().success(), "{told}");
    let waits = told.lines().filter(|line| line.contains("waits for "));
    let others = waits.filter(|line| !line.contains("(unlock here, run "));
    assert_eq!(others.count(), 1, "{told}");
    assert!(told.contains("waits for the deploy lock of ") && told.contains("audit"), "{told}");
    assert!(told.matches(" connected ").count() == 1, "{told}");
    let said = project.shipit("unlock");
    assert!(said.ends_with("--- stderr\nlocal: not locked\n"), "{said}");
}

#[test]
fn github_annotations_cover_early_errors_and_check() {
    let project = Project::local();
    let said = |line: &str| project.said(project.command(line).env("GITHUB_ACTIONS", "true"));
    let nowhere = said("deploy nowhere");
    assert!(nowhere.starts_with("exit: 2"), "{nowhere}");
    let told = nowhere.lines().any(|line| {
        line.starts_with("::error title=shipit::error: deploy.toml: there is no stage")
    });
    assert!(told, "{nowhere}");
    std::fs::remove_dir_all(project.path().join("dist")).unwrap();
    let check = said("check");
    assert!(check.starts_with("exit: 1"), "{check}");
    let problems = check.lines().filter(|line| line.starts_with("::error title=shipit check::"));
    assert!(problems.count() > 0 && check.contains("%0Afix: "), "{check}");
    assert!(!project.shipit("check").contains("::error"), "nobody else obeys them");
}
