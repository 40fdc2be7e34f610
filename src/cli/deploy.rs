//! `shipit deploy`, `stage`, `activate`, `rollback` and `prune`: one engine, five goals.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::watch;

use super::args::{ActivateArgs, CheckArgs, DeployArgs, PruneArgs, RollbackArgs};
use super::dry_run::HostPlans;
use super::error::CliError;
use super::output::terminal_of;
use super::run::{RunOptions, unless_stopped};
use super::source::revision;
use super::world::{World, release_id};
use super::{question, source};
use crate::artifact::{Artifact, ArtifactError, Limits};
use crate::config::access::ArtifactAccess;
use crate::config::env::EnvFile;
use crate::config::resolve::Overrides;
use crate::config::secrecy::Secrecy;
use crate::config::tables::length;
use crate::config::{Config, Confirm, EnvSpec, Host, env, gather};
use crate::deploy::context::RunContext;
use crate::deploy::event::Event;
use crate::deploy::fleet;
use crate::deploy::goal::{Build, Goal, PruneRule};
use crate::deploy::outcome::Failure;
use crate::deploy::rollout;
use crate::deploy::source::Source;
use crate::model::digest::Digest;
use crate::model::goal::GoalKind;
use crate::model::note::Note;
use crate::model::words::{DIRTY, short_revision};
use crate::report::difference::{MOST_FILES, difference_json, difference_lines};
use crate::report::error::Hinted as _;
use crate::report::human::count;
use crate::report::plan::{batches_line, local_hook_lines, plan_lines};
use crate::report::redact::Secrets;

/// Shows what a deploy would change; changes nothing.
pub(crate) async fn diff(world: &World, args: &CheckArgs) -> Result<u8, CliError> {
    let (stage, artifact) = (args.stage.clone(), args.artifact.clone());
    let args = DeployArgs { stage, artifact, ..DeployArgs::default() };
    make(world, &args, GoalKind::Deploy).await
}

/// Makes a build live, or stages it. The config is checked before `local.before` runs; the artifact
/// is opened after it, because `local.before` may build it.
pub(crate) async fn make(world: &World, args: &DeployArgs, kind: GoalKind) -> Result<u8, CliError> {
    let more = Overrides { artifact: args.artifact.pinned(), ..Overrides::default() };
    let mut config = world.config_with(&args.stage, more)?;
    if config.artifact.is_none() {
        return Err(CliError::NoArtifact);
    }
    source::name(world, &mut config).await?;
    let asked =
        if config.confirm == Confirm::First { revision(world, &config).await } else { None };
    let question = question::deploy(&config, kind, asked.as_deref());
    // The result of `local.before` cannot be shown before it ran.
    let shows = world.asks_first(&config) && config.hooks.before.is_empty();
    if shows {
        terminal_of(&config.stage)?;
    } else if !world.confirm_or_later(&config, &question)? {
        return Ok(130);
    }
    named(world, &config)?;
    let private = source::gather(world, &mut config).await?;
    let (env, secrets) = given(world, &mut config, private).await?;
    let how = RunOptions { secrets, quiet: false, wait: args.wait, reach: None };
    let keep = !world.common.dry_run;
    let (force, expected) = (args.force, args.expect_digest);
    let wanted = Wanted { world, config: &config, kind, env, force, keep, expected };
    if config.hooks.before.is_empty() || world.common.dry_run {
        wanted.deploy(how, shows.then_some(&*question)).await
    } else {
        Ok(wanted.build_and_deploy(how).await)
    }
}

/// Reads what env files, health checks and notices need. Returns the env files and the values to
/// mask, `secrets` among them.
pub(super) async fn given(
    world: &World,
    config: &mut Config,
    mut secrets: Vec<String>,
) -> Result<(Vec<EnvFile>, Secrets), CliError> {
    secrets.extend(gather(world, config).await?);
    secrets.extend(addresses(world, config).await);
    let env = env_files(world, config).await?;
    let secrecy = Secrecy::of(config);
    secrets.extend(env.iter().flat_map(|file| file.secrets(&secrecy)));
    Ok((env, Secrets::new(secrets)))
}

/// Returns the goal of this kind, `Deploy` or `Stage`, that makes releases of `build`.
pub(super) fn goal_of(kind: GoalKind, build: Build) -> Goal {
    match kind {
        GoalKind::Stage => Goal::Stage(Box::new(build)),
        _ => Goal::Deploy(Box::new(build)),
    }
}

/// A deploy whose artifact is not open yet.
pub(super) struct Wanted<'a> {
    pub(super) world: &'a World,
    pub(super) config: &'a Config,
    /// `Deploy` or `Stage`.
    pub(super) kind: GoalKind,
    /// The env files, in the order of those of the config.
    pub(super) env: Vec<EnvFile>,
    pub(super) force: bool,
    /// Whether to fill the cache of this machine for later deploys.
    pub(super) keep: bool,
    /// The digest that the artifact must have, if one was named.
    pub(super) expected: Option<Digest>,
}

impl Wanted<'_> {
    /// Deploys the artifact as it is, and returns the exit code. Hosts are connected to while it is
    /// opened. If there is a `question`, shows what would change, and asks, before anything is
    /// done.
    async fn deploy(self, how: RunOptions, question: Option<&str>) -> Result<u8, CliError> {
        let (world, config) = (self.world, self.config);
        let (listed, may_greet) = watch::channel(false);
        // Signals are followed before hosts are connected to, so that no interrupt is lost.
        let cancel = world.cancel();
        let reach = (!world.common.dry_run && question.is_none()).then(|| {
            let run = world.run_values(self.kind.word(), config);
            let hello = |host: &Host| fleet::hello_of_deploy(config, host, &run);
            world.reach(config).ahead(config, hello, &may_greet)
        });
        if !config.hooks.before.is_empty() {
            let text = "a dry run does not run `local.before`: the artifact is taken as it is now";
            world.warn(&Event::Warning { host: None, text: text.to_owned() });
        }
        let opening = self.open(move || _ = listed.send(true));
        let (goal, found) = unless_stopped(&cancel, opening).await??;
        let mut notes: Vec<_> = notes(config).chain(found).collect();
        if let Some(question) = question {
            let notes = std::mem::take(&mut notes);
            let code = dry_run(world, config, &goal, how.secrets.clone(), notes).await?;
            if code != 0 {
                return Ok(code);
            }
            if !world.ask(question, &config.stage)? {
                return Ok(130);
            }
        }
        go(world, config, &goal, RunOptions { reach, ..how }, notes).await
    }

    /// Runs `local.before`, then deploys what it has built. Returns the exit code.
    async fn build_and_deploy(self, how: RunOptions) -> u8 {
        let (world, config, kind) = (self.world, self.config, self.kind);
        let run = async |cx: RunContext<'_>| {
            let open = async || {
                let opened = self.open(|| ()).await;
                let (goal, found) =
                    opened.map_err(|error| Failure::from_error(&error).hint(error.hint()))?;
                for note in notes(config).chain(found) {
                    cx.events.emit(Event::Warning { host: None, text: note.to_string() });
                }
                Ok(goal)
            };
            fleet::build_and_run(cx, kind, open).await
        };
        world.shown(config, kind.word(), how, run).await
    }

    /// Opens the artifact. Returns the goal of the deploy, and notes of the build.
    pub(super) async fn open(
        self,
        listed: impl FnOnce() + Send + 'static,
    ) -> Result<(Goal, Vec<Note>), CliError> {
        let (world, config) = (self.world, self.config);
        let (artifact, revision) =
            tokio::join!(open(world, config, listed), revision(world, config));
        let (access, artifact) = artifact?;
        as_expected(artifact.name(), artifact.digest(), self.expected)?;
        let revision = access.revision.or(revision);
        let build = Build {
            source: Source::Artifact(Arc::clone(&artifact)),
            name: artifact.name().to_owned(),
            manifest: artifact.manifest().clone(),
            digest: artifact.digest(),
            revision: artifact.revision().or(revision),
            env: self.env,
            force: self.force,
            of_live: None,
        };
        let inert = config.hooks.staged.is_empty().then(|| not_executable(&artifact)).flatten();
        let notes = artifact.notes().iter().cloned().chain(inert).chain(uncommitted(&build));
        let notes = notes.chain(access.notes).collect();
        if self.keep {
            world.cache.keep_files(artifact);
        }
        Ok((goal_of(self.kind, build), notes))
    }
}

/// Fails if the artifact has another digest than the `expected` one.
pub(super) fn as_expected(
    name: &str,
    found: Digest,
    expected: Option<Digest>,
) -> Result<(), CliError> {
    match expected {
        Some(expected) if expected != found => {
            Err(CliError::OtherDigest { name: name.to_owned(), found, expected })
        }
        _ => Ok(()),
    }
}

/// Returns the note about programs that are not executable, if there are any.
fn not_executable(artifact: &Artifact) -> Option<Note> {
    const MOST_NAMED: usize = 5;
    let paths = artifact.not_executable();
    let (first, rest) = paths.split_at(paths.len().min(MOST_NAMED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let (files, are) = match paths.len() {
        0 => return None,
        1 => ("1 file looks like a program".to_owned(), "is"),
        many => (format!("{} look like programs", count(many, "file")), "are"),
    };
    let text = format!("{files} and {are} not executable: {}{more}", first.join(", "));
    Some(Note::new(text, "`chmod +x` where they are built, and pack with modes: as a tar"))
}

/// Opens the artifact. Files whose digest is cached are not read again. Calls `listed` once all
/// entries are known.
async fn open(
    world: &World,
    config: &Config,
    listed: impl FnOnce() + Send + 'static,
) -> Result<(ArtifactAccess, Arc<Artifact>), CliError> {
    let spec = source::ready(world, config).await?;
    let access = spec.access.clone();
    let cache = world.cache.clone();
    let opening = move || {
        let name = format!("{:?}", spec.source);
        let known = cache.digests(&name);
        let artifact = Artifact::open(&spec, None, &Limits::default(), &known, listed)?;
        let artifact = Arc::new(artifact);
        cache.keep_digests(&name, known, Arc::clone(&artifact));
        Ok::<_, ArtifactError>(artifact)
    };
    let opened = tokio::task::spawn_blocking(opening).await;
    let stopped = |_| std::io::Error::other("the work was stopped");
    let opened = opened.map_err(stopped).map_err(|source| CliError::Start { source })??;
    Ok((access, opened))
}

pub(crate) async fn activate(world: &World, args: &ActivateArgs) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let id = args.id.as_deref().map(|id| release_id("ID", id)).transpose()?;
    let question = question::activate(&config, id);
    switch(world, config, &question, &Goal::Activate(id), args.wait).await
}

pub(crate) async fn rollback(world: &World, args: &RollbackArgs) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let id = args.to.as_ref().map(|id| release_id("--to", id)).transpose()?;
    let question = question::rollback(&config, id);
    switch(world, config, &question, &Goal::Rollback(id), args.wait).await
}

/// Makes a release live that the hosts have, once somebody said yes.
async fn switch(
    world: &World,
    mut config: Config,
    question: &str,
    goal: &Goal,
    wait: bool,
) -> Result<u8, CliError> {
    if !world.confirm_or_later(&config, question)? {
        return Ok(130);
    }
    let mut secrets = gather(world, &mut config).await?;
    secrets.extend(addresses(world, &mut config).await);
    let secrets = Secrets::new(secrets);
    let how = RunOptions { secrets, quiet: false, wait, reach: None };
    let notes = rollout::note(&config).into_iter().collect();
    go(world, &config, goal, how, notes).await
}

pub(crate) async fn prune(world: &World, args: &PruneArgs) -> Result<u8, CliError> {
    let overrides = Overrides { keep: args.keep, ..Overrides::default() };
    let mut config = world.config_with(&args.stage, overrides)?;
    let age = |text: &String| {
        let age = length(text).and_then(|age| TimeDelta::from_std(age).ok());
        let expected = "an age is a number and s, m, h or d";
        let bad = || CliError::BadFlag { flag: "--older-than", value: text.clone(), expected };
        age.ok_or_else(bad)
    };
    let older_than = args.older_than.as_ref().map(age).transpose()?;
    let rule = PruneRule { keep: config.keep, older_than };
    if !world.confirm(&config, &question::prune(&config))? {
        return Ok(130);
    }
    let quiet = !world.common.verbose;
    // Health checks may judge what an interrupted run left undecided; their values are secrets.
    let secrets = Secrets::new(gather(world, &mut config).await?);
    let how = RunOptions { secrets, quiet, wait: args.wait, reach: None };
    go(world, &config, &Goal::Prune(rule), how, Vec::new()).await
}

/// Reads the files and variables that health checks need. Returns the values to mask.
pub(super) async fn gather(world: &World, config: &mut Config) -> Result<Vec<String>, CliError> {
    let Config { health, base, .. } = config;
    Ok(gather::gather(health, base, &|name| world.given(name)).await?)
}

/// Fetches the addresses of notices, and warns of those that cannot be had. Returns the values to
/// mask.
async fn addresses(world: &World, config: &mut Config) -> Vec<String> {
    if world.common.dry_run {
        return Vec::new();
    }
    let Config { notices, base, .. } = config;
    let (secrets, warnings) = gather::addresses(notices, base, &|name| world.given(name)).await;
    for text in warnings {
        world.warn(&Event::Warning { host: None, text });
    }
    secrets
}

pub(super) async fn env_files(world: &World, config: &Config) -> Result<Vec<EnvFile>, CliError> {
    let mut files = Vec::new();
    for spec in &config.env {
        files.push(env::values(spec, &config.base, &|name| world.given(name)).await?);
    }
    Ok(files)
}

/// Fails if a variable that the config names has no value, and names all of them.
pub(super) fn named(world: &World, config: &Config) -> Result<(), CliError> {
    let values = config.env.iter().flat_map(EnvSpec::required);
    let headers = config.artifact.iter().flat_map(|spec| spec.access.sources());
    let all = values.chain(config.health.sources()).chain(headers);
    Ok(env::all_set(all, &|name| world.given(name))?)
}

/// Returns notes about settings of a deploy that are allowed but hardly meant.
pub(super) fn notes(config: &Config) -> impl Iterator<Item = Note> {
    config.env.iter().flat_map(EnvSpec::notes).chain(rollout::note(config))
}

/// Returns a note if the work tree had uncommitted changes.
fn uncommitted(build: &Build) -> Option<Note> {
    let revision = build.revision.as_deref().filter(|revision| revision.ends_with(DIRTY))?;
    let revision = short_revision(revision);
    let text = format!("the work tree has changes that are not committed: {revision}");
    Some(Note::new(text, "commit them, so that the revision says what runs"))
}

pub(super) async fn go(
    world: &World,
    config: &Config,
    goal: &Goal,
    how: RunOptions,
    notes: Vec<Note>,
) -> Result<u8, CliError> {
    if world.common.dry_run {
        return dry_run(world, config, goal, how.secrets, notes).await;
    }
    for note in notes {
        world.warn(&Event::Warning { host: None, text: note.to_string() });
    }
    let run = async |cx: RunContext<'_>| fleet::run(cx, goal).await;
    Ok(world.shown(config, goal.kind().word(), how, run).await)
}

async fn dry_run(
    world: &World,
    config: &Config,
    goal: &Goal,
    secrets: Secrets,
    notes: Vec<Note>,
) -> Result<u8, CliError> {
    if let Some(hosts) = config.listed_elsewhere() {
        world.tell(&format!("{}\n", world.sieve(secrets.clone()).fit(&hosts)));
    }
    let plan = async |cx: RunContext<'_>| fleet::dry_run(cx, goal).await;
    let found = world.quietly(config, goal.kind().word(), plan).await?;
    let warnings = notes.into_iter().map(|note| (None, note.to_string())).collect();
    let mut shown = HostPlans { failure: found.failure, warnings, ..HostPlans::default() };
    if goal.kind().makes_live() && !found.unchanged {
        shown.notes.extend(batches_line(&fleet::batch_names(config)));
    }
    if !found.unchanged {
        shown.notes.extend(local_hook_lines(&config.hooks, goal.kind()));
    }
    let mut differences = found.differences.into_iter();
    for (host, plan) in found.plans {
        let difference = differences.next().flatten();
        match plan {
            Ok(plan) if found.unchanged && plan.recover.is_empty() => {
                let what = if goal.kind() == GoalKind::Stage { "live or staged" } else { "live" };
                let lines = vec![format!("nothing to do: this build and config are {what}")];
                shown.plans.push((host, lines));
            }
            Ok(plan) => {
                let warnings = plan.warnings.iter().map(|text| (Some(host.clone()), text.clone()));
                shown.warnings.extend(warnings);
                let most = if world.common.every_file { usize::MAX } else { MOST_FILES };
                let mut lines = Vec::new();
                if let Some(of) = difference {
                    lines = difference_lines(&of, most);
                    shown.details.insert(host.clone(), difference_json(&of));
                }
                lines.extend(plan_lines(&plan));
                shown.plans.push((host, lines));
            }
            Err(failure) => shown.failed.push((host, failure)),
        }
    }
    Ok(shown.print(world, &world.sieve(secrets)))
}
