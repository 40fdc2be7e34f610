//! Judges the undecided release on one host: whether the services run it, whether it is healthy,
//! and whether it stays so for the soak time.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::conversation::Conversation;
use super::health::{self, Part, ProofError, ProofRule, prove, stayed_up};
use super::outcome::Failure;
use super::plan::ActivationPlan;
use crate::model::id::ReleaseId;
use crate::model::service::{Proof, Service, ServiceProof, UnitKind, weakest_proof};
use crate::remote::answer::Judgement;
use crate::remote::order::{DONE, Order, ServiceName};

/// The interval at which units are looked at during health checks.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The age up to which a judgement needs no second look.
const RECENT: Duration = Duration::from_secs(1);

/// The findings of a judgement that ended well.
pub struct Judged {
    /// The proof that each service runs the release.
    pub proofs: Vec<ServiceProof>,
    found: Vec<Judgement>,
    at: Instant,
}

impl Judged {
    /// Returns what was seen of the units in the slot.
    pub(super) fn in_slot(&self, host: &Conversation<'_>) -> Vec<Judgement> {
        let units = host.judged_units(&self.found, Part::Slot);
        units.iter().map(|unit| unit.of(&self.found)).collect()
    }
}

/// The reason why a release must not stay.
pub struct NotWell {
    pub failure: Failure,
    /// The service that failed; `None`: it is unknown.
    pub service: Option<ServiceName>,
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

/// A unit that is judged: a service of the host, or a member of a target that is one.
struct JudgedUnit<'a> {
    /// The place of the service among those of the host.
    place: usize,
    /// The name of the service.
    service: String,
    name: String,
    rule: ProofRule<'a>,
}

impl JudgedUnit<'_> {
    /// Returns what a look found of it.
    fn of(&self, found: &[Judgement]) -> Judgement {
        let is_it = |judgement: &&Judgement| {
            let state = judgement.unit.as_ref();
            state.is_some_and(|it| it.service == self.service && it.name == self.name)
        };
        found.iter().find(is_it).cloned().unwrap_or_default()
    }

    fn prove(&self, found: &[Judgement]) -> Result<Option<Proof>, ProofError> {
        prove(&self.of(found), self.rule)
    }

    fn failed(&self, doubt: ProofError) -> NotWell {
        let service = ServiceName { name: self.service.clone(), unit: self.name.clone() };
        NotWell { failure: doubt.failure(&self.name), service: Some(service) }
    }
}

impl Conversation<'_> {
    /// Judges the release. Returns what was seen of the services, and how they were proved, for
    /// people. Fails if the release must not stay.
    pub(super) async fn judge(
        &self,
        plan: &ActivationPlan,
        part: Part<'_>,
    ) -> Result<(Judged, String), NotWell> {
        let judged = self.or_cancelled(self.evaluate(plan, part)).await??;
        let detail = match weakest_proof(&judged.proofs) {
            Some(Proof::Seen) => "seen running",
            Some(Proof::Inferred) => "running, according to systemd",
            Some(Proof::Reloaded) => "reloaded",
            Some(Proof::Restarted) => "restarted",
            None => "",
        };
        Ok((judged, detail.to_owned()))
    }

    async fn evaluate(&self, plan: &ActivationPlan, part: Part<'_>) -> Result<Judged, NotWell> {
        let soaked = Instant::now() + self.soak(part);
        if !self.has_units() {
            health::pass(self, plan, part).await?;
            if !self.soak(part).is_zero() {
                sleep_until(soaked).await;
                health::pass(self, plan, part).await?;
            }
            return self.proved(Vec::new(), part);
        }
        let seen = if let Part::Rest(slot) = part { slot } else { &[] };
        let first = [seen, &self.judgements(plan.id).await?].concat();
        let units = self.judged_units(&first, part);
        for unit in units.iter().filter(|unit| part.has(unit.rule.slot.is_some())) {
            match unit.prove(&first) {
                // Its directory may not be visible yet: the second look decides.
                Ok(_) | Err(ProofError::Weak { .. }) => {}
                // Nor may the workers of a graceful reload, which start after it has ended.
                Err(ProofError::OtherRelease { .. } | ProofError::OnlyReloaded)
                    if unit.rule.action.reloads() => {}
                Err(doubt) => return Err(unit.failed(doubt.after_its_start())),
            }
        }
        // If a unit goes down, the checks end at once.
        tokio::select! {
            passed = health::pass(self, plan, part) => passed?,
            down = self.wait_until_down(plan.id, &first, part) => return Err(down),
        }
        sleep_until(soaked).await;
        let found = self.still_up(plan.id, &first, part).await?;
        let judged = self.proved(found, part)?;
        self.warn_of_unit_files(&judged.found);
        Ok(judged)
    }

    /// Returns the time for which the services that are judged now must stay up. The service in the
    /// slot was up long enough.
    fn soak(&self, part: Part<'_>) -> Duration {
        let mut services = self.config().services_on(self.host);
        let soaks = !matches!(part, Part::Rest(_)) || services.any(|service| !service.is_in_slot());
        if soaks { self.config().health.soak } else { Duration::ZERO }
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
            self.warn(text);
        }
    }

    fn has_units(&self) -> bool {
        self.services().iter().any(|service| service.unit().is_some())
    }

    /// Returns the units among the services of the host; for [`Part::Slot`] only those in the slot.
    /// A look finds the members of targets too.
    fn judged_units(&self, found: &[Judgement], part: Part<'_>) -> Vec<JudgedUnit<'_>> {
        let services = self.services();
        let in_slot = self.config().services_on(self.host).map(Service::is_in_slot);
        let mut all = Vec::new();
        for (place, (service, in_slot)) in services.iter().zip(in_slot).enumerate() {
            let Some(unit) = service.unit() else { continue };
            if matches!(part, Part::Slot) && !in_slot {
                continue;
            }
            let rule = ProofRule::of(self.config(), unit.action, service.proof);
            let rule = ProofRule { slot: in_slot.then(|| self.slot()), ..rule };
            let judged = |name: &str| {
                let (service, name) = (service.name.clone(), name.to_owned());
                JudgedUnit { place, service, name, rule }
            };
            all.push(judged(&unit.name));
            if unit.kind() != UnitKind::Target {
                continue;
            }
            let is_own = |name: &str| {
                let units = services.iter().filter(|other| other.name == service.name);
                units.filter_map(|other| other.unit()).any(|unit| unit.name == name)
            };
            let states = found.iter().filter_map(|judgement| judgement.unit.as_ref());
            let members = states.filter(|it| it.service == service.name && !is_own(&it.name));
            all.extend(members.map(|it| judged(&it.name)));
        }
        all
    }

    async fn wait_until_down(&self, id: ReleaseId, first: &[Judgement], part: Part<'_>) -> NotWell {
        loop {
            sleep(LOOK_AGAIN).await;
            if let Err(failure) = self.still_up(id, first, part).await {
                return failure;
            }
        }
    }

    /// Returns what runs now. Fails unless that is what the first look saw.
    async fn still_up(
        &self,
        id: ReleaseId,
        first: &[Judgement],
        part: Part<'_>,
    ) -> Result<Vec<Judgement>, NotWell> {
        let now = self.judgements(id).await?;
        for unit in self.judged_units(first, part) {
            stayed_up(&unit.of(first), &unit.of(&now)).map_err(|doubt| unit.failed(doubt))?;
        }
        Ok(now)
    }

    fn proved(&self, found: Vec<Judgement>, part: Part<'_>) -> Result<Judged, NotWell> {
        let (proofs, doubts) = self.proofs(&found, part);
        match doubts.into_iter().next() {
            Some(doubt) => Err(doubt),
            None => Ok(Judged { proofs, found, at: Instant::now() }),
        }
    }

    /// Returns how each service is proved by what a look found, and those units that are not.
    pub(super) fn proofs(
        &self,
        found: &[Judgement],
        part: Part<'_>,
    ) -> (Vec<ServiceProof>, Vec<NotWell>) {
        let mut proofs: Vec<_> = self.services().iter().map(unproved).collect();
        let mut doubts = Vec::new();
        for unit in self.judged_units(found, part) {
            match (unit.prove(found), proofs.get_mut(unit.place)) {
                // A target is proved as its weakest member.
                (Ok(Some(proof)), Some(service)) => {
                    service.proof = Some(service.proof.map_or(proof, |other| other.min(proof)));
                }
                (Ok(_), _) => {}
                (Err(doubt), _) => doubts.push(unit.failed(doubt)),
            }
        }
        (proofs, doubts)
    }

    /// Runs the checks against what a revert made live again. Returns what is wrong, if anything. A
    /// user who asked to stop does not wait for that.
    pub(super) async fn unhealthy_again(&self, plan: &ActivationPlan) -> Option<String> {
        let back = plan.after_revert()?;
        let passed = self.cx.cancel.unless_asked(health::pass(self, &back, Part::All)).await;
        let failure = passed?.err()?;
        Some(format!("it does not pass the checks either: {}", failure.one_line()))
    }

    /// Returns why a release must not stay, with what the failed service, or each, printed last.
    pub(super) async fn with_journal(&self, NotWell { failure, service }: NotWell) -> Failure {
        let several = service.is_none() && self.services().len() > 1;
        let lines = if several { 10 } else { 40 };
        match self.ask(&Order::Journal { lines, service }).await {
            Ok(answer) if answer.code == DONE => failure.because(answer.text),
            _ => failure,
        }
    }

    /// Looks again at what was `judged` well. Fails if it is not well any more. A recent judgement
    /// needs no second look.
    pub(super) async fn confirm(
        &self,
        plan: &ActivationPlan,
        judged: &Judged,
    ) -> Result<(), NotWell> {
        if !self.has_units() || judged.at.elapsed() < RECENT {
            return Ok(());
        }
        let found = self.still_up(plan.id, &judged.found, Part::All).await?;
        self.proved(found, Part::All).map(|_| ())
    }
}

/// Returns a service of which nothing was seen yet.
pub(super) fn unproved(service: &Service) -> ServiceProof {
    let unit = service.unit().map(|unit| unit.name.clone());
    ServiceProof { service: service.name.clone(), unit, proof: None }
}
