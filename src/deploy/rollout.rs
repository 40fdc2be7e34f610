//! `[rollout]`: the batches that hosts are activated in, and what a failure does to the others.

use tokio::time::sleep;

use super::event::{Event, Phase};
use super::host::HostRun;
use super::hosts::{Aborted, Hosts};
use super::outcome::Failure;
use crate::config::{Batch, Config, Host, OnFailure, Rollout};
use crate::model::ledger::RevertReason;
use crate::model::note::Note;

/// Returns the batches, as places in `hosts`: canaries first, otherwise in the order of the config.
pub fn batches(rollout: &Rollout, hosts: &[Host]) -> Vec<Vec<usize>> {
    let size = match rollout.batch {
        Batch::All => hosts.len(),
        Batch::Hosts(number) => number,
        Batch::Percent(part) => hosts.len() * part / 100,
    };
    let is_canary = |place: &usize| rollout.canary.contains(&hosts[*place].name);
    let (canaries, others): (Vec<_>, Vec<_>) = (0..hosts.len()).partition(is_canary);
    let parts = canaries.chunks(size.max(1)).chain(others.chunks(size.max(1)));
    parts.map(<[usize]>::to_vec).collect()
}

/// Returns a note if hosts that hooks take out of service stay out until the end of a run.
pub fn note(config: &Config) -> Option<Note> {
    let several = batches(&config.rollout, &config.hosts).len() > 1;
    let taken_out = !config.hooks.before_switch.is_empty() && !config.hooks.committed.is_empty();
    let all_wait = several && config.rollout.on_failure == OnFailure::RevertAll;
    (taken_out && all_wait).then(|| {
        Note::new(
            "hosts that `before_switch` takes out of service stay out until the last batch is \
             well, for `revert-all` commits at the end",
            "in [rollout]: `on_failure = \"revert-batch\"` puts each batch back by its \
             `committed` hooks",
        )
    })
}

impl Hosts<'_> {
    /// Activates and judges batch by batch, then commits; or reverts as `on_failure` says.
    pub(super) async fn activate(&mut self) -> Result<(), Aborted> {
        if self.all.iter().all(|host| host.plan.activate.is_none()) {
            return Ok(());
        }
        let rollout = &self.cx.config.rollout;
        let batches = batches(rollout, &self.cx.config.hosts);
        let of = batches.len();
        for (place, batch) in batches.iter().enumerate() {
            if place > 0 {
                self.pause().await?;
            }
            self.cx.events.emit(Event::Phase(Phase::Switch { batch: place + 1, of }));
            self.activate_batch(batch).await?;
            if rollout.on_failure != OnFailure::RevertAll {
                self.commit(false).await?;
            }
        }
        self.confirm().await?;
        self.commit(true).await
    }

    /// Looks again at hosts of earlier batches before all are told to keep the release.
    async fn confirm(&mut self) -> Result<(), Aborted> {
        let confirmed = self.each_that(HostRun::is_undecided, HostRun::confirm).await;
        self.go_on(&confirmed).await
    }

    /// Waits between two batches, with the release of earlier ones still undecided.
    async fn pause(&mut self) -> Result<(), Aborted> {
        let paused = self.cx.cancel.unless_asked(sleep(self.cx.config.rollout.pause)).await;
        if paused.is_none() {
            self.revert_undecided(&Failure::stopped(), RevertReason::Interrupted).await;
        }
        paused.ok_or(Aborted)
    }

    async fn activate_batch(&mut self, batch: &[usize]) -> Result<(), Aborted> {
        let wanted = |place, host: &HostRun<'_>| batch.contains(&place) && host.takes_part();
        let activated = self.each_at(wanted, HostRun::activate).await;
        self.go_on(&activated).await
    }

    /// Applies `on_failure`, and fails, if more hosts failed than `max_failed` or the user asked to
    /// stop.
    async fn go_on(&mut self, results: &[(usize, Result<(), Failure>)]) -> Result<(), Aborted> {
        if self.cx.cancel.asked() {
            self.revert_undecided(&Failure::stopped(), RevertReason::Interrupted).await;
            return Err(Aborted);
        }
        let failed = results.iter().find(|(_, result)| result.is_err());
        let Some((culprit, _)) = failed else { return Ok(()) };
        let failures = self.all.iter().filter(|host| host.has_failed()).count();
        if failures <= self.cx.config.rollout.max_failed {
            return Ok(());
        }
        let culprit = self.all[*culprit].name();
        let cause = Failure::new(format!("{culprit} failed, so {}", self.consequence()));
        if self.cx.config.rollout.on_failure == OnFailure::Stop {
            self.commit(false).await?;
        } else {
            self.revert_undecided(&cause, RevertReason::Fleet).await;
        }
        Err(Aborted)
    }

    fn consequence(&self) -> &'static str {
        match self.cx.config.rollout.on_failure {
            OnFailure::RevertAll => "the fleet is reverted",
            OnFailure::RevertBatch => "its batch is reverted",
            OnFailure::Stop => "no further hosts are activated",
        }
    }

    async fn revert_undecided(&mut self, cause: &Failure, reason: RevertReason) {
        let revert = async |host: &mut HostRun<'_>| host.revert(cause, reason).await;
        self.each_that(HostRun::is_undecided, revert).await;
    }

    /// Tells every undecided host that its release stays. A host that reverted it by itself before
    /// it heard is brought forward once; if that fails too, the fleet has diverged. With `last`,
    /// nothing else is asked of these hosts in this run.
    async fn commit(&mut self, last: bool) -> Result<(), Aborted> {
        if !self.all.iter().any(HostRun::is_undecided) {
            return Ok(());
        }
        self.cx.events.emit(Event::Phase(Phase::Commit));
        let commit = async |host: &mut HostRun<'_>| host.commit(last).await;
        let told = self.each_that(HostRun::is_undecided, commit).await;
        self.each_at(|place, _| told.contains(&(place, true)), HostRun::forward).await;
        let kept = told.iter().filter(|(place, _)| self.all[*place].takes_part()).count();
        self.diverged |= 0 < kept && kept < told.len();
        if kept == told.len() { Ok(()) } else { Err(Aborted) }
    }
}
