//! One question to every host, without the lock; or one order on every host, under the locks of
//! all of them or on none.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio::time::sleep;

use super::event::Event;
use super::fleet::plan_failure;
use super::host::{HostRun, RunContext};
use super::outcome::{Done, Failure, HostResult, Report};
use super::plan::check_newer;
use crate::model::host_state::{HostState, LockFacts, Owner};
use crate::model::id::ReleaseId;
use crate::model::service::Service;
use crate::remote::agent::{LedgerTail, Response, Scan};
use crate::remote::answer::told;
use crate::remote::order::{DONE, HELD, Order};

/// The most lines of a ledger that a history reads.
pub const HISTORY: u32 = 10_000;

/// How many seconds a run that was ended may hold the lock again.
const LAST_LOOK: u32 = 15;

/// What every host answers, in the order of the config.
pub type Answers<T> = Vec<(String, Result<T, Failure>)>;

/// Connects to every host, looks, asks `question`, and ends the conversation.
pub async fn of_each<T>(
    cx: RunContext<'_>,
    scan: Scan,
    question: impl AsyncFn(&mut HostRun<'_>) -> Result<T, Failure>,
) -> Answers<T> {
    let question = &question;
    let asked = cx.config.hosts.iter().map(|host| async move {
        let mut host = HostRun::new(cx, host);
        let answer = match host.open(false, scan).await {
            Ok(()) => question(&mut host).await,
            Err(failure) => Err(failure),
        };
        host.close().await;
        (host.host.name.clone(), answer)
    });
    at_once(cx, asked).await
}

/// Does all parts, as many at once as the config says; results in their order. A slow one keeps
/// nobody else waiting.
async fn at_once<T>(
    cx: RunContext<'_>,
    parts: impl IntoIterator<Item = impl Future<Output = T>>,
) -> Vec<T> {
    let numbered = parts.into_iter().enumerate();
    let numbered = numbered.map(|(place, part)| async move { (place, part.await) });
    let limit = cx.config.parallel.max(1);
    let mut done: Vec<_> = stream::iter(numbered).buffer_unordered(limit).collect().await;
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Every host's ledger, as far as [`HISTORY`] goes.
pub async fn history(cx: RunContext<'_>) -> Answers<LedgerTail> {
    of_each(cx, Scan::No, async |host| {
        let answer = host.ask(&Order::History { lines: HISTORY }).await?;
        if answer.code != DONE {
            return Err(Failure::new("could not read the ledger").because(answer.text));
        }
        Ok(told(&answer.raw()))
    })
    .await
}

/// Something small to do on every host.
pub struct HostChange<'c> {
    /// `pin`, `unpin`, `lock`.
    pub goal: &'static str,
    /// The release it is about, if it is about one.
    pub release: Option<ReleaseId>,
    /// What to order of a host that was found so; `None`: it is so already.
    pub order: &'c RequestFor<'c>,
}

/// From what was found on a host to what to order of it, or why not.
pub type RequestFor<'c> = dyn Fn(&HostState) -> Result<Option<Order>, Failure> + Send + Sync + 'c;

impl HostChange<'_> {
    /// What to order of a host that was found so, unless a newer program left what is there.
    pub fn on(&self, state: &HostState) -> Result<Option<Order>, Failure> {
        check_newer(state).map_err(|error| plan_failure(&error, self.goal))?;
        (self.order)(state)
    }
}

/// Takes the lock of every host; when all are ours and every host can do it, does it on each.
pub async fn change(cx: RunContext<'_>, change: &HostChange<'_>) -> Report {
    tell_begun(cx, change.goal);
    let mut hosts: Vec<_> = cx.config.hosts.iter().map(|host| HostRun::new(cx, host)).collect();
    let opening = at_once(cx, hosts.iter_mut().map(|host| host.open(true, Scan::No)));
    let opened = tokio::select! {
        opened = opening => opened,
        () = cx.cancel.wait(1) => return report(cx, change, &hosts, true),
    };
    let mut orders = Vec::new();
    for (host, opened) in hosts.iter_mut().zip(opened) {
        match opened.and_then(|()| wanted(host, change)) {
            Ok(order) => orders.push(order),
            Err(failure) => {
                let held = host.holder().map(ToOwned::to_owned);
                let result = held.map(|holder| HostResult::Locked { holder });
                host.result = Some(result.unwrap_or_else(|| host.untouched(Some(failure))));
            }
        }
    }
    if orders.len() == hosts.len() {
        let parts = hosts.iter_mut().zip(orders);
        at_once(cx, parts.map(|(host, order)| obey(host, order))).await;
    }
    at_once(cx, hosts.iter_mut().map(HostRun::close)).await;
    report(cx, change, &hosts, false)
}

fn tell_begun(cx: RunContext<'_>, goal: &'static str) {
    let names = cx.config.hosts.iter().map(|host| host.name.clone()).collect();
    let stage = cx.config.stage.clone();
    cx.events.emit(Event::RunStarted { goal, stage, hosts: names });
}

/// What to order of a host that was opened, unless somebody else holds its lock.
fn wanted(host: &HostRun<'_>, change: &HostChange<'_>) -> Result<Option<Order>, Failure> {
    match &host.state {
        Some(state) if state.holder.is_none() => change.on(state),
        _ => Err(Failure::new("another run holds the lock")),
    }
}

async fn obey(host: &mut HostRun<'_>, order: Option<Order>) {
    let live = host.state.as_ref().and_then(HostState::live);
    let Some(order) = order else {
        host.result = Some(HostResult::Unchanged { live: None });
        return;
    };
    let verb = order.verb();
    let failed = |failure: Failure| failure.titled(format!("the {verb} order failed"));
    host.result = Some(match host.ask(&order).await {
        Ok(answer) if answer.code == DONE => HostResult::Done(Done { live, ..Done::default() }),
        Ok(answer) => host.untouched(Some(failed(Failure::new(answer.text)))),
        // It may or may not have been done.
        Err(error) => HostResult::Unknown { failure: failed(error.into()) },
    });
}

fn report(
    cx: RunContext<'_>,
    change: &HostChange<'_>,
    hosts: &[HostRun<'_>],
    interrupted: bool,
) -> Report {
    let result = |host: &HostRun<'_>| host.result.clone().unwrap_or_else(|| host.untouched(None));
    Report {
        goal: change.goal,
        stage: cx.config.stage.clone(),
        release: change.release,
        hosts: hosts.iter().map(|host| (host.host.name.clone(), result(host))).collect(),
        warnings: Vec::new(),
        interrupted,
        split: false,
        failure: None,
    }
}

/// Ends on every host what was found there to block deploys. `found` is in the order of the
/// config; `note` is the line for `revisions.log`.
pub async fn unlock(cx: RunContext<'_>, found: &[LockFacts], note: &str) -> Report {
    tell_begun(cx, "unlock");
    let answers = tokio::select! {
        answers = of_each(cx, Scan::No, async |host| unlock_host(host, cx, found, note).await) => answers,
        () = cx.cancel.wait(1) => Vec::new(),
    };
    let interrupted = answers.is_empty();
    let mut warnings = Vec::new();
    let mut results = Vec::new();
    for (name, answer) in answers {
        let result = answer.map_or_else(
            |failure| HostResult::Untouched { live: None, failure: Some(failure) },
            |(result, said)| {
                warnings.extend(said.map(|said| (Some(name.clone()), said)));
                result
            },
        );
        results.push((name, result));
    }
    let change = HostChange { goal: "unlock", release: None, order: &|_| Ok(None) };
    Report { hosts: results, warnings, ..report(cx, &change, &[], interrupted) }
}

async fn unlock_host(
    host: &mut HostRun<'_>,
    cx: RunContext<'_>,
    found: &[LockFacts],
    note: &str,
) -> Result<(HostResult, Option<String>), Failure> {
    let at = cx.config.hosts.iter().position(|other| other.name == host.host.name);
    let found = at.and_then(|at| found.get(at)).cloned().unwrap_or_default();
    let mut said = None;
    if let Some(owner) = &found.owner {
        let order = Order::Break { run: owner.run.clone(), limit: patience(cx) };
        let what = "could not end the conversation that holds the lock";
        let text = done(host, ("end that run", &order), what).await?;
        said = (!text.trim().is_empty()).then(|| {
            format!("run {}: {}; the next deploy settles what it left", owner.run, text.trim())
        });
    }
    if let Some(record) = found.frozen.clone() {
        let order = Order::ClearDeployLock { record, note: note.to_owned() };
        done(host, ("unlock", &order), "could not unlock").await?;
    }
    // Whoever still holds it is none of ours, or came in the meantime.
    let tried = try_lock(host, found.owner.as_ref()).await?;
    let result = if tried.code == HELD {
        HostResult::Locked { holder: tried.text.trim().to_owned() }
    } else if tried.code != DONE {
        return Err(Failure::new("the lock cannot be tried").because(tried.text));
    } else if found.owner.is_some() || found.frozen.is_some() {
        HostResult::Done(Done::default())
    } else {
        HostResult::Unchanged { live: None }
    };
    Ok((result, said))
}

/// Tries the lock. The run that was ended may hold it for a moment once more, to see what became
/// of its release.
async fn try_lock(host: &HostRun<'_>, ended: Option<&Owner>) -> Result<Response, Failure> {
    let mut tried = host.ask(&Order::Lock).await?;
    for _ in 0..LAST_LOOK {
        let again = ended.is_some_and(|owner| tried.text.contains(&owner.run));
        if tried.code != HELD || !again {
            break;
        }
        sleep(Duration::from_secs(1)).await;
        tried = host.ask(&Order::Lock).await?;
    }
    Ok(tried)
}

async fn done(
    host: &HostRun<'_>,
    (step, order): (&'static str, &Order),
    what: &str,
) -> Result<String, Failure> {
    let work = async {
        let answer = host.ask(order).await?;
        if answer.code == DONE {
            return Ok((answer.text, String::new()));
        }
        Err(Failure::new(what).because(answer.text))
    };
    host.step(step, work).await
}

/// How long a conversation may take to end: its deadline, the rest of a running command, a revert.
fn patience(cx: RunContext<'_>) -> Duration {
    let restart = match &cx.config.service {
        Service::Unit { limit, .. } | Service::Command { limit, .. } => *limit,
        Service::None => Duration::ZERO,
    };
    cx.config.deadline + cx.config.hooks.limit.max(restart) + restart * 2
}
