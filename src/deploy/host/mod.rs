//! One host in a run: the interpreter of its plan. `phase` says how far it is.

mod activate;
mod recover;

use std::sync::Arc;

use super::context::RunContext;
use super::conversation::Conversation;
use super::judge::Judged;
use super::order_text::{failed_to, order_failure};
use super::outcome::{Done, Failure, HostResult};
use super::plan::{HostPlan, Planner};
use crate::artifact::PreparedDelta;
use crate::config::Host;
use crate::model::delta::BaseState;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::remote::conversation::Sent;
use crate::remote::order::{DONE, Order};
use crate::remote::replies::Reply;

/// One host in a run.
pub struct HostRun<'a> {
    pub talk: Conversation<'a>,
    /// What it has of its live release and of an interrupted upload, as far as it said.
    pub base: BaseState,
    /// What it lacks of the release to be made, once that was found.
    pub prepared: Option<Arc<PreparedDelta>>,
    pub plan: HostPlan,
    pub phase: HostPhase,
    /// The work that was done so far.
    pub done: Done,
    /// Whether `activated` hooks were begun.
    hooked: bool,
    /// Orders of the clean-up that were sent with the commit, and their answers to come.
    ahead: Vec<(Order, Reply)>,
}

/// The phase of a host in a run.
pub enum HostPhase {
    /// Nothing that is live was touched.
    Open,
    /// The new release is or may be live, and nothing is decided. It was judged well, if `judged`.
    Undecided { judged: Option<Box<Judged>> },
    /// It was told to keep the release and has not answered.
    Committing,
    /// The release stays.
    Decided,
    /// The run is over on this host.
    Ended(HostResult),
}

impl<'a> HostRun<'a> {
    /// Returns a host that nobody has connected to yet.
    pub fn new(cx: RunContext<'a>, host: &'a Host) -> Self {
        Self {
            talk: Conversation::new(cx, host),
            base: BaseState::default(),
            prepared: None,
            plan: HostPlan::default(),
            phase: HostPhase::Open,
            done: Done::default(),
            hooked: false,
            ahead: Vec::new(),
        }
    }

    /// Returns the name of the host.
    pub fn name(&self) -> &'a str {
        &self.talk.host.name
    }

    /// Returns what makes plans for the host; `None` if the run does not go on here, or before the
    /// first look. The run goes on without the hosts that are `skipped`.
    pub fn planner<'p>(&'p self, skipped: &'p [String]) -> Option<Planner<'p>> {
        let RunContext { config, run, .. } = self.talk.cx;
        let state = self.talk.state.as_ref().filter(|_| self.takes_part())?;
        Some(Planner { config, run, skipped, host: self.talk.host, state })
    }

    /// Returns whether the run goes on here.
    pub fn takes_part(&self) -> bool {
        !matches!(self.phase, HostPhase::Ended(_))
    }

    /// Returns whether the new release is or may be live and waits for its verdict.
    pub fn is_undecided(&self) -> bool {
        matches!(self.phase, HostPhase::Undecided { .. })
    }

    /// Returns whether the new release stays.
    pub fn is_decided(&self) -> bool {
        matches!(self.phase, HostPhase::Decided)
    }

    /// Returns the release that the last look found live.
    pub fn live(&self) -> Option<ReleaseId> {
        self.talk.state.as_ref().and_then(HostState::live)
    }

    /// Returns whether a failure ended the run here; a host that was skipped did not fail.
    pub fn has_failed(&self) -> bool {
        match &self.phase {
            HostPhase::Ended(result) => !matches!(result, HostResult::Skipped { .. }),
            _ => false,
        }
    }

    /// Returns how the run ended here, if it has.
    pub fn result(&self) -> Option<&HostResult> {
        if let HostPhase::Ended(result) = &self.phase { Some(result) } else { None }
    }

    /// Ends the run here.
    pub fn end(&mut self, result: HostResult) {
        self.phase = HostPhase::Ended(result);
    }

    /// Ends the run here, with what is live untouched.
    pub fn end_untouched(&mut self, failure: Option<Failure>) {
        self.end(self.talk.untouched(failure));
    }

    /// Records that the release waits to be activated, if that is planned.
    pub async fn set_waiting(&mut self) -> Result<(), Failure> {
        match &self.plan.waiting {
            Some(order) => self.talk.obey(order).await,
            None => Ok(()),
        }
    }

    /// Prunes and cleans up, unless that was ordered with the commit. Returns what failed.
    pub async fn clean(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        if self.ahead.is_empty() {
            self.send_clean(false, false);
        }
        for (order, reply) in std::mem::take(&mut self.ahead) {
            match reply.get().await {
                Ok(answer) if answer.code == DONE => {
                    if let Order::Prune { name, .. } = &order {
                        self.done.pruned.push(name.clone());
                    }
                    self.talk.warn_of_trash(&order, &answer);
                }
                Ok(answer) => failures.push(order_failure(&order, &answer)),
                Err(error) => {
                    failures.push(Failure::from(error).titled(failed_to(&order)));
                    break;
                }
            }
        }
        failures
    }

    /// Sends the whole clean-up. With `after`, the host skips it unless the order before is done.
    fn send_clean(&mut self, after: bool, last: bool) {
        let orders = self.plan.clean.iter().cloned();
        let orders = orders.map(|order| Sent { chained: after, ..order.into() }).collect();
        self.ahead = self.talk.send_all(orders, last);
    }

    /// Ends the conversation at once. An undecided release is then unknown to us.
    pub fn abandon(&mut self) {
        let stage = &self.talk.config().stage;
        let unknown = |what: &str, cause: String| {
            let hint = Some(format!("shipit status {stage}"));
            HostResult::Unknown { failure: Failure::new(what).because(cause).hint(hint) }
        };
        match self.phase {
            HostPhase::Undecided { .. } => {
                let seconds = self.talk.config().deadline.as_secs();
                let cause = format!("the host reverts by itself within {seconds}s");
                self.end(unknown("was left undecided", cause));
            }
            HostPhase::Committing => {
                let cause = "nobody waited for its answer".to_owned();
                self.end(unknown("was told to keep its release", cause));
            }
            HostPhase::Open | HostPhase::Decided | HostPhase::Ended(_) => {}
        }
        self.talk.abandon();
    }
}
