//! Judging the release that is live and undecided on one host: whether it is what runs, whether it
//! is healthy, and whether it stays so for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::conversation::Conversation;
use super::event::Event;
use super::health::{self, ProofError, Way, prove, stayed_up};
use super::outcome::{Failure, Proof};
use super::plan::ActivationPlan;
use crate::model::id::ReleaseId;
use crate::model::service::Service;
use crate::remote::agent::Judgement;

/// How often a unit is looked at while it is asked whether it is healthy.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A judgement that is not older needs no second look.
const RECENT: Duration = Duration::from_secs(1);

/// What a judgement saw of a unit that was judged well.
pub struct Judged {
    /// How it is known that it runs the release.
    pub proof: Proof,
    found: Judgement,
    at: Instant,
}

impl Conversation<'_> {
    /// Proof, health and soak; and how it is known, for people.
    pub(super) async fn judge(
        &self,
        plan: &ActivationPlan,
    ) -> Result<(Option<Judged>, String), Failure> {
        let verdict = tokio::select! {
            verdict = self.evaluate(plan) => verdict,
            () = self.cx.cancel.wait(1) => Err(Failure::stopped()),
        };
        let detail = match &verdict {
            Ok(Some(Judged { proof: Proof::Seen, .. })) => "seen running",
            Ok(Some(Judged { proof: Proof::Inferred, .. })) => "running, as systemd says",
            Ok(Some(Judged { proof: Proof::Reloaded, .. })) => "reloaded",
            _ => "",
        };
        verdict.map(|judged| (judged, detail.to_owned()))
    }

    async fn evaluate(&self, plan: &ActivationPlan) -> Result<Option<Judged>, Failure> {
        let soak = self.config().health.soak;
        let soaked = Instant::now() + soak;
        let Some(unit) = self.unit() else {
            health::pass(self, plan).await?;
            if !soak.is_zero() {
                sleep_until(soaked).await;
                health::pass(self, plan).await?;
            }
            return Ok(None);
        };
        let first = self.judgement(plan.id).await?;
        match prove(&first, &self.config().layout, Way::of(self.config())) {
            // Where it runs may not be seen before it has begun: the second look decides.
            Ok(_) | Err(ProofError::Elsewhere { .. }) => {}
            Err(doubt) => return Err(doubt.after_its_start().failure(unit)),
        }
        // A unit that goes down need not be asked until the checks' time is over.
        tokio::select! {
            passed = health::pass(self, plan) => passed?,
            down = self.wait_until_down(unit, plan.id, &first) => return Err(down),
        }
        sleep_until(soaked).await;
        let judged = self.look_again(unit, plan.id, &first).await?;
        self.warn_of_unit_file(unit, &judged.found);
        Ok(Some(judged))
    }

    /// A release that brings the unit's file with it changes nothing of the unit by itself.
    fn warn_of_unit_file(&self, unit: &str, found: &Judgement) {
        if found.unit.as_ref().is_some_and(|unit| unit.needs_daemon_reload) {
            let text = format!(
                "{unit} runs with its old unit file, which has changed on disk: \
                 `systemctl daemon-reload` and a restart let the new one count"
            );
            self.cx.events.emit(Event::Warning { host: Some(self.host.name.clone()), text });
        }
    }

    /// The unit, where the service is one.
    fn unit(&self) -> Option<&str> {
        match &self.config().service {
            Service::Unit { name, .. } => Some(name),
            Service::Command { .. } | Service::None => None,
        }
    }

    async fn wait_until_down(&self, unit: &str, id: ReleaseId, first: &Judgement) -> Failure {
        loop {
            sleep(LOOK_AGAIN).await;
            if let Err(failure) = self.still_up(unit, id, first).await {
                return failure;
            }
        }
    }

    /// What runs now, if that is what the first look saw.
    async fn still_up(
        &self,
        unit: &str,
        id: ReleaseId,
        first: &Judgement,
    ) -> Result<Judgement, Failure> {
        let now = self.judgement(id).await?;
        stayed_up(first, &now).map_err(|doubt| doubt.failure(unit))?;
        Ok(now)
    }

    async fn look_again(
        &self,
        unit: &str,
        id: ReleaseId,
        first: &Judgement,
    ) -> Result<Judged, Failure> {
        let found = self.still_up(unit, id, first).await?;
        let proof = prove(&found, &self.config().layout, Way::of(self.config()))
            .map_err(|doubt| doubt.failure(unit))?;
        Ok(Judged { proof, found, at: Instant::now() })
    }

    /// Why what a revert made live again is not healthy, if it is not: it is held against the same
    /// checks. A user who wants to stop is not kept waiting for that.
    pub(super) async fn unhealthy_again(&self, plan: &ActivationPlan) -> Option<String> {
        let back = plan.gone_back()?;
        let passed = tokio::select! {
            passed = health::pass(self, &back) => passed,
            () = self.cx.cancel.wait(1) => return None,
        };
        let failure = passed.err()?;
        Some(format!("it does not pass the checks either: {}", failure.one_line()))
    }

    /// Looks again at what was `judged` well. Fails if it is not well any more. A recent judgement
    /// needs no second look.
    pub(super) async fn confirm(
        &self,
        plan: &ActivationPlan,
        judged: &Judged,
    ) -> Result<(), Failure> {
        match self.unit() {
            Some(unit) if judged.at.elapsed() >= RECENT => {
                self.look_again(unit, plan.id, &judged.found).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }
}
