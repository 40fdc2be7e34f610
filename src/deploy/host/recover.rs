//! Recovers an undecided release: after contact was lost, or after an interrupted run.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::health::Part;
use super::super::judge::NotWell;
use super::super::order_text::partly;
use super::super::outcome::{Done, Failure, HostResult};
use super::super::plan::{ActivationPlan, Recovery};
use super::{HostPhase, HostRun};
use crate::model::hook::HookPlace;
use crate::model::host_state::OwedHooks;
use crate::model::ledger::{LedgerEvent, RevertReason};
use crate::model::service::limit_of;
use crate::remote::conversation::Scan;
use crate::remote::order::{DONE, PARTLY};

impl HostRun<'_> {
    /// Connects again after contact was lost with the release undecided, until the host has
    /// reverted it by itself or lets us decide. With `keep`, the release is to stay. Returns the
    /// phase that this leads to.
    pub(super) async fn recover_lost(
        &mut self,
        plan: &ActivationPlan,
        cause: &Failure,
        keep: bool,
    ) -> HostPhase {
        self.talk.agent = None;
        let config = self.talk.config();
        let restarts = limit_of(config.services_on(self.talk.host));
        let patience = config.deadline * 2 + restarts * 2 + plan.hooks_limit();
        let end = Instant::now() + patience;
        while Instant::now() < end && !self.talk.cx.cancel.insisted() {
            if self.talk.open(true, Scan::No).await.is_ok() && self.talk.holder().is_none() {
                return self.recover_seen(plan, cause, keep).await;
            }
            self.talk.agent = None;
            sleep(Duration::from_secs(1)).await;
        }
        HostPhase::Ended(HostResult::Unknown { failure: cause.clone() })
    }

    /// Decides by the ledger, under the lock.
    async fn recover_seen(
        &mut self,
        plan: &ActivationPlan,
        cause: &Failure,
        keep: bool,
    ) -> HostPhase {
        let unknown = HostResult::Unknown { failure: cause.clone() };
        let Some(state) = &self.talk.state else { return HostPhase::Ended(unknown) };
        let is_live = state.live() == Some(plan.id);
        let last = state.ledger.history(plan.id).map(|history| history.last.event);
        if let Some(owed) = state.owed.filter(|_| last != Some(LedgerEvent::Activated)) {
            self.run_owed(plan, owed).await;
        }
        HostPhase::Ended(match last {
            Some(LedgerEvent::Committed) if is_live => return HostPhase::Decided,
            Some(LedgerEvent::Activated) => return self.resume(plan, cause, keep).await,
            Some(LedgerEvent::Reverted) => self.back_again(plan, cause, None),
            Some(LedgerEvent::Failed) => {
                let undo = Failure::not_reverted(plan.id, "");
                HostResult::Stuck { cause: cause.clone(), undo }
            }
            _ if !is_live => self.talk.untouched(Some(cause.clone())),
            _ => unknown,
        })
    }

    /// Runs the hooks of a verdict that the host could not run to their end. If contact is lost
    /// again, the next run does.
    async fn run_owed(&self, plan: &ActivationPlan, OwedHooks { id, place }: OwedHooks) {
        if id != plan.id {
            return;
        }
        match self.talk.ask(&plan.conclude(place, None)).await {
            Ok(answer) => self.talk.warn_of_hooks(place, &answer),
            Err(_) => self.talk.warn(format!(
                "its `{}` hooks were not run to their end: the next run on this host does",
                place.word()
            )),
        }
    }

    async fn resume(&self, plan: &ActivationPlan, cause: &Failure, keep: bool) -> HostPhase {
        let resumed = self.talk.ask(&plan.resume()).await;
        let revert = || plan.revert(RevertReason::Interrupted, cause);
        let last = if keep { plan.commit() } else { revert() };
        let ended = match resumed {
            Ok(answer) if answer.code == DONE => self.talk.ask(&last).await,
            other => other,
        };
        match ended {
            Ok(answer) if matches!(answer.code, DONE | PARTLY) && keep => {
                self.talk.warn_of_hooks(HookPlace::Committed, &answer);
                HostPhase::Decided
            }
            Ok(answer) => HostPhase::Ended(self.reverted(plan, cause, &answer).await),
            Err(_) => HostPhase::Ended(HostResult::Unknown { failure: cause.clone() }),
        }
    }

    /// Commits or reverts what an interrupted run left, if anything, then looks again.
    pub async fn recover(&mut self, recovery: Option<Recovery>) -> Result<(), Failure> {
        let Some(recovery) = recovery else { return Ok(()) };
        self.plan.recover.push(recovery.clone());
        match recovery {
            Recovery::Conclude { plan, verdict, reason } => {
                let order = plan.conclude(verdict, reason);
                self.talk.step("settle", self.talk.obey_verdict(&order, verdict)).await?;
            }
            Recovery::Judge(plan) => self.recover_live(&plan).await?,
            Recovery::Forward(plan) => {
                self.plan.activate = Some(*plan.clone());
                self.forward().await;
                if !self.takes_part() {
                    return Err(Failure::new(format!("could not finish {}", plan.id)));
                }
                (self.plan.activate, self.done) = (None, Done::default());
                self.phase = HostPhase::Open;
            }
        }
        self.talk.look().await
    }

    /// Judges the live release that an interrupted run left undecided; commits or reverts it.
    async fn recover_live(&mut self, plan: &ActivationPlan) -> Result<(), Failure> {
        self.talk.slot = plan.slot.as_ref().map(|change| change.slot.name.clone());
        let (talk, id) = (&self.talk, plan.id);
        talk.step("settle", talk.obey(&plan.resume())).await?;
        if let Some(switch) = plan.switch(true) {
            talk.step("switch", talk.obey(&switch)).await?;
        }
        let text = match talk.judge(plan, Part::All).await {
            Ok(_) => {
                let order = plan.commit();
                talk.step("settle", talk.obey_verdict(&order, HookPlace::Committed)).await?;
                format!("{id}, which an interrupted run left undecided, runs well: committed")
            }
            Err(NotWell { failure, .. }) => {
                let order = plan.revert(RevertReason::Unhealthy, &failure);
                let answer = talk.or_cancelled(talk.ask(&order)).await??;
                let (to, but) = (plan.back_shown(), partly(&answer).1);
                if but.is_none() {
                    talk.obeyed(&order, &answer)?;
                }
                let but = but.map_or_else(String::new, |but| format!(", but {but}"));
                let what = &failure.what;
                format!(
                    "{id}, which an interrupted run left undecided, was reverted to {to}{but}: {what}"
                )
            }
        };
        talk.warn(text);
        Ok(())
    }
}
