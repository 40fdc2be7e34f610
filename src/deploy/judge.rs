//! Judges the undecided release on one host: whether the services run it, whether it is healthy,
//! and whether it stays so for the soak time.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::conversation::Conversation;
use super::event::Event;
use super::health::{self, ProofError, Way, prove, stayed_up};
use super::outcome::Failure;
use super::plan::ActivationPlan;
use crate::model::id::ReleaseId;
use crate::model::service::{Proof, Service, ServiceProof, Unit};
use crate::remote::answer::Judgement;

/// The interval at which units are looked at during health checks.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The age up to which a judgement needs no second look.
const RECENT: Duration = Duration::from_secs(1);

/// What a judgement saw of services that were judged well.
pub struct Judged {
    /// How it was proved that each runs the release.
    pub proofs: Vec<ServiceProof>,
    found: Vec<Judgement>,
    at: Instant,
}

/// Why a release must not stay.
pub struct NotWell {
    pub failure: Failure,
    /// The place of the service that failed among those of the host, from 1; `None`: it is unknown.
    pub service: Option<usize>,
}

impl From<Failure> for NotWell {
    fn from(failure: Failure) -> Self {
        Self { failure, service: None }
    }
}

impl AsRef<Failure> for NotWell {
    fn as_ref(&self) -> &Failure {
        &self.failure
    }
}

/// A service of the host that is a unit.
struct JudgedUnit<'a> {
    /// Its place among the services, from 1.
    number: usize,
    service: &'a Service,
    unit: &'a Unit,
}

impl JudgedUnit<'_> {
    /// Returns what a look found of it.
    fn of(&self, found: &[Judgement]) -> Judgement {
        let is_it = |judgement: &&Judgement| {
            let state = judgement.unit.as_ref();
            state.is_some_and(|it| it.service == self.service.name && it.name == self.unit.name)
        };
        found.iter().find(is_it).cloned().unwrap_or_default()
    }

    fn failed(&self, doubt: ProofError) -> NotWell {
        NotWell { failure: doubt.failure(&self.unit.name), service: Some(self.number) }
    }
}

impl Conversation<'_> {
    /// Judges the release. Returns what was seen of the services, and how they were proved, for
    /// people. Fails if the release must not stay.
    pub(super) async fn judge(&self, plan: &ActivationPlan) -> Result<(Judged, String), NotWell> {
        let judged = tokio::select! {
            verdict = self.evaluate(plan) => verdict?,
            () = self.cx.cancel.wait(1) => return Err(Failure::stopped().into()),
        };
        let detail = match judged.proofs.iter().filter_map(|service| service.proof).min() {
            Some(Proof::Seen) => "seen running",
            Some(Proof::Inferred) => "running, according to systemd",
            Some(Proof::Reloaded) => "reloaded",
            None => "",
        };
        Ok((judged, detail.to_owned()))
    }

    async fn evaluate(&self, plan: &ActivationPlan) -> Result<Judged, NotWell> {
        let soak = self.config().health.soak;
        let soaked = Instant::now() + soak;
        if self.units().is_empty() {
            health::pass(self, plan).await?;
            if !soak.is_zero() {
                sleep_until(soaked).await;
                health::pass(self, plan).await?;
            }
            return self.proved(Vec::new());
        }
        let first = self.judgements(plan.id).await?;
        for unit in self.units() {
            match self.prove(&unit, &first) {
                // Where it runs may not be visible yet: the second look decides.
                Ok(_) | Err(ProofError::Elsewhere { .. }) => {}
                Err(doubt) => return Err(unit.failed(doubt.after_its_start())),
            }
        }
        // When a unit goes down, the checks need not run until their time is over.
        tokio::select! {
            passed = health::pass(self, plan) => passed?,
            down = self.wait_until_down(plan.id, &first) => return Err(down),
        }
        sleep_until(soaked).await;
        let judged = self.look_again(plan.id, &first).await?;
        self.warn_of_unit_files(&judged.found);
        Ok(judged)
    }

    /// Warns of a unit file that changed on disk, for example because it lies in the release.
    fn warn_of_unit_files(&self, found: &[Judgement]) {
        let changed = found.iter().filter_map(|judgement| judgement.unit.as_ref());
        for unit in changed.filter(|unit| unit.needs_daemon_reload) {
            let text = format!(
                "{} runs with its old unit file, which has changed on disk: \
                 `systemctl daemon-reload` and a restart apply the new one",
                unit.name
            );
            self.cx.events.emit(Event::Warning { host: Some(self.host.name.clone()), text });
        }
    }

    /// Returns the units among the services of the host.
    fn units(&self) -> Vec<JudgedUnit<'_>> {
        let units = self.services().into_iter().zip(1..).filter_map(|(service, number)| {
            Some(JudgedUnit { number, service, unit: service.unit()? })
        });
        units.collect()
    }

    fn prove(&self, unit: &JudgedUnit<'_>, found: &[Judgement]) -> Result<Proof, ProofError> {
        let way = Way::of(self.config(), unit.unit.action);
        prove(&unit.of(found), &self.config().layout, way)
    }

    async fn wait_until_down(&self, id: ReleaseId, first: &[Judgement]) -> NotWell {
        loop {
            sleep(LOOK_AGAIN).await;
            if let Err(failure) = self.still_up(id, first).await {
                return failure;
            }
        }
    }

    /// Returns what runs now. Fails unless that is what the first look saw.
    async fn still_up(
        &self,
        id: ReleaseId,
        first: &[Judgement],
    ) -> Result<Vec<Judgement>, NotWell> {
        let now = self.judgements(id).await?;
        for unit in self.units() {
            stayed_up(&unit.of(first), &unit.of(&now)).map_err(|doubt| unit.failed(doubt))?;
        }
        Ok(now)
    }

    async fn look_again(&self, id: ReleaseId, first: &[Judgement]) -> Result<Judged, NotWell> {
        let found = self.still_up(id, first).await?;
        self.proved(found)
    }

    fn proved(&self, found: Vec<Judgement>) -> Result<Judged, NotWell> {
        let (proofs, doubts) = self.proofs(&found);
        match doubts.into_iter().next() {
            Some(doubt) => Err(doubt),
            None => Ok(Judged { proofs, found, at: Instant::now() }),
        }
    }

    /// Returns how each service is proved by what a look found, and those units that are not.
    pub(super) fn proofs(&self, found: &[Judgement]) -> (Vec<ServiceProof>, Vec<NotWell>) {
        let mut proofs: Vec<_> = self.services().into_iter().map(unproved).collect();
        let mut doubts = Vec::new();
        for unit in self.units() {
            match (self.prove(&unit, found), proofs.get_mut(unit.number - 1)) {
                (Ok(proof), Some(service)) => service.proof = Some(proof),
                (Ok(_), None) => {}
                (Err(doubt), _) => doubts.push(unit.failed(doubt)),
            }
        }
        (proofs, doubts)
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
    ) -> Result<(), NotWell> {
        if self.units().is_empty() || judged.at.elapsed() < RECENT {
            return Ok(());
        }
        self.look_again(plan.id, &judged.found).await.map(|_| ())
    }
}

/// Returns a service of which nothing was seen yet.
pub(super) fn unproved(service: &Service) -> ServiceProof {
    let unit = service.unit().map(|unit| unit.name.clone());
    ServiceProof { service: service.name.clone(), unit, proof: None }
}
