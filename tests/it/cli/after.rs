//! The commands for what comes after a deploy, as a person types them.

use super::*;

/// A stage on which two builds were deployed, and their ids, oldest first.
fn deployed() -> (World, Vec<String>) {
    let world = World::local();
    assert!(world.shipit("deploy").starts_with("exit: 0"));
    world.write("dist/VERSION", "2\n");
    assert!(world.shipit("deploy").starts_with("exit: 0"));
    let releases = fs::read_dir(world.dir.path().join("srv/releases")).unwrap();
    let mut ids: Vec<_> =
        releases.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    ids.sort();
    (world, ids)
}

#[test]
fn pins_show_and_keep() {
    let (world, ids) = deployed();
    assert_snapshot!(world.shipit(&format!("pin {} -q", ids[0])), @r"
    exit: 0
    --- stdout
    --- stderr
    ");
    assert!(world.shipit("releases").contains("good, pinned"));
    assert!(world.shipit("prune --keep 1").starts_with("exit: 0"));
    assert!(world.dir.path().join("srv/releases").join(&ids[0]).exists());
    assert!(
        world.shipit(&format!("pin {}", ids[0])).contains("nothing to do: pinned <id> already")
    );
    assert_snapshot!(world.shipit(&format!("unpin {} -n", ids[0])), @r"
    exit: 0
    --- stdout
    local:
      unpin <id>
    nothing was changed: this was a dry run
    --- stderr
    ");
    let said = world.shipit(&format!("unpin {} --json", ids[0]));
    let report = said.lines().find(|line| line.contains("\"report\"")).unwrap();
    assert!(report.contains(r#""goal":"unpin""#) && report.contains(r#""exit_code":0"#), "{said}");
    assert!(!world.shipit("releases").contains("pinned"));
    assert_snapshot!(world.shipit("pin 20200101000000 -q"), @r"
    exit: 1
    --- stdout
    --- stderr
    error: local: release <id> is not on this host
      state: local was not changed (live: <id>)
      hint:  this host has <id>, <id>
    ");
    assert!(world.shipit("pin yesterday").starts_with("exit: 2"));
}

#[test]
fn verify_is_0_when_clean_and_1_with_drift() {
    let (world, ids) = deployed();
    assert_snapshot!(world.shipit("verify"), @r"
    exit: 0
    --- stdout
    ok       local: <id> (live) is as it was released
    --- stderr
    ");
    assert!(world.shipit(&format!("verify --release {}", ids[0])).contains("(not live)"));
    fs::remove_file(world.dir.path().join("srv/current/VERSION")).unwrap();
    world.write("srv/current/.env", "SECRET='p0isoned-other'");
    assert_snapshot!(world.shipit("verify"), @r"
    exit: 1
    --- stdout
    drift    local: <id> is not as it was released
             VERSION: missing
             .env: changed
    --- stderr
    ");
    let said = world.shipit("verify --json") + &world.shipit("verify -v") + &world.shipit("deploy");
    assert!(!said.contains("p0isoned"), "{said}");
    assert!(said.contains(r#""change":"missing""#), "{said}");
    assert!(said.contains("<id> is not as it was released: .env, VERSION;"), "{said}");
    assert!(world.shipit("verify --release 1").starts_with("exit: 2"));
    assert!(world.shipit("verify --release 20200101000000").starts_with("exit: 1"));
}

#[test]
fn history_tells_everybody_everything() {
    let (world, _) = deployed();
    world.shipit("rollback");
    let said = world.shipit("history");
    let rows: Vec<Vec<_>> = said
        .lines()
        .filter(|line| line.contains(" ada"))
        .map(|line| line.split_whitespace().skip(2).take(3).collect())
        .collect();
    let deploy = ["deploy", "<id>", "done"];
    assert_eq!(rows, [["rollback", "<id>", "done"], deploy, deploy], "{said}");
    assert!(world.shipit("history --limit 1").contains("2 before these"));
    let json = world.shipit("history --json");
    assert!(json.contains(r#""what":"rollback""#) && json.contains(r#""who":"ada""#), "{json}");
}

#[test]
fn a_lock_names_who_and_why_until_unlock() {
    let (world, _) = deployed();
    assert!(world.shipit("lock -n").contains("  lock\n"));
    assert!(world.shipit("unlock").contains("local: not locked\n"));
    let mut lock = world.command("lock -q -m");
    assert!(world.said(lock.arg("db\nmigration")).starts_with("exit: 0"));
    for line in ["deploy --force -q", "rollback -q", "prune", "lock -q"] {
        let said = world.shipit(line);
        assert!(said.starts_with("exit: 75"), "{line}: {said}");
        assert!(said.contains("  cause: locked by ada on "), "{line}: {said}");
        assert!(said.contains(": db migration, since 20"), "{line}: {said}");
        assert!(said.ends_with("  hint:  `shipit unlock here` ends it\n"), "{line}: {said}");
    }
    let status = world.shipit("status");
    assert!(status.contains("locked by: ada on ") && status.contains("`shipit unlock here`"));
    assert!(world.shipit("check").contains("locked by ada on "));
    let asked = world.shipit("unlock");
    assert!(asked.starts_with("exit: 2") && asked.contains("locked by ada on "), "{asked}");
    assert!(asked.contains("error: unlock asks for confirmation"), "{asked}");
    assert!(world.shipit("unlock -n").starts_with("exit: 0"));
    assert!(world.shipit("prune").starts_with("exit: 75"));
    assert!(world.shipit("unlock -y").contains("\nunlocked on local\n"));
    assert!(world.shipit("rollback").starts_with("exit: 0"));
    assert!(world.read("srv/revisions.log").contains(" here locked by ada: db migration\n"));
}
