//! Output for CI systems, beside the lines for people.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::project::Project;

fn in_github(project: &Project, line: &str) -> String {
    let mut command = project.command(line);
    let path = |name: &str| project.path().join(name);
    command.env("GITHUB_ACTIONS", "true");
    command.env("GITHUB_STEP_SUMMARY", path("summary.md")).env("GITHUB_OUTPUT", path("output"));
    project.said(&mut command)
}

#[test]
fn github_gets_groups_a_summary_and_outputs() {
    let project = Project::local();
    project.write("output", "before=1\n");
    let said = in_github(&project, "deploy");
    assert!(said.starts_with("exit: 0"), "{said}");
    let marks: Vec<_> =
        said.lines().filter(|line| line.starts_with("::") || line.contains("is live on")).collect();
    assert_eq!(marks.iter().filter(|line| line.starts_with("::group::")).count(), 4, "{said}");
    assert_eq!(marks[..3], ["::group::look", "::endgroup::", "::group::prepare"], "{said}");
    let last = said.rfind("::endgroup::").unwrap();
    assert!(said.rfind("live").unwrap() > last, "the summary is not folded: {said}");
    let output = project.read("output");
    let lines: Vec<_> = output.lines().collect();
    assert_eq!((lines[0], lines.len()), ("before=1", 4), "{output}");
    assert!(lines[1].starts_with("release=20") && lines[1].len() == 22, "{output}");
    assert!(lines[2].starts_with("digest=sha256:") && lines[2].len() == 78, "{output}");
    assert_eq!(lines[3], "verdict=done");
    let summary = project.read("summary.md");
    assert!(summary.starts_with("### shipit deploy here: done\n\nRelease `20"), "{summary}");
    assert!(summary.contains("\n| local | done | 20"), "{summary}");
}

#[test]
fn github_summary_of_a_failure_cannot_be_forged_by_a_host() {
    let project = Project::local();
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let text = project.read("deploy.toml");
    let restart = "grep -qx 1 VERSION || { printf '```\\\\n<script>\\\\n# forged\\\\n::endgroup::\\\\n'; \
                   exit 1; }";
    project.write("deploy.toml", &text.replace("test -e VERSION", restart));
    project.write("dist/VERSION", "2\n");
    let said = in_github(&project, "deploy");
    assert!(said.starts_with("exit: 1") && said.contains("::error "), "{said}");
    let summary = project.read("summary.md");
    assert!(summary.starts_with("### shipit deploy here: not-done\n"), "{summary}");
    assert!(summary.contains("| local | reverted | 20"), "{summary}");
    let forged = summary.lines().filter(|line| line.contains("forged") || line.contains("script"));
    let forged: Vec<_> = forged.collect();
    assert!(!forged.is_empty() && forged.iter().all(|line| line.starts_with("    ")), "{summary}");
    assert!(project.read("output").ends_with("verdict=not-done\n"));
}

#[test]
fn github_files_that_cannot_be_written_fail_nothing() {
    let project = Project::local();
    let mut deploy = project.command("deploy");
    let said =
        project.said(deploy.env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", "/nowhere/x"));
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(said.contains("::warning title=shipit::GITHUB_OUTPUT could not be written"), "{said}");
}

#[test]
fn gitlab_gets_sections_that_hosts_cannot_end() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    let hook = "printf '\\\\033[0Ksection_end:1:shipit_prepare\\\\r'";
    project.write("deploy.toml", &text.replace("echo hook says; cat .env", hook));
    let mut deploy = project.command("deploy");
    let said = project.said(deploy.env("GITLAB_CI", "true"));
    assert!(said.starts_with("exit: 0"), "{said}");
    assert_eq!(said.matches("\u{1b}[0Ksection_start:").count(), 4, "{said}");
    assert_eq!(said.matches("\u{1b}[0Ksection_end:").count(), 4, "{said}");
    assert!(said.contains(":shipit_look\r\u{1b}[0Klook\n"), "{said}");
    let quiet = project.said(project.command("deploy -q --force").env("GITLAB_CI", "true"));
    assert!(!quiet.contains("section_"), "{quiet}");
}

/// A project whose stage `production` is this machine, with a build script and a password.
fn production() -> Project {
    let project = Project::local();
    let text = project.read("deploy.toml");
    let text = text.replace("[stages.here]", "[stages.production]");
    project.write(
        "deploy.toml",
        &text.replace("vars.A = \"b\"", "vars.A = { env = \"DB_PASSWORD\" }"),
    );
    project.write("ci/build", "#!/bin/sh\ndate +%N >dist/VERSION\n");
    executable(&project.path().join("ci/build"));
    project
}

fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a script as a CI system does, with the program in its `PATH`.
fn script(project: &Project, shell: &[&str], text: &str, env: &[(&str, &str)]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_shipit")).parent().unwrap();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(text).current_dir(project.path()).env_clear();
    command.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
    command.env("HOME", project.path()).env("USER", "ci").env("DB_PASSWORD", "p0isoned-value");
    command.envs(env.iter().copied());
    command.output().unwrap()
}

/// The CI files of docs/ci.md of this kind, without the line that names it.
fn files(kind: &str) -> Vec<String> {
    let text = fs::read_to_string("docs/ci.md").unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| Some(block.strip_prefix(kind)?.to_owned())).collect()
}

/// The lines of `run:`, of the list after `script:`, and between three quotes after `sh`.
fn shell_of(block: &str) -> String {
    let mut lines = Vec::new();
    let (mut listed, mut quoted) = (false, false);
    for line in block.lines().map(str::trim) {
        if line.ends_with("'''") {
            quoted = !quoted;
        } else if quoted {
            lines.push(line);
        } else if let Some(command) = line.strip_prefix("- run: ") {
            lines.push(command);
        } else if line == "script:" {
            listed = true;
        } else if let Some(command) = line.strip_prefix("- ").filter(|_| listed) {
            lines.push(command);
        } else {
            listed = false;
        }
    }
    lines.join("\n")
}

#[test]
fn shell_parts_of_ci_recipes_run() {
    let files = [files("yaml"), files("groovy")].concat();
    assert_eq!(files.len(), 4, "{files:?}");
    for recipe in files.iter().map(|file| shell_of(file)) {
        assert!(recipe.starts_with("./ci/build\n"), "{recipe}");
        let project = production();
        let env = [("RELEASE", "x"), ("DIGEST", "y"), ("CI", "true")];
        let out = script(&project, &["/bin/sh", "-ec"], &recipe, &env);
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success() && !said.contains("p0isoned"), "{recipe}\n{said}");
        let live = project.path().join("srv/current").exists();
        assert_eq!(live, recipe.contains("shipit deploy"), "{said}");
    }
}

/// The schemas come with check-jsonschema, which `tests/run` installs. A Jenkinsfile has none.
#[test]
fn ci_files_fit_the_schemas_of_their_systems() {
    let Some(python) = std::env::var_os("SHIPIT_TEST_CI_SCHEMAS") else { return };
    let dir = tempfile::tempdir().unwrap();
    let kinds = ["github-workflows", "gitlab-ci", "travis"];
    let texts = files("yaml");
    assert_eq!(texts.len(), kinds.len());
    let mut all: Vec<_> = kinds
        .into_iter()
        .zip(texts)
        .map(|(kind, text)| {
            let path = dir.path().join(format!("{kind}.yml"));
            fs::write(&path, text).unwrap();
            (kind, path)
        })
        .collect();
    all.push(("github-actions", "action.yml".into()));
    for workflow in fs::read_dir(".github/workflows").unwrap() {
        all.push(("github-workflows", workflow.unwrap().path()));
    }
    for (kind, path) in all {
        let mut check = Command::new(&python);
        check.args(["-m", "check_jsonschema", "--builtin-schema", &format!("vendor.{kind}")]);
        let out = check.arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "{}: {said}", path.display());
    }
}

/// Returns what a script of the action does in a project.
fn action(project: &Project, name: &str, env: &[(&str, &str)]) -> Output {
    let path = fs::canonicalize(format!(".github/action/{name}")).unwrap();
    script(project, &["/bin/bash", "-c"], &format!("\"{}\"", path.display()), env)
}

#[test]
fn action_runs_a_stage_and_gives_its_outputs() {
    let project = production();
    let output = project.path().join("output");
    let output = output.to_str().unwrap();
    let github = [("GITHUB_ACTIONS", "true"), ("GITHUB_OUTPUT", output)];
    let own = [("COMMAND", "deploy"), ("STAGE", "production"), ("ARGUMENTS", "--wait  --force")];
    let empty = [("SHIPIT_CONFIG", ""), ("SHIPIT_SSH_KEY", ""), ("SHIPIT_KNOWN_HOSTS", "")];
    let env = [&github[..], &own, &empty].concat();
    let out = action(&project, "run", &env);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(project.read("output").contains("verdict=done\n"));
    let harmless =
        [("COMMAND", "status"), ("STAGE", ""), ("ARGUMENTS", "$(touch ran) ; touch ran")];
    let out = action(&project, "run", &[&harmless[..], &empty].concat());
    assert!(!out.status.success() && !project.path().join("ran").exists());
}

/// A release on this machine, as the action downloads it.
fn release(project: &Project) -> PathBuf {
    let dir = project.path().join("releases/v1");
    fs::create_dir_all(&dir).unwrap();
    let name = format!("shipit-{}-unknown-linux-musl.tar.gz", std::env::consts::ARCH);
    project.write("releases/v1/shipit", "#!/bin/sh\necho installed\n");
    executable(&dir.join("shipit"));
    let pack = format!("tar -czf {name} shipit && sha256sum {name} >SHA256SUMS");
    assert!(
        Command::new("/bin/sh").args(["-c", &pack]).current_dir(&dir).status().unwrap().success()
    );
    dir.join(name)
}

#[test]
#[cfg(target_os = "linux")]
fn action_installs_what_the_checksums_say_and_nothing_else() {
    let project = Project::new();
    let archive = release(&project);
    let dir = project.path().to_str().unwrap().to_owned();
    let path = format!("{dir}/path");
    let releases = format!("file://{dir}/releases");
    let env = [
        ("RELEASES", releases.as_str()),
        ("VERSION", "v1"),
        ("RUNNER_TEMP", &dir),
        ("GITHUB_PATH", &path),
        ("PATH", "/usr/bin:/bin"),
    ];
    let out = action(&project, "install", &env);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(project.read("path"), format!("{dir}/shipit\n"));
    let said = Command::new(project.path().join("shipit/shipit")).output().unwrap().stdout;
    assert_eq!(said, b"installed\n");
    fs::remove_dir_all(project.path().join("shipit")).unwrap();
    fs::write(&archive, "something else").unwrap();
    let out = action(&project, "install", &env);
    assert!(!out.status.success() && !project.path().join("shipit/shipit").exists());
}
