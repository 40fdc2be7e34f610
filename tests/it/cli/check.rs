//! `shipit check` on a host that is this machine, with tools that tell of another one.

use std::os::unix::fs::PermissionsExt as _;

use walkdir::WalkDir;

use super::*;

/// Who deploys is ada, the service's user is svc; everything else is as on this machine.
const ID: &str = r#"case "$*" in
'') me=$(/usr/bin/id -u); [ "$me" != 0 ] || me=1000
    echo "uid=$me(ada) gid=1000(ada) groups=1000(ada),50(staff)" ;;
'-Gn svc') echo svc www ;;
svc) echo uid ;;
*) exit 1 ;;
esac"#;

/// A unit that goes elsewhere, and runs as svc.
const UNIT: &str = "LoadState=loaded\nActiveState=failed\nUser=svc\nWorkingDirectory=/srv/old\n";

struct Machine {
    world: World,
}

impl Machine {
    /// `service` is the table of that name, `unit` what systemctl says of it.
    fn new(service: &str, unit: &str) -> Self {
        let machine = Self { world: World::local() };
        let text = machine.world.read("deploy.toml");
        let text = text.replace("restart = \"test -e VERSION\"", service);
        machine.world.write("deploy.toml", &text);
        machine.tool("id", ID);
        machine.tool("sudo", "exit 1");
        machine.tool("loginctl", "echo no");
        machine.world.write("unit", unit);
        let path = machine.world.path().join("unit");
        machine.tool("systemctl", &format!("cat {}", path.display()));
        machine
    }

    fn tool(&self, name: &str, script: &str) {
        self.world.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        self.mode(&format!("bin/{name}"), 0o755);
    }

    fn mode(&self, path: &str, mode: u32) {
        let path = self.world.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn directory(&self, path: &str, mode: u32) {
        fs::create_dir_all(self.world.path().join(path)).unwrap();
        self.mode(path, mode);
    }

    fn edit(&self, from: &str, to: &str) {
        let text = self.world.read("deploy.toml");
        assert!(text.contains(from), "{text}");
        self.world.write("deploy.toml", &text.replace(from, to));
    }

    /// What check says, without what lies above the directory and what is well.
    fn wrong(&self) -> String {
        let said = self.said();
        let lines = said.lines().filter(|line| !line.starts_with("ok  "));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn said(&self) -> String {
        let bin = self.world.path().join("bin").into_os_string().into_string().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut check = self.world.command("check");
        self.world.said(check.env("PATH", format!("{bin}:{path}")))
    }

    /// Every path of the machine with its mode and times.
    fn tree(&self) -> Vec<String> {
        let all = WalkDir::new(self.world.path()).sort_by_file_name().into_iter();
        let told = all.map(Result::unwrap).map(|entry| {
            let meta = entry.metadata().unwrap();
            let times = (meta.modified().unwrap(), meta.len(), meta.permissions().mode());
            format!("{} {times:?}", entry.path().display())
        });
        told.collect()
    }
}

#[test]
fn everything_that_can_be_wrong_with_a_unit_has_a_fix() {
    let machine = Machine::new("unit = \"todo\"", UNIT);
    machine.edit(
        "linked_dirs = [\"log\"]",
        "linked_dirs = [\"log\", \"tmp\"]\nlinked_files = [\"key\"]",
    );
    machine.edit("[env]\n", "[env]\ngroup = \"vault\"\n");
    machine.directory("srv/shared/log", 0o755);
    machine.world.write("srv/shared/key", "k");
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
    warning  local: todo.service is failed now
             fix: `shipit deploy here` restarts it
    problem  local: everybody can write <dir>/srv
             fix: on the host: `sudo chmod o-w <dir>/srv`
    problem  local: ada is not in the group vault
             fix: on the host: `sudo groupadd -f vault && sudo usermod -aG vault ada`
    problem  local: svc, which the service runs as, may not read .env
             fix: in [env]: `mode = "0640"` and `group = "svc"`
    problem  local: sudo does not allow ada to restart, stop, reset-failed todo.service without a password
             fix: on the host: `echo 'ada ALL=(root) NOPASSWD: /usr/bin/systemctl restart todo.service, /usr/bin/systemctl stop todo.service, /usr/bin/systemctl reset-failed todo.service' | sudo tee /etc/sudoers.d/shipit-todo`
    problem  local: todo.service does not go through <dir>/srv/current
             fix: on the host: `sudo mkdir -p /etc/systemd/system/todo.service.d && printf '[Service]\nWorkingDirectory=<dir>/srv/current\n' | sudo tee /etc/systemd/system/todo.service.d/shipit.conf && sudo systemctl daemon-reload`
    a deploy would not work: 5 ok, 4 warnings, 5 problems
    --- stderr
    "#);
}

#[test]
fn what_the_services_user_must_go_through() {
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
fn a_unit_may_give_its_user_a_group() {
    let groups = format!("{UNIT}Group=web\nSupplementaryGroups=\n");
    let machine = Machine::new("unit = \"todo\"", &groups);
    assert!(machine.wrong().contains("group = \"web\""));
}

#[test]
fn a_unit_of_nobody() {
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
fn a_unit_of_ones_own() {
    let unit = "LoadState=loaded\nActiveState=active\nUser=\nWorkingDirectory=/srv/old\n";
    let machine = Machine::new("unit = \"todo\"\nscope = \"user\"", unit);
    // Whoever runs the tests made it, not ada.
    machine.directory("srv/shared/log", 0o755);
    machine.mode("", 0o711);
    assert_snapshot!(machine.wrong(), @r"
    exit: 1
    --- stdout
    warning  local: ada, which the service runs as, may not write <dir>/srv/shared/log
             fix: on the host: `sudo chown ada <dir>/srv/shared/log`
    problem  local: its user units end when nobody is logged in
             fix: on the host: `sudo loginctl enable-linger ada`
    problem  local: todo.service does not go through <dir>/srv/current
             fix: on the host: `mkdir -p ~/.config/systemd/user/todo.service.d && printf '[Service]\nWorkingDirectory=<dir>/srv/current\n' | tee ~/.config/systemd/user/todo.service.d/shipit.conf && systemctl --user daemon-reload`
    a deploy would not work: 5 ok, 1 warning, 2 problems
    --- stderr
    ");
}

#[test]
fn a_file_system_of_another_machine() {
    let machine = Machine::new("restart = \"true\"", "");
    machine.tool("stat", "[ \"$1\" != -f ] || { echo nfs && exit; }\ncommand -p stat \"$@\"");
    assert!(machine.wrong().contains("lies on nfs: locks and renames may not hold"));
}

#[test]
fn what_is_wrong_here_is_said_without_any_value() {
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
fn a_deploy_and_a_check_refuse_the_same_links() {
    let world = World::local();
    world.write("victim", "of root\n");
    world.write("srv/.shipit/mark", "");
    std::os::unix::fs::symlink("../../victim", world.path().join("srv/.shipit/ledger.jsonl"))
        .unwrap();
    let mask = |said: String| {
        let owner = said.split("belongs to ").nth(1).unwrap().split(['\n', ' ']).next().unwrap();
        said.replace(&format!("belongs to {owner}"), "belongs to <owner>")
    };
    assert_snapshot!(mask(world.shipit("deploy")), @"
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
    let said = mask(world.shipit("check"));
    let problem = said.find("problem").unwrap();
    assert_snapshot!(&said[problem..], @r"
    problem  local: <dir>/srv/.shipit/ledger.jsonl is a link, and belongs to <owner>
             fix: on the host: `sudo rm <dir>/srv/.shipit/ledger.jsonl`
    a deploy would not work: 5 ok, 0 warnings, 1 problem
    --- stderr
    ");
    assert_eq!(world.read("victim"), "of root\n");
    assert!(!world.path().join("srv/releases").exists());
}
