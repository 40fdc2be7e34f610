//! The JSON Schema of deploy.toml takes what is right and refuses what is wrong.

use std::fs;

use serde_json::Value;
use shipit::config::known::known_keys;
use shipit::config::schema::schema;

use crate::support::config::{LEAST, STAGE, refused_by_schema};

#[test]
fn example_and_seeds_are_valid() {
    let mut texts = vec![
        fs::read_to_string("deploy.example.toml").unwrap(),
        fs::read_to_string("vagrant/deploy.toml").unwrap(),
    ];
    for seed in ["example", "least", "rollout"] {
        texts.push(fs::read_to_string(format!("fuzz/corpus/config/{seed}")).unwrap());
    }
    for text in texts {
        assert_eq!(refused_by_schema(&text), None, "{text}");
    }
}

/// Returns whether a schema, or one that it consists of, has the properties of a dotted key.
fn has(schema: &Value, keys: &[&str]) -> bool {
    let Some((key, rest)) = keys.split_first() else { return true };
    let found = schema["properties"].get(key).is_some_and(|inner| has(inner, rest));
    let choices = schema["anyOf"].as_array().into_iter().flatten();
    let inside = choices.chain(schema.get("items")).chain(schema.get("additionalProperties"));
    found || inside.into_iter().any(|inner| has(inner, keys))
}

#[test]
fn every_known_key_is_in_it_and_most_have_words() {
    let schema = schema();
    let stage = &schema["definitions"]["stage"];
    let keys = known_keys();
    assert!(keys.len() > 100, "{keys:?}");
    for key in &keys {
        let parts: Vec<_> = key.split('.').collect();
        let at_top = ["app", "default_stage", "stages"].contains(&key.as_str());
        let place = if at_top { &schema } else { stage };
        assert!(has(place, &parts), "{key} is not in the schema");
    }
    let text = schema.to_string();
    assert!(text.matches("\"description\"").count() > 80, "{text}");
    assert_eq!(
        stage["properties"]["upload"]["properties"]["limit"]["description"],
        "for all hosts together"
    );
}

#[test]
fn what_the_tables_refuse_the_schema_refuses() {
    for wrong in [
        "keep_release = 3",
        "keep_releases = \"five\"",
        "linked_dirs = \"log\"",
        "linked_dirs = [3]",
        "linked_dirs = [{ path = \"log\", mod = \"750\" }]",
        "artifact = \"dist\"",
        "[env.vars]\nA = { enf = \"B\" }",
        "[env.vars]\nA = 3",
        "[service]\nscope = \"sytem\"",
        "[service]\naction = \"restrat\"",
        "[health]\nhtpt = \"x\"",
        "[[health.checks]]\nstatus = [true]",
        "[[health.checks]]\nstatus = [[200]]",
        "[hooks]\nshell = 3",
        "[hooks.local]\nbefor = []",
        "[rollout]\nbatch = false",
        "[rollout]\non_failure = \"panic\"",
        "[slots]\nports = { blue = \"8081\" }",
    ] {
        let text = format!("{LEAST}{wrong}\n{STAGE}");
        assert!(refused_by_schema(&text).is_some(), "{text}");
        let in_stage = format!("{LEAST}{STAGE}");
        assert_eq!(refused_by_schema(&in_stage), None);
    }
    let stage = format!("{LEAST}{STAGE}app = \"x\"\n");
    assert!(refused_by_schema(&stage).is_some(), "`app` is no key of a stage");
    assert!(refused_by_schema(LEAST).is_some(), "there is no stage");
}
