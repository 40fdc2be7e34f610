//! One question to every host, without the lock; or one change on every host, under all locks.

use std::time::Duration;

use chrono::DateTime;
use tokio::time::sleep;

use super::context::RunContext;
use super::conversation::Conversation;
use super::outcome::{Done, Failure, HostResult, Report};
use super::plan::newer;
use super::pool::for_hosts;
use crate::model::goal::GoalKind;
use crate::model::hook::HookPlace;
use crate::model::host_state::{HostState, LockFacts, Owner};
use crate::model::id::ReleaseId;
use crate::model::service::limit_of;
use crate::remote::answer::{LedgerTail, told};
use crate::remote::conversation::Scan;
use crate::remote::frames::Response;
use crate::remote::order::{DONE, HELD, Order};

/// Lines of a ledger that a history reads at most.
pub const HISTORY: u32 = 10_000;

/// Seconds for which a run that was ended may hold the lock again.
const LAST_LOOK: u32 = 15;

/// The answer of every host, in the order of the config.
pub type Answers<T> = Vec<(String, Result<T, Failure>)>;

/// Connects to every host, looks, asks `question`, and ends the conversation.
pub async fn of_each<T>(
    cx: RunContext<'_>,
    scan: Scan,
    question: impl AsyncFn(&mut Conversation<'_>) -> Result<T, Failure>,
) -> Answers<T> {
    let question = &question;
    let asked = cx.config.hosts.iter().map(|host| async move {
        let mut host = Conversation::new(cx, host);
        let answer = match host.open(false, scan).await {
            Ok(()) => question(&mut host).await,
            Err(failure) => Err(failure),
        };
        host.close().await;
        (host.name(), answer)
    });
    for_hosts(cx.config.parallel, asked).await
}

/// Looks at every host, without the lock.
pub async fn look(cx: RunContext<'_>) -> Answers<HostState> {
    of_each(cx, Scan::No, async |host| host.looked()).await
}

/// Looks at every host, and at the file of `[maintenance]`.
pub async fn status(cx: RunContext<'_>) -> Answers<HostState> {
    of_each(cx, Scan::No, async |host| {
        let mut state = host.looked()?;
        if let Some(maintenance) = &host.config().maintenance {
            let answer = host.ask(&Order::Flag { path: maintenance.file.clone() }).await?;
            let seconds = answer.text.trim().parse().ok();
            state.maintenance = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        }
        Ok(state)
    })
    .await
}

/// Returns the last [`HISTORY`] lines of every host's ledger.
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

/// A small change on every host.
pub struct HostChange<'c> {
    pub goal: GoalKind,
    /// The release that it is about, if any.
    pub release: Option<ReleaseId>,
    /// Makes the order for each host.
    pub order: &'c RequestFor<'c>,
}

/// Returns what to order of a host in this state; `None`: it is as wanted already.
pub type RequestFor<'c> = dyn Fn(&HostState) -> Result<Option<Order>, Failure> + Send + Sync + 'c;

impl HostChange<'_> {
    /// Returns what to order of a host in this state. Fails if a newer program was there.
    pub fn on(&self, state: &HostState) -> Result<Option<Order>, Failure> {
        match newer(state) {
            Some(error) => Err(error.failure(self.goal.word())),
            None => (self.order)(state),
        }
    }
}

/// Takes the lock of every host. If all are taken and every host can do it, does it on each.
pub async fn change(cx: RunContext<'_>, change: &HostChange<'_>) -> Report {
    cx.begin(change.goal);
    let limit = cx.config.parallel;
    let mut hosts: Vec<_> =
        cx.config.hosts.iter().map(|host| Conversation::new(cx, host)).collect();
    let opening = for_hosts(limit, hosts.iter_mut().map(|host| host.open(true, Scan::No)));
    let Some(opened) = cx.cancel.unless_asked(opening).await else {
        let results = hosts.iter().map(|host| host.untouched(None)).collect();
        return Report { interrupted: true, ..report(cx, change, results) };
    };
    let found = hosts.iter().zip(opened);
    let orders: Vec<_> = found.map(|(host, opened)| wanted(host, opened, change)).collect();
    let results = if orders.iter().all(Result::is_ok) {
        let parts = hosts.iter_mut().zip(orders.into_iter().flatten());
        for_hosts(limit, parts.map(|(host, order)| obey(host, order))).await
    } else {
        let refused = hosts.iter().zip(orders);
        refused
            .map(|(host, order)| order.err().map_or_else(|| host.untouched(None), |result| *result))
            .collect()
    };
    for_hosts(limit, hosts.iter_mut().map(Conversation::close)).await;
    report(cx, change, results)
}

/// Returns what to order of a host that was opened, or the result that there is no order.
fn wanted(
    host: &Conversation<'_>,
    opened: Result<(), Failure>,
    change: &HostChange<'_>,
) -> Result<Option<Order>, Box<HostResult>> {
    if let Some(holder) = host.holder() {
        return Err(Box::new(HostResult::Locked { holder: holder.to_owned() }));
    }
    let order = opened.and_then(|()| change.on(&host.looked()?));
    order.map_err(|failure| Box::new(host.untouched(Some(failure))))
}

async fn obey(host: &mut Conversation<'_>, order: Option<Order>) -> HostResult {
    let live = host.state.as_ref().and_then(HostState::live);
    let Some(order) = order else { return HostResult::Unchanged { live: None } };
    let verb = order.verb();
    let failed = |failure: Failure| failure.titled(format!("the {verb} order failed"));
    match host.ask(&order).await {
        Ok(answer) if answer.code == DONE => HostResult::Done(Done { live, ..Done::default() }),
        Ok(answer) => host.untouched(Some(failed(Failure::new(answer.text)))),
        // Nobody knows whether it was done.
        Err(error) => HostResult::Unknown { failure: failed(error.into()) },
    }
}

/// Returns the report of a change with these results, in the order of the config.
fn report(cx: RunContext<'_>, change: &HostChange<'_>, results: Vec<HostResult>) -> Report {
    Report {
        goal: change.goal,
        stage: cx.config.stage.clone(),
        release: change.release,
        hosts: cx.config.host_names().into_iter().zip(results).collect(),
        warnings: Vec::new(),
        interrupted: false,
        split: false,
        failure: None,
    }
}

/// Removes the deploy lock and ends the run that holds the run lock, as `found` on each host, in
/// the order of the config. `note` is the line for `revisions.log`.
pub async fn unlock(cx: RunContext<'_>, found: &[LockFacts], note: &str) -> Report {
    cx.begin(GoalKind::Unlock);
    let change = HostChange { goal: GoalKind::Unlock, release: None, order: &|_| Ok(None) };
    let unlocking = of_each(cx, Scan::No, async |host| unlock_host(host, cx, found, note).await);
    let Some(answers) = cx.cancel.unless_asked(unlocking).await else {
        return Report { interrupted: true, ..report(cx, &change, Vec::new()) };
    };
    let mut warnings = Vec::new();
    let mut results = Vec::new();
    for (name, answer) in answers {
        results.push(match answer {
            Ok((result, said)) => {
                warnings.extend(said.map(|said| (Some(name), said)));
                result
            }
            Err(failure) => HostResult::Untouched { live: None, failure: Some(failure) },
        });
    }
    Report { warnings, ..report(cx, &change, results) }
}

async fn unlock_host(
    host: &mut Conversation<'_>,
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
        let text = done(host, "end that run", &order, what).await?;
        said = (!text.trim().is_empty()).then(|| {
            format!("run {}: {}; the next deploy recovers what it left", owner.run, text.trim())
        });
    }
    if let Some(record) = found.deploy_lock.clone() {
        let order = Order::ClearDeployLock { record, note: note.to_owned() };
        done(host, "unlock", &order, "could not unlock").await?;
    }
    // A lock that is still held belongs to another tool or to a new run.
    let tried = try_lock(host, found.owner.as_ref()).await?;
    let result = if tried.code == HELD {
        HostResult::Locked { holder: tried.text.trim().to_owned() }
    } else if tried.code != DONE {
        return Err(Failure::new("the lock could not be tested").because(tried.text));
    } else if found.owner.is_some() || found.deploy_lock.is_some() {
        HostResult::Done(Done::default())
    } else {
        HostResult::Unchanged { live: None }
    };
    Ok((result, said))
}

/// Tries the lock. The run that was `ended` may take it once more for a moment, to see what became
/// of its release.
async fn try_lock(host: &Conversation<'_>, ended: Option<&Owner>) -> Result<Response, Failure> {
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
    host: &Conversation<'_>,
    step: &'static str,
    order: &Order,
    what: &str,
) -> Result<String, Failure> {
    let work = async {
        let answer = host.ask(order).await?;
        if answer.code == DONE {
            return Ok(answer.text);
        }
        Err(Failure::new(what).because(answer.text))
    };
    host.step(step, work).await
}

/// Returns how long a conversation may take to end: deadline, a running command, and a revert.
fn patience(cx: RunContext<'_>) -> Duration {
    let restart = limit_of(&cx.config.services);
    let hooks = HookPlace::ALL.into_iter().flat_map(|place| cx.config.hooks.at(place));
    let hooks: Duration = hooks.map(|hook| hook.limit).sum();
    cx.config.deadline + cx.config.hooks.limit.max(restart) + restart * 2 + hooks
}
