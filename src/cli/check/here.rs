//! This machine's part: the artifact, the values of `[env]`, and what health checks need.

use super::super::deploy::{gather, open};
use super::super::error::CliError;
use super::super::world::World;
use super::Findings;
use crate::artifact::ArtifactError;
use crate::config::{Config, env};
use crate::report::error::Hinted as _;
use crate::report::human;

impl Findings {
    /// The artifact opens, and nothing in it would be refused.
    pub(super) async fn artifact(&mut self, world: &World, config: &Config) {
        if config.artifact.is_none() {
            let fix = "`path` in [artifact], or `shipit deploy --artifact PATH`";
            return self.warn("deploy.toml names no artifact", fix);
        }
        match open(world, config, || ()).await {
            Ok(artifact) => {
                let (name, manifest) = (artifact.name(), artifact.manifest());
                let size = human::size(manifest.size());
                let (files, digest) = (human::count(manifest.files(), "file"), manifest.digest());
                self.ok(format!("{name}: {files}, {size}, digest {}", digest.short()));
                for text in artifact.warnings() {
                    self.warn(text.clone(), "leave it out with `exclude` in [artifact]");
                }
            }
            Err(
                error
                @ CliError::Artifact(ArtifactError::Open { .. } | ArtifactError::Empty { .. }),
            ) if !config.hooks.before.is_empty() => {
                self.ok(format!("{error}; `local.before` may make it"));
            }
            Err(error) => self.cannot(&error),
        }
    }

    /// Every value of `[env]` can be had. None is shown.
    pub(super) async fn env(&mut self, world: &World, config: &Config) {
        let Some(spec) = &config.env else { return };
        match env::values(spec, &config.base, &|name| world.given(name)).await {
            Ok(_) => {
                for doubt in spec.doubts() {
                    self.warn(
                        doubt,
                        "`vars.NAME = { env = \"NAME\" }` in [env] puts a value into it",
                    );
                }
                let values = human::count(spec.vars.len(), "value");
                self.ok(format!("{values} for {}", spec.file));
            }
            Err(error) => self.cannot(&error.into()),
        }
    }

    /// The values of headers and the certificates of health checks can be had.
    pub(super) async fn checks(&mut self, world: &World, config: &mut Config) {
        if let Err(error) = gather(world, config).await {
            self.cannot(&error);
        }
    }

    fn cannot(&mut self, error: &CliError) {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        let fix = error.hint().unwrap_or_else(|| "mend it, then check again".to_owned());
        self.problem(format!("{error}{}", source.unwrap_or_default()), fix);
    }
}
