//! `shipit env`: the values of environment files by name, and where each comes from.

use serde_json::{Value, json};

use super::clean;
use super::json::answer;
use super::styles::Styles;
use super::table::{self, Column};
use crate::config::env::EnvFile;
use crate::config::secrecy::Secrecy;
use crate::config::{Config, EnvSpec};

const COLUMNS: [Column; 4] = [
    Column::text("name", 0),
    Column::text("file", 2),
    Column::text("shown", 1),
    Column::prose("from", 3),
];

/// Returns a table of all values: names and origins, never the values.
pub fn env_table(config: &Config, files: &[EnvFile], styles: &Styles) -> String {
    let secrecy = Secrecy::of(config);
    let mut rows = Vec::new();
    for (spec, file) in config.env.iter().zip(files) {
        let masked: Vec<_> = file.secret_keys(&secrecy).collect();
        rows.extend(file.origins().map(|(name, origin)| {
            let shown = if masked.contains(&name) { "masked" } else { "yes" };
            [name, &spec.file, shown, &clean::line(origin)].map(str::to_owned).to_vec()
        }));
    }
    if rows.is_empty() {
        return "no values: deploy.toml has none in [env]\n".to_owned();
    }
    table::render(&COLUMNS, &rows, styles.table_width()).join("\n") + "\n"
}

/// Returns the same as JSON, by file.
pub fn env_json(config: &Config, files: &[EnvFile]) -> Value {
    let secrecy = Secrecy::of(config);
    let one = |(spec, file): (&EnvSpec, &EnvFile)| {
        let masked: Vec<_> = file.secret_keys(&secrecy).collect();
        let value = |(name, from): (&str, &str)| json!({ "name": name, "from": from, "masked": masked.contains(&name) });
        json!({
            "file": spec.file,
            "format": spec.format.word(),
            "roles": spec.roles,
            "values": file.origins().map(value).collect::<Value>(),
        })
    };
    let files: Value = config.env.iter().zip(files).map(one).collect();
    answer(json!({ "stage": config.stage, "files": files }))
}
