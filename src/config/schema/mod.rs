//! The JSON Schema of deploy.toml, for editors. Its keys and types are what the tables read, found
//! by `trace`; its words are those of `deploy.example.toml`.

mod trace;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::trace::{Kind, Trace, ValueForm};
use super::known::ONLY_AT_TOP;
use super::tables::Layer;

/// The example, which names every key.
const EXAMPLE: &str = include_str!("../../../deploy.example.toml");

/// Returns the schema. A config that it refuses is wrong; one that it takes may still break a rule,
/// which `shipit check` finds.
pub fn schema() -> Value {
    let writer = SchemaWriter { trace: Trace::of::<Layer>(), words: words_of(EXAMPLE) };
    let mut top = writer.value("", "");
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

struct SchemaWriter {
    trace: Trace,
    /// The example's comment on each key.
    words: BTreeMap<String, String>,
}

impl SchemaWriter {
    /// Returns the schema of the value at `path`, whose key is `key`, with dots.
    fn value(&self, path: &str, key: &str) -> Value {
        let mut schema = match self.trace.kinds.get(path) {
            None => json!({}),
            Some(Kind::Text) => json!({ "type": "string" }),
            Some(Kind::Number) => json!({ "type": "integer" }),
            Some(Kind::Switch) => json!({ "type": "boolean" }),
            Some(Kind::Words(words)) => json!({ "enum": words }),
            Some(Kind::List) => json!({ "type": "array", "items": self.item(path, key) }),
            Some(Kind::Map) => {
                json!({ "type": "object", "additionalProperties": self.item(path, key) })
            }
            Some(Kind::Table(keys)) => self.table(path, key, keys),
            Some(Kind::Again) => json!({ "$ref": "#/definitions/stage" }),
            Some(Kind::SameAsOuter) => self.one_of(path.trim_end_matches("|List/*"), key, true),
            Some(Kind::OneOf { expected }) => {
                let mut schema = self.one_of(path, key, false);
                schema["description"] = json!(expected);
                schema
            }
        };
        let last = |text: &str| text.rsplit(['/', '.']).next().map(str::to_owned);
        let words = self.words.get(key);
        // A service of several has the keys of a single one.
        let words = words.or_else(|| self.words.get(&key.replacen("services.", "service.", 1)));
        if let Some(words) = words.filter(|_| last(path) == last(key)) {
            schema["description"] = json!(words);
        }
        schema
    }

    fn item(&self, path: &str, key: &str) -> Value {
        self.value(&trace::item(path), key)
    }

    fn table(&self, path: &str, key: &str, keys: &[&str]) -> Value {
        let value = |name: &&str| {
            let key = trace::below(key, name).replace('/', ".");
            ((*name).to_owned(), self.value(&trace::below(path, name), &key))
        };
        let properties: Map<_, _> = keys.iter().map(value).collect();
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }

    fn one_of(&self, path: &str, key: &str, inner: bool) -> Value {
        let forms = self.trace.forms(path).filter(|form| !inner || *form != ValueForm::List);
        let all: Vec<_> = forms.map(|form| self.value(&trace::form(path, form), key)).collect();
        json!({ "anyOf": all })
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
