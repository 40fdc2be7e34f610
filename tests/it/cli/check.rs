//! `shipit check` on a host that is this machine, with tools that tell of another one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use walkdir::WalkDir;

use crate::support::project::Project;

/// The deploying user is ada, the user of the service is svc; the rest is this machine's.
const ID: &str = r#"case "$*" in
'') me=$(/usr/bin/id -u); [ "$me" != 0 ] || me=1000
    echo "uid=$me(ada) gid=1000(ada) groups=1000(ada),50(staff)" ;;
'-Gn svc') echo svc www ;;
svc) echo uid ;;
*) exit 1 ;;
esac"#;

/// A unit that runs from another directory, as svc.
const UNIT: &str = "LoadState=loaded\nActiveState=failed\nUser=svc\nWorkingDirectory=/srv/old\n";

struct Machine {
    project: Project,
}

impl Machine {
    /// `service` is the table of that name, `unit` what systemctl says of it.
    fn new(service: &str, unit: &str) -> Self {
        let machine = Self { project: Project::local() };
        let text = machine.project.read("deploy.toml");
        let text = text.replace("restart = \"test -e VERSION\"", service);
        machine.project.write("deploy.toml", &text);
        machine.tool("id", ID);
        machine.tool("sudo", "exit 1");
        machine.tool("loginctl", "echo no");
        machine.project.write("unit", unit);
        let path = machine.project.path().join("unit");
        machine.tool("systemctl", &format!("cat {}", path.display()));
        machine
    }

    fn tool(&self, name: &str, script: &str) {
        self.project.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        self.mode(&format!("bin/{name}"), 0o755);
    }

    fn mode(&self, path: &str, mode: u32) {
        let path = self.project.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn directory(&self, path: &str, mode: u32) {
        fs::create_dir_all(self.project.path().join(path)).unwrap();
        self.mode(path, mode);
    }

    fn edit(&self, from: &str, to: &str) {
        let text = self.project.read("deploy.toml");
        assert!(text.contains(from), "{text}");
        self.project.write("deploy.toml", &text.replace(from, to));
    }

    /// Returns the findings of `check`, without those above the directory and without passed ones.
    fn wrong(&self) -> String {
        let said = self.said();
        let lines = said.lines().filter(|line| !line.starts_with("ok  "));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn said(&self) -> String {
        let bin = self.project.path().join("bin").into_os_string().into_string().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut check = self.project.command("check");
        self.project.said(check.env("PATH", format!("{bin}:{path}")))
    }

    /// Returns every path of the machine with its mode and times.
    fn tree(&self) -> Vec<String> {
        let all = WalkDir::new(self.project.path()).sort_by_file_name().into_iter();
        let told = all.map(Result::unwrap).map(|entry| {
            let meta = entry.metadata().unwrap();
            let times = (meta.modified().unwrap(), meta.len(), meta.permissions().mode());
            format!("{} {times:?}", entry.path().display())
        });
        told.collect()
    }
}

#[test]
fn every_unit_problem_has_a_fix() {
    let machine = Machine::new("unit = \"todo\"", UNIT);
    machine.edit(
        "linked_dirs = [\"log\"]",
        "linked_dirs = [\"log\", \"tmp\"]\nlinked_files = [\"key\"]",
    );
    machine.edit("[env]\n", "[env]\ngroup = \"vault\"\n");
    machine.directory("srv/shared/log", 0o755);
    machine.project.write("srv/shared/key", "k");
    machine.mode("srv/shared/key", 0o600);
    machine.mode("srv", 0o777);
    machine.mode("", 0o711);
    assert_snapshot!(machine.wrong(), @r#"
    exit: 1
    --- stdout
    warning  local: svc, which the service runs as, may not write <dir>/srv/shared/log
             fix: on the host: `sudo chgrp svc <dir>/srv/shared/log && sudo chmod g+rwxs <dir>/srv/shared/log`
    warning  local: svc, which the service runs as, may not write <dir>/srv/shared/tmp
             fix: in linked_dirs: `{ path = "tmp", mode = "2775", group = "svc" }`
    warning  local: svc, which the service runs as, may not read <dir>/srv/shared/key
             fix: on the host: `sudo chgrp svc <dir>/srv/shared/key && sudo chmod g+r <dir>/srv/shared/key`
    warning  local: ada may not read the journal of todo.service
             fix: on the host: `sudo usermod -aG systemd-journal ada`
    warning  local: todo.service does not go through <dir>/srv/current: that it was restarted may be all that a deploy can show
             fix: on the host: `sudo mkdir -p /etc/systemd/system/todo.service.d && printf '%s\n' '[Service]' 'WorkingDirectory=<dir>/srv/current' | sudo tee /etc/systemd/system/todo.service.d/shipit.conf && sudo systemctl daemon-reload`
    warning  local: todo.service is failed now
             fix: `shipit deploy here` restarts it
    problem  local: everybody can write <dir>/srv
             fix: on the host: `sudo chmod o-w <dir>/srv`
    problem  local: ada is not in the group vault
             fix: on the host: `sudo groupadd -f vault && sudo usermod -aG vault ada`
    problem  local: svc, which the service runs as, may not read .env
             fix: in [env]: `mode = "0640"` and `group = "svc"`
    problem  local: sudo does not allow ada to restart, stop, reset-failed todo.service without a password
             fix: on the host: `echo 'ada ALL=(root) NOPASSWD: /usr/bin/systemctl restart todo.service, /usr/bin/systemctl stop todo.service, /usr/bin/systemctl reset-failed todo.service' | sudo tee -a /etc/sudoers.d/shipit-todo && sudo chmod 440 /etc/sudoers.d/shipit-todo && sudo visudo -cf /etc/sudoers.d/shipit-todo`
    a deploy would not work: 5 ok, 6 warnings, 4 problems
    --- stderr
    "#);
}

#[test]
fn directories_closed_to_the_service_user_are_found() {
    let machine = Machine::new("unit = \"todo\"", UNIT);
    machine.directory("srv/shared", 0o750);
    machine.mode("srv", 0o750);
    machine.mode("", 0o700);
    let said = machine.wrong();
    let may_not = said.lines().filter(|line| line.contains("may not enter"));
    let may_not: Vec<_> = may_not.map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(may_not, ["<dir>/srv/shared", "<dir>/srv", "<dir>"]);
    machine.directory("srv/shared", 0o755);
    machine.mode("srv", 0o711);
    machine.mode("", 0o711);
    assert!(!machine.wrong().contains("may not enter"));
}

#[test]
fn unit_may_add_a_group_to_its_user() {
    let groups = format!("{UNIT}Group=web\nSupplementaryGroups=\n");
    let machine = Machine::new("unit = \"todo\"", &groups);
    assert!(machine.wrong().contains("group = \"web\""));
}

#[test]
fn unit_without_a_user_is_found() {
    let machine = Machine::new("unit = \"todo\"", &UNIT.replace("svc", "ghost"));
    let said = machine.wrong();
    let at = said.find("problem  local: the unit runs").unwrap();
    let finding: Vec<_> = said[at..].lines().take(2).collect();
    assert_snapshot!(finding.join("\n"), @"
    problem  local: the unit runs as ghost, who is no user there
             fix: on the host: `sudo useradd --system --user-group ghost`
    ");
    // Such a user exists while the unit runs.
    let machine = Machine::new("unit = \"todo\"", &UNIT.replace("svc", "ghost\nDynamicUser=yes"));
    assert!(!machine.wrong().contains("is no user there"));
}

#[test]
fn user_unit_needs_no_sudo() {
    let unit = "LoadState=loaded\nActiveState=active\nUser=\nWorkingDirectory=/srv/old\n";
    let machine = Machine::new("unit = \"todo\"\nscope = \"user\"", unit);
    // The user who runs the tests made it, not ada.
    machine.directory("srv/shared/log", 0o755);
    machine.mode("", 0o711);
    assert_snapshot!(machine.wrong(), @r"
    exit: 1
    --- stdout
    warning  local: ada, which the service runs as, may not write <dir>/srv/shared/log
             fix: on the host: `sudo chown ada <dir>/srv/shared/log`
    warning  local: todo.service does not go through <dir>/srv/current: that it was restarted may be all that a deploy can show
             fix: on the host: `mkdir -p ~/.config/systemd/user/todo.service.d && printf '%s\n' '[Service]' 'WorkingDirectory=<dir>/srv/current' | tee ~/.config/systemd/user/todo.service.d/shipit.conf && systemctl --user daemon-reload`
    problem  local: its user units stop when nobody is logged in
             fix: on the host: `sudo loginctl enable-linger ada`
    a deploy would not work: 5 ok, 2 warnings, 1 problem
    --- stderr
    ");
}

#[test]
fn network_file_system_is_found() {
    let machine = Machine::new("restart = \"true\"", "");
    machine.tool("stat", "[ \"$1\" != -f ] || { echo nfs && exit; }\ncommand -p stat \"$@\"");
    assert!(machine.wrong().contains("lies on nfs: locks and renames may not hold"));
}

#[test]
fn local_problems_are_shown_without_values() {
    let machine = Machine::new("restart = \"true\"", "");
    machine.edit("path = \"dist\"", "path = \"gone\"");
    machine
        .edit("echo p0isoned-value", "echo p0isoned-value; echo no such p0isoned-value >&2; false");
    assert_snapshot!(machine.wrong(), @"
    exit: 1
    --- stdout
    problem  could not open the artifact `<dir>/gone`: No such file or directory (os error 2)
             fix: build it first, or name another one with `--artifact`
    problem  the command for the value of `SECRET` exited with code 1: no such [hidden]
             fix: run it by hand with `sh -c`, beside deploy.toml
    a deploy would not work: 3 ok, 0 warnings, 2 problems
    --- stderr
    ");
}

#[test]
fn check_changes_nothing() {
    for there in [false, true] {
        let machine = Machine::new("unit = \"todo\"", UNIT);
        if there {
            machine.directory("srv/shared/log", 0o700);
        }
        let before = machine.tree();
        machine.said();
        assert_eq!(machine.tree(), before);
    }
}

#[test]
fn deploy_and_check_refuse_the_same_links() {
    let project = Project::local();
    project.write("victim", "of root\n");
    project.write("srv/.shipit/mark", "");
    std::os::unix::fs::symlink("../../victim", project.path().join("srv/.shipit/ledger.jsonl"))
        .unwrap();
    let mask = |said: String| {
        let owner = said.split("belongs to ").nth(1).unwrap().split(['\n', ' ']).next().unwrap();
        said.replace(&format!("belongs to {owner}"), "belongs to <owner>")
    };
    assert_snapshot!(mask(project.shipit("deploy")), @"
    exit: 1
    --- stdout
    --- stderr
    deploy here: local
    artifact <dir>/dist: 1 file, 2 B, digest 48fd0c43edb0
    == look
    local | connected        live: nothing yet
    release <id>
    error: local: <dir>/srv/.shipit/ledger.jsonl is a link, and belongs to <owner>
      state: local was not changed (live: nothing yet)
      hint:  on the host: `sudo rm <dir>/srv/.shipit/ledger.jsonl`
    ");
    let said = mask(project.shipit("check"));
    let problem = said.find("problem").unwrap();
    assert_snapshot!(&said[problem..], @r"
    problem  local: <dir>/srv/.shipit/ledger.jsonl is a link, and belongs to <owner>
             fix: on the host: `sudo rm <dir>/srv/.shipit/ledger.jsonl`
    a deploy would not work: 5 ok, 2 warnings, 1 problem
    --- stderr
    ");
    assert_eq!(project.read("victim"), "of root\n");
    assert!(!project.path().join("srv/releases").exists());
}

/// `check` finds this problem, and a deploy fails with it.
fn both_say(machine: &Machine, what: &str) {
    let checked = machine.said();
    assert!(checked.contains(&format!("problem  local: {what}\n")), "{checked}");
    let deployed = machine.run("deploy");
    assert!(deployed.contains(&format!("error: local: {what}\n")), "{deployed}");
}

#[test]
fn deploy_and_check_refuse_in_the_same_words() {
    let machine = Machine::new("restart = \"true\"", "");
    machine.project.write("dist/.env", "A=1\n");
    both_say(&machine, "the artifact holds `.env`, which [env] would overwrite");
    let line = "         fix: leave it out: `exclude = [\"/.env\"]`";
    let told = format!("warning  the artifact holds `.env`\n{line}\n");
    assert!(machine.said().contains(&told), "{}", machine.said());
    machine.edit("path = \"dist\"", "path = \"dist\"\nexclude = [\"/.env\"]");
    assert!(machine.said().starts_with("exit: 0"), "{}", machine.said());
    machine.edit("[\"log\"]", "[\"log\", \"VERSION/x\"]");
    both_say(&machine, "`VERSION/x` cannot be linked: the artifact has a file at `VERSION`");
    machine.edit("VERSION/x", "app/config.yml");
    machine.project.write("dist/packages/web/index.html", "");
    std::os::unix::fs::symlink("packages/web", machine.project.path().join("dist/app")).unwrap();
    both_say(
        &machine,
        "`app/config.yml` cannot be linked: the artifact has a symbolic link at `app`",
    );
    machine.edit(", \"app/config.yml\"", "");
    let stat = "[ \"$1\" != -f ] || { echo free 10 1 100000 && exit; }\ncommand -p stat \"$@\"";
    machine.tool("stat", stat);
    machine.project.write("dist/large", &"x".repeat(100));
    both_say(&machine, "the release needs 112 B, but only 10 B are free");
}

/// A unit that is as it should be, with more or other lines.
fn unit(lines: &str) -> String {
    format!("LoadState=loaded\nActiveState=active\nUser=ada\nWorkingDirectory=CURRENT\n{lines}")
}

impl Machine {
    /// A machine with a loaded unit. `CURRENT` in its text stands for the path of the live release.
    fn with_unit(lines: &str) -> Self {
        let machine = Self::new("unit = \"todo\"", "");
        let current = machine.project.path().join("srv/current");
        machine.project.write("unit", &unit(lines).replace("CURRENT", current.to_str().unwrap()));
        machine.tool("sudo", "exit 0");
        machine.edit("staged = [\"echo hook says; cat .env\"]", "");
        machine
    }

    fn run(&self, line: &str) -> String {
        let bin = self.project.path().join("bin").into_os_string().into_string().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        self.project.said(self.project.command(line).env("PATH", format!("{bin}:{path}")))
    }
}

#[test]
fn sudo_rule_that_wants_a_password_is_found() {
    let machine = Machine::with_unit("");
    let rule = "(root) NOPASSWD: /usr/bin/systemctl restart todo.service";
    let list = |later: &str| {
        format!("[ $# != 2 ] || printf '    %s\\n' '{rule}' '{later}'\n[ \"$1\" = -n ]")
    };
    machine.tool("sudo", &list("(ALL : ALL) ALL"));
    let why = "without a password: its last rule that matches is (ALL : ALL) ALL";
    let said = machine.wrong();
    assert!(said.contains(&format!("ada to restart, stop, reset-failed todo.service {why}")));
    assert!(said.contains("| sudo tee -a /etc/sudoers.d/zzz-shipit-todo &&"), "{said}");
    let deployed = machine.run("deploy");
    assert!(deployed.starts_with("exit: 1"), "{deployed}");
    assert!(deployed.contains(&format!("run \"systemctl restart todo.service\" {why}")));
    machine.tool("sudo", &list("(www) ALL"));
    assert!(!machine.wrong().contains("sudo does not"), "{}", machine.wrong());
}

#[test]
fn rights_that_nobody_can_ask_for_are_a_warning() {
    let machine = Machine::with_unit("");
    machine.edit("[env]\n", "[sudo]\ncommand = \"doas -n\"\n\n[env]\n");
    let said = machine.wrong();
    let lets = "`doas -n` cannot be asked beforehand whether it lets ada restart todo.service";
    assert!(said.contains(&format!("warning  local: {lets}")), "{said}");
}

#[test]
fn sudo_errors_are_shown_as_sudo_says_them() {
    let machine = Machine::with_unit("");
    machine.tool("sudo", "echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1");
    let said = machine.wrong();
    assert!(said.contains("todo.service: sudo: sorry, you must have a tty to run sudo"), "{said}");
    assert!(!said.contains("/etc/sudoers.d"), "{said}");
}

#[test]
fn misspelt_unit_gets_a_suggestion() {
    let machine = Machine::new("unit = \"tudo\"", "");
    machine.edit("staged = [\"echo hook says; cat .env\"]", "");
    let units = "echo 'todo.service enabled enabled'; echo 'ssh.service enabled enabled'";
    let systemctl =
        format!("[ \"$1\" = list-unit-files ] && {{ {units}; exit; }}\necho LoadState=not-found");
    machine.tool("systemctl", &systemctl);
    let said = machine.wrong();
    let finding = "problem  local: systemd says tudo.service is not-found\n         \
                   fix: in [service]: `unit = \"todo.service\"`, if that is what is meant\n";
    assert!(said.contains(finding), "{said}");
    assert!(!said.contains("sudo"), "{said}");
    let deployed = machine.run("deploy");
    assert!(
        deployed.contains("error: local: systemd says tudo.service is not-found"),
        "{deployed}"
    );
    assert!(deployed.starts_with("exit: 1"), "{deployed}");
}

#[test]
fn paths_a_unit_names_must_exist() {
    let start = "ExecStart={ path=PATH ; argv[]=PATH -p 1 ; ignore_errors=no }\n";
    let machine = Machine::with_unit("");
    let srv = machine.project.path().join("srv").into_os_string().into_string().unwrap();
    let says = |lines: &str| {
        let text = unit(lines).replace("CURRENT", &format!("{srv}/current"));
        machine.project.write("unit", &text);
        machine.wrong()
    };
    let path = |path: &str| start.replace("PATH", path);
    let said = says(&path(&format!("{srv}/VERSION")));
    assert!(said.contains("todo.service runs <dir>/srv/VERSION, which is not there"), "{said}");
    assert!(said.contains("'ExecStart=' 'ExecStart=<dir>/srv/current/VERSION -p 1' |"), "{said}");
    let said = says(&path(&format!("{srv}/current/bin/serve")));
    assert!(said.contains("runs <dir>/srv/current/bin/serve, which the artifact does not hold"));
    let said = says(&path(&format!("{srv}/current/VERSION")));
    assert!(said.contains("warning  local: `VERSION`, which the unit runs, is not executable"));
    let planned = machine.run("deploy --dry-run");
    assert!(
        planned.contains("is not executable; `chmod +x VERSION` where it is built"),
        "{planned}"
    );
    machine.mode("dist/VERSION", 0o755);
    let said = says(&path(&format!("{srv}/current/VERSION")));
    assert!(!said.contains("VERSION"), "{said}");
    let said = says(&format!("EnvironmentFiles={srv}/.env (ignore_errors=no)\n"));
    assert!(said.contains("todo.service reads <dir>/srv/.env, which is not there"), "{said}");
    assert!(said.contains("'EnvironmentFile=<dir>/srv/current/.env' |"), "{said}");
    let said = says(&format!("EnvironmentFiles={srv}/.env (ignore_errors=yes)\n"));
    assert!(!said.contains("srv/.env"), "{said}");
}

#[test]
fn unit_not_loaded_or_not_enabled_is_found() {
    let machine = Machine::with_unit("NeedDaemonReload=yes\nUnitFileState=static\nWantedBy=\n");
    machine.tool("id", &ID.replace("50(staff)", "4(adm)"));
    machine.edit("[\"log\"]", "[]");
    machine.mode("", 0o711);
    assert_snapshot!(machine.wrong(), @r"
    exit: 0
    --- stdout
    warning  local: the file of todo.service was changed since systemd read it
             fix: on the host: `sudo systemctl daemon-reload`
    warning  local: todo.service does not start when the host boots
             fix: on the host: `sudo systemctl add-wants multi-user.target todo.service`
    a deploy would work: 8 ok, 2 warnings, 0 problems
    --- stderr
    ");
}

#[test]
fn check_takes_another_artifact() {
    let machine = Machine::new("restart = \"true\"", "");
    machine.edit("path = \"dist\"", "path = \"gone\"");
    assert!(machine.said().starts_with("exit: 1"));
    let said = machine.run("check --artifact dist/.");
    assert!(said.contains("<dir>/dist: 1 file"), "{said}");
}

#[test]
fn missing_tool_is_found_with_its_package() {
    let machine = Machine::new("restart = \"true\"", "");
    for place in ["/bin", "/usr/bin"] {
        for tool in fs::read_dir(place).unwrap().map(Result::unwrap) {
            let name = tool.file_name().into_string().unwrap();
            let here = machine.project.path().join("bin").join(&name);
            if !name.contains("awk") && !here.exists() {
                std::os::unix::fs::symlink(tool.path(), here).unwrap();
            }
        }
    }
    let said = machine
        .project
        .said(machine.project.command("check").env("PATH", machine.project.path().join("bin")));
    let finding = "problem  local: awk is not installed\n         \
                   fix: on the host: `sudo apt-get install -y mawk`, or with its own package manager\n";
    assert!(said.contains(finding), "{said}");
}

/// As of Ubuntu 26.04: a link is replaced by a link, and by nothing else.
const MV: &str = r#"for last; do :; done
for before in "$@"; do [ "$before" = "$last" ] || from=$before; done
if [ -L "$last" ] && [ -d "$last" ] && [ ! -L "$from" ]; then
    echo "mv: cannot overwrite directory '$last' with non-directory" >&2
    exit 1
fi
command -p mv "$@""#;

#[test]
fn mv_without_no_target_directory_is_found() {
    let machine = Machine::new("restart = \"true\"", "");
    machine.tool("mv", MV);
    assert!(machine.said().starts_with("exit: 0"), "{}", machine.said());
    assert!(machine.run("deploy").starts_with("exit: 0"));
    machine.project.write("dist/VERSION", "2\n");
    assert!(machine.run("deploy").starts_with("exit: 0"));
    let machine = Machine::new("restart = \"true\"", "");
    machine.tool("mv", "exit 1");
    both_say(&machine, "mv cannot replace a link in one step");
}

#[test]
fn port_free_or_taken_by_another_program_is_found() {
    let machine = Machine::new("restart = \"true\"", "");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let check = format!("[health]\ntcp = \"127.0.0.1:{port}\"\n\n[service]");
    machine.edit("[service]", &check);
    let said = machine.said();
    assert!(
        said.contains(&format!(
            "a process already listens on port {port}, although nothing is live"
        )),
        "{said}"
    );
    let deployed = machine.run("deploy");
    assert!(deployed.starts_with("exit: 0"), "{deployed}");
    assert!(!machine.said().contains("listens"), "{}", machine.said());
    drop(busy);
    let said = machine.said();
    assert!(
        said.contains(&format!("warning  local: nothing listens on port {port}, which")),
        "{said}"
    );
}

#[test]
fn env_file_readable_by_others_is_found() {
    let start = "ExecStart={ path=/bin/docker ; argv[]=/bin/docker run --env-file .env app ; }\n";
    let machine = Machine::with_unit(start);
    let systemctl = format!(
        "[ \"$1\" != --version ] || {{ echo 'systemd 219' && exit; }}\ncat {}/unit",
        machine.project.path().display()
    );
    machine.tool("systemctl", &systemctl);
    machine.edit("vars.A = \"b\"", "vars.A = 'b\\c$d'\nvars.B = \"1\\n2\"");
    machine.project.write("dist/node_modules/vite/index.js", "");
    let said = machine.wrong();
    for what in [
        "gives `--env-file`, which takes quotes for values",
        "systemd 219 drops backslashes in values, as in that of A",
        "systemd 219 drops newlines in values, as in that of B",
        "systemd 219 does not show whether a unit was restarted",
        "the value of A has `$`, which an app with node_modules/vite expands in .env",
    ] {
        assert!(said.contains(what), "{said}");
    }
    machine.edit("[env]\n", "[env]\nformat = \"docker\"\n");
    machine.edit("vars.B = \"1\\n2\"", "");
    assert!(!machine.said().contains("`--env-file`"), "{}", machine.said());
    machine.edit("[env]\n", "[env]\nfile = \"app.env\"\n");
    assert!(!machine.wrong().contains("node_modules/vite"), "{}", machine.wrong());
}

#[test]
fn unit_and_engine_of_a_container_image_are_checked() {
    let start = |tag| {
        let run = format!("/bin/podman run --env-file CURRENT/.env todo:{tag}");
        format!("ExecStart={{ path=/bin/podman ; argv[]={run} ; }}\n")
    };
    let machine = Machine::with_unit(&start("latest"));
    machine.edit("unit = \"todo\"", "unit = \"todo\"\nimage = \"todo\"\nengine = \"podman\"");
    machine.tool("podman", "echo 'cannot connect to the store' >&2; exit 1");
    let said = machine.wrong();
    for what in [
        "the artifact is no container image: it holds no manifest.json and no index.json",
        "podman does not answer ada: cannot connect to the store",
        "ExecStart= of todo.service does not name todo:current, the image that is live",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert!(said.contains("set `engine = \"sudo -n podman\"`"), "{said}");
    assert!(!said.contains("group `docker`"), "{said}");
    machine.edit("engine = \"podman\"", "engine = \"sh podman\"");
    let said = machine.wrong();
    assert!(said.contains("set `engine = \"sudo -n podman\"`"), "{said}");
    machine.edit("engine = \"sh podman\"", "engine = \"podman\"");
    machine.tool("podman", "exit 0");
    machine.project.write("dist/index.json", "{}");
    machine.project.write("unit", &unit(&start("current")));
    let said = machine.said();
    for what in ["is no container image", "does not answer", "does not name"] {
        assert!(!said.contains(what), "{what}: {said}");
    }
    assert!(said.contains("todo.service runs the image todo:current"), "{said}");
}

#[test]
fn programs_that_nobody_may_run_are_named_once() {
    let machine = Machine::with_unit("");
    let elf = "\u{7f}ELF\u{2}\u{1}\u{1}\0\0\0\0\0\0\0\0\0\u{3}\0>\0";
    machine.project.write("dist/bin/serve", "#!/bin/sh\nexec libexec/serve\n");
    machine.project.write("dist/libexec/serve", elf);
    machine.project.write("dist/lib/libx.so", elf);
    machine.project.write("dist/lib/helper.py", "#!/usr/bin/env python3\n");
    machine.project.write("dist/bin/README", "how to run\n");
    machine.project.write("dist/bin/other", "");
    machine.mode("dist/bin/other", 0o755);
    let said = machine.said();
    let warning = "2 files look like programs and are not executable: bin/serve, libexec/serve";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    assert!(said.contains("fix: `chmod +x` where they are built"), "{said}");
    assert!(
        !said.contains("libx") && !said.contains("helper") && !said.contains("README"),
        "{said}"
    );
    for n in 0..9 {
        machine.project.write(&format!("dist/bin/tool{n}"), "#!/bin/sh\n");
    }
    let said = machine.said();
    assert!(said.contains("11 files look like programs") && said.contains(" and 6 more"), "{said}");
    machine.edit("[service]", "[hooks]\nstaged = [\"chmod +x bin/*\"]\n\n[service]");
    assert!(!machine.said().contains("look like programs"), "{}", machine.said());
}

#[test]
fn reloaded_unit_is_checked_for_reload() {
    let unit = "LoadState=loaded\nActiveState=active\nWorkingDirectory=/\n";
    let machine = Machine::new("unit = \"todo\"\naction = \"reload-or-restart\"", unit);
    machine.tool("sudo", "exit 0");
    let said = machine.said();
    let fix = "fix: in [health]: a check with `body`, or in [service]: `action = \"restart\"`";
    assert!(said.contains(fix), "{said}");
    machine.edit("[service]", "[health]\ncommand = \"true\"\n\n[service]");
    let said = machine.said();
    assert!(
        said.contains("todo.service is reloaded, and a check looks at what it serves"),
        "{said}"
    );
}

#[test]
fn unreachable_host_shows_every_cause() {
    let failure = shipit::deploy::outcome::Failure::new("no key was accepted")
        .because("key a: not accepted")
        .because("key b: it needs a passphrase\nand there is no terminal");
    let whole = "no key was accepted: key a: not accepted; key b: it needs a passphrase; and there is no terminal";
    assert_eq!(failure.whole(), whole);
}

#[test]
fn each_service_has_findings_and_rules_for_sudo_of_its_own() {
    let service = "unit = [\"todo\", \"todo.socket\", \"beat.timer\", \"late\"]";
    let machine = Machine::new(service, &UNIT.replace("failed", "active"));
    machine.edit("[service]", "[services.all]");
    machine.edit("staged = [\"echo hook says; cat .env\"]", "");
    let text = machine.project.read("deploy.toml");
    let more = "[services.judged]\nunit = \"judged\"\naction = \"none\"\n[services.web]\n\
                unit = \"web\"\naction = \"reload\"\n";
    machine.project.write("deploy.toml", &format!("{text}\n{more}"));
    machine.tool(
        "systemctl",
        "case \"$*\" in *late*) echo LoadState=not-found; exit ;; esac\n\
                               cat \"$(dirname \"$0\")/../unit\"",
    );
    let said = machine.wrong();
    let rules: Vec<_> = said
        .lines()
        .filter_map(|line| Some(line.split_once("NOPASSWD: ")?.1.split_once('\'')?.0))
        .map(|rules| rules.replace("/usr/bin/systemctl ", ""))
        .collect();
    assert_eq!(
        rules,
        [
            "restart todo.service, stop todo.service, reset-failed todo.service",
            "start todo.socket, stop todo.socket, reset-failed todo.socket",
            "restart beat.timer, stop beat.timer, reset-failed beat.timer",
            "reload web.service, stop web.service, reset-failed web.service",
        ],
        "{said}"
    );
    assert!(said.contains("problem  local: systemd says late.service is not-found"), "{said}");
    for name in ["todo", "judged", "web"] {
        assert!(said.contains(&format!("{name}.service ")), "{name}: {said}");
    }
    // A unit that runs no code need not go through `current`.
    assert!(!said.contains("todo.socket does not go through"), "{said}");
    // All run as one user, of whom each thing is said once.
    assert_eq!(said.matches("which the service runs as, may not read .env").count(), 1, "{said}");
}
