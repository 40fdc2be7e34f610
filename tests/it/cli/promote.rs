//! The deployed artifact is the tested one: by digest.

use crate::support::project::Project;

fn digest(project: &Project) -> String {
    let said = project.shipit("releases --json");
    let at = said.find("\"artifact\":\"").unwrap_or_else(|| panic!("{said}")) + 12;
    said[at..at + 64].to_owned()
}

#[test]
fn artifact_with_another_digest_is_refused() {
    let project = Project::local();
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let tested = digest(&project);
    project.write("dist/VERSION", "2\n");
    let said = project.shipit(&format!("deploy --expect-digest sha256:{tested}"));
    assert!(said.starts_with("exit: 2"), "{said}");
    let hint = format!("`--expect-digest` names sha256:{tested}: deploy that artifact");
    assert!(said.contains(&hint) && said.contains("state: nothing was changed"), "{said}");
    assert_eq!(project.read("srv/current/VERSION"), "1\n");
    project.write("dist/VERSION", "1\n");
    // A run that was refused may hold the lock for a moment.
    let said = project.shipit(&format!("deploy --force --wait --expect-digest {tested}"));
    assert!(said.starts_with("exit: 0"), "{said}");
    let said = project.shipit("deploy --expect-digest sha256:1234");
    assert!(said.starts_with("exit: 2") && said.contains("64 hex digits"), "{said}");
}

/// Two stages on this machine with directories of their own, and a build.
fn two_stages() -> Project {
    let project = Project::local();
    let dir = project.path().display();
    let text = project.read("deploy.toml").replace(
        "[stages.here]\nhosts = [\"local\"]\n",
        &format!(
            "[stages.staging]\nhosts = [\"local\"]\nenv.vars.A = \"trial\"\n\n\
             [stages.live]\nhosts = [\"local\"]\ndeploy_to = \"{dir}/live\"\n"
        ),
    );
    project.write("deploy.toml", &text);
    project
}

#[test]
fn promotion_takes_what_staging_runs_and_needs_no_build() {
    let project = two_stages();
    assert!(project.shipit("deploy staging").starts_with("exit: 0"));
    std::fs::remove_dir_all(project.path().join("dist")).unwrap();
    let plan = project.shipit("promote staging live --dry-run");
    assert!(plan.starts_with("exit: 0") && plan.contains("  upload 1 file, 2 B\n"), "{plan}");
    assert!(!project.path().join("live").exists());
    let said = project.shipit("promote staging live --json");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(said.contains(r#""name":"release <id> of staging""#), "{said}");
    assert_eq!(project.read("live/current/VERSION"), "1\n");
    assert_eq!(project.read("live/current/.env"), "A='b'\nSECRET='p0isoned-value'\n");
    assert!(!said.contains("p0isoned"), "{said}");
    let again = project.shipit("promote staging live");
    assert!(again.contains("unchanged: <id> is live on local already"), "{again}");

    let text = project.read("deploy.toml").replace("vars.A = \"b\"", "vars.A = \"c\"");
    project.write("deploy.toml", &text);
    let said = project.shipit("deploy live --env-only");
    assert!(said.starts_with("exit: 0") && said.contains("is live on local (was <id>)"), "{said}");
    assert!(project.read("live/current/.env").starts_with("A='c'\n"));
    assert_eq!(project.read("live/current/VERSION"), "1\n");
}

#[test]
fn promotion_that_cannot_be_says_why() {
    let project = two_stages();
    let said = project.shipit("promote live live");
    assert!(said.contains("error: live cannot be promoted to itself"), "{said}");
    let said = project.shipit("promote staging live");
    assert!(said.starts_with("exit: 1"), "{said}");
    assert!(said.contains("error: local of staging: nothing is live"), "{said}");
    assert!(said.contains("state: nothing was changed"), "{said}");
    assert!(project.shipit("promote trial live").starts_with("exit: 2"));
    assert!(project.shipit("deploy staging").starts_with("exit: 0"));
    let said = project.shipit(&format!("promote staging live --expect-digest {}", "0".repeat(64)));
    assert!(said.starts_with("exit: 2") && said.contains("has the digest sha256:"), "{said}");
    let said = project.shipit("deploy live --env-only --artifact dist");
    assert!(said.starts_with("exit: 2") && said.contains("cannot be used with"), "{said}");
    assert!(!project.path().join("live").exists());
}
