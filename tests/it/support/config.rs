//! Small texts of deploy.toml, and what they mean.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use shipit::config::Config;
use shipit::config::error::ConfigError;
use shipit::config::file::ConfigFile;
use shipit::config::resolve::Overrides;
use shipit::config::schema::schema;

/// The required keys of a file. A stage may repeat them.
pub(crate) const LEAST: &str = "app = \"todo\"\ndeploy_to = \"/srv/todo\"\n";
pub(crate) const STAGE: &str = "[stages.prod]\nhosts = [\"web1\"]\n";

/// Parses a file. What is read without an error, the schema takes too.
pub(crate) fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
    let file = ConfigFile::parse("deploy.toml", Path::new("/project"), text.to_owned())?;
    let whole = text.contains("[stages.") && text.contains("app = ");
    assert_eq!(refused_by_schema(text).filter(|_| whole), None, "{text}");
    Ok(file)
}

/// Returns why the JSON Schema refuses a file, if it does.
pub(crate) fn refused_by_schema(text: &str) -> Option<String> {
    static SCHEMA: LazyLock<Validator> =
        LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());
    let value: serde_json::Value = toml::from_str(text).unwrap();
    SCHEMA.validate(&value).err().map(|error| format!("{}: {error}", error.instance_path()))
}

pub(crate) fn resolve(text: &str, overrides: &Overrides) -> Result<Config, ConfigError> {
    parse(text)?.resolve(None, overrides)
}

/// Returns the config of the smallest file with `top` before its stage and `stage` inside it.
#[track_caller]
pub(crate) fn config(top: &str, stage: &str) -> Config {
    let text = format!("{LEAST}{top}\n{STAGE}{stage}\n");
    match resolve(&text, &Overrides::default()) {
        Ok(config) => config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// Returns the error and the hint of the smallest file with `top`, from line 3, before its stage.
#[track_caller]
pub(crate) fn wrong(top: &str) -> String {
    whole(&format!("{LEAST}{top}\n{STAGE}"), &Overrides::default())
}

/// Returns the error and the hint of the smallest file with `stage`, from line 6, in its stage.
#[track_caller]
pub(crate) fn wrong_stage(stage: &str) -> String {
    whole(&format!("{LEAST}\n{STAGE}{stage}\n"), &Overrides::default())
}

#[track_caller]
pub(crate) fn whole(text: &str, overrides: &Overrides) -> String {
    match resolve(text, overrides) {
        Ok(config) => panic!("no error, but {config:?}"),
        Err(error) => say(&error),
    }
}

pub(crate) fn say(error: &ConfigError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}\n  hint: {hint}"),
        None => error.to_string(),
    }
}
