//! The findings of this machine: the artifact, the values of `[env]`, and what health checks need.

use std::io::ErrorKind;

use super::super::deploy::{Wanted, gather};
use super::super::error::CliError;
use super::super::world::World;
use crate::artifact::ArtifactError;
use crate::config::env::EnvFile;
use crate::config::env_format::EnvFormat;
use crate::config::{Config, env};
use crate::deploy::check::Findings;
use crate::deploy::goal::{Build, Goal};
use crate::deploy::outcome::Failure;
use crate::model::goal::GoalKind;
use crate::report::error::Hinted as _;
use crate::report::human;

/// Files that show that an app expands the values of `.env`.
const EXPANDING: [&str; 5] = [
    ".next",
    "node_modules/next",
    "node_modules/vite",
    "node_modules/dotenv-expand",
    "next.config.js",
];

impl Findings {
    /// Opens the artifact and reports it. Returns the build that a deploy would make of it, with
    /// `env` as its env files; none if the artifact is refused.
    pub(super) async fn artifact(
        &mut self,
        world: &World,
        config: &Config,
        env: Vec<EnvFile>,
    ) -> Option<Goal> {
        if config.artifact.is_none() {
            let stage = &config.stage;
            let fix =
                format!("name `path` in [artifact], or `shipit check {stage} --artifact PATH`");
            self.warn("deploy.toml names no artifact", fix);
            return None;
        }
        let (kind, force, keep, expected) = (GoalKind::Deploy, true, false, None);
        let wanted = Wanted { world, config, kind, env, force, keep, expected };
        match wanted.open(|| ()).await {
            Ok((goal, notes)) => {
                self.opened(config, &goal);
                self.noted(notes);
                Some(goal)
            }
            Err(error) => {
                self.not_opened(config, &error);
                None
            }
        }
    }

    fn opened(&mut self, config: &Config, goal: &Goal) {
        if let Some(build) = goal.build() {
            let (name, manifest) = (&build.name, &build.manifest);
            let size = human::size(manifest.size());
            let (files, digest) = (human::count(manifest.files(), "file"), manifest.digest());
            self.ok(format!("{name}: {files}, {size}, digest {}", digest.short()));
            self.expanded(config, build);
        }
    }

    /// Warns of values with `$`: some frameworks expand it in the files that they own, also between
    /// quotes.
    fn expanded(&mut self, config: &Config, build: &Build) {
        let Some(by) = EXPANDING.iter().find(|path| build.manifest.holds(path)) else { return };
        for (spec, env) in config.env.iter().zip(&build.env) {
            let keys = env.keys(|value| value.contains('$'));
            if keys.is_empty() || !spec.file.starts_with(".env") || spec.format == EnvFormat::Json {
                continue;
            }
            let (keys, file) = (human::list(&keys), &spec.file);
            let text =
                format!("the value of {keys} has `$`, which an app with {by} expands in {file}");
            let fix = "in [env]: `file = \"app.env\"`, and let the unit's EnvironmentFile= read it";
            self.warn(text, fix);
        }
    }

    fn not_opened(&mut self, config: &Config, error: &CliError) {
        use ArtifactError::{Empty, Open};
        let builds = !config.hooks.before.is_empty();
        match error {
            CliError::Artifact(Open { path, source })
                if builds && source.kind() == ErrorKind::NotFound =>
            {
                let path = path.display();
                self.ok(format!("`{path}` is not there yet; `local.before` may build it"));
            }
            CliError::Artifact(Empty { .. }) if builds => {
                self.ok(format!("{error}; `local.before` may build it"));
            }
            error => self.cannot(error),
        }
    }

    /// Reads every value of `[env]` and reports how many there are, never the values. Returns the
    /// env files, empty ones where a value is missing.
    pub(super) async fn env(&mut self, world: &World, config: &Config) -> Vec<EnvFile> {
        let mut files = Vec::new();
        for spec in &config.env {
            let made = env::values(spec, &config.base, &|name| world.given(name)).await;
            if let Ok(file) = &made {
                let values = human::count(file.keys(|_| true).len(), "value");
                self.ok(format!("{values} for {}", spec.file));
            }
            files.push(made.unwrap_or_else(|error| {
                self.cannot(&error.into());
                EnvFile::default()
            }));
        }
        files
    }

    /// Reads the values of headers and the certificates of health checks.
    pub(super) async fn checks(&mut self, world: &World, config: &mut Config) {
        if let Err(error) = gather(world, config).await {
            self.cannot(&error);
        }
    }

    fn cannot(&mut self, error: &CliError) {
        let fix = error.hint().unwrap_or_else(|| "fix it, then check again".to_owned());
        self.problem(Failure::from_error(error).whole(), fix);
    }
}
