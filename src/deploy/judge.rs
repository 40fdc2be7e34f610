//! Judges the undecided release on one host: whether the service runs it, whether it is healthy,
//! and whether it stays so for the soak time.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::conversation::Conversation;
use super::event::Event;
use super::health::{self, ProofError, Way, prove, stayed_up};
use super::outcome::{Failure, Proof};
use super::plan::ActivationPlan;
use crate::model::id::ReleaseId;
use crate::model::service::Service;
use crate::remote::answer::Judgement;

/// The interval at which a unit is looked at during health checks.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The age up to which a judgement needs no second look.
const RECENT: Duration = Duration::from_secs(1);

/// What a judgement saw of a unit that was judged well.
pub struct Judged {
    /// How strongly it was seen that it runs the release.
    pub proof: Proof,
    found: Judgement,
    at: Instant,
}

impl Conversation<'_> {
    /// Judges the release. Returns what was seen of the unit, if the service is one, and how it was
    /// proved, for people. Fails if the release must not stay.
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
            Ok(Some(Judged { proof: Proof::Inferred, .. })) => "running, according to systemd",
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
            // Where it runs may not be visible yet: the second look decides.
            Ok(_) | Err(ProofError::Elsewhere { .. }) => {}
            Err(doubt) => return Err(doubt.after_its_start().failure(unit)),
        }
        // When the unit goes down, the checks need not run until their time is over.
        tokio::select! {
            passed = health::pass(self, plan) => passed?,
            down = self.wait_until_down(unit, plan.id, &first) => return Err(down),
        }
        sleep_until(soaked).await;
        let judged = self.look_again(unit, plan.id, &first).await?;
        self.warn_of_unit_file(unit, &judged.found);
        Ok(Some(judged))
    }

    /// Warns of a unit file that changed on disk, for example because it lies in the release.
    fn warn_of_unit_file(&self, unit: &str, found: &Judgement) {
        if found.unit.as_ref().is_some_and(|unit| unit.needs_daemon_reload) {
            let text = format!(
                "{unit} runs with its old unit file, which has changed on disk: \
                 `systemctl daemon-reload` and a restart apply the new one"
            );
            self.cx.events.emit(Event::Warning { host: Some(self.host.name.clone()), text });
        }
    }

    /// Returns the name of the unit, if the service is one.
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

    /// Returns what runs now. Fails unless that is what the first look saw.
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

    /// Runs the checks against what a revert made live again. Returns what is wrong, if anything. A
    /// user who asked to stop does not wait for that.
    pub(super) async fn unhealthy_again(&self, plan: &ActivationPlan) -> Option<String> {
        let back = plan.after_revert()?;
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
