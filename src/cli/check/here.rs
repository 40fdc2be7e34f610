//! The findings of this machine: the artifact, the values of `[env]`, and what health checks need.

use super::super::deploy::{Wanted, gather};
use super::super::error::CliError;
use super::super::world::World;
use crate::artifact::ArtifactError;
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
    /// `env` as the bytes of its env file; none if the artifact is refused.
    pub(super) async fn artifact(
        &mut self,
        world: &World,
        config: &Config,
        env: Option<Vec<u8>>,
    ) -> Option<Goal> {
        if config.artifact.is_none() {
            let stage = &config.stage;
            let fix =
                format!("name `path` in [artifact], or `shipit check {stage} --artifact PATH`");
            self.warn("deploy.toml names no artifact", fix);
            return None;
        }
        let wanted = Wanted {
            world,
            config,
            kind: GoalKind::Deploy,
            env,
            force: true,
            keep: false,
            expected: None,
        };
        match wanted.open(|| ()).await {
            Ok((goal, warnings)) => {
                self.opened(config, &goal, warnings);
                Some(goal)
            }
            Err(error) => {
                self.not_opened(config, &error);
                None
            }
        }
    }

    fn opened(&mut self, config: &Config, goal: &Goal, warnings: Vec<String>) {
        if let Goal::Deploy { artifact, .. } = goal {
            let (name, manifest) = (artifact.name(), artifact.manifest());
            let size = human::size(manifest.size());
            let (files, digest) = (human::count(manifest.files(), "file"), manifest.digest());
            self.ok(format!("{name}: {files}, {size}, digest {}", digest.short()));
        }
        if let Goal::Deploy { build, .. } = goal {
            self.expanded(config, build);
        }
        for text in warnings {
            // Errors with a hint of their own keep it.
            match text.rsplit_once("; ") {
                Some((what, fix)) => self.warn(what, fix),
                None => self
                    .warn(text, "in [artifact]: correct or drop `exclude` or `strip_components`"),
            }
        }
    }

    /// Warns of values with `$`: some frameworks expand it in the files that they own, also between
    /// quotes.
    fn expanded(&mut self, config: &Config, build: &Build) {
        let bytes = build.env.as_deref().unwrap_or_default();
        let keys = env::keys_of(bytes, |value| value.contains('$'));
        let Some(spec) =
            config.env.as_ref().filter(|spec| !keys.is_empty() && spec.file.starts_with(".env"))
        else {
            return;
        };
        if let Some(by) = EXPANDING.iter().find(|path| build.manifest.holds(path)) {
            let (keys, file) = (human::list(&keys), &spec.file);
            let text =
                format!("the value of {keys} has `$`, which an app with {by} expands in {file}");
            let fix = "in [env]: `file = \"app.env\"`, and let the unit's EnvironmentFile= read it";
            self.warn(text, fix);
        }
    }

    fn not_opened(&mut self, config: &Config, error: &CliError) {
        use ArtifactError::{Empty, Open};
        match error {
            CliError::Artifact(Open { .. } | Empty { .. }) if !config.hooks.before.is_empty() => {
                self.ok(format!("{error}; `local.before` may build it"));
            }
            error => self.cannot(error),
        }
    }

    /// Reads every value of `[env]` and reports how many there are, never the values. Returns the
    /// bytes of the env file; none if a value is missing.
    pub(super) async fn env(&mut self, world: &World, config: &Config) -> Option<Vec<u8>> {
        let spec = config.env.as_ref()?;
        match env::values(spec, &config.base, &|name| world.given(name)).await {
            Ok(file) => {
                for doubt in spec.doubts() {
                    self.warn(
                        doubt,
                        "`vars.NAME = { env = \"NAME\" }` in [env] puts a value into it",
                    );
                }
                let values = human::count(spec.vars.len(), "value");
                self.ok(format!("{values} for {}", spec.file));
                Some(file.bytes().to_vec())
            }
            Err(error) => {
                self.cannot(&error.into());
                Some(Vec::new())
            }
        }
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
