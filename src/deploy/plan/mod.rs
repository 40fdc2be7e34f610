//! The plan of one host: what is executed, and what a dry run prints. It follows from the goal and
//! from what one look found, without I/O, so every small case can be tested.

mod error;
mod planner;
mod refusals;
mod slots;
mod targets;

use std::sync::Arc;
use std::time::Duration;

pub use self::error::{PlanError, WhyNotStaged};
pub use self::planner::{Planner, STAGED_FOR, WantedRelease, new_id, release_vars, run_vars};
pub use self::refusals::newer;
pub use self::targets::{activation_target, rollback_target};
use super::outcome::Failure;
use super::run::record;
use crate::artifact::PreparedDelta;
use crate::config::placeholders::Placeholders;
use crate::model::digest::Digest;
use crate::model::hook::HookPlace;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::{Entry, LedgerEvent, RevertReason};
use crate::model::slots::SlotChange;
use crate::remote::order::{Activation, AgentHook, Hidden, Order, Verdicts};

/// Everything that will be done on one host, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostPlan {
    /// Recovers what interrupted runs left undecided, one after the other.
    pub recover: Vec<Recovery>,
    /// Makes the release; nothing live changes.
    pub make: Option<MakeRelease>,
    /// Records, once all hosts are ready, that it waits to be activated.
    pub waiting: Option<Order>,
    /// Makes it live; `None`: what is live stays.
    pub activate: Option<ActivationPlan>,
    /// Deletes old releases and leftovers at the end. A failure here is a warning.
    pub clean: Vec<Order>,
    /// Warnings for the user, one line each.
    pub warnings: Vec<String>,
    /// The reason why a prune finds nothing to delete.
    pub kept: Option<String>,
}

impl HostPlan {
    /// Returns the orders that are sent if all goes well. Questions, and the upload between the
    /// clean-up and the check, are not among them.
    pub fn orders(&self) -> Vec<Order> {
        let mut all: Vec<_> = self.recover.iter().flat_map(Recovery::orders).collect();
        all.extend(self.make.iter().flat_map(MakeRelease::orders));
        all.extend(self.waiting.clone());
        all.extend(self.activate.iter().flat_map(ActivationPlan::orders));
        all.extend(self.clean.clone());
        all
    }
}

/// The steps that make a release on one host.
#[derive(Debug, Clone, PartialEq)]
pub struct MakeRelease {
    pub id: ReleaseId,
    /// Deletes interrupted uploads, except the one that is continued.
    pub clean_up: Option<Order>,
    /// The files that the host lacks, and the patches for others.
    pub prepared: Arc<PreparedDelta>,
    /// Regular files of the release.
    pub files: usize,
    /// Their bytes.
    pub size: u64,
    /// The digest of the sealed manifest, which the upload is checked against.
    pub digest: Digest,
    /// The orders after the check: links, env file, revision, hooks, seal, and the record that the
    /// release is complete.
    pub then: Vec<Order>,
    /// The ledger entry if the host reports a failure; its reason is still missing.
    pub failed: Entry,
}

impl MakeRelease {
    /// Returns the order that compares the upload with its manifest.
    pub fn check(&self) -> Order {
        let delta = &self.prepared.delta;
        let base = delta.base.filter(|_| delta.shares());
        Order::Check { id: self.id, base, digest: self.digest }
    }

    /// Returns the order that deletes what has arrived.
    pub fn discard(&self) -> Order {
        Order::Discard { id: self.id }
    }

    /// Returns the plan for the same release with everything sent.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { prepared: Arc::default(), clean_up: None, ..self.clone() }
    }

    /// Returns the order that records at which step the release could not be made.
    pub fn failed_at(&self, step: &str) -> Order {
        let entry = Entry { reason: Some(format!("{step} failed")), ..self.failed.clone() };
        Order::Record(record(&entry, String::new()))
    }

    fn orders(&self) -> Vec<Order> {
        let before = self.clean_up.iter().cloned();
        before.chain([self.check()]).chain(self.then.iter().cloned()).collect()
    }
}

/// The steps that make a release live on one host, and the way back.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationPlan {
    pub id: ReleaseId,
    /// The raw content of `current` to return to; empty: there was none.
    pub back: String,
    /// The ledger entries of every outcome.
    pub verdicts: Verdicts,
    /// The variables of hooks and health checks on the host, as `NAME=value` words.
    pub vars: Vec<String>,
    /// `activated` hooks, which run while the release is undecided.
    pub activated: Vec<Order>,
    /// The hooks that the agent runs by itself.
    pub hooks: Vec<AgentHook>,
    /// The restart of each service, for people.
    pub restarts: Vec<String>,
    /// The values of the placeholders in health checks.
    pub placeholders: Placeholders,
    /// Their values after a revert; `None` if that does not lead to a release of ours.
    pub placeholders_back: Option<Placeholders>,
    /// The change to another slot, if the host has slots.
    pub slot: Option<SlotChange>,
}

impl ActivationPlan {
    /// Returns the order that flips `current` and restarts the services.
    pub fn activate(&self) -> Order {
        Order::Activate(self.activation())
    }

    /// Returns the order that takes over what an interrupted run activated.
    pub fn resume(&self) -> Order {
        Order::Resume(self.activation())
    }

    /// Returns the order that finishes the verdict on it.
    pub fn conclude(&self, verdict: HookPlace, reason: Option<RevertReason>) -> Order {
        Order::Conclude { activation: self.activation(), verdict, reason }
    }

    /// Returns the order that commits the activation.
    pub fn commit(&self) -> Order {
        Order::Commit { hooks: AgentHook::limit(&self.hooks, &[HookPlace::Committed]) }
    }

    /// Returns the order that reverts the activation, with the reason for the ledger and the cause.
    pub fn revert(&self, reason: RevertReason, cause: &Failure) -> Order {
        let hooks = AgentHook::limit(&self.hooks, &[HookPlace::Reverted]);
        Order::Revert { reason, cause: Hidden(cause.what.clone()), hooks }
    }

    /// Returns how long all hooks that the agent runs by itself may take together.
    pub fn hooks_limit(&self) -> Duration {
        AgentHook::limit(&self.hooks, &HookPlace::ALL)
    }

    /// Returns whether the agent runs hooks at `place`.
    pub fn has_hooks(&self, place: HookPlace) -> bool {
        self.hooks.iter().any(|hook| hook.place == place)
    }

    /// Returns what an agent needs to activate and to revert by itself.
    fn activation(&self) -> Box<Activation> {
        let own = ["SHIPIT_RELEASE=", "SHIPIT_RELEASE_PATH="];
        let vars = self.vars.iter().filter(|var| !own.iter().any(|name| var.starts_with(name)));
        Box::new(Activation {
            id: self.id,
            back: self.back.clone(),
            verdicts: self.verdicts.clone(),
            vars: vars.cloned().collect(),
            hooks: self.hooks.clone(),
            slot: self.slot.clone(),
        })
    }

    /// Returns the order that moves the traffic to the slot of the release, if it has one. `again`
    /// says that an interrupted run may have done so.
    pub fn switch(&self, again: bool) -> Option<Order> {
        let hooks = AgentHook::limit(&self.hooks, &[HookPlace::Switched, HookPlace::Reverted]);
        self.slot.as_ref().map(|_| Order::Switch { again, hooks })
    }

    fn orders(&self) -> Vec<Order> {
        let activated = self.activated.iter().cloned().chain(self.switch(false));
        [self.activate()].into_iter().chain(activated).chain([self.commit()]).collect()
    }

    /// Returns this plan as if it were about the release that a revert leads to, for health checks
    /// of that one; `None` if it is not one of ours.
    pub fn after_revert(&self) -> Option<Self> {
        let placeholders = self.placeholders_back.clone()?;
        let id = placeholders.release;
        let (ours, new) = (id.to_string(), self.id.to_string());
        let old = placeholders.slot.as_ref();
        let vars = self.vars.iter().map(|var| match var.split_once('=') {
            Some(("SHIPIT_SLOT", _)) => format!("SHIPIT_SLOT={}", old.map_or("", |it| &it.name)),
            Some(("SHIPIT_PORT", _)) => {
                format!("SHIPIT_PORT={}", old.map(|it| it.port.to_string()).unwrap_or_default())
            }
            Some((name @ ("SHIPIT_RELEASE" | "SHIPIT_RELEASE_PATH"), value)) => {
                format!("{name}={}", value.replace(&new, &ours))
            }
            _ => var.clone(),
        });
        Some(Self { id, vars: vars.collect(), placeholders, ..self.clone() })
    }

    /// Returns where a revert leads, for people.
    pub fn back_shown(&self) -> String {
        match Layout::parse_target(&self.back) {
            Some(id) => id.to_string(),
            None if self.back.is_empty() => "nothing".to_owned(),
            None => self.back.clone(),
        }
    }
}

/// The recovery of a release that was left undecided.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovery {
    /// It is live: judge it, then commit or revert it.
    Judge(Box<ActivationPlan>),
    /// It was decided on, or is not live: hooks of the verdict, `Committed` or `Reverted`, may be
    /// left to run, and the ledger may lack a revert for this reason.
    Conclude { plan: Box<ActivationPlan>, verdict: HookPlace, reason: Option<RevertReason> },
    /// Other hosts of its run committed it: make it live here too.
    Forward(Box<ActivationPlan>),
}

impl Recovery {
    fn conclude(plan: ActivationPlan, verdict: HookPlace, reason: Option<RevertReason>) -> Self {
        Self::Conclude { plan: Box::new(plan), verdict, reason }
    }

    /// Returns the orders that are sent if the release is judged well.
    fn orders(&self) -> Vec<Order> {
        match self {
            Self::Judge(plan) => {
                let switch = plan.switch(true);
                [plan.resume()].into_iter().chain(switch).chain([plan.commit()]).collect()
            }
            Self::Conclude { plan, verdict, reason } => vec![plan.conclude(*verdict, *reason)],
            Self::Forward(plan) => plan.orders(),
        }
    }

    /// Returns the state of the host afterwards, if the release is judged well.
    #[must_use]
    pub fn expected(&self, state: &HostState) -> HostState {
        match self {
            Self::Judge(plan) => state.assuming(plan.id, &[LedgerEvent::Committed]),
            Self::Conclude { plan, reason, .. } => {
                let mut state = HostState { owed: None, ..state.clone() };
                let reverted: &[_] = if reason.is_some() { &[LedgerEvent::Reverted] } else { &[] };
                state.ledger.assume(plan.id, reverted);
                state
            }
            Self::Forward(plan) => {
                let events = [LedgerEvent::Activated, LedgerEvent::Committed];
                state.assuming(plan.id, &events)
            }
        }
    }
}
