//! `shipit env diff`: what differs between the env files of two releases, and never a value.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::project::Project;

/// Two releases, the second with other values, and their ids.
fn two_releases() -> (Project, [String; 2]) {
    let project = Project::local();
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let old = live(&project);
    let text = project.read("deploy.toml");
    let vars = "vars.A = \"other-value\"\nvars.NEW = \"new-value\"\nvars.SAME = \"\"";
    let text = text.replace("vars.A = \"b\"", vars);
    let text = text.replace("vars.SECRET = { command = \"echo p0isoned-value\" }\n", "");
    project.write("deploy.toml", &text);
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let new = live(&project);
    (project, [old, new])
}

fn live(project: &Project) -> String {
    let target = fs::read_link(project.path().join("srv/current")).unwrap();
    target.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn values_that_differ_are_named_and_never_shown() {
    let (project, [old, new]) = two_releases();
    let said = project.shipit(&format!("env diff {old} {new}"));
    assert!(said.starts_with("exit: 0"), "{said}");
    let shown = "local: from <id> to <id>\n  + NEW (.env)\n  + SAME (.env)\n  ~ A (.env)\n  \
                 - SECRET (.env)\n";
    assert!(said.contains(shown), "{said}");
    let back = project.shipit(&format!("env diff {new} {old} here"));
    assert!(back.contains("  + SECRET (.env)\n  ~ A (.env)\n  - NEW (.env)\n"), "{back}");
    let same = project.shipit(&format!("env diff {new} {new}"));
    assert!(same.contains("local: <id> and <id> have the same values"), "{same}");
    let kept = project.read(&format!("srv/.shipit/env/{new}"));
    for value in ["other-value", "new-value", "p0isoned"] {
        assert!(!said.contains(value) && !kept.contains(value), "{said}{kept}");
    }
    let file = project.path().join("srv/.shipit/env").join(&new);
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let said = project.shipit("env diff 20200101000000 20200101000001");
    assert!(said.contains("release <id> is not on this host"), "{said}");
    assert!(project.shipit(&format!("env diff {old}")).starts_with("exit: 2"));
}

#[test]
fn release_of_an_earlier_shipit_is_unknown_and_never_unchanged() {
    let (project, [old, new]) = two_releases();
    let kept = project.path().join("srv/.shipit/env");
    fs::remove_file(kept.join(&old)).unwrap();
    let said = project.shipit(&format!("env diff {old} {new}"));
    assert!(said.starts_with("exit: 1"), "{said}");
    let lines = "local: what changed from <id> to <id> is not known\n  another tool, or an earlier shipit, made <id>\n";
    assert!(said.contains(lines), "{said}");
    // An earlier shipit that prunes leaves the file.
    fs::write(kept.join("20200101000000"), "file .env\n").unwrap();
    assert!(project.shipit("prune --keep 1").starts_with("exit: 0"));
    assert!(!kept.join("20200101000000").exists());
    assert!(kept.join(&new).exists());
}
