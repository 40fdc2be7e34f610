//! From the goal and the state of a host to its plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{SecondsFormat, TimeDelta};

use super::error::WhyNotStaged;
use super::{ActivationPlan, HostPlan, MakeRelease, PlanError, Recovery};
use crate::artifact::PreparedDelta;
use crate::config::placeholders::Placeholders;
use crate::config::{Config, Hook, Host};
use crate::deploy::divergence::Divergence;
use crate::deploy::goal::{Build, PruneRule, describe_restart};
use crate::deploy::plan::refusals::latest;
use crate::deploy::retention::{once_live, rollback_candidates, to_prune, why_kept};
use crate::deploy::run::{Run, record};
use crate::model::hook::HookPlace;
use crate::model::host_state::{HostState, OwedHooks};
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::{Entry, History, LedgerEvent, ReleaseStatus, RevertReason};
use crate::model::manifest::Sealed;
use crate::model::note::Note;
use crate::model::slots::Slot;
use crate::remote::order::{AgentHook, Order, Record, Relist, Verdicts};

/// The time for which a staged release waits to be activated.
pub const STAGED_FOR: TimeDelta = TimeDelta::days(7);

/// The values that the plan of one host is made from, beside the goal.
#[derive(Debug, Clone, Copy)]
pub struct Planner<'a> {
    pub config: &'a Config,
    pub run: &'a Run,
    /// Names of hosts that the run goes on without.
    pub skipped: &'a [String],
    pub host: &'a Host,
    /// The host as the last look found it.
    pub state: &'a HostState,
}

/// The release that a deploy makes on one host.
#[derive(Clone, Copy)]
pub struct WantedRelease<'a> {
    pub build: &'a Build,
    /// The part of the build that goes into a release.
    pub release: &'a Sealed,
    /// The files that the host lacks, and the patches for others.
    pub prepared: &'a Arc<PreparedDelta>,
}

impl Planner<'_> {
    /// Returns the plan that makes `wanted` live as `id`, or the first reason against it.
    pub fn deploy(&self, wanted: WantedRelease<'_>, id: ReleaseId) -> Result<HostPlan, PlanError> {
        self.refuse(Some(wanted))?;
        let mut activate = self.activation(id);
        activate.verdicts.committed.note = self.deployed_note(id, wanted.build.revision.as_deref());
        let slot = activate.placeholders.slot.take();
        activate.placeholders = Placeholders { slot, ..wanted.build.placeholders(id) };
        let notes = self.notes(Some(wanted));
        Ok(HostPlan {
            make: Some(self.make(wanted, id)),
            clean: self.clean_after(&as_if_live(self.state, &activate)),
            activate: Some(activate),
            warnings: notes.iter().map(Note::to_string).collect(),
            ..HostPlan::default()
        })
    }

    /// Returns the plan that makes `wanted` as `id`, to be activated later, or why there is none.
    pub fn stage(&self, wanted: WantedRelease<'_>, id: ReleaseId) -> Result<HostPlan, PlanError> {
        let deploy = self.deploy(wanted, id)?;
        let until = self.state.facts.clock + STAGED_FOR;
        let expires = Some(until.to_rfc3339_opts(SecondsFormat::Secs, true));
        let staged = Entry { expires, ..self.staged_entry(wanted.build, id) };
        Ok(HostPlan {
            waiting: Some(Order::Record(record(&staged, String::new()))),
            activate: None,
            clean: self.clean_after(&self.state.holding(staged)),
            ..deploy
        })
    }

    /// Returns the plan that makes the staged release `id` live, or why it cannot be.
    pub fn activate(&self, id: ReleaseId) -> Result<HostPlan, PlanError> {
        if self.state.live() == Some(id) {
            return Ok(HostPlan::default());
        }
        self.refuse(None)?;
        if let Some(why) = why_not_staged(self.state, id) {
            return Err(PlanError::NotStaged { id, why });
        }
        let mut activate = self.known_activation(id)?;
        let revision = activate.placeholders.revision.clone();
        activate.verdicts.committed.note = self.deployed_note(id, revision.as_deref());
        Ok(HostPlan {
            clean: self.clean_after(&as_if_live(self.state, &activate)),
            activate: Some(activate),
            warnings: self.state.not_understood(),
            ..HostPlan::default()
        })
    }

    /// Returns the plan that makes the existing release `id` live again, or why it cannot be.
    pub fn rollback(&self, id: ReleaseId) -> Result<HostPlan, PlanError> {
        let state = self.state;
        self.refuse(None)?;
        if !state.ids().contains(&id) {
            let candidates = rollback_candidates(state);
            return Err(PlanError::NotThere { id, candidates });
        }
        if state.unfinished.contains(&id.to_string()) {
            return Err(PlanError::Unfinished { id });
        }
        let mut activate = self.known_activation(id)?;
        let hosts = self.hosts_note();
        activate.verdicts.committed.note =
            format!("{} rolled back to release {id}{hosts}", self.run.who);
        activate.verdicts.left = state.live().and_then(|left| self.left(left, id));
        let activate = (state.live() != Some(id)).then_some(activate);
        Ok(HostPlan { activate, warnings: state.not_understood(), ..HostPlan::default() })
    }

    /// Returns the plan that deletes old releases and leftovers, or why nothing may be deleted.
    pub fn prune(&self, rule: PruneRule) -> Result<HostPlan, PlanError> {
        self.not_prunable().map_or(Ok(()), Err)?;
        let names = to_prune(self.state, rule);
        Ok(HostPlan {
            warnings: self.doubts(),
            kept: names.is_empty().then(|| why_kept(self.state, rule)),
            clean: self.clean(names),
            ..HostPlan::default()
        })
    }

    /// Returns how to recover the release that an interrupted run left undecided, if there is one.
    pub fn recover(&self) -> Option<Recovery> {
        let Some((id, history)) = self.state.undecided() else { return self.conclude() };
        let back = history.back.unwrap_or_default();
        if self.state.live() == Some(id) {
            let plan = self.activation_after(id, back);
            let plan = ActivationPlan { activated: Vec::new(), ..plan };
            return Some(Recovery::Judge(Box::new(plan)));
        }
        let mut plan = self.activation(id);
        plan.verdicts.reverted.note = format!("release {id} was found reverted");
        let reason = Some(RevertReason::FoundReverted);
        Some(Recovery::conclude(plan, HookPlace::Reverted, reason))
    }

    /// Returns how to finish a verdict whose hooks were not run to their end, if there is one.
    fn conclude(&self) -> Option<Recovery> {
        let OwedHooks { id, place } = self.state.owed?;
        let history = self.state.ledger.history(id).filter(|_| place == HookPlace::Committed);
        let back = history.and_then(|history| history.back).unwrap_or(self.state.current.raw());
        Some(Recovery::conclude(self.activation_after(id, back), place, None))
    }

    /// Returns how a release that other hosts of its run committed becomes live here too.
    pub fn forward(&self, split: &Divergence) -> Recovery {
        let mut plan = self.activation(split.id);
        let hosts = split.committed.join(", ");
        plan.verdicts.committed.note =
            format!("release {} is live as on {hosts}, by {}", split.id, self.run.who);
        plan.verdicts.left = split.left.and_then(|left| self.left(left, split.id));
        Recovery::Forward(Box::new(plan))
    }

    /// Returns the ledger entry about the release that is left for `id`, unless `id` is newer.
    fn left(&self, left: ReleaseId, id: ReleaseId) -> Option<Record> {
        let reason = Entry::rolled_back_to(id);
        let entry = Entry { reason, ..self.run.entry(LedgerEvent::RolledBack, &left.to_string()) };
        (id < left).then(|| record(&entry, String::new()))
    }

    fn staged_entry(&self, build: &Build, id: ReleaseId) -> Entry {
        Entry {
            artifact: Some(build.digest),
            size: Some(build.manifest.size()),
            env: build.env_digest(self.config, self.host, &self.state.key),
            config: Some(build.config_digest(self.config, self.host, &self.state.key)),
            revision: build.revision.clone(),
            began: Some(self.state.began()),
            app: Some(self.config.app.clone()),
            ..self.run.entry(LedgerEvent::Staged, &id.to_string())
        }
    }

    fn make(&self, wanted: WantedRelease<'_>, id: ReleaseId) -> MakeRelease {
        let WantedRelease { build, release, prepared } = wanted;
        let used = prepared.delta.partial.clone();
        let other_parts = self.state.parts().any(|part| Some(part) != used.as_deref());
        let failed = self.run.entry(LedgerEvent::Failed, &id.to_string());
        MakeRelease {
            id,
            clean_up: other_parts.then_some(Order::CleanUp { keep: used }),
            prepared: Arc::clone(prepared),
            files: release.manifest.files(),
            size: release.manifest.size(),
            digest: release.digest,
            then: self.around(build, release, id),
            failed: Entry { began: Some(self.state.began()), ..failed },
        }
    }

    /// Returns the orders that turn a checked upload into a complete release.
    fn around(&self, build: &Build, release: &Sealed, id: ReleaseId) -> Vec<Order> {
        let mut orders = Vec::new();
        if !self.config.links.is_empty() {
            orders.push(Order::Link { id, links: self.config.links.clone() });
        }
        let env = self.config.env_on(self.host).filter(|spec| build.env_bytes(spec).is_some());
        let env: Vec<_> = env.collect();
        orders.extend(env.iter().map(|spec| Order::Env {
            id,
            from: spec.uploaded(),
            file: spec.file.clone(),
            mode: spec.mode.clone(),
            group: spec.group.clone(),
            keys: build.env_keys(spec, &self.state.key),
        }));
        let brings_revision = release.manifest.holds("REVISION");
        if let Some(revision) = build.revision.clone().filter(|_| !brings_revision) {
            orders.push(Order::Revision { id, revision });
        }
        let hooks = self.hooks("staged", &self.config.hooks.staged, &self.hook_vars(id), id);
        let keep = self.keep(id);
        let relist = if !hooks.is_empty() {
            Relist::Yes
        } else if keep.is_none() && release.manifest.digest() == build.digest {
            Relist::No
        } else {
            Relist::Keep
        };
        orders.extend(hooks);
        // After the hooks, so that none of them writes to a file of an earlier release.
        orders.extend(keep);
        let env = env.iter().map(|spec| spec.file.clone()).collect();
        orders.push(Order::Seal { id, relist, env });
        if self.config.unit_files_on(self.host).next().is_some() {
            orders.push(Order::Units { id });
        }
        if self.config.services_on(self.host).any(|service| service.image.is_some()) {
            orders.push(Order::Image { id });
        }
        let staged = self.staged_entry(build, id);
        orders.push(Order::Stage { id, record: record(&staged, String::new()) });
        orders
    }

    /// Returns the order that keeps files of earlier releases, if there are any.
    fn keep(&self, id: ReleaseId) -> Option<Order> {
        let assets = self.config.assets.as_ref()?;
        let from = once_live(self.state, assets.releases);
        (!from.is_empty()).then(|| Order::Keep { id, from, paths: assets.keep.clone() })
    }

    /// Returns one of the slots, if the stage has any, for what does not depend on which it is.
    pub(super) fn any_slot(&self) -> Option<Slot> {
        self.config.slots.as_ref().map(|slots| slots.pair[0].clone())
    }

    /// Returns the hosts that take part.
    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.config.hosts.iter().filter(|host| !self.skipped.contains(&host.name))
    }

    /// Returns the hooks that run on this host, as orders.
    fn hooks(
        &self,
        name: &'static str,
        hooks: &[Hook],
        vars: &[String],
        id: ReleaseId,
    ) -> Vec<Order> {
        let order = |hook: &Hook| Order::Hook {
            name,
            id,
            command: hook.run.clone(),
            vars: vars.to_vec(),
            limit: hook.limit,
        };
        hooks.iter().filter(|hook| self.is_for(hook)).map(order).collect()
    }

    /// Returns the hooks that this host runs by itself at `place`.
    fn hooks_at(&self, place: HookPlace) -> Vec<AgentHook> {
        let hooks = self.config.hooks.at(place).iter().filter(|hook| self.is_for(hook));
        let own = |hook: &Hook| AgentHook { place, command: hook.run.clone(), limit: hook.limit };
        hooks.map(own).collect()
    }

    fn is_for(&self, hook: &Hook) -> bool {
        let mut eligible = self.hosts().filter(|host| hook.concerns(host));
        if hook.once { eligible.next() == Some(self.host) } else { hook.concerns(self.host) }
    }

    fn hook_vars(&self, id: ReleaseId) -> Vec<String> {
        let previous = previous(self.state, id).map(|id| id.to_string()).unwrap_or_default();
        let mut vars = run_vars(self.config, self.run, self.hosts());
        vars.extend(release_vars(self.config, self.host, id));
        vars.push(format!("SHIPIT_PREVIOUS_RELEASE={previous}"));
        vars
    }

    /// Returns the plan that makes `id` live. Fails if a check names what is not known of it.
    fn known_activation(&self, id: ReleaseId) -> Result<ActivationPlan, PlanError> {
        let activate = self.activation(id);
        let placeholders = Placeholders { slot: self.any_slot(), ..activate.placeholders.clone() };
        let known = self.config.health.fillable(&placeholders);
        known.map_err(|name| PlanError::NoValue { name, id: Some(id) })?;
        Ok(activate)
    }

    fn activation(&self, id: ReleaseId) -> ActivationPlan {
        self.activation_after(id, self.state.current.raw())
    }

    /// Returns the plan that makes `id` live after `back`, which a revert returns to.
    fn activation_after(&self, id: ReleaseId, back: String) -> ActivationPlan {
        let activated = &self.config.hooks.activated;
        let slot = self.slot_change(&back, id);
        let mut vars = self.hook_vars(id);
        let (new, old) = slot.clone().map(|change| (change.slot, change.old)).unzip();
        if let Some(slot) = &new {
            vars.push(format!("SHIPIT_SLOT={}", slot.name));
            vars.push(format!("SHIPIT_PORT={}", slot.port));
        }
        ActivationPlan {
            id,
            verdicts: self.verdicts(id, &back),
            placeholders: Placeholders { slot: new, ..placeholders(id, self.state) },
            placeholders_back: Layout::parse_target(&back)
                .map(|id| Placeholders { slot: old.flatten(), ..placeholders(id, self.state) }),
            back,
            activated: self.hooks("activated", activated, &vars, id),
            vars,
            slot,
            hooks: HookPlace::ALL.into_iter().flat_map(|place| self.hooks_at(place)).collect(),
            restarts: self
                .config
                .services_on(self.host)
                .filter(|service| !service.is_in_slot())
                .filter_map(describe_restart)
                .collect(),
        }
    }

    fn verdicts(&self, id: ReleaseId, back: &str) -> Verdicts {
        let (run, name) = (self.run, id.to_string());
        let (back, began) = (Some(back.to_owned()), Some(self.state.began()));
        let reason = self.state.foreign_ids().contains(&id).then(Entry::foreign);
        let activated = Entry { reason, back, began, ..run.entry(LedgerEvent::Activated, &name) };
        let committed = run.entry(LedgerEvent::Committed, &name);
        let undone = format!("release {id} by {} was reverted: @reason@", run.who);
        let stuck = format!("release {id} by {} could not be reverted: @reason@", run.who);
        let reverted = run.reasoned(LedgerEvent::Reverted, &name, undone);
        Verdicts {
            activated: record(&activated, String::new()),
            committed: record(&committed, String::new()),
            left: None,
            reverted: self.repeating(reverted, id),
            failed: run.reasoned(LedgerEvent::Failed, &name, stuck),
        }
    }

    /// Returns `reverted` and, if `id` was decided on before, an entry that repeats that decision.
    fn repeating(&self, mut reverted: Record, id: ReleaseId) -> Record {
        if let Some(event) = self.state.ledger.history(id).and_then(|history| history.repeated()) {
            let reason = Entry::as_before();
            let entry = Entry { reason, ..self.run.entry(event, &id.to_string()) };
            reverted.line = format!("{}\n{}", reverted.line, record(&entry, String::new()).line);
        }
        reverted
    }

    /// Returns Capistrano's line for `revisions.log`, as far as a pushed build has what it names.
    fn deployed_note(&self, id: ReleaseId, revision: Option<&str>) -> String {
        let at = revision.map(|revision| format!(" (at {revision})")).unwrap_or_default();
        let (app, hosts) = (&self.config.app, self.hosts_note());
        format!("{app}{at} deployed as release {id} by {}{hosts}", self.run.who)
    }

    /// Returns the hosts of the run for `revisions.log`, if deploy.toml does not list them.
    fn hosts_note(&self) -> String {
        let listed = self.config.listed_elsewhere();
        listed.map(|hosts| format!("; {hosts}")).unwrap_or_default()
    }

    /// Returns the clean-up of the host as `then`. A new line makes no ledger less doubtful.
    fn clean_after(&self, then: &HostState) -> Vec<Order> {
        let rule = PruneRule { keep: self.config.keep, older_than: None };
        let names = if self.state.is_doubtful() { Vec::new() } else { to_prune(then, rule) };
        self.clean(names)
    }

    fn clean(&self, names: Vec<String>) -> Vec<Order> {
        let order = |name: String| {
            let record = record(&self.run.entry(LedgerEvent::Pruned, &name), String::new());
            Order::Prune { name, record }
        };
        let mut orders: Vec<_> = names.into_iter().map(order).collect();
        if !orders.is_empty() || !self.state.leftovers.is_empty() {
            orders.push(Order::CleanUp { keep: None });
        }
        orders
    }

    /// Returns whether `build` with this config is live on the host already. The live build of
    /// another app does not count: its plan is refused.
    pub fn is_unchanged(&self, build: &Build) -> bool {
        let history = self.state.live().and_then(|live| self.state.ledger.history(live));
        let good = history.filter(|history| history.status == ReleaseStatus::Good);
        good.is_some_and(|history| self.is_made_of(build, history))
    }

    /// Returns whether the release `id` on the host was made of `build` with this config.
    pub fn is_staged(&self, build: &Build, id: ReleaseId) -> bool {
        self.state.ledger.history(id).is_some_and(|history| self.is_made_of(build, history))
    }

    fn is_made_of(&self, build: &Build, history: History) -> bool {
        let config = || Some(build.config_digest(self.config, self.host, &self.state.key));
        history.origin.is_some_and(|origin| {
            origin.artifact == Some(build.digest)
                && origin.app.as_ref().is_none_or(|app| *app == self.config.app)
                && origin.config == config()
        })
    }
}

/// Returns the release that was live before `id`, also if `id` is live already.
fn previous(state: &HostState, id: ReleaseId) -> Option<ReleaseId> {
    if state.live() != Some(id) {
        return state.live();
    }
    Layout::parse_target(&state.ledger.history(id)?.back?)
}

/// Returns what every hook sees, on this machine and on hosts, as `NAME=value` words. `shipit`
/// itself reads none of these names but `SHIPIT_STAGE`, so a hook may call it.
pub fn run_vars<'h>(
    config: &Config,
    run: &Run,
    hosts: impl Iterator<Item = &'h Host>,
) -> Vec<String> {
    let hosts: Vec<_> = hosts.map(|host| host.name.as_str()).collect();
    vec![
        format!("SHIPIT_APP={}", config.app),
        format!("SHIPIT_STAGE={}", config.stage),
        format!("SHIPIT_ALL_HOSTS={}", hosts.join(",")),
        format!("SHIPIT_PERFORMER={}", run.who),
        format!("SHIPIT_COMMAND={}", run.command.split(' ').next().unwrap_or_default()),
        format!("SHIPIT_RUN={}", run.nonce),
    ]
}

/// Returns what a command sees of the release that it is run for, as `NAME=value` words.
pub fn release_vars(config: &Config, host: &Host, id: ReleaseId) -> [String; 5] {
    [
        format!("SHIPIT_RELEASE={id}"),
        format!("SHIPIT_RELEASE_PATH={}", config.layout.release(id)),
        format!("SHIPIT_DEPLOY_TO={}", config.layout.root()),
        format!("SHIPIT_HOST={}", host.name),
        format!("SHIPIT_HOST_ROLES={}", host.roles.join(",")),
    ]
}

/// Returns what placeholders stand for in checks of a release that is on the host.
pub(super) fn placeholders(release: ReleaseId, state: &HostState) -> Placeholders {
    let origin = state.ledger.history(release).and_then(|history| history.origin);
    let (revision, digest) = origin.map(|entry| (entry.revision, entry.artifact)).unzip();
    let (revision, digest) = (revision.flatten(), digest.flatten());
    Placeholders { release, revision, digest, slot: None }
}

/// Returns the host once `id` is live and good there: retention after a deploy is planned from it.
fn as_if_live(state: &HostState, ActivationPlan { id, slot, .. }: &ActivationPlan) -> HostState {
    let events = [LedgerEvent::Staged, LedgerEvent::Activated, LedgerEvent::Committed];
    let mut state = state.assuming(*id, &events);
    let new = slot.as_ref().map(|change| &change.slot.name);
    let mut slots = state.slots.iter_mut();
    if let Some(slot) = slots.find(|state| Some(&state.slot.name) == new) {
        slot.release = Some(*id);
    }
    state
}

/// Returns the id of the release to make: later than every release of ours that any host knows,
/// whatever the clocks say. A release dated further ahead than any clock does not count.
pub fn new_id<'a>(states: impl IntoIterator<Item = &'a HostState>, run: &Run) -> ReleaseId {
    let states: Vec<_> = states.into_iter().collect();
    let newest = states.iter().filter_map(|state| state.newest(latest(state, run))).max();
    let taken: BTreeSet<_> = states.iter().flat_map(|state| state.ids()).collect();
    let mut id = ReleaseId::after(newest, run.now);
    // Another tool may have made a release in this second.
    while taken.contains(&id) && id.next() != id {
        id = id.next();
    }
    id
}

/// Returns why the release `id`, which is not live, may not be activated on a host.
fn why_not_staged(state: &HostState, id: ReleaseId) -> Option<WhyNotStaged> {
    let Some(history) = state.ledger.history(id).filter(|_| state.ids().contains(&id)) else {
        return Some(WhyNotStaged::Absent);
    };
    if history.status != ReleaseStatus::Staged {
        return Some(WhyNotStaged::Was(history.status));
    }
    match (history.expires(), state.live()) {
        _ if state.unknown.contains(&id.to_string()) => Some(WhyNotStaged::Unfinished),
        (None, _) => Some(WhyNotStaged::Unfinished),
        (Some(until), _) if until <= state.facts.clock => Some(WhyNotStaged::Expired { until }),
        (Some(_), Some(live)) if live > id => Some(WhyNotStaged::Older { live }),
        _ => None,
    }
}
