//! The JSON Schema of deploy.toml, for editors. Its keys and types are what the tables read, found
//! by `trace`; its words are those of `deploy.example.toml`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::known::{ONLY_AT_TOP, dotted};
use super::tables::Layer;
use super::trace::Shape;

/// The example, which names every key.
const EXAMPLE: &str = include_str!("../../deploy.example.toml");

/// Returns the schema. A config that it refuses is wrong; one that it takes may still break a rule,
/// which `shipit check` finds.
pub fn schema() -> Value {
    let words = words_of(EXAMPLE);
    let mut top = Shape::of::<Layer>().map_or(Value::Null, |shape| value(&shape, "", &words));
    let keys = top["properties"].as_object_mut().map(std::mem::take).unwrap_or_default();
    let mut properties = Map::new();
    let mut stage = Map::new();
    for (key, value) in keys {
        if ONLY_AT_TOP.contains(&key.as_str()) {
            properties.insert(key, value);
        } else {
            let same = format!("#/definitions/stage/properties/{key}");
            properties.insert(key.clone(), json!({ "$ref": same }));
            stage.insert(key, value);
        }
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "deploy.toml of shipit",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "required": ["app", "stages"],
        "definitions": {
            "stage": { "type": "object", "properties": stage, "additionalProperties": false },
        },
    })
}

/// Returns the schema of the value of `key`. `words` are the example's comments on each key.
fn value(shape: &Shape, key: &str, words: &BTreeMap<String, String>) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Number => json!({ "type": "integer" }),
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::Words(words) => json!({ "enum": words }),
        Shape::List(item) => json!({ "type": "array", "items": value(item, key, words) }),
        Shape::Map(item) => {
            json!({ "type": "object", "additionalProperties": value(item, key, words) })
        }
        Shape::Table(values) => {
            let property = |(name, shape): &(&str, Shape)| {
                let key = dotted(key, name);
                let mut schema = value(shape, &key, words);
                // A service of several has the keys of a single one.
                let single = key.replacen("services.", "service.", 1);
                if let Some(words) = words.get(&key).or_else(|| words.get(&single)) {
                    schema["description"] = json!(words);
                }
                ((*name).to_owned(), schema)
            };
            let properties: Map<_, _> = values.iter().map(property).collect();
            json!({ "type": "object", "properties": properties, "additionalProperties": false })
        }
        Shape::Again => json!({ "$ref": "#/definitions/stage" }),
        Shape::OneOf { expected, forms } => {
            let forms: Vec<_> = forms.iter().map(|form| value(form, key, words)).collect();
            let mut schema = json!({ "anyOf": forms });
            if let Some(expected) = expected {
                schema["description"] = json!(expected);
            }
            schema
        }
    }
}

/// Returns what the comments of an example say of each key.
fn words_of(example: &str) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    let mut table = String::new();
    for line in example.lines() {
        let line = line.trim_start_matches("# ").trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.trim_start_matches('[').clone_into(&mut table);
        }
        let Some((code, comment)) = line.split_once(" # ") else { continue };
        let Some((name, _)) = code.split_once(" = ").filter(|(name, _)| is_key(name.trim())) else {
            continue;
        };
        let key = of_stage(&format!("{table}.{}", name.trim()));
        words.entry(key).or_insert_with(|| comment.trim().to_owned());
    }
    words
}

fn is_key(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || "_.".contains(c))
}

/// Returns a key as it is outside a stage, and outside the name of a service.
fn of_stage(key: &str) -> String {
    let mut parts: Vec<_> = key.split('.').filter(|part| !part.is_empty()).collect();
    if parts.first() == Some(&"stages") {
        parts.drain(..parts.len().min(2));
    }
    if parts.first() == Some(&"services") && parts.len() > 1 {
        parts.remove(1);
    }
    parts.join(".")
}
