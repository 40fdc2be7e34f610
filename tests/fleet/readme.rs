//! README.md from top to bottom on a fresh host. Its commands are run as they stand, except for the
//! names of user and app, which other scenarios have.

use std::fs;

use crate::app::App;
use crate::hosts::APPS;

/// The lines of all blocks of README.md in a language.
fn lines(language: &str) -> Vec<String> {
    let text = fs::read_to_string("README.md").unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    let lines = blocks.flat_map(|block| block.lines().map(|line| line.trim().to_owned()));
    lines.filter(|line| !line.is_empty()).collect()
}

fn renamed(text: &str) -> String {
    text.replace("deploy", "newcomer").replace("todo", "fresh")
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn readme_commands_work_in_order() {
    let host = APPS[1];
    let app = App::on(&[host], "fresh");
    let port: String = fs::read_to_string(app.home().join("deploy.toml")).unwrap();
    let port: String = port.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap().into();
    // Whom an earlier run of this test has made.
    host.try_root("userdel -r newcomer; rm /etc/sudoers.d/newcomer");
    host.root("rm -r /srv/fresh /etc/systemd/system/fresh.service /etc/sudoers.d/shipit-fresh");
    let on_host: Vec<_> = lines("sh").into_iter().filter(|line| line.contains("sudo ")).collect();
    let (with_unit, before): (Vec<_>, Vec<_>) =
        on_host.iter().partition(|line| line.contains("sudo systemctl "));
    for line in before {
        host.root(&renamed(line));
    }
    host.root(
        "install -d -m 700 -o newcomer /home/newcomer/.ssh && \
         install -m 600 -o newcomer /home/deploy/.ssh/authorized_keys /home/newcomer/.ssh/",
    );
    // The sample service is called otherwise and wants a port.
    let unit = renamed(&lines("ini").join("\n")).replace("bin/server", "bin/serve");
    host.put("/etc/systemd/system/fresh.service", &format!("{unit}\n"));
    for line in with_unit {
        host.root(&renamed(line));
    }
    app.edit("user = \"deploy\"", "user = \"newcomer\"");
    app.edit("[env]\n", &format!("[env]\nvars.PORT = \"{port}\"\n"));
    app.edit("[service]", "[artifact]\npath = \"build.tar.gz\"\n\n[service]");
    let build =
        |version: &str| fs::rename(app.tarball(version, &[]), app.home().join("build.tar.gz"));
    build("v1").unwrap();
    let mut deploys = 0;
    for line in lines("sh").iter().filter_map(|line| line.strip_prefix("shipit ")) {
        if line == "rollback production" {
            build("v2").unwrap();
            app.shipit(&["deploy"]).ends(0);
            app.answers("v2", "hello");
        }
        let run = app.shipit(&line.split(' ').collect::<Vec<_>>()).ends(0);
        if line == "check production" {
            assert!(run.stdout.contains(" 0 warnings, 0 problems"), "{}", run.stdout);
        }
        deploys += usize::from(line == "deploy production");
    }
    assert_eq!(deploys, 1);
    app.answers("v1", "hello");
}
