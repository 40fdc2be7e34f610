//! `shipit setup`: the script under every shell, with fake programs, and the command on this
//! machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use shipit::deploy::setup::{HostSetup, SetupMode, SetupStep, script};

use crate::support::project::Project;
use crate::support::shells::shells;
use crate::support::tools::tools;

/// Programs of a host on which root logs in and `app` will deploy; what they do is in files.
const FAKES: [(&str, &str); 9] = [
    (
        "id",
        "case $* in -un) echo root ;; '-u app') [ -e \"$STATE/home\" ] && echo 7 ;; '-gn app') echo app ;;\n\
         '-Gn app') echo app $(cat \"$STATE/groups\" 2>/dev/null) ;; esac",
    ),
    (
        "getent",
        "case $1 in group) [ \"$2\" = known ] ;; *) echo \"$2:x:7:7::$STATE/$([ $2 = root ] && echo root || echo home):/bin/sh\" ;; esac",
    ),
    ("useradd", "mkdir \"$STATE/home\""),
    ("groupadd", "echo \"$2\" >>\"$STATE/made\""),
    ("usermod", "echo \"$2\" >>\"$STATE/groups\""),
    ("runuser", "shift 3; exec \"$@\""),
    ("install", "for path; do :; done; mkdir -p \"$path\""),
    ("visudo", "if grep broken \"$2\"; then echo \"$2: syntax error\" >&2; exit 1; fi"),
    ("loginctl", "false"),
];

/// A fake host, whose root has a key.
struct FakeHost {
    dir: tempfile::TempDir,
    shell: &'static str,
}

impl FakeHost {
    fn new(shell: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        tools(dir.path(), &[], &FAKES);
        fs::create_dir_all(dir.path().join("root/.ssh")).unwrap();
        fs::write(dir.path().join("root/.ssh/authorized_keys"), "ssh-ed25519 AAAA ada\n").unwrap();
        Self { dir, shell }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn setup(&self) -> HostSetup {
        let steps = vec![
            SetupStep::Account,
            SetupStep::Member { group: "known".to_owned(), make: false },
            SetupStep::Member { group: "absent".to_owned(), make: false },
            SetupStep::Member { group: "team".to_owned(), make: true },
            SetupStep::Directory { path: self.path("srv/todo") },
            SetupStep::File {
                path: self.path("srv/todo/shared/config/key"),
                template: "config/key.example".to_owned(),
                content: "it's \"$HOME\"\nand \\n\n".to_owned(),
            },
            SetupStep::Rules {
                file: self.path("rules"),
                commands: vec![
                    "/usr/bin/systemctl restart todo.service".to_owned(),
                    "/usr/bin/systemctl link /srv/a\\=b".to_owned(),
                ],
            },
        ];
        HostSetup { user: Some("app".to_owned()), steps }
    }

    /// Runs the script and returns what it says, a step a word.
    fn run(&self, setup: &HostSetup, mode: SetupMode) -> String {
        let mut words = self.shell.split(' ');
        let mut shell = Command::new(words.next().unwrap());
        shell.args(words).args(["-s", "root"]).env_clear().env("STATE", self.dir.path());
        shell.env("PATH", self.path("bin")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.stderr(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, script(setup, mode).as_bytes()).unwrap();
        drop(input);
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let said = said.strip_prefix("user app\n").unwrap_or_else(|| panic!("{said}"));
        said.strip_suffix("end\n").unwrap_or_else(|| panic!("{said}")).replace('\n', " ")
    }
}

#[test]
fn setup_does_what_differs_and_nothing_a_second_time() {
    for shell in shells() {
        let host = FakeHost::new(shell);
        let setup = host.setup();
        let looked = "0 differs 1 differs 2 same 3 differs 4 differs 5 differs 6 differs ";
        assert_eq!(host.run(&setup, SetupMode::Look), looked, "{shell}");
        let left: Vec<_> = fs::read_dir(host.dir.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "{shell}: a look changes nothing: {left:?}");
        let done = "0 done 1 done 2 same 3 done 4 done 5 done 6 done ";
        assert_eq!(host.run(&setup, SetupMode::Do), done, "{shell}");
        let same = "0 same 1 same 2 same 3 same 4 same 5 same 6 same ";
        assert_eq!(host.run(&setup, SetupMode::Do), same, "{shell}");
        assert_eq!(host.run(&setup, SetupMode::Look), same, "{shell}");
        let read = |name: &str| fs::read_to_string(host.path(name)).unwrap();
        assert_eq!(read("srv/todo/shared/config/key"), "it's \"$HOME\"\nand \\n\n", "{shell}");
        assert_eq!(read("home/.ssh/authorized_keys"), "ssh-ed25519 AAAA ada\n");
        assert_eq!(read("made"), "team\n");
        assert_eq!(
            read("rules"),
            "app ALL=(root) NOPASSWD: /usr/bin/systemctl restart todo.service\n\
             app ALL=(root) NOPASSWD: /usr/bin/systemctl link /srv/a\\=b\n"
        );
        assert_eq!(mode(&host.path("rules")), 0o440);
        assert_eq!(mode(&host.path("srv/todo/shared/config/key")), 0o600);
    }
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn setup_adds_to_rules_and_keeps_what_is_there() {
    for shell in shells() {
        let host = FakeHost::new(shell);
        fs::create_dir_all(host.path("home/.ssh")).unwrap();
        fs::write(host.path("home/.ssh/authorized_keys"), "mine\n").unwrap();
        fs::create_dir_all(host.path("srv/todo/shared/config")).unwrap();
        fs::write(host.path("srv/todo/shared/config/key"), "mine\n").unwrap();
        let own =
            "ben ALL=(ALL) ALL\napp ALL=(root) NOPASSWD: /usr/bin/systemctl restart todo.service";
        fs::write(host.path("rules"), own).unwrap();
        let done = "0 same 1 done 2 same 3 done 4 same 5 same 6 done ";
        assert_eq!(host.run(&host.setup(), SetupMode::Do), done, "{shell}");
        let rules = fs::read_to_string(host.path("rules")).unwrap();
        assert_eq!(rules.lines().count(), 3, "{shell}: {rules}");
        assert!(rules.starts_with(&format!("{own}\n")), "{shell}: {rules}");
        for kept in ["home/.ssh/authorized_keys", "srv/todo/shared/config/key"] {
            assert_eq!(fs::read_to_string(host.path(kept)).unwrap(), "mine\n", "{shell}");
        }
    }
}

#[test]
fn rules_that_visudo_refuses_are_not_put_in_place() {
    for shell in shells() {
        let host = FakeHost::new(shell);
        fs::write(host.path("rules"), "broken\n").unwrap();
        let mut setup = host.setup();
        setup.steps.push(SetupStep::Directory { path: host.path("later") });
        let said = host.run(&setup, SetupMode::Do);
        assert!(said.contains("6 failed | ") && said.contains("syntax error"), "{shell}: {said}");
        assert!(said.ends_with("7 skipped "), "{shell}: {said}");
        assert_eq!(fs::read_to_string(host.path("rules")).unwrap(), "broken\n");
        assert!(
            !Path::new(&host.path("rules.new")).exists()
                && !Path::new(&host.path("later")).exists()
        );
    }
}

/// A project whose only host is this machine; sudo, where it is asked, lets everything pass.
fn here() -> Project {
    let project = Project::local();
    let text = project.read("deploy.toml");
    project.write("deploy.toml", &format!("linked_files = [\"config/key\"]\n{text}"));
    project.write("config/key.example", "put yours here\n");
    tools(project.path(), &["sudo"], &[("sudo", "shift 2; exec \"$@\"")]);
    project
}

fn setup(project: &Project, line: &str) -> String {
    let mut command = project.command(line);
    project.said(command.env("PATH", project.path().join("bin")))
}

#[test]
fn setup_shows_asks_and_says_what_differs() {
    let project = here();
    let said = setup(&project, "setup --check");
    assert!(said.starts_with("exit: 1\n--- stdout\nlocal:\n  make <dir>/srv, in which "), "{said}");
    assert!(
        said.contains("\n  write <dir>/srv/shared/config/key as in config/key.example"),
        "{said}"
    );
    let said = setup(&project, "setup -n");
    assert!(said.starts_with("exit: 0"), "{said}");
    let said = setup(&project, "setup");
    assert!(said.starts_with("exit: 2"), "{said}");
    assert!(said.contains("requires confirmation, but there is no terminal"), "{said}");
    assert!(!project.path().join("srv").exists(), "nothing was done");
    let said = setup(&project, "setup --yes");
    assert!(said.starts_with("exit: 0") && said.contains("local: 2 steps done\n"), "{said}");
    assert_eq!(project.read("srv/shared/config/key"), "put yours here\n");
    for line in ["setup --check", "setup --yes"] {
        let said = setup(&project, line);
        assert!(said.starts_with("exit: 0\n--- stdout\nlocal:\n  nothing to do\n"), "{said}");
    }
    assert!(project.shipit("deploy").starts_with("exit: 0"));
}

#[test]
fn linked_file_without_a_template_is_for_a_person_to_bring() {
    let project = here();
    fs::remove_file(project.path().join("config/key.example")).unwrap();
    let said = setup(&project, "setup --yes");
    assert!(said.starts_with("exit: 1"), "{said}");
    assert!(said.contains("error: local: <dir>/srv/shared/config/key is missing\n"), "{said}");
    assert!(said.contains("hint:") && said.contains("< config/key`"), "{said}");
    assert!(project.path().join("srv").is_dir(), "what could be done was");
}

#[test]
fn setup_says_when_it_cannot_become_root() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let project = here();
    tools(project.path(), &[], &[("sudo", "echo 'sudo: a password is required' >&2; exit 1")]);
    let said = setup(&project, "setup --check");
    assert!(
        said.contains("error: local: could not become root\n  cause: sudo: a password"),
        "{said}"
    );
}

#[test]
fn login_of_its_own_needs_a_user_to_prepare_for() {
    let project = Project::local();
    let said = project.shipit("setup --as root");
    assert!(said.starts_with("exit: 2") && said.contains("`root` is not valid for --as"), "{said}");
    let text = project.read("deploy.toml").replace("\"local\"", "\"web1.invalid\"");
    project.write("deploy.toml", &text);
    let said = project.shipit("setup --as root");
    assert!(
        said.starts_with("exit: 2") && said.contains("web1.invalid: which user deploys?"),
        "{said}"
    );
}
