//! One `deploy.toml`: its text, and the places of what is written in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::DeTable;

use super::error::{ConfigError, ConfigPlace};
use super::explain::ConfigText;
use super::tables::Layer;

/// A `deploy.toml` that was read, with all its stages.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub(super) name: String,
    pub(super) base: PathBuf,
    pub(super) root: Layer,
    text: String,
}

impl ConfigFile {
    /// Reads the text of a file that is called `name` and whose relative paths are relative to
    /// `base`.
    pub fn parse(name: &str, base: &Path, text: String) -> Result<Self, ConfigError> {
        let source = ConfigText { name, text: &text };
        let tree = DeTable::parse(&text).map_err(|error| source.syntax(&error))?;
        let reader = toml::de::Deserializer::from(tree.clone());
        let root = Layer::deserialize(reader).map_err(|error| source.explain(&error, &tree))?;
        let file = Self { name: name.to_owned(), base: base.to_owned(), root, text };
        file.refuse_nested_stages()?;
        Ok(file)
    }

    pub(super) fn place<T>(&self, value: &Spanned<T>) -> ConfigPlace {
        ConfigText { name: &self.name, text: &self.text }.place(&value.span())
    }

    /// Returns the place of a key that is missing: the file.
    pub(super) fn nowhere(&self) -> ConfigPlace {
        ConfigPlace::File(self.name.as_str().into())
    }

    fn refuse_nested_stages(&self) -> Result<(), ConfigError> {
        for stage in self.root.stages.iter().flat_map(BTreeMap::values) {
            let inner = stage.stages.as_ref().and_then(|stages| stages.keys().next());
            let found =
                [("app", stage.app.as_ref()), ("default_stage", stage.default_stage.as_ref())]
                    .into_iter()
                    .chain([("stages", inner)])
                    .find_map(|(key, value)| value.map(|value| (key, self.place(value))));
            if let Some((key, place)) = found {
                return Err(ConfigError::OnlyAtTop { place, key });
            }
        }
        Ok(())
    }
}
