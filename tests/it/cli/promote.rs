//! What is deployed is what was tested: by digest.

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
    let said = project.shipit(&format!("deploy --force --expect-digest {tested}"));
    assert!(said.starts_with("exit: 0"), "{said}");
    let said = project.shipit("deploy --expect-digest sha256:1234");
    assert!(said.starts_with("exit: 2") && said.contains("64 hex digits"), "{said}");
}
