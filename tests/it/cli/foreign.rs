//! Trees that Capistrano or Deployer made are taken over where they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::support::project::Project;

fn live(project: &Project) -> String {
    let target = fs::canonicalize(project.path().join("srv/current")).unwrap();
    target.file_name().unwrap().to_str().unwrap().to_owned()
}

fn releases(project: &Project) -> Vec<String> {
    let names = fs::read_dir(project.path().join("srv/releases")).unwrap();
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
}

/// Goes on from the tree of another tool: forward, back into it, and forward again.
#[track_caller]
fn is_taken_over(project: &Project) {
    let (before, old) = (releases(project), live(project));
    let version = project.read("srv/current/VERSION");
    let said = project.shipit("releases --json");
    assert!(said.contains(&format!("\"live\":\"{}\"", mask(&old))), "{said}");
    let said = project.shipit("releases");
    assert!(said.contains("no releases by shipit yet\n"), "{said}");
    let counted = format!("{} left by another tool, which `prune` keeps: ", before.len());
    assert!(said.contains(&counted) && said.contains("only `rollback --to` makes them"), "{said}");
    let said = project.shipit("status");
    assert!(said.contains(&format!("live:      {} (not made by shipit)", mask(&old))), "{said}");

    // The first deploy fails: what was live before runs again.
    fs::rename(project.path().join("dist/VERSION"), project.path().join("dist/other")).unwrap();
    let said = project.shipit("deploy");
    assert!(said.starts_with("exit: 1"), "{said}");
    assert_eq!(live(project), old, "{said}");
    fs::rename(project.path().join("dist/other"), project.path().join("dist/VERSION")).unwrap();

    for _ in 0..2 {
        assert!(project.shipit("deploy").starts_with("exit: 0"));
        assert_eq!(project.read("srv/current/VERSION"), "1\n");
        let said = project.shipit("rollback");
        assert!(said.starts_with("exit: 0"), "{said}");
        assert_eq!(live(project), old, "{said}");
        assert_eq!(project.read("srv/current/VERSION"), version);
        let said = project.shipit("releases");
        assert!(said.contains(&counted) && !said.contains("unknown"), "{said}");
        let said = project.shipit("status");
        assert!(!said.contains("does not say"), "{said}");
    }
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let said = project.shipit("releases");
    let way = format!("`rollback` may go to {}, only", mask(&old));
    assert!(said.contains(&way), "{said}");
    let said = project.shipit("prune --keep 1");
    assert!(said.starts_with("exit: 0"), "{said}");
    let left = releases(project);
    assert!(before.iter().all(|name| left.contains(name)), "{left:?}");
    assert_eq!(left.len(), before.len() + 1, "{left:?}");
}

/// The word in place of an id.
fn mask(id: &str) -> &str {
    if id.len() == 14 { "<id>" } else { id }
}

#[test]
fn tree_in_the_layout_of_deployer_is_taken_over() {
    let project = Project::local();
    for (number, at) in [("9", "2026-01-01"), ("10", "2026-01-02"), ("11", "2026-01-03")] {
        project.write(&format!("srv/releases/{number}/VERSION"), &format!("old {number}\n"));
        let line = format!(
            "{{\"created_at\":\"{at}T12:00:00+0000\",\"release_name\":\"{number}\",\
             \"user\":\"ada\",\"target\":\"HEAD\"}}\n"
        );
        let log = project.path().join("srv/.dep/releases_log");
        let told = fs::read_to_string(log).unwrap_or_default();
        project.write("srv/.dep/releases_log", &(told + &line));
    }
    project.write("srv/.dep/latest_release", "11\n");
    // Somebody has rolled back with Deployer.
    symlink("releases/10", project.path().join("srv/current")).unwrap();
    is_taken_over(&project);
    assert_eq!(live(&project).len(), 14);
    let said = project.shipit("rollback --to 9");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert_eq!(project.read("srv/current/VERSION"), "old 9\n");
    for version in ["2\n", "3\n"] {
        project.write("dist/VERSION", version);
        assert!(project.shipit("deploy").starts_with("exit: 0"));
    }
    assert!(project.shipit("prune --keep 1").starts_with("exit: 0"));
    let left = releases(&project);
    assert!(["9", "10", "11"].iter().all(|name| left.iter().any(|it| it == name)), "{left:?}");
    assert_eq!(project.read("srv/.dep/latest_release"), "11\n");
}

const CAPFILE: &str = r##"
require 'capistrano/setup'
require 'capistrano/deploy'
require 'capistrano/scm/plugin'
class Copied < Capistrano::SCM::Plugin
  def register_hooks
    after 'deploy:new_release_path', 'copied:create_release'
  end
  def define_tasks
    namespace :copied do
      task :create_release do
        on release_roles(:all) do
          execute :mkdir, '-p', release_path
          execute :cp, ENV.fetch('BUILT'), "#{release_path}/VERSION"
        end
      end
    end
  end
end
install_plugin Copied
"##;

fn cap(project: &Project, version: &str) -> bool {
    project.write("built", version);
    let mut command = Command::new("cap");
    command.args(["production", "deploy"]).current_dir(project.path());
    command.env("HOME", project.path()).env("BUILT", project.path().join("built"));
    let Ok(out) = command.output() else { return false };
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    true
}

#[test]
fn tree_of_capistrano_is_taken_over() {
    let project = Project::local();
    project.write("Capfile", CAPFILE);
    let dir = project.path().display();
    project.write(
        "config/deploy.rb",
        &format!(
            "set :application, 'todo'\nset :deploy_to, '{dir}/srv'\nset :linked_dirs, ['log']\n\
             set :format_options, log_file: nil, color: false\n"
        ),
    );
    project.write("config/deploy/production.rb", "server :local, roles: %w[app]\n");
    if !cap(&project, "old 1\n") {
        return;
    }
    sleep(Duration::from_secs(1));
    cap(&project, "old 2\n");
    is_taken_over(&project);
    let log = project.read("srv/revisions.log");
    assert!(log.contains("Branch ") && log.contains("rolled back to release"), "{log}");
}
