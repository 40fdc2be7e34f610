//! Lays a stage over the top level, as both are written: the keys of the stage win.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of a service that is a unit, and of one that is a command.
const OF_UNITS: [&str; 7] = ["unit", "scope", "action", "proof", "file", "image", "engine"];
const OF_COMMANDS: [&str; 3] = ["restart", "stop", "log"];

/// Returns the keys of a stage, and those of `top` where it has none. Tables merge key by key;
/// lists are replaced as a whole. `path` leads to these tables.
pub(super) fn over<'t>(stage: &DeTable<'t>, top: &DeTable<'t>, path: &[&str]) -> DeTable<'t> {
    let inherited = top.iter().filter(|(key, _)| is_inherited(key.get_ref(), stage, path));
    let mut merged: DeTable<'t> = inherited.map(|(k, value)| (k.clone(), value.clone())).collect();
    for (key, value) in stage {
        let path = [path, &[key.get_ref()]].concat();
        match (merged.get_mut(&**key.get_ref()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(top)), DeValue::Table(stage)) if !is_one_value(&path) => {
                *top = over(stage, top, &path);
            }
            _ => _ = merged.insert(key.clone(), value.clone()),
        }
    }
    merged
}

/// Returns whether the table at `path` is a value, or a list by names, that is replaced as a whole.
fn is_one_value(path: &[&str]) -> bool {
    matches!(
        path,
        ["hosts"]
            | ["artifact", "sha256" | "signature"]
            | ["artifact", "headers", _]
            | ["env", "vars", _]
            | ["slots", "ports"]
            | ["sudo", "password"]
    )
}

/// Returns whether a stage takes a key of the top level over. With its own path, an artifact has
/// its own digest or none; with another kind of service, a stage inherits only what both kinds
/// have.
fn is_inherited(key: &str, stage: &DeTable<'_>, path: &[&str]) -> bool {
    let has = |key: &str| stage.contains_key(key);
    match path {
        [] => key != "stages",
        ["artifact"] => key != "sha256" || !has("path"),
        ["service"] | ["services", _] => {
            !(has("restart") && OF_UNITS.contains(&key)
                || has("unit") && OF_COMMANDS.contains(&key))
        }
        _ => true,
    }
}
