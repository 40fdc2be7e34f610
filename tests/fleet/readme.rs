//! README.md from top to bottom on a fresh host. Its commands are run as they stand.

use std::fs;
use std::process::Command;

use crate::app::{App, Wish};
use crate::hosts::APPS;

/// The commands of the program in README.md, in order.
fn commands() -> Vec<String> {
    let text = fs::read_to_string("README.md").unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    let lines = blocks.flat_map(|block| block.lines().map(|line| line.trim().to_owned()));
    lines.filter_map(|line| Some(line.strip_prefix("shipit ")?.to_owned())).collect()
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn readme_commands_work_in_order() {
    let host = APPS[1];
    let wish = Wish { provision: &["--scope", "none", "--no-sudo"], ..Wish::default() };
    let app = App::with(&[host], "fresh", &wish);
    // Whom an earlier run of this test has made.
    host.try_root("systemctl disable --now fresh; pkill -u newcomer; userdel -r newcomer");
    host.root("rm -rf /srv/fresh /etc/sudoers.d/shipit-fresh");
    app.edit("user = \"deploy\"", "user = \"newcomer\"");
    app.edit("[env]\n", &format!("[env]\nvars.PORT = \"{}\"\n", app.port()));
    app.edit("unit = \"fresh.service\"", "file = \"deploy/fresh.service\"");
    app.edit("[service]", "[artifact]\npath = \"build.tar.gz\"\n\n[service]");
    // The unit that `init` writes, for the program of the sample service.
    let project = app.home().join("fresh");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("go.mod"), "module serve\n").unwrap();
    let mut init = Command::new(env!("CARGO_BIN_EXE_shipit"));
    assert!(init.arg("init").current_dir(&project).status().unwrap().success());
    let unit = fs::read_to_string(project.join("deploy/fresh.service")).unwrap();
    let unit = unit.replace("User=deploy", "User=newcomer");
    let build = |version: &str| {
        let tarball = app.tarball_of(version, &[], |tree| {
            fs::create_dir_all(tree.join("bin")).unwrap();
            fs::copy("vagrant/service/bin/serve", tree.join("bin/serve")).unwrap();
            fs::create_dir_all(tree.join("deploy")).unwrap();
            fs::write(tree.join("deploy/fresh.service"), &unit).unwrap();
        });
        fs::rename(tarball, app.home().join("build.tar.gz")).unwrap();
    };
    build("v1");
    let mut deploys = 0;
    for line in commands() {
        if line == "rollback production" {
            build("v2");
            app.shipit(&["deploy"]).ends(0);
            app.answers("v2", "hello");
        }
        let mut words: Vec<_> = line.split(' ').collect();
        match words[0] {
            "init" => continue,
            // Nobody is there who could be asked.
            "setup" => words.push("--yes"),
            _ => {}
        }
        let run = app.shipit(&words).ends(0);
        if line == "check production" {
            assert!(run.stdout.contains(" 0 warnings, 0 problems"), "{}", run.stdout);
        }
        deploys += usize::from(line == "deploy production");
    }
    assert_eq!(deploys, 1);
    app.answers("v1", "hello");
}
