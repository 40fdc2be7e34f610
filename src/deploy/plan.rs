//! From what is wanted and what one look found to what will be done: pure, so that a dry run is
//! the same code stopped early, and every small case can be tested.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::divergence::Divergence;
use super::goal::{Build, PruneRule, RollbackTarget, Run, describe_link, describe_restart};
use super::retention::{back_id, rollback_candidates, to_prune, why_kept};
use crate::config::{Config, Hook, Host};
use crate::model::delta::Rebuild;
use crate::model::host_state::{Current, Facts, HostState};
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::{Entry, LedgerEvent, Newer, ReleaseStatus};
use crate::model::link::SharedLink;
use crate::model::manifest::{Manifest, Node};
use crate::model::service::{Scope, Service};
use crate::model::sudo::SudoRefusal;
use crate::model::words::{count, size as human_size};
use crate::remote::order::{Activation, Order, Record, Verdicts};
use crate::remote::quote::word;

/// All that will be done on one host, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostPlan {
    /// What an interrupted run left, settled before anything else.
    pub recover: Option<Recovery>,
    /// Makes the release; nothing live changes.
    pub prepare: Vec<Step>,
    /// Makes it live; `None`: nothing is switched on this host.
    pub switch: Option<Switch>,
    /// Afterwards; a failure here is a warning.
    pub tidy: Vec<Order>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Of a prune: why there is nothing to delete.
    pub kept: Option<String>,
}

/// One step of making a release.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send the tar stream.
    Upload {
        /// Regular files of the release.
        files: usize,
        /// Their bytes.
        size: u64,
        /// Those of them that the host has already.
        linked: usize,
        /// Their bytes.
        linked_size: u64,
        /// Bytes that need not travel because large files are put together on the host.
        spared: u64,
    },
    /// Put a large file together from its old self; a part of `Check`.
    Rebuild {
        /// In the release.
        path: String,
        /// Its bytes.
        size: u64,
        /// Those that are sent for it.
        sent: u64,
    },
    /// Hold what arrived against its manifest.
    Check {
        /// Whether it shares files with the live release, which are not read again.
        shared: bool,
    },
    /// Ask the agent.
    Do(Box<Order>),
}

/// How a release becomes live on one host, and what takes it back.
#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    /// What becomes live.
    pub id: ReleaseId,
    /// The raw content of `current` to return to.
    pub back: String,
    /// What the ledger will say.
    pub verdicts: Verdicts,
    /// What commands on the host get to know, as `NAME=value` words.
    pub vars: Vec<String>,
    /// `activated` hooks, run while the release is undecided.
    pub hooks: Vec<Order>,
    /// Commands of `reverted` hooks, which the agent runs after a revert.
    pub reverted: Vec<String>,
    /// How long one hook may take.
    pub limit: Duration,
    /// How the service is restarted, for people.
    pub restart: Option<String>,
}

/// What to do about an activation that has no verdict.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovery {
    /// It is live: judge it, then commit or revert it.
    Judge(Box<Switch>),
    /// It is not live: only the ledger lacks the word.
    Write(ReleaseId, Record),
    /// Other hosts of that run committed it: make it live here too.
    Forward(Box<Switch>),
}

/// Why there is no plan for a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A directory or file where the link should be.
    #[error("{path} is not a symbolic link, so it cannot be flipped")]
    CurrentNotALink {
        /// `<deploy_to>/current`.
        path: String,
    },
    /// The host cannot be worked with.
    #[error("{0}", what.join("; "))]
    Unfit {
        /// Each thing that is missing.
        what: Vec<String>,
        /// How the first of them is mended, where that is known.
        fix: Option<String>,
    },
    /// systemd has no such unit, or does not start it.
    #[error("systemd says {unit} is {load}")]
    NoUnit {
        /// The name in deploy.toml.
        unit: String,
        /// `not-found`, `masked`, …
        load: String,
    },
    /// sudo does not let us restart the unit.
    #[error("{}", refused_by_sudo(user, command, refusal))]
    NoSudo {
        /// Who deploys.
        user: String,
        /// What is to be run.
        command: String,
        /// Why it cannot be.
        refusal: SudoRefusal,
    },
    /// It will not fit.
    #[error("the release needs {}, but only {} are free", human_size(*need), human_size(*free))]
    NoSpace {
        /// Bytes.
        need: u64,
        /// Bytes.
        free: u64,
    },
    /// It will not fit.
    #[error(
        "the release needs {}, but only {free} are free",
        count(usize::try_from(*need).unwrap_or(usize::MAX), "inode")
    )]
    NoInodes {
        /// Files, directories and links.
        need: u64,
        /// Free ones.
        free: u64,
    },
    /// The artifact brings its own env file.
    #[error("the artifact holds `{file}`, which [env] would overwrite")]
    EnvInArtifact {
        /// The name.
        file: String,
    },
    /// What is to be linked would lie in something that is no directory.
    #[error("`{path}` cannot be linked: the artifact has a {kind} at `{at}`")]
    LinkInside {
        /// Of linked_files or linked_dirs.
        path: String,
        /// Above it.
        at: String,
        /// `file` or `symbolic link`.
        kind: &'static str,
    },
    /// A newer program was here; what it means with what it left is its own.
    #[error("{0}")]
    Newer(Newer),
    /// Not all of the ledger is understood.
    #[error("nothing is pruned here, because the state of some releases is unknown")]
    Doubtful {
        /// Where.
        layout: Layout,
        /// The numbers of the lines that are not understood.
        unreadable: Vec<usize>,
        /// The releases that they may be about, or that no line is about, without the live one.
        unknown: Vec<String>,
    },
    /// A release that no clock is up to; ids only grow, so a newer one would have to be later still.
    #[error("release {id} is dated more than a day ahead of this machine's clock and the host's")]
    Ahead {
        /// Which.
        id: ReleaseId,
        /// Where.
        layout: Layout,
        /// Whether it is live.
        live: bool,
    },
    /// Somebody else's directory.
    #[error("the live release belongs to the app `{there}`, but this is `{app}`")]
    OtherApp {
        /// What the ledger names.
        there: String,
        /// What the config names.
        app: String,
    },
    /// Nothing to go back to.
    #[error("there is no earlier release to roll back to")]
    NothingEarlier,
    /// The wanted release is not there.
    #[error("release {id} is not on this host")]
    NotThere {
        /// What was named.
        id: ReleaseId,
        /// What could be named instead.
        candidates: Vec<ReleaseId>,
    },
    /// The wanted release was never complete.
    #[error("release {id} was never completed here")]
    Unfinished {
        /// What was named.
        id: ReleaseId,
    },
}

impl PlanError {
    /// What to type next.
    pub fn hint(&self, stage: &str) -> Option<String> {
        match self {
            Self::CurrentNotALink { path } => {
                Some(format!("move it away by hand: `mv {path} {path}.old`, then deploy again"))
            }
            Self::Unfit { fix: Some(fix), .. } => Some(fix.clone()),
            Self::Unfit { .. } | Self::NoUnit { .. } | Self::NoSudo { .. } => {
                Some(format!("`shipit check {stage}` says how to mend it"))
            }
            Self::NoSpace { .. } | Self::NoInodes { .. } => {
                Some(format!("`shipit prune {stage}` deletes old releases"))
            }
            Self::EnvInArtifact { file } => {
                Some(format!("leave it out with `exclude = [\"/{file}\"]` in [artifact]"))
            }
            Self::LinkInside { at, .. } => Some(format!(
                "leave `{at}` out with `exclude = [\"/{at}\"]` in [artifact], or link another path"
            )),
            Self::Newer(Newer { tool, .. }) => Some(match tool {
                Some(tool) => format!("use {tool}, which wrote it, or a newer one"),
                None => "use the shipit that wrote it, or a newer one".to_owned(),
            }),
            Self::Doubtful { layout, unreadable, unknown } => {
                Some(doubtful_hint(layout, unreadable, unknown))
            }
            Self::Ahead { id, layout, live: false } => {
                Some(format!("delete it by hand: `{}`", delete(layout, &id.to_string())))
            }
            Self::Ahead { id, layout, live: true } => Some(format!(
                "make another one live with `shipit rollback {stage} --to ID`, then delete it by hand: `{}`",
                delete(layout, &id.to_string())
            )),
            Self::OtherApp { .. } => Some(
                "give each app a `deploy_to` of its own; if the app was renamed, deploy it once \
                 with `--force`"
                    .to_owned(),
            ),
            Self::NothingEarlier => Some(format!("`shipit releases {stage}` shows what is there")),
            Self::NotThere { candidates, .. } if candidates.is_empty() => {
                Some(format!("`shipit releases {stage}` shows what is there"))
            }
            Self::NotThere { candidates, .. } => {
                let names: Vec<_> = candidates.iter().map(ToString::to_string).collect();
                Some(format!("this host could roll back to {}", names.join(", ")))
            }
            Self::Unfinished { .. } => Some("deploy it again".to_owned()),
        }
    }
}

/// What the user should know before a deploy, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// One line, lower case, without the host's name.
    pub text: String,
    /// What makes it go away, in one line.
    pub fix: String,
}

/// What deletes a release by hand, with all that we keep of it.
fn delete(layout: &Layout, name: &str) -> String {
    let [release, manifest] = layout.parts(name).map(|path| word(&path));
    format!("rm -rf {release} {manifest}")
}

fn doubtful_hint(layout: &Layout, unreadable: &[usize], unknown: &[String]) -> String {
    let ledger = layout.ledger();
    match (unreadable, unknown) {
        ([], []) => "deploy once, so that the ledger tells of the live release".to_owned(),
        ([], [name, ..]) => {
            format!(
                "delete by hand what is not needed, for example `{}`",
                delete(layout, name)
            )
        }
        ([line], _) => format!("take line {line}, which cannot be read, out of {ledger} by hand"),
        (lines, _) => {
            format!("take the lines that cannot be read out of {ledger} by hand: {}", ranges(lines))
        }
    }
}

/// `3, 7-9, 12` of growing numbers; at most ten of them or their ranges.
fn ranges(numbers: &[usize]) -> String {
    const MOST: usize = 10;
    let runs: Vec<_> = numbers.chunk_by(|one, next| one + 1 == *next).collect();
    let mut shown: Vec<_> = runs
        .iter()
        .take(MOST)
        .map(|run| match run {
            [first, .., last] => format!("{first}-{last}"),
            run => run.iter().map(ToString::to_string).collect(),
        })
        .collect();
    if runs.len() > MOST {
        shown.push("and more after these".to_owned());
    }
    shown.join(", ")
}

/// What plans of one run have in common.
#[derive(Debug, Clone)]
pub struct Planner<'a> {
    /// The stage.
    pub config: &'a Config,
    /// The run.
    pub run: &'a Run,
    /// Hosts that the run goes on without.
    pub skipped: Arc<[String]>,
}

impl Planner<'_> {
    /// The plan for making `build`, of which `release` is what a release holds, live as `id` on
    /// `host`.
    pub fn deploy(
        &self,
        host: &Host,
        state: &HostState,
        (build, release): (&Build, &Manifest),
        id: ReleaseId,
    ) -> Result<HostPlan, PlanError> {
        if let Some(refusal) = self.refusals(state, Some((build, release))).into_iter().next() {
            return Err(refusal);
        }
        let staged = self.staged_entry(state, build, id);
        let mut switch = self.switch(host, state, id);
        switch.verdicts.committed.note = self.deployed_note(id, build.revision.as_deref());
        Ok(HostPlan {
            recover: self.recover(host, state),
            prepare: self.prepare(host, state, build, id, release, &staged),
            switch: Some(switch),
            tidy: self.tidy_after(state, id),
            warnings: self.warnings(state, build, release),
            kept: None,
        })
    }

    /// The plan for making the existing release `id` live again.
    pub fn rollback(
        &self,
        host: &Host,
        state: &HostState,
        id: ReleaseId,
    ) -> Result<HostPlan, PlanError> {
        if let Some(refusal) = self.refusals(state, None).into_iter().next() {
            return Err(refusal);
        }
        if !state.ids().contains(&id) {
            let candidates = rollback_candidates(state);
            return Err(PlanError::NotThere { id, candidates });
        }
        if state.unfinished.contains(&id.to_string()) {
            return Err(PlanError::Unfinished { id });
        }
        let mut switch = self.switch(host, state, id);
        switch.verdicts.committed.note = format!("{} rolled back to release {id}", self.run.who);
        switch.verdicts.left = state.live().and_then(|left| self.left(left, id));
        let recover = self.recover(host, state);
        let switch = (state.live() != Some(id)).then_some(switch);
        Ok(HostPlan { recover, switch, warnings: state.not_understood(), ..HostPlan::default() })
    }

    /// The plan for deleting old releases and what interrupted runs left.
    pub fn prune(
        &self,
        host: &Host,
        state: &HostState,
        rule: PruneRule,
    ) -> Result<HostPlan, PlanError> {
        check_newer(state)?;
        is_fit(state)?;
        self.check_app(state)?;
        if state.is_doubtful() {
            let live = state.live().map(|id| id.to_string());
            let not_live = |name: &&String| Some(*name) != live.as_ref();
            return Err(PlanError::Doubtful {
                layout: self.config.layout.clone(),
                unreadable: state.ledger.unreadable_lines().to_vec(),
                unknown: state.unknown.iter().filter(not_live).cloned().collect(),
            });
        }
        Ok(HostPlan {
            recover: self.recover(host, state),
            tidy: self.tidy(state, to_prune(state, rule)),
            warnings: self.doubts(state),
            kept: to_prune(state, rule).is_empty().then(|| why_kept(state, rule)),
            ..HostPlan::default()
        })
    }

    /// Returns all that forbids a deploy to a host, of which nothing needs to be changed to be
    /// known: of the host alone where there is no build.
    pub fn refusals(
        &self,
        state: &HostState,
        build: Option<(&Build, &Manifest)>,
    ) -> Vec<PlanError> {
        let mut all: Vec<_> = [
            self.check_fit(state),
            self.check_ahead(state),
            self.check_unit(state),
            self.check_sudo(state),
        ]
        .into_iter()
        .filter_map(Result::err)
        .collect();
        if !build.is_some_and(|(build, _)| build.force) {
            all.extend(self.check_app(state).err());
        }
        if let Some((build, release)) = build {
            all.extend(self.check_env(build).err());
            all.extend(self.check_links(build));
            all.extend(check_space(state, release).err());
        }
        all
    }

    /// Refuses a host whose live release is of another app, as far as the ledger names one.
    fn check_app(&self, state: &HostState) -> Result<(), PlanError> {
        let history = state.live().and_then(|live| state.ledger.history(live));
        match history.and_then(|history| history.origin?.app) {
            Some(there) if there != self.config.app => {
                Err(PlanError::OtherApp { there, app: self.config.app.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a host with a release of ours that no clock is up to: the fleet's next id is not
    /// for one host to choose.
    fn check_ahead(&self, state: &HostState) -> Result<(), PlanError> {
        let latest = latest(state, self.run);
        match state.ours().into_iter().find(|id| id.time() > latest) {
            Some(id) => Err(PlanError::Ahead {
                id,
                layout: self.config.layout.clone(),
                live: state.live() == Some(id),
            }),
            None => Ok(()),
        }
    }

    /// What the ledger is to say of the release that is left for `id`. To go forward says nothing
    /// against what is left.
    fn left(&self, left: ReleaseId, id: ReleaseId) -> Option<Record> {
        let reason = Entry::rolled_back_to(id);
        let entry = Entry { reason, ..self.run.entry(LedgerEvent::RolledBack, &left.to_string()) };
        (id < left).then(|| self.run.record(&entry, String::new()))
    }

    fn check_fit(&self, state: &HostState) -> Result<(), PlanError> {
        check_newer(state)?;
        if state.current == Current::NotALink {
            return Err(PlanError::CurrentNotALink { path: self.config.layout.current() });
        }
        is_fit(state)
    }

    /// A hook may be what installs the unit.
    fn check_unit(&self, state: &HostState) -> Result<(), PlanError> {
        let made_by_hook = !self.config.hooks.staged.is_empty();
        match (&self.config.service, &state.unit) {
            (Service::Unit { name, .. }, Some(unit)) if unit.is_unusable() && !made_by_hook => {
                Err(PlanError::NoUnit { unit: name.clone(), load: unit.load.clone() })
            }
            _ => Ok(()),
        }
    }

    fn check_sudo(&self, state: &HostState) -> Result<(), PlanError> {
        let Service::Unit { name, scope: Scope::System, action, .. } = &self.config.service else {
            return Ok(());
        };
        let Facts { user, sudo, .. } = &state.facts;
        let Some(refusal) = sudo.refusal(action.verb(), name) else { return Ok(()) };
        let command = format!("systemctl {} {name}", action.verb());
        Err(PlanError::NoSudo { user: user.clone(), command, refusal })
    }

    /// A link is made where nothing is, in directories only.
    fn check_links(&self, build: &Build) -> Vec<PlanError> {
        let nodes = build.manifest.nodes();
        let inside = |link: &SharedLink| {
            let mut above = link.path.match_indices('/').map(|(end, _)| &link.path[..end]);
            let (at, kind) = above.find_map(|at| match nodes.get(at)? {
                Node::Dir => None,
                Node::File { .. } => Some((at, "file")),
                Node::Link { .. } => Some((at, "symbolic link")),
            })?;
            Some(PlanError::LinkInside { path: link.path.clone(), at: at.to_owned(), kind })
        };
        self.config.links.iter().filter_map(inside).collect()
    }

    fn check_env(&self, build: &Build) -> Result<(), PlanError> {
        match &self.config.env {
            Some(spec) if build.env.is_some() && build.manifest.holds(&spec.file) => {
                Err(PlanError::EnvInArtifact { file: spec.file.clone() })
            }
            _ => Ok(()),
        }
    }

    fn staged_entry(&self, state: &HostState, build: &Build, id: ReleaseId) -> Entry {
        Entry {
            artifact: Some(build.digest),
            size: Some(build.manifest.size()),
            env: build.env_digest(&state.key),
            config: Some(build.config_digest(self.config, &state.key)),
            revision: build.revision.clone(),
            began: Some(state.began()),
            app: Some(self.config.app.clone()),
            ..self.run.entry(LedgerEvent::Staged, &id.to_string())
        }
    }

    fn prepare(
        &self,
        host: &Host,
        state: &HostState,
        build: &Build,
        id: ReleaseId,
        release: &Manifest,
        staged: &Entry,
    ) -> Vec<Step> {
        let delta = &state.delta;
        let upload = Step::Upload {
            files: release.files(),
            size: release.size(),
            linked: delta.links.len(),
            linked_size: delta.linked,
            spared: delta.spared(),
        };
        let rebuild = |(path, file): (&String, &Rebuild)| Step::Rebuild {
            path: path.clone(),
            size: file.size,
            sent: file.sent,
        };
        let mut steps = Vec::new();
        if state.parts().any(|part| Some(part) != delta.part.as_deref()) {
            steps.push(ask(Order::CleanUp { keep: delta.part.clone() }));
        }
        steps.push(upload);
        steps.extend(delta.rebuilt.iter().map(rebuild));
        steps.push(Step::Check { shared: delta.base.is_some() });
        if !self.config.links.is_empty() {
            steps.push(ask(Order::Link { id, links: self.config.links.clone() }));
        }
        if let (Some(spec), Some(_)) = (&self.config.env, &build.env) {
            let (file, mode, group) = (spec.file.clone(), spec.mode.clone(), spec.group.clone());
            steps.push(ask(Order::Env { id, file, mode, group }));
        }
        if let Some(revision) = build.revision.clone().filter(|_| !release.holds("REVISION")) {
            steps.push(ask(Order::Revision { id, revision }));
        }
        let hooks = self.hooks("staged", &self.config.hooks.staged, host, state, id);
        let relist = !hooks.is_empty();
        steps.extend(hooks.into_iter().map(ask));
        steps.push(ask(Order::Seal { id, relist }));
        let record = self.run.record(staged, String::new());
        steps.push(ask(Order::Stage { id, record }));
        steps
    }

    /// The hosts that take part.
    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.config.hosts.iter().filter(|host| !self.skipped.contains(&host.name))
    }

    /// The hooks that concern this host, as orders.
    fn hooks(
        &self,
        name: &'static str,
        hooks: &[Hook],
        host: &Host,
        state: &HostState,
        id: ReleaseId,
    ) -> Vec<Order> {
        let order = |hook: &Hook| Order::Hook {
            name,
            id,
            command: hook.run.clone(),
            vars: self.hook_vars(host, state, id),
            limit: self.config.hooks.limit,
        };
        hooks.iter().filter(|hook| self.is_for(hook, host)).map(order).collect()
    }

    fn is_for(&self, hook: &Hook, host: &Host) -> bool {
        let mut eligible = self.hosts().filter(|host| hook.concerns(host));
        if hook.once { eligible.next() == Some(host) } else { hook.concerns(host) }
    }

    fn hook_vars(&self, host: &Host, state: &HostState, id: ReleaseId) -> Vec<String> {
        let layout = &self.config.layout;
        let live = state.live().map(|id| id.to_string()).unwrap_or_default();
        let mut vars = self.run_vars();
        vars.extend([
            format!("SHIPIT_RELEASE={id}"),
            format!("SHIPIT_RELEASE_PATH={}", layout.release(id)),
            format!("SHIPIT_PREVIOUS_RELEASE={live}"),
            format!("SHIPIT_DEPLOY_TO={}", layout.root()),
            format!("SHIPIT_HOST={}", host.name),
            format!("SHIPIT_HOST_ROLES={}", host.roles.join(",")),
        ]);
        vars
    }

    /// What every hook gets to know, here and on hosts. No name but `SHIPIT_STAGE` is one that
    /// `shipit` itself reads: a hook may call it.
    pub fn run_vars(&self) -> Vec<String> {
        let hosts: Vec<_> = self.hosts().map(|host| host.name.as_str()).collect();
        vec![
            format!("SHIPIT_APP={}", self.config.app),
            format!("SHIPIT_STAGE={}", self.config.stage),
            format!("SHIPIT_ALL_HOSTS={}", hosts.join(",")),
            format!("SHIPIT_PERFORMER={}", self.run.who),
            format!("SHIPIT_COMMAND={}", self.run.command),
            format!("SHIPIT_RUN={}", self.run.nonce),
        ]
    }

    fn switch(&self, host: &Host, state: &HostState, id: ReleaseId) -> Switch {
        let back = state.current.raw();
        let hooks = &self.config.hooks;
        let reverted = hooks.reverted.iter().filter(|hook| self.is_for(hook, host));
        Switch {
            id,
            verdicts: self.verdicts(id, &back, state),
            back,
            vars: self.hook_vars(host, state, id),
            hooks: self.hooks("activated", &hooks.activated, host, state, id),
            reverted: reverted.map(|hook| hook.run.clone()).collect(),
            limit: hooks.limit,
            restart: describe_restart(&self.config.service),
        }
    }

    fn verdicts(&self, id: ReleaseId, back: &str, state: &HostState) -> Verdicts {
        let (run, name) = (self.run, id.to_string());
        let (back, began) = (Some(back.to_owned()), Some(state.began()));
        let activated = Entry { back, began, ..run.entry(LedgerEvent::Activated, &name) };
        let reverted = format!("release {id} by {} was reverted: @reason@", run.who);
        let stuck = format!("release {id} by {} could not be reverted: @reason@", run.who);
        Verdicts {
            activated: run.record(&activated, String::new()),
            committed: run.record(&run.entry(LedgerEvent::Committed, &name), String::new()),
            left: None,
            reverted: self.repeating(
                run.reasoned(LedgerEvent::Reverted, &name, reverted),
                state,
                id,
            ),
            failed: run.reasoned(LedgerEvent::Failed, &name, stuck),
        }
    }

    /// `reverted` and, if `id` was live and decided on before, where it stands again.
    fn repeating(&self, mut reverted: Record, state: &HostState, id: ReleaseId) -> Record {
        if let Some(event) = state.ledger.history(id).and_then(|history| history.repeated()) {
            let reason = Entry::as_before();
            let entry = Entry { reason, ..self.run.entry(event, &id.to_string()) };
            reverted.line =
                format!("{}\n{}", reverted.line, self.run.record(&entry, String::new()).line);
        }
        reverted
    }

    /// Capistrano's line, as far as a pushed build has what it names.
    fn deployed_note(&self, id: ReleaseId, revision: Option<&str>) -> String {
        let at = revision.map(|revision| format!(" (at {revision})")).unwrap_or_default();
        format!("{}{at} deployed as release {id} by {}", self.config.app, self.run.who)
    }

    /// What an interrupted run left without a verdict, if anything.
    pub fn recover(&self, host: &Host, state: &HostState) -> Option<Recovery> {
        let (id, history) = state.undecided()?;
        let back = history.back.unwrap_or_default();
        if state.live() == Some(id) {
            let mut switch = self.switch(host, state, id);
            switch.verdicts = self.verdicts(id, &back, state);
            switch.back = back;
            switch.hooks = Vec::new();
            return Some(Recovery::Judge(Box::new(switch)));
        }
        let reason = Some("found taken back".to_owned());
        let entry = Entry { reason, ..self.run.entry(LedgerEvent::Reverted, &id.to_string()) };
        let note = format!("release {id} was found reverted");
        Some(Recovery::Write(id, self.repeating(self.run.record(&entry, note), state, id)))
    }

    /// How a release that other hosts of its run committed becomes live here as well.
    pub fn forward(&self, host: &Host, state: &HostState, split: &Divergence) -> Switch {
        let mut switch = self.switch(host, state, split.id);
        switch.verdicts.committed.note = format!(
            "release {} is live as on {}, by {}",
            split.id,
            split.committed.join(", "),
            self.run.who
        );
        switch.verdicts.left = split.left.and_then(|left| self.left(left, split.id));
        switch
    }

    /// Prune as it will be right once `id` is live and good. A new line does not make the ledger
    /// less doubtful.
    fn tidy_after(&self, state: &HostState, id: ReleaseId) -> Vec<Order> {
        let rule = PruneRule { keep: self.config.keep, older_than: None };
        let doubtful = state.is_doubtful();
        let names = if doubtful { Vec::new() } else { to_prune(&state.as_if_live(id), rule) };
        self.tidy(state, names)
    }

    fn tidy(&self, state: &HostState, names: Vec<String>) -> Vec<Order> {
        let order = |name: String| {
            let record =
                self.run.record(&self.run.entry(LedgerEvent::Pruned, &name), String::new());
            Order::Prune { name, record }
        };
        let mut orders: Vec<_> = names.into_iter().map(order).collect();
        if !orders.is_empty() || !state.leftovers.is_empty() {
            orders.push(Order::CleanUp { keep: None });
        }
        orders
    }

    fn warnings(&self, state: &HostState, build: &Build, release: &Manifest) -> Vec<String> {
        let notes = self.notes(state, Some((build, release)));
        notes.into_iter().map(|note| note.text).collect()
    }

    /// Returns what of a host is not understood, and what follows for its releases.
    fn doubts(&self, state: &HostState) -> Vec<String> {
        let mut lines = state.not_understood();
        if state.is_doubtful() {
            let name = &self.config.stage;
            lines.push(format!(
                "nothing is pruned until that is resolved; `shipit prune {name}` says what to do"
            ));
        } else if let Some(name) = state.unknown.first() {
            let command = delete(&self.config.layout, name);
            lines.push(format!(
                "prune never deletes such a release; if nobody needs it, do it by hand: `{command}`"
            ));
        }
        lines
    }

    /// Returns what the user should know of a deploy to a host beforehand.
    pub fn notes(&self, state: &HostState, build: Option<(&Build, &Manifest)>) -> Vec<Note> {
        let (mut notes, name) = (Vec::new(), &self.config.stage);
        for text in self.doubts(state) {
            let fix = format!("`shipit releases {name}` shows what is known of each release");
            notes.push(Note { text, fix });
        }
        if let Some((build, release)) = build {
            notes.extend(self.left_out(build, release));
            notes.extend(self.not_executable(state, release));
        }
        if let Current::Foreign(target) = &state.current {
            let text = format!("`current` points to {target}, which another tool made");
            let fix = format!("`shipit deploy {name}` replaces the link; its target stays");
            notes.push(Note { text, fix });
        }
        notes
    }

    fn left_out(&self, build: &Build, release: &Manifest) -> Option<Note> {
        let left_out = build.manifest.nodes().len() - release.nodes().len();
        let links: Vec<_> = self.config.links.iter().map(describe_link).collect();
        let links = links.join(", ");
        let (entries, lie) = if left_out == 1 { ("entry", "lies") } else { ("entries", "lie") };
        let fix = format!("leave out with `exclude` in [artifact] what is at {links}");
        let text = format!(
            "{left_out} {entries} of the artifact {lie} at or below linked paths ({links}) and stay out"
        );
        (left_out > 0).then_some(Note { text, fix })
    }

    /// The program of the unit, where the release has it as a file that nobody may run. A hook may
    /// make it one that can be run.
    fn not_executable(&self, state: &HostState, release: &Manifest) -> Option<Note> {
        let unit = state.unit.as_ref().filter(|_| self.config.hooks.staged.is_empty())?;
        let inside = format!("path={}/", self.config.layout.current());
        let path = unit.exec_start.split_once(&inside)?.1.split_once(" ;")?.0;
        let Node::File { mode, .. } = release.nodes().get(path)? else { return None };
        (mode & 0o111 == 0).then(|| Note {
            text: format!("`{path}`, which the unit runs, is not executable"),
            fix: format!(
                "`chmod +x {path}` where it is built, and pack it with its modes: as a tar"
            ),
        })
    }
}

fn refused_by_sudo(user: &str, command: &str, refusal: &SudoRefusal) -> String {
    let may_not = format!("sudo does not let {user} run \"{command}\" without a password");
    match refusal {
        SudoRefusal::NoRule => may_not,
        SudoRefusal::Password { rule } => {
            format!("{may_not}: its last rule that matches is {rule}")
        }
        SudoRefusal::Says { words } => {
            format!("sudo does not let {user} run \"{command}\": {words}")
        }
    }
}

fn is_fit(state: &HostState) -> Result<(), PlanError> {
    let what = &state.facts.missing;
    let Some(first) = what.first() else { return Ok(()) };
    Err(PlanError::Unfit { what: what.clone(), fix: state.facts.fixes.get(first).cloned() })
}

fn ask(order: Order) -> Step {
    Step::Do(Box::new(order))
}

/// Refuses to change what a newer program wrote.
pub fn check_newer(state: &HostState) -> Result<(), PlanError> {
    state.newer().map_or(Ok(()), |newer| Err(PlanError::Newer(newer.clone())))
}

/// The latest time that a release may be dated: a day ahead of this machine's clock or the host's.
fn latest(state: &HostState, run: &Run) -> DateTime<Utc> {
    let now = run.now.max(state.facts.clock);
    now.checked_add_signed(TimeDelta::days(1)).unwrap_or(now)
}

/// Refuses what cannot fit: the bytes of all files that are not there yet, an inode for
/// everything, and a tenth to spare.
fn check_space(state: &HostState, release: &Manifest) -> Result<(), PlanError> {
    let size = release.size().saturating_sub(state.delta.linked);
    let need = size + size / 10;
    if let Some(free) = state.facts.free_bytes.filter(|free| *free < need) {
        return Err(PlanError::NoSpace { need, free });
    }
    let need = release.nodes().len() as u64 + 32;
    // Some file systems have no fixed number of inodes and report 0.
    match state.facts.free_inodes {
        Some(free) if free > 0 && free < need => Err(PlanError::NoInodes { need, free }),
        _ => Ok(()),
    }
}

/// The id of the release to make: after every release of ours that any host knows and a clock is up
/// to, whatever the clocks say.
pub fn new_id<'a>(states: impl IntoIterator<Item = &'a HostState>, run: &Run) -> ReleaseId {
    let newest = |state: &HostState| state.newest(latest(state, run));
    let newest = states.into_iter().filter_map(newest).max();
    ReleaseId::after(newest, run.now)
}

/// Whether `build` with this config is what is live on a host already. The same build of another app
/// is not: its plan is refused.
pub fn is_unchanged(config: &Config, state: &HostState, build: &Build) -> bool {
    let Some(history) = state.live().and_then(|live| state.ledger.history(live)) else {
        return false;
    };
    let Some(origin) = history.origin.filter(|_| history.standing == ReleaseStatus::Good) else {
        return false;
    };
    origin.artifact == Some(build.digest)
        && origin.app.as_ref().is_none_or(|app| *app == config.app)
        && origin.config == Some(build.config_digest(config, &state.key))
}

/// Where a rollback of these hosts goes.
pub fn rollback_target(
    states: &[(&str, &HostState)],
    target: RollbackTarget,
) -> Result<ReleaseId, RollbackError> {
    if let RollbackTarget::Named(id) = target {
        return Ok(id);
    }
    let live: Vec<_> =
        states.iter().map(|(name, state)| ((*name).to_owned(), state.live())).collect();
    if live.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        return Err(RollbackError::HostsDisagree { live });
    }
    let common = super::retention::common_candidate(states.iter().map(|(_, state)| *state));
    common.ok_or_else(|| {
        let offer = |(name, state): &(&str, &HostState)| ((*name).to_owned(), Offer::of(state));
        RollbackError::NoCommon { offers: states.iter().map(offer).collect() }
    })
}

/// What a host has to go back to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// What a rollback may choose by itself.
    pub candidates: Vec<ReleaseId>,
    /// What another tool left: only whoever put it there knows what it is.
    pub foreign: Vec<ReleaseId>,
    /// What the ledger does not tell the story of.
    pub unknown: Vec<ReleaseId>,
}

impl Offer {
    fn of(state: &HostState) -> Self {
        let live = state.live();
        let not_live = |ids: Vec<ReleaseId>| -> Vec<_> {
            ids.into_iter().rev().filter(|id| Some(*id) != live).collect()
        };
        let unknown = state.unknown.iter().filter_map(|name| name.parse().ok()).collect();
        Self {
            candidates: rollback_candidates(state),
            foreign: not_live(state.foreign_ids()),
            unknown: not_live(unknown),
        }
    }

    fn lines(&self, host: &str) -> Vec<String> {
        let names =
            |ids: &[ReleaseId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut lines = match self.candidates.as_slice() {
            [] => vec![format!("{host} has none that was live and good")],
            ids => vec![format!("{host} could roll back to {}", names(ids))],
        };
        let mut only_named = |ids: &[ReleaseId], why: &str| {
            if !ids.is_empty() {
                lines.push(format!("{host} has, {why}, so only with `--to`: {}", names(ids)));
            }
        };
        only_named(&self.foreign, "left by another tool");
        only_named(&self.unknown, "unknown to the ledger");
        lines
    }
}

/// Why a rollback has no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// They do not run the same release.
    #[error("the hosts do not run the same release")]
    HostsDisagree {
        /// What each runs.
        live: Vec<(String, Option<ReleaseId>)>,
    },
    /// No release was live and good on all of them.
    #[error("{}", no_common(offers))]
    NoCommon {
        /// What each has.
        offers: Vec<(String, Offer)>,
    },
}

fn no_common(offers: &[(String, Offer)]) -> &'static str {
    if offers.iter().all(|(_, offer)| offer.candidates.is_empty()) {
        "there is no earlier release to roll back to"
    } else {
        "there is no earlier good release that all hosts have"
    }
}

impl RollbackError {
    /// One line for each host.
    pub fn causes(&self) -> Vec<String> {
        match self {
            Self::HostsDisagree { live } => live
                .iter()
                .map(|(host, id)| match id {
                    Some(id) => format!("{host} runs {id}"),
                    None => format!("{host} runs no release of shipit"),
                })
                .collect(),
            Self::NoCommon { offers } => {
                offers.iter().flat_map(|(host, offer)| offer.lines(host)).collect()
            }
        }
    }

    /// What to type next.
    pub fn hint(&self, stage: &str) -> String {
        match self {
            Self::HostsDisagree { .. } => {
                format!("name one with `--to ID`; `shipit releases {stage}` shows them")
            }
            Self::NoCommon { offers } => {
                let can = offers.iter().find(|(_, offer)| !offer.candidates.is_empty());
                match can.filter(|_| offers.len() > 1) {
                    Some((host, _)) => format!(
                        "one host at a time: `shipit rollback {stage} --hosts {host}`; or deploy, \
                         which brings all hosts to one release"
                    ),
                    None => format!(
                        "`shipit releases {stage}` shows what is there and why it is not chosen"
                    ),
                }
            }
        }
    }
}

impl Step {
    /// One word, for rows and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Upload { .. } => "upload",
            Self::Rebuild { .. } => "rebuild",
            Self::Check { .. } => "check",
            Self::Do(order) => order_name(order),
        }
    }
}

/// One word for what an order does.
pub fn order_name(order: &Order) -> &'static str {
    match order {
        Order::Hook { name, .. } => name,
        other => other.verb(),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upload { files, size, linked: 0, spared: 0, .. } => {
                write!(f, "upload {}, {}", count(*files, "file"), human_size(*size))
            }
            Self::Upload { files, size, linked, linked_size, spared } => write!(
                f,
                "upload {} of {}, {} of {}; the others are there already",
                files - linked,
                count(*files, "file"),
                human_size(size - linked_size - spared),
                human_size(*size)
            ),
            Self::Rebuild { path, size, sent } => {
                let (sent, size) = (human_size(*sent), human_size(*size));
                write!(f, "patch {path}: send {sent} of {size}")
            }
            Self::Check { shared: false } => f.write_str("check every file against its SHA-256"),
            Self::Check { shared: true } => f.write_str(
                "check every file that is sent against its SHA-256, all others by size and mode",
            ),
            Self::Do(order) => f.write_str(&describe(order)),
        }
    }
}

/// What an order does, for a dry run.
fn describe(order: &Order) -> String {
    match order {
        Order::Link { links, .. } => {
            let links: Vec<_> = links.iter().map(describe_link).collect();
            format!("link {} from shared/", links.join(", "))
        }
        Order::Env { file, mode, .. } => format!("write {file} (mode {mode})"),
        Order::Revision { revision, .. } => format!("write REVISION ({revision})"),
        Order::Hook { name, command, .. } => format!("run the {name} hook `{command}`"),
        Order::Seal { .. } => "seal: remove write bits from its files".to_owned(),
        Order::Stage { .. } => "record it as complete".to_owned(),
        Order::Prune { name, .. } => format!("prune {name}"),
        Order::CleanUp { keep: None } => {
            "delete what was pruned or left by interrupted runs".to_owned()
        }
        Order::CleanUp { keep: Some(_) } => {
            "delete leftovers of interrupted runs, except the partial upload of this release"
                .to_owned()
        }
        other => order_name(other).to_owned(),
    }
}

impl HostPlan {
    /// One line a step, for a dry run.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.recover {
            Some(Recovery::Judge(switch)) => lines.push(format!(
                "recover {}, which an interrupted run left undecided: judge it, then commit or \
                 revert it",
                switch.id
            )),
            Some(Recovery::Write(id, _)) => {
                lines.push(format!("recover {id}: record that it was reverted"));
            }
            Some(Recovery::Forward(switch)) => {
                lines.push(format!("recover {}: make it live here as on other hosts", switch.id));
                lines.extend(switch.lines());
            }
            None => {}
        }
        lines.extend(self.prepare.iter().map(ToString::to_string));
        if let Some(switch) = &self.switch {
            lines.extend(switch.lines());
        }
        lines.extend(self.tidy.iter().map(describe));
        lines
    }

    /// The names of the releases that will be deleted.
    pub fn pruned(&self) -> Vec<String> {
        let name = |order: &Order| match order {
            Order::Prune { name, .. } => Some(name.clone()),
            _ => None,
        };
        self.tidy.iter().filter_map(name).collect()
    }
}

impl Switch {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("flip current to {}", self.id)];
        lines.extend(self.restart.iter().map(|how| format!("restart: {how}")));
        lines.extend(self.hooks.iter().map(describe));
        lines.push(format!("judge it; if it fails, revert to {}", self.back_shown()));
        let reverted = |command| format!("after that revert, run the reverted hook `{command}`");
        lines.extend(self.reverted.iter().map(reverted));
        lines
    }

    /// What the agent needs to do it, and to take it back.
    pub fn activation(&self) -> Box<Activation> {
        let own = ["SHIPIT_RELEASE=", "SHIPIT_RELEASE_PATH="];
        let vars = self.vars.iter().filter(|var| !own.iter().any(|name| var.starts_with(name)));
        Box::new(Activation {
            id: self.id,
            back: self.back.clone(),
            verdicts: self.verdicts.clone(),
            vars: vars.cloned().collect(),
            reverted: self.reverted.clone(),
            limit: self.limit,
        })
    }

    /// What takes it back.
    pub fn revert(&self, reason: &'static str) -> Order {
        Order::Revert { reason, hooks: self.activation().hooks_limit() }
    }

    /// The same about the release that a revert leads to, if it is one of ours.
    pub fn gone_back(&self) -> Option<Self> {
        let id = back_id(&self.back)?;
        let (ours, new) = (id.to_string(), self.id.to_string());
        let vars = self.vars.iter().map(|var| match var.split_once('=') {
            Some((name @ ("SHIPIT_RELEASE" | "SHIPIT_RELEASE_PATH"), value)) => {
                format!("{name}={}", value.replace(&new, &ours))
            }
            _ => var.clone(),
        });
        Some(Self { id, vars: vars.collect(), ..self.clone() })
    }

    /// Where a revert leads, for people.
    pub fn back_shown(&self) -> String {
        match back_id(&self.back) {
            Some(id) => id.to_string(),
            None if self.back.is_empty() => "nothing".to_owned(),
            None => self.back.clone(),
        }
    }
}
