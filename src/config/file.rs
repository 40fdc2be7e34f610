//! One `deploy.toml`: its text, and the places of what is written in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::explain::ConfigText;
use super::merge::over;
use super::tables::Layer;

/// A `deploy.toml` that was read, with all its stages.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub(super) source: ConfigText,
    pub(super) base: PathBuf,
    pub(super) root: Layer,
    /// Each stage, laid over the top level.
    pub(super) stages: BTreeMap<Spanned<String>, Layer>,
}

impl ConfigFile {
    /// Reads the text of a file that is called `name` and whose relative paths are relative to
    /// `base`.
    pub fn parse(name: &str, base: &Path, text: String) -> Result<Self, ConfigError> {
        let source = ConfigText { name: name.to_owned(), text };
        let tree = DeTable::parse(&source.text).map_err(|error| source.syntax(&error))?;
        let layer = |table| {
            let reader = toml::de::Deserializer::from(Spanned::new(tree.span(), table));
            Layer::deserialize(reader).map_err(|error| source.explain(&error, &tree))
        };
        let mut root = layer(tree.get_ref().clone())?;
        refuse_nested_stages(&root, &source)?;
        let mut stages = std::mem::take(&mut root.stages);
        for (name, stage) in &mut stages {
            let all = tree.get_ref().get("stages").map(Spanned::get_ref);
            let written = all.and_then(|all| all.get(name.get_ref().as_str()));
            if let Some(DeValue::Table(written)) = written.map(Spanned::get_ref) {
                *stage = layer(over(written, tree.get_ref(), &[]))?;
            }
        }
        Ok(Self { source, base: base.to_owned(), root, stages })
    }
}

fn refuse_nested_stages(root: &Layer, source: &ConfigText) -> Result<(), ConfigError> {
    for stage in root.stages.values() {
        let keys = [
            ("app", stage.app.as_ref()),
            ("default_stage", stage.default_stage.as_ref()),
            ("stages", stage.stages.keys().next()),
        ];
        if let Some((key, value)) = keys.into_iter().find_map(|(key, value)| Some((key, value?))) {
            return Err(ConfigError::OnlyAtTop { place: source.place(&value.span()), key });
        }
    }
    Ok(())
}
