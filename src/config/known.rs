//! The keys of deploy.toml, asked of the tables that mirror it.

use super::tables::Layer;
use super::trace::Shape;

/// Keys that no stage has.
pub(super) const ONLY_AT_TOP: [&str; 3] = ["app", "default_stage", "stages"];

/// Keys that `[service]` does not have, though `[services.NAME]` does.
const ONLY_IN_SERVICES: [&str; 2] = ["service.roles", "service.after"];

/// Every key there is, dotted, `stages.*` standing for its own: for documentation to be complete.
pub fn known_keys() -> Vec<String> {
    let mut all = Vec::new();
    if let Some(shape) = Shape::of::<Layer>() {
        add_keys(&shape, "", &mut all);
    }
    all.retain(|key| !ONLY_IN_SERVICES.contains(&key.as_str()));
    all
}

/// Adds the keys of the value of `key`, those of a table before those of its values.
fn add_keys(shape: &Shape, key: &str, all: &mut Vec<String>) {
    match shape {
        Shape::List(item) | Shape::Map(item) => add_keys(item, key, all),
        Shape::OneOf { forms, .. } => forms.iter().for_each(|form| add_keys(form, key, all)),
        // A value that is elsewhere: its keys are the same in many places, and belong to none.
        Shape::Table(values)
            if values.iter().map(|(key, _)| *key).eq(["env", "command", "file"]) => {}
        Shape::Table(values) => {
            all.extend(values.iter().map(|(name, _)| dotted(key, name)));
            for (name, shape) in values {
                add_keys(shape, &dotted(key, name), all);
            }
        }
        Shape::Text | Shape::Number | Shape::Switch | Shape::Words(_) | Shape::Again => {}
    }
}

/// Returns the key of a value in the table of `key`.
pub(super) fn dotted(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}
