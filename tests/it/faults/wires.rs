//! Connections that break: before an order arrives, after it was obeyed, in the middle of an
//! upload.

use shipit::deploy::outcome::{HostResult, Verdict};
use shipit::remote::local::LocalSession;

use super::oracle::{Subject, Work, hook};
use super::try_all;
use crate::features::wires::Wire;

/// Every order of a deploy that goes well, of a rollback and of a prune.
const DEPLOY: [&str; 13] = [
    "check", "link", "env", "revision", "hook", "seal", "stage", "drift", "activate", "commit",
    "prune", "sweep", "bye",
];
const ROLLBACK: [&str; 4] = ["activate", "hook", "commit", "bye"];
const PRUNE: [&str; 3] = ["prune", "sweep", "bye"];

async fn loses_its_connection(work: Work, verbs: &[&'static str], more: &[Wire]) {
    let wires = verbs.iter().flat_map(|verb| [Wire::CutBefore(verb), Wire::CutAfter(verb)]);
    try_all(wires.chain(more.iter().copied()), |wire| async move {
        let subject = Subject::new(LocalSession::new()).await;
        subject.wire("web1", wire);
        let report = subject.work(work).await;
        let used = subject.faults.lock().unwrap().is_empty();
        assert!(used, "{work:?}: {wire:?} was never met");
        subject.is_honest(&format!("{work:?}: {wire:?}"), work, &report).await;
    })
    .await;
}

#[tokio::test]
async fn a_deploy_loses_its_connection_around_every_order() {
    loses_its_connection(Work::Deploy, &DEPLOY, &[Wire::HalfUpload, Wire::CutGreeting]).await;
}

#[tokio::test]
async fn a_rollback_loses_its_connection_around_every_order() {
    loses_its_connection(Work::Rollback, &ROLLBACK, &[Wire::CutGreeting]).await;
}

#[tokio::test]
async fn a_prune_loses_its_connection_around_every_order() {
    loses_its_connection(Work::Prune, &PRUNE, &[Wire::CutGreeting]).await;
}

#[tokio::test]
async fn a_revert_loses_its_connection() {
    for wire in [Wire::CutBefore("revert"), Wire::CutAfter("revert")] {
        let mut subject = Subject::new(LocalSession::new()).await;
        subject.world.config.hooks.activated = hook("! grep -q 2 VERSION");
        subject.wire("web1", wire);
        let report = subject.world.deploy("2").await;
        assert!(matches!(report.hosts[0].1, HostResult::PutBack { .. }), "{report:?}");
        subject.is_honest(&format!("{wire:?}"), Work::Deploy, &report).await;
    }
}

/// The agent is killed by the restart it runs: nobody is left on the host to put anything back.
#[tokio::test]
async fn what_nobody_decided_is_settled_though_contact_is_lost_again() {
    for verb in ["adopt", "revert"] {
        for wire in [Wire::CutBefore(verb), Wire::CutAfter(verb)] {
            let mut subject = Subject::new(LocalSession::new()).await;
            subject.world.config.service = shipit::model::service::Service::Command {
                restart: "cat VERSION >../../running; test -e ../../killed || { touch \
                          ../../killed; kill -9 $(cat ../../.shipit/run/*/agent); }"
                    .to_owned(),
                stop: None,
                limit: std::time::Duration::from_secs(10),
            };
            subject.wire("web1", wire);
            let report = subject.world.deploy("2").await;
            assert_ne!(report.verdict(), Verdict::Done, "{report:?}");
            subject.faults.lock().unwrap().clear();
            subject.is_let_go(verb).await;
            let next = subject.world.deploy("3").await;
            assert_eq!(next.verdict(), Verdict::Done, "{wire:?}: {next:?}");
            assert_eq!(subject.site("web1").read("current/VERSION"), "3\n");
        }
    }
}
