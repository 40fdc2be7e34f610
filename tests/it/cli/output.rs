//! The JSON Schema of `--json`, held against what every command prints.

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::project::Project;

/// The published schema lets new fields pass. Here each field must be in it, so a field that
/// nobody wrote down is found.
fn closed(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(closed);
            if map.contains_key("properties") {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(all) => all.iter_mut().for_each(closed),
        _ => {}
    }
}

/// Returns the validator of one definition of the schema.
fn validator(name: &str) -> Validator {
    let mut schema: Value =
        serde_json::from_str(&std::fs::read_to_string("docs/output.schema.json").unwrap()).unwrap();
    closed(&mut schema);
    let whole = json!({
        "$schema": schema["$schema"],
        "$ref": format!("#/definitions/{name}"),
        "definitions": schema["definitions"],
    });
    jsonschema::validator_for(&whole).unwrap()
}

/// Runs a command, checks each line that it prints, and returns how many there were.
fn check(project: &Project, line: &str, name: &str) -> usize {
    let out = project.command(line).arg("--json").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let validator = validator(name);
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        if let Err(error) = validator.validate(&value) {
            panic!("{line}: {}: {error}", error.instance_path());
        }
    }
    assert!(!text.is_empty(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    text.lines().count()
}

/// A project that has deployed twice, and a release that failed.
fn busy() -> Project {
    let project = Project::local();
    assert_eq!(check(&project, "check", "check"), 1);
    assert_eq!(check(&project, "deploy -n", "dry-run"), 1);
    assert!(check(&project, "deploy -v", "event") > 10);
    project.write("dist/VERSION", "2\n");
    check(&project, "deploy", "event");
    let text = project.read("deploy.toml");
    project.write("deploy.toml", &text.replace("test -e VERSION", "exit 1"));
    project.write("dist/VERSION", "3\n");
    check(&project, "deploy", "event");
    project.write("deploy.toml", &text);
    project
}

#[test]
fn every_command_prints_what_its_schema_says() {
    let project = busy();
    let live = std::fs::read_link(project.path().join("srv/current")).unwrap();
    let live = live.file_name().unwrap().to_str().unwrap().to_owned();
    for name in ["releases", "status", "history", "verify", "check", "env", "setup"] {
        assert_eq!(check(&project, name, name), 1);
    }
    check(&project, &format!("pin {live}"), "event");
    check(&project, &format!("unpin {live}"), "event");
    check(&project, "lock -m why", "event");
    check(&project, "status", "status");
    check(&project, "deploy --force", "event");
    check(&project, "unlock --yes", "event");
    project.write("dist/VERSION", "4\n");
    let before = std::fs::read_link(project.path().join("srv/current")).unwrap();
    let before = before.file_name().unwrap().to_str().unwrap().to_owned();
    check(&project, &format!("env diff {live} {before}"), "env-diff");
    check(&project, "stage", "event");
    check(&project, "status", "status");
    check(&project, "releases", "releases");
    check(&project, "activate", "event");
    check(&project, "rollback", "event");
    check(&project, "rollback -n", "dry-run");
    check(&project, "diff", "diff");
    check(&project, "prune --keep 1", "event");
    let text = project.read("deploy.toml");
    let dir = project.path().display();
    let other = format!("\n[stages.other]\nhosts = [\"local\"]\ndeploy_to = \"{dir}/other\"\n");
    project.write("deploy.toml", &(text.clone() + &other));
    check(&project, "promote here other", "event");
    project.write("deploy.toml", &text);
    project.write("srv/current/VERSION.new", "x");
    check(&project, "verify", "verify");
    check(&project, "history", "history");
}

/// The commands that print no JSON, or whose output the test above checks.
#[test]
fn schema_knows_every_command_or_it_prints_no_json() {
    let prints_none = ["init", "ssh", "demo", "completions", "man", "schema", "help"];
    let changes =
        ["deploy", "stage", "activate", "rollback", "prune", "pin", "unpin", "lock", "unlock"];
    // Its goal is `deploy`.
    let deploys = ["promote"];
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string("docs/output.schema.json").unwrap()).unwrap();
    let goals = schema["definitions"]["goal"]["enum"].as_array().unwrap();
    assert!(changes.iter().all(|change| goals.contains(&json!(change))));
    let help = Project::new().shipit("help");
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        let known = prints_none.contains(&name)
            || changes.contains(&name)
            || deploys.contains(&name)
            || schema["definitions"].get(name).is_some();
        assert!(known, "docs/output.schema.json does not say what `shipit {name} --json` prints");
    }
}

#[test]
fn schema_command_prints_what_the_documents_hold() {
    let project = Project::new();
    let printed = project.shipit("schema output");
    let text = std::fs::read_to_string("docs/output.schema.json").unwrap();
    assert!(printed.contains(&text));
    let printed = project.shipit("schema");
    let json = printed.split("--- stdout\n").nth(1).unwrap().split("--- stderr").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(json).unwrap(), shipit::config::schema::schema());
}
