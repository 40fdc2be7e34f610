//! The commands for what comes after a deploy, as a person types them.

use std::fs;

use insta::assert_snapshot;

use crate::support::project::Project;

/// A stage on which two builds were deployed, and their ids, oldest first.
fn deployed() -> (Project, Vec<String>) {
    let project = Project::local();
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    project.write("dist/VERSION", "2\n");
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let releases = fs::read_dir(project.dir.path().join("srv/releases")).unwrap();
    let mut ids: Vec<_> =
        releases.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    ids.sort();
    (project, ids)
}

#[test]
fn pinned_release_is_shown_and_kept() {
    let (project, ids) = deployed();
    assert_snapshot!(project.shipit(&format!("pin {} -q", ids[0])), @r"
    exit: 0
    --- stdout
    --- stderr
    ");
    assert!(project.shipit("releases").contains("good, pinned"));
    assert!(project.shipit("prune --keep 1").starts_with("exit: 0"));
    assert!(project.dir.path().join("srv/releases").join(&ids[0]).exists());
    assert!(
        project.shipit(&format!("pin {}", ids[0])).contains("nothing to do: pinned <id> already")
    );
    assert_snapshot!(project.shipit(&format!("unpin {} -n", ids[0])), @r"
    exit: 0
    --- stdout
    local:
      unpin <id>
    nothing was changed: this was a dry run
    --- stderr
    ");
    let said = project.shipit(&format!("unpin {} --json", ids[0]));
    let report = said.lines().find(|line| line.contains("\"report\"")).unwrap();
    assert!(report.contains(r#""goal":"unpin""#) && report.contains(r#""exit_code":0"#), "{said}");
    assert!(!project.shipit("releases").contains("pinned"));
    assert_snapshot!(project.shipit("pin 20200101000000 -q"), @r"
    exit: 1
    --- stdout
    --- stderr
    error: local: release <id> is not on this host
      state: local was not changed (live: <id>)
      hint:  this host has <id>, <id>
    ");
    assert!(project.shipit("pin yesterday").starts_with("exit: 2"));
}

#[test]
fn verify_exits_0_when_clean_and_1_with_drift() {
    let (project, ids) = deployed();
    assert_snapshot!(project.shipit("verify"), @r"
    exit: 0
    --- stdout
    ok       local: <id> (live) is as it was released
    --- stderr
    ");
    assert!(project.shipit(&format!("verify --release {}", ids[0])).contains("(not live)"));
    fs::remove_file(project.dir.path().join("srv/current/VERSION")).unwrap();
    project.write("srv/current/.env", "SECRET='p0isoned-other'");
    assert_snapshot!(project.shipit("verify"), @r"
    exit: 1
    --- stdout
    drift    local: <id> is not as it was released
             VERSION: missing
             .env: changed
    --- stderr
    ");
    let said =
        project.shipit("verify --json") + &project.shipit("verify -v") + &project.shipit("deploy");
    assert!(!said.contains("p0isoned"), "{said}");
    assert!(said.contains(r#""change":"missing""#), "{said}");
    assert!(said.contains("<id> is not as it was released: .env, VERSION;"), "{said}");
    assert!(project.shipit("verify --release v1").starts_with("exit: 2"));
    assert!(project.shipit("verify --release 20200101000000").starts_with("exit: 1"));
}

#[test]
fn env_lists_names_and_origins_and_no_value() {
    let (project, _) = deployed();
    project.write("prod.env", "# poison\nTOKEN='p0isoned-token'\nLEVEL=debug\n");
    let more = "files = [\"prod.env\"]\nvars.A = \"b\"\n\
                vars.C = { env = \"ABSENT\", default = \"p0isoned\" }\n";
    let config = project.read("deploy.toml").replace("vars.A = \"b\"\n", more);
    project.write("deploy.toml", &config);
    assert_snapshot!(project.shipit("env"), @"
    exit: 0
    --- stdout
    name    file  shown   from
    A       .env  yes     deploy.toml
    C       .env  masked  its default
    LEVEL   .env  yes     prod.env:3
    SECRET  .env  masked  `echo …`
    TOKEN   .env  masked  prod.env:2
    --- stderr
    ");
    assert_snapshot!(project.shipit("env --json"), @r#"
    exit: 0
    --- stdout
    {"files":[{"file":".env","format":"portable","roles":[],"values":[{"from":"deploy.toml","masked":false,"name":"A"},{"from":"its default","masked":true,"name":"C"},{"from":"prod.env:3","masked":false,"name":"LEVEL"},{"from":"`echo …`","masked":true,"name":"SECRET"},{"from":"prod.env:2","masked":true,"name":"TOKEN"}]}],"stage":"here","v":1}
    --- stderr
    "#);
    project.write("prod.env", "TOKEN=p0isoned#token\n");
    assert_snapshot!(project.shipit("env"), @"
    exit: 2
    --- stdout
    --- stderr
    error: prod.env:1: the value of `TOKEN` holds `#` with no blank before it
      state: no host was contacted; nothing was changed
      hint:  put the whole value between quotes
    ");
    assert_eq!(project.shipit("deploy"), project.shipit("env"));
}

#[test]
fn history_lists_runs_for_people_and_machines() {
    let (project, _) = deployed();
    project.shipit("rollback");
    let said = project.shipit("history");
    let rows: Vec<Vec<_>> = said
        .lines()
        .filter(|line| line.contains(" ada"))
        .map(|line| line.split_whitespace().skip(2).take(3).collect())
        .collect();
    let deploy = ["deploy", "<id>", "done"];
    assert_eq!(rows, [["rollback", "<id>", "done"], deploy, deploy], "{said}");
    assert!(project.shipit("history --limit 1").contains("2 before these"));
    let json = project.shipit("history --json");
    assert!(json.contains(r#""what":"rollback""#) && json.contains(r#""who":"ada""#), "{json}");
}

#[test]
fn lock_names_who_and_why_until_unlock() {
    let (project, _) = deployed();
    assert!(project.shipit("lock -n").contains("  lock\n"));
    assert!(project.shipit("unlock").contains("local: not locked\n"));
    let mut lock = project.command("lock -q -m");
    assert!(project.said(lock.arg("db\nmigration")).starts_with("exit: 0"));
    for line in ["deploy --force -q", "rollback -q", "prune", "lock -q"] {
        let said = project.shipit(line);
        assert!(said.starts_with("exit: 75"), "{line}: {said}");
        assert!(said.contains("  cause: locked by ada on "), "{line}: {said}");
        assert!(said.contains(": db migration, since 20"), "{line}: {said}");
        assert!(said.ends_with("  hint:  `shipit unlock here` releases it\n"), "{line}: {said}");
    }
    let status = project.shipit("status");
    assert!(status.contains("locked by: ada on ") && status.contains("`shipit unlock here`"));
    assert!(project.shipit("check").contains("locked by ada on "));
    let asked = project.shipit("unlock");
    assert!(asked.starts_with("exit: 2") && asked.contains("locked by ada on "), "{asked}");
    assert!(asked.contains("error: unlock requires confirmation"), "{asked}");
    assert!(project.shipit("unlock -n").starts_with("exit: 0"));
    assert!(project.shipit("prune").starts_with("exit: 75"));
    assert!(project.shipit("unlock -y").contains("\nunlocked on local\n"));
    assert!(project.shipit("rollback").starts_with("exit: 0"));
    assert!(project.read("srv/revisions.log").contains(" here locked by ada: db migration\n"));
}
