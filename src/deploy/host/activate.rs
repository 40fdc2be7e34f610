//! Activating the release on one host: judge it, then commit or revert it.

use super::super::event::Event;
use super::super::health::Part;
use super::super::judge::Judged;
use super::super::order_text::partly;
use super::super::outcome::{Failure, HostResult, once};
use super::super::plan::ActivationPlan;
use super::{HostPhase, HostRun};
use crate::model::hook::HookPlace;
use crate::model::ledger::RevertReason;
use crate::model::words::list;
use crate::remote::frames::Response;
use crate::remote::order::{DONE, NOT_REVERTED, Order, PARTLY, REVERTED};
use crate::remote::replies::Reply;

impl HostRun<'_> {
    /// Makes the release live and judges it. When this fails, the host is reverted already, or the
    /// phase says what it is.
    pub async fn activate(&mut self) -> Result<(), Failure> {
        let Some(plan) = self.plan.activate.clone() else { return Ok(()) };
        self.done.before = Some(plan.back_shown());
        self.phase = HostPhase::Undecided { judged: None };
        self.talk.slot = plan.slot.as_ref().map(|change| change.slot.name.clone());
        self.advance("activate", &plan, &plan.activate()).await?;
        self.judge_or_revert(&plan).await?;
        self.talk.cx.events.emit(Event::Ready { host: self.talk.name() });
        Ok(())
    }

    /// Has the host do a step of the activation. When this fails, the host is reverted, or the
    /// phase says what it is.
    async fn advance(
        &mut self,
        step: &'static str,
        plan: &ActivationPlan,
        order: &Order,
    ) -> Result<(), Failure> {
        let mut said = None;
        let work = async {
            let answer = self.talk.ask(order).await?;
            if answer.code == DONE {
                return Ok(());
            }
            let failure = Failure::new(format!("could not activate {}", plan.id));
            let failure = failure.because(once(partly(&answer).0));
            said = Some(answer);
            Err(failure)
        };
        let Err(failure) = self.talk.step(step, work).await else { return Ok(()) };
        match said {
            Some(answer) => self.end(self.activation_failed(plan, &failure, &answer)),
            // Contact was lost.
            None => self.revert(&failure, RevertReason::Interrupted).await,
        }
        Err(failure)
    }

    /// Returns the result of an activation that failed: the agent has dealt with it by itself.
    fn activation_failed(
        &self,
        plan: &ActivationPlan,
        failure: &Failure,
        answer: &Response,
    ) -> HostResult {
        match answer.code {
            REVERTED | PARTLY => self.back_again(plan, failure, partly(answer).1),
            NOT_REVERTED => HostResult::Stuck {
                cause: failure.clone(),
                undo: Failure::not_reverted(plan.id, ""),
            },
            _ => self.talk.untouched(Some(failure.clone())),
        }
    }

    /// Returns the result that what was live before is live again. `but` tells what is different.
    pub(super) fn back_again(
        &self,
        plan: &ActivationPlan,
        failure: &Failure,
        but: Option<String>,
    ) -> HostResult {
        let (live, failure) = (plan.back_shown(), failure.clone());
        HostResult::Reverted { live, failure, but: but.or_else(|| self.left_by_hooks(plan)) }
    }

    /// Returns what hooks did that no `reverted` hook undoes, if there are any.
    fn left_by_hooks(&self, plan: &ActivationPlan) -> Option<String> {
        if plan.has_hooks(HookPlace::Reverted) {
            return None;
        }
        let around = [HookPlace::BeforeSwitch, HookPlace::Switched];
        let around = around.into_iter().filter(|place| plan.has_hooks(*place));
        let activated = self.hooked.then_some("activated");
        let names: Vec<_> =
            around.map(HookPlace::word).chain(activated).map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| format!("what its {} hooks did was not reverted", list(&names)))
    }

    async fn judge_or_revert(&mut self, plan: &ActivationPlan) -> Result<(), Failure> {
        for hook in &plan.activated {
            self.hooked = true;
            if let Err(failure) = self.talk.step("activated", self.talk.obey(hook)).await {
                self.revert(&failure, RevertReason::Unhealthy).await;
                return Err(failure);
            }
        }
        let judged = match plan.switch(false) {
            None => self.judged_well(plan, Part::All).await?,
            Some(switch) => {
                let slot = self.judged_well(plan, Part::Slot).await?.in_slot(&self.talk);
                self.advance("switch", plan, &switch).await?;
                self.judged_well(plan, Part::Rest(&slot)).await?
            }
        };
        self.done.services.clone_from(&judged.proofs);
        self.phase = HostPhase::Undecided { judged: Some(Box::new(judged)) };
        Ok(())
    }

    /// Judges a part of the release. Reverts it if it is not well.
    async fn judged_well(
        &mut self,
        plan: &ActivationPlan,
        part: Part<'_>,
    ) -> Result<Judged, Failure> {
        let judging = self.talk.judge(plan, part);
        match self.talk.step_that_took("judge", judging, |_| None).await {
            Ok(judged) => Ok(judged),
            Err(doubt) => {
                let failure = self.talk.with_journal(doubt).await;
                let stopped = self.talk.cx.cancel.asked();
                let reason =
                    if stopped { RevertReason::Interrupted } else { RevertReason::Unhealthy };
                self.revert(&failure, reason).await;
                Err(failure)
            }
        }
    }

    /// Looks again at a release that was judged well before, and reverts it if it is not well now.
    pub async fn confirm(&mut self) -> Result<(), Failure> {
        let HostPhase::Undecided { judged: Some(judged) } = &self.phase else { return Ok(()) };
        let Some(plan) = &self.plan.activate else { return Ok(()) };
        let Err(doubt) = self.talk.confirm(plan, judged).await else { return Ok(()) };
        let failure = self.talk.with_journal(doubt).await;
        self.revert(&failure, RevertReason::Unhealthy).await;
        Err(failure)
    }

    /// Reverts an undecided release, whatever it takes, and ends the run here.
    pub async fn revert(&mut self, cause: &Failure, reason: RevertReason) {
        let Some(plan) = self.plan.activate.clone() else { return };
        let to = plan.back_shown();
        self.talk.cx.events.emit(Event::Reverting { host: self.talk.name(), to });
        self.phase = match self.talk.ask(&plan.revert(reason, cause)).await {
            Ok(answer) => HostPhase::Ended(self.reverted(&plan, cause, &answer).await),
            Err(_) => self.recover_lost(&plan, cause, false).await,
        };
    }

    /// Returns the result of a revert. The health checks are asked once more.
    pub(super) async fn reverted(
        &self,
        plan: &ActivationPlan,
        cause: &Failure,
        answer: &Response,
    ) -> HostResult {
        if !matches!(answer.code, DONE | PARTLY) {
            let undo = Failure::not_reverted(plan.id, &answer.text);
            return HostResult::Stuck { cause: cause.clone(), undo };
        }
        let but = match partly(answer) {
            (_, None) => self.talk.unhealthy_again(plan).await,
            (said, but) => {
                self.talk.show("reverted", said);
                but
            }
        };
        self.back_again(plan, cause, but)
    }

    /// Tells the host that the undecided release stays. The clean-up is sent along and, if this is
    /// the `last` of the run, goodbye as well. Returns whether the host had reverted the release
    /// before it heard.
    pub async fn commit(&mut self, last: bool) -> bool {
        let Some(plan) = self.plan.activate.clone() else { return false };
        self.phase = HostPhase::Committing;
        let cleans = !self.plan.clean.is_empty();
        let mut sent = self.talk.send_all(vec![plan.commit().into()], last && !cleans);
        if cleans {
            self.send_clean(true, last);
        }
        let reply = sent.pop().map_or_else(Reply::gone, |(_, reply)| reply);
        let answer = reply.hear(|said| self.talk.show_said(&said)).await;
        self.phase = match answer {
            Ok(answer) if matches!(answer.code, DONE | PARTLY) => {
                self.talk.warn_of_hooks(HookPlace::Committed, &answer);
                HostPhase::Decided
            }
            Ok(answer) => {
                let what = format!("could not record that {} is committed", plan.id);
                let failure = Failure::new(what).because(answer.text);
                HostPhase::Ended(HostResult::Unknown { failure })
            }
            Err(error) => self.recover_lost(&plan, &Failure::from(error), true).await,
        };
        if matches!(self.phase, HostPhase::Decided) {
            self.done.live = Some(plan.id);
        }
        let reverted = matches!(self.result(), Some(HostResult::Reverted { .. }));
        reverted && self.talk.agent.is_some()
    }

    /// Makes the planned release live once more, judges it again and commits it.
    pub async fn forward(&mut self) {
        if self.activate().await.is_ok() {
            self.commit(false).await;
        }
    }
}
