//! The run locks of the hosts, and the order among runs that want them at once.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::host::HostRun;
use super::hosts::Hosts;
use super::outcome::HostResult;
use crate::model::host_state::{HostState, LockHolder};

/// A run that has some locks waits this long for the others, which another run will release.
const FAIR_WAIT: Duration = Duration::from_secs(10);

impl Hosts<'_> {
    /// Returns whether every lock is ours, perhaps after a while.
    pub(super) async fn all_locked(&mut self) -> bool {
        let is_held = |host: &HostRun| host.talk.holder().is_some();
        let end = Instant::now() + FAIR_WAIT;
        while self.all.iter().any(is_held) {
            if !self.may_wait() || Instant::now() > end || self.cx.cancel.asked() {
                return false;
            }
            sleep(Duration::from_millis(200)).await;
            for host in self.all.iter_mut().filter(|host| host.talk.holder().is_some()) {
                let _ = host.talk.retry_lock().await;
            }
        }
        true
    }

    /// Returns whether this run may wait for locks while it holds others. Of two runs that each
    /// hold some locks, the one with the smaller nonce waits and wins; the other releases its
    /// locks. Each sees the other's name on what it lacks, so runs never wait for each other in a
    /// circle. A lock without a run's name is being released, or belongs to another tool.
    fn may_wait(&self) -> bool {
        let will_release = |host: &HostRun| {
            host.talk.state.as_ref().is_some_and(|HostState { lock, .. }| {
                let after_us = lock.owner.as_ref().is_none_or(|it| it.run > self.cx.run.nonce);
                lock.deploy_lock.is_none() && after_us
            })
        };
        let here = || self.all.iter().filter(|host| host.takes_part());
        here().any(|host| host.talk.holder().is_none())
            && here().all(|host| host.talk.holder().is_none() || will_release(host))
    }

    /// Warns of everybody the run waits for, once each; `reported` remembers whom.
    pub(super) fn report_waiting(&self, reported: &mut BTreeSet<(String, String)>) {
        for host in &self.all {
            let Some(holder) = host.talk.holder() else { continue };
            if reported.insert((host.name().to_owned(), holder.to_owned())) {
                host.talk.warn(waiting(holder));
            }
        }
    }

    /// Ends the run on every host, for some are locked.
    pub(super) fn end_locked(&mut self) {
        for host in self.all.iter_mut().filter(|host| host.takes_part()) {
            host.end(match host.talk.holder() {
                Some(holder) => HostResult::Locked { holder: holder.to_owned() },
                None => host.talk.untouched(None),
            });
        }
    }
}

/// Returns what the run waits for.
fn waiting(holder: &str) -> String {
    match LockHolder::read(holder) {
        LockHolder::Run(record) => format!("waits for {record}"),
        LockHolder::DeployLock(record) => format!("waits for the deploy lock of {record}"),
    }
}
