//! One host in a run: the interpreter of its plan, and what becomes of it when things go wrong.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::cancel::Cancel;
use super::event::{Event, Events};
use super::goal::Run;
use super::health::local_ports;
use super::judge::Judged;
use super::outcome::{Done, Failure, HostResult};
use super::plan::{HostPlan, Recovery, Switch, order_name};
use crate::cache::ReleaseCache;
use crate::config::secrecy::Secrecy;
use crate::config::{Config, Host};
use crate::model::delta::BaseState;
use crate::model::host_state::{Current, HostState};
use crate::model::id::ReleaseId;
use crate::model::ledger::LedgerEvent;
use crate::model::link::SharedKind;
use crate::model::service::Service;
use crate::remote::agent::{Agent, AgentError, CheckFacts, Hello, Judgement, Response, Scan, Sent};
use crate::remote::order::{DONE, NOT_REVERTED, ODD, Order, PARTLY, REVERTED};
use crate::remote::replies::Reply;
use crate::remote::session::{Session, SessionError};

/// How hosts are reached; the command line brings the real one, tests theirs.
pub trait Connect: Send + Sync {
    /// A session with `host`.
    fn connect<'a>(
        &'a self,
        host: &'a Host,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>>;

    /// The conversation with `host` that was begun before the run, if one was, and once.
    fn greeted<'a>(
        &'a self,
        _host: &'a Host,
    ) -> Option<BoxFuture<'a, Result<OpenConversation, Failure>>> {
        None
    }
}

/// A conversation that was begun, and what the host said of itself.
pub struct OpenConversation {
    session: Arc<dyn Session>,
    agent: Agent,
    state: HostState,
}

impl OpenConversation {
    /// Greets the host at the other end of `session`.
    pub async fn new(session: Arc<dyn Session>, hello: Hello) -> Result<Self, Failure> {
        let (agent, state) = Agent::open(Arc::clone(&session), hello).await?;
        Ok(Self { session, agent, state })
    }
}

/// What the conversations of `run` begin with.
pub fn hello(config: &Config, run: &Run, lock: bool, scan: Scan, first: Vec<Order>) -> Hello {
    Hello {
        run: run.nonce.clone(),
        lock,
        layout: config.layout.clone(),
        owner: run.owner(),
        service: config.service.clone(),
        hook_shell: config.hooks.shell.clone(),
        deadline: config.deadline,
        scan,
        veil: Secrecy::of(config).lines(),
        env_file: config.env.as_ref().map_or(".env", |env| &env.file).to_owned(),
        first,
    }
}

/// What everything in one run needs.
#[derive(Clone, Copy)]
pub struct RunContext<'a> {
    /// The stage.
    pub config: &'a Config,
    /// The run.
    pub run: &'a Run,
    /// The way to hosts.
    pub connect: &'a dyn Connect,
    /// Who is told.
    pub events: Events<'a>,
    /// Whether the user asked to stop.
    pub cancel: &'a Cancel,
    /// Where manifests are kept.
    pub cache: &'a dyn ReleaseCache,
    /// Wait until the lock is released, also one set by `shipit lock`.
    pub wait: bool,
}

/// One host in a run.
pub struct HostRun<'a> {
    pub(super) cx: RunContext<'a>,
    /// Which.
    pub host: &'a Host,
    session: Option<Arc<dyn Session>>,
    pub(super) agent: Option<Agent>,
    /// The last look.
    pub state: Option<HostState>,
    /// What is to be done.
    pub plan: HostPlan,
    /// Set while a switched release has no verdict.
    pub undecided: bool,
    /// What there is on the host that a new release could share.
    pub shareable: BaseState,
    /// What was done so far.
    pub done: Done,
    /// How it ended, once it has.
    pub result: Option<HostResult>,
    pub(super) judged: Option<Judged>,
    /// Whether `activated` hooks were begun.
    hooked: bool,
    /// What was said to be live.
    told_live: Option<String>,
    /// What was sent and has no answer yet.
    ahead: Vec<(Order, Reply)>,
}

impl<'a> HostRun<'a> {
    /// A host that nobody has spoken to yet.
    pub fn new(cx: RunContext<'a>, host: &'a Host) -> Self {
        Self {
            cx,
            host,
            session: None,
            agent: None,
            state: None,
            plan: HostPlan::default(),
            undecided: false,
            shareable: BaseState::default(),
            done: Done::default(),
            result: None,
            judged: None,
            hooked: false,
            told_live: None,
            ahead: Vec::new(),
        }
    }

    /// Connects, takes the lock (if wanted) and looks.
    pub async fn open(&mut self, lock: bool, scan: Scan) -> Result<(), Failure> {
        self.open_asking(lock, scan, Vec::new()).await
    }

    /// The same, with orders whose answers are wanted first.
    pub async fn open_asking(
        &mut self,
        lock: bool,
        scan: Scan,
        first: Vec<Order>,
    ) -> Result<(), Failure> {
        let RunContext { config, run, connect, .. } = self.cx;
        let greeted = if let Some(begun) = connect.greeted(self.host) {
            begun.await?
        } else {
            let session = connect.connect(self.host).await?;
            OpenConversation::new(session, hello(config, run, lock, scan, first)).await?
        };
        self.session = Some(greeted.session);
        self.agent = Some(greeted.agent);
        self.state = Some(greeted.state);
        self.tell_connected();
        Ok(())
    }

    /// Once, and again when something else is live: who waits for a lock connects many times.
    fn tell_connected(&mut self) {
        let live = self.live_shown();
        if self.told_live.replace(live.clone()).as_ref() == Some(&live) {
            return;
        }
        self.cx.events.emit(Event::Connected { host: self.name(), live });
    }

    /// What is live, for people.
    pub fn live_shown(&self) -> String {
        match self.state.as_ref().map(|state| &state.current) {
            Some(Current::Release(id)) => id.to_string(),
            Some(Current::Foreign(target)) => target.clone(),
            Some(Current::NotALink) => "a directory, not a link".to_owned(),
            Some(Current::Absent) => "nothing yet".to_owned(),
            None => "unknown".to_owned(),
        }
    }

    pub(super) fn name(&self) -> String {
        self.host.name.clone()
    }

    /// Who holds the lock, if it is not us.
    pub fn holder(&self) -> Option<&str> {
        self.state.as_ref()?.holder.as_deref()
    }

    /// Tries the lock again, and looks again at whose it is.
    pub async fn retry_lock(&mut self) -> Result<(), Failure> {
        let answer = self.ask(&Order::Lock).await?;
        self.look().await?;
        if let Some(state) = self.state.as_mut().filter(|_| answer.code != DONE) {
            state.holder = Some(answer.text.trim().to_owned());
        }
        Ok(())
    }

    /// Looks again.
    pub async fn look(&mut self) -> Result<(), Failure> {
        let agent = self.agent.as_ref().ok_or_else(|| Failure::new("there is no connection"))?;
        self.state = Some(agent.look().await?);
        Ok(())
    }

    /// What `check` wants to know beyond a look. What a run with the lock sees of the host by itself
    /// becomes a part of its state.
    pub async fn probe(&mut self) -> Result<CheckFacts, Failure> {
        let agent = self.agent.as_ref().ok_or_else(|| Failure::new("there is no connection"))?;
        let optional = SharedKind::File { optional: true };
        let links = self.cx.config.links.iter().filter(|link| link.kind != optional);
        let unit = self.state.as_ref().and_then(|state| state.unit.as_ref());
        let runner = unit.map(|unit| unit.user.clone()).unwrap_or_default();
        let ports = local_ports(self.cx.config, self.host);
        let probe = agent.probe(runner, links.cloned().collect(), ports).await?;
        if let Some(state) = &mut self.state {
            state.facts.missing.extend(probe.missing.iter().cloned());
            state.facts.sudo = probe.sudo.clone();
        }
        Ok(probe)
    }

    /// The stage.
    pub(super) const fn config(&self) -> &'a Config {
        self.cx.config
    }

    /// The way to the host, while there is one.
    pub(super) fn session(&self) -> Option<&dyn Session> {
        self.session.as_deref()
    }

    /// Sends an order and waits for its answer.
    pub(super) async fn ask(&self, order: &Order) -> Result<Response, AgentError> {
        match &self.agent {
            Some(agent) => {
                self.tell_sent(order);
                agent.ask_hearing(order, |text| self.obeying(order, &text)).await
            }
            None => Err(AgentError::gone()),
        }
    }

    fn tell_sent(&self, order: &Order) {
        let line = order_name(order).to_owned();
        self.cx.events.emit(Event::Sent { host: self.name(), line });
    }

    /// Runs `work` between a started and a finished (or failed) event.
    pub(super) async fn step<T, E: AsRef<Failure>>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<(T, String), E>>,
    ) -> Result<T, E> {
        self.step_that_took(step, work, |_| None).await
    }

    /// The same, for work that may know better how long it `took` than who waits for it.
    pub(super) async fn step_that_took<T, E: AsRef<Failure>>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<(T, String), E>>,
        took: impl Fn(&T) -> Option<Duration>,
    ) -> Result<T, E> {
        let (events, host) = (self.cx.events, self.name());
        events.emit(Event::StepStarted { host: host.clone(), step });
        let began = Instant::now();
        match work.await {
            Ok((value, detail)) => {
                let took = took(&value).unwrap_or_else(|| began.elapsed());
                events.emit(Event::StepFinished { host, step, detail, took });
                Ok(value)
            }
            Err(failure) => {
                let error = failure.as_ref().what.clone();
                events.emit(Event::StepFailed { host, step, error });
                Err(failure)
            }
        }
    }

    /// Asks for one order; anything but done is a failure with what the host said.
    pub(super) async fn obey(&self, order: &Order) -> Result<((), String), Failure> {
        let answer = self.or_cancelled(self.ask(order)).await??;
        self.obeyed(order, &answer).map(|()| ((), String::new()))
    }

    /// Waits for `work` unless the user asks to stop.
    pub(super) async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => Ok(done),
            () = self.cx.cancel.wait(1) => Err(Failure::new("stopped on request")),
        }
    }

    /// What the host said to an order: a failure, or perhaps something to show.
    pub(super) fn obeyed(&self, order: &Order, answer: &Response) -> Result<(), Failure> {
        if answer.code != DONE {
            return Err(order_failure(order, answer));
        }
        self.obeying(order, &answer.text);
        self.warn_of_trash(order, answer);
        Ok(())
    }

    fn show(&self, source: &str, text: &str) {
        if !text.trim().is_empty() {
            let (source, text) = (source.to_owned(), text.to_owned());
            self.cx.events.emit(Event::Printed { host: self.name(), source, text });
        }
    }

    /// Shows what an order printed so far, where that is a hook.
    pub(super) fn obeying(&self, order: &Order, text: &str) {
        if let Order::Hook { name, .. } = order {
            self.show(name, text);
        }
    }

    /// Makes the release live and judges it. On failure the host is put back already, or
    /// `result` says what it is.
    pub async fn switch(&mut self) -> Result<(), Failure> {
        let Some(switch) = self.plan.switch.clone() else { return Ok(()) };
        self.done.before = Some(switch.back_shown());
        self.undecided = true;
        let began = Instant::now();
        let (events, host) = (self.cx.events, self.name());
        events.emit(Event::StepStarted { host: host.clone(), step: "activate" });
        let answer = self.ask(&Order::Activate(switch.activation())).await;
        let failure = match answer {
            Ok(answer) if answer.code == DONE => {
                let (detail, took) = (String::new(), began.elapsed());
                events.emit(Event::StepFinished { host, step: "activate", detail, took });
                self.judge_or_revert(&switch).await?;
                events.emit(Event::Ready { host: self.name() });
                return Ok(());
            }
            Ok(answer) => self.not_activated(&switch, &answer),
            Err(error) => {
                let failure = Failure::from(error);
                self.revert(&failure, "interrupted").await;
                failure
            }
        };
        let error = failure.what.clone();
        events.emit(Event::StepFailed { host, step: "activate", error });
        Err(failure)
    }

    /// The agent has dealt with a failed activation itself: notes what it said.
    fn not_activated(&mut self, switch: &Switch, answer: &Response) -> Failure {
        self.undecided = false;
        let (said, but) = partly(answer);
        let failure = Failure::new(format!("could not activate {}", switch.id)).because(once(said));
        self.result = Some(match answer.code {
            REVERTED | PARTLY => self.back_again(switch, &failure, but),
            NOT_REVERTED => {
                HostResult::Stuck { cause: failure.clone(), undo: not_reverted(switch, "") }
            }
            _ => self.untouched(Some(failure.clone())),
        });
        failure
    }

    /// What was live before is so again. `but`: what the host says is not as it was.
    fn back_again(&self, switch: &Switch, failure: &Failure, but: Option<String>) -> HostResult {
        let left = self.hooked && switch.reverted.is_empty();
        let left = left.then(|| "what its `activated` hooks did was not reverted".to_owned());
        let (live, failure) = (switch.back_shown(), failure.clone());
        HostResult::Reverted { live, failure, but: but.or(left) }
    }

    async fn judge_or_revert(&mut self, switch: &Switch) -> Result<(), Failure> {
        for hook in &switch.hooks {
            self.hooked = true;
            if let Err(failure) = self.step("activated", self.obey(hook)).await {
                self.revert(&failure, "unhealthy").await;
                return Err(failure);
            }
        }
        match self.step("judge", self.judge(switch)).await {
            Ok(judged) => {
                self.done.proof = judged.as_ref().map(|judged| judged.proof);
                self.judged = judged;
                Ok(())
            }
            Err(failure) => {
                let failure = self.with_journal(failure).await;
                let reason = if self.cx.cancel.asked() { "interrupted" } else { "unhealthy" };
                self.revert(&failure, reason).await;
                Err(failure)
            }
        }
    }

    /// What runs now.
    pub(super) async fn judgement(&self, id: ReleaseId) -> Result<Judgement, Failure> {
        let agent = self.agent.as_ref().ok_or_else(|| Failure::new("there is no connection"))?;
        agent.judge(id).await.map_err(Failure::from)
    }

    /// The failure with what the service last said.
    pub(super) async fn with_journal(&self, failure: Failure) -> Failure {
        match self.ask(&Order::Journal { lines: 10 }).await {
            Ok(answer) if answer.code == DONE => failure.because(answer.text),
            _ => failure,
        }
    }

    /// Takes an undecided release back, whatever it takes; `result` says how that went.
    pub async fn revert(&mut self, cause: &Failure, reason: &'static str) {
        let Some(switch) = self.plan.switch.clone() else { return };
        let to = switch.back_shown();
        self.cx.events.emit(Event::Reverting { host: self.name(), to: to.clone() });
        self.undecided = false;
        self.result = Some(match self.ask(&switch.revert(reason)).await {
            Ok(answer) => self.reverted(&switch, cause, &answer).await,
            Err(_) => self.recover_lost(&switch, cause, false).await,
        });
    }

    /// What the answer to a revert comes to; what is live again is asked whether it is healthy.
    async fn reverted(&self, switch: &Switch, cause: &Failure, answer: &Response) -> HostResult {
        if !matches!(answer.code, DONE | PARTLY) {
            let undo = not_reverted(switch, &answer.text);
            return HostResult::Stuck { cause: cause.clone(), undo };
        }
        let but = match partly(answer) {
            (_, None) => self.unhealthy_again(switch).await,
            (said, but) => {
                self.show("reverted", said);
                but
            }
        };
        self.back_again(switch, cause, but)
    }

    /// The undecided release stays. What tidies up goes along with the word, and where it is the
    /// `last` of the run, so does the goodbye.
    pub async fn commit(&mut self, last: bool) {
        let Some(switch) = self.plan.switch.clone() else { return };
        self.undecided = false;
        let tidies = !self.plan.tidy.is_empty();
        let mut sent = self.send_all(vec![Order::Commit.into()], last && !tidies);
        if tidies {
            self.send_tidy(true, last);
        }
        let answer = sent.pop().map_or_else(Reply::gone, |(_, reply)| reply).get().await;
        self.done.live = Some(switch.id);
        self.result = match answer {
            Ok(answer) if answer.code == DONE => None,
            Ok(answer) => {
                let what = format!("could not record that {} is committed", switch.id);
                Some(HostResult::Unknown { failure: Failure::new(what).because(answer.text) })
            }
            Err(error) => {
                let cause = Failure::from(error);
                match self.recover_lost(&switch, &cause, true).await {
                    HostResult::Done(_) => None,
                    other => Some(other),
                }
            }
        };
    }

    /// Whether it was told to keep its release and took it back before it heard.
    pub fn went_back_unheard(&self) -> bool {
        let decided = self.done.live.is_some() && self.agent.is_some();
        decided && matches!(self.result, Some(HostResult::Reverted { .. }))
    }

    /// Makes the planned release live once more, judges it anew and commits it.
    pub async fn forward(&mut self) {
        self.result = None;
        self.done.live = None;
        if self.switch().await.is_ok() {
            self.commit(false).await;
        }
    }

    /// Contact was lost while the release was undecided: looks again until the host has settled
    /// it by itself, or lets us do it.
    async fn recover_lost(&mut self, switch: &Switch, cause: &Failure, keep: bool) -> HostResult {
        self.agent = None;
        let patience = self.cx.config.deadline * 2
            + restart_limit(&self.cx.config.service)
            + switch.activation().hooks_limit();
        let end = Instant::now() + patience;
        while Instant::now() < end && !self.cx.cancel.insisted() {
            if self.open(true, Scan::No).await.is_ok() && self.holder().is_none() {
                return self.recover_seen(switch, cause, keep).await;
            }
            self.agent = None;
            sleep(Duration::from_secs(1)).await;
        }
        HostResult::Unknown { failure: cause.clone() }
    }

    async fn recover_seen(&mut self, switch: &Switch, cause: &Failure, keep: bool) -> HostResult {
        let Some(state) = &self.state else {
            return HostResult::Unknown { failure: cause.clone() };
        };
        let failure = cause.clone();
        let last = state.ledger.history(switch.id).map(|history| history.last.event);
        match last {
            Some(LedgerEvent::Committed) if state.live() == Some(switch.id) => {
                HostResult::Done(self.done.clone())
            }
            Some(LedgerEvent::Activated) => self.resume(switch, cause, keep).await,
            Some(LedgerEvent::Reverted) => self.back_again(switch, cause, None),
            Some(LedgerEvent::Failed) => {
                HostResult::Stuck { cause: failure, undo: not_reverted(switch, "") }
            }
            _ if state.live() != Some(switch.id) => self.untouched(Some(failure)),
            _ => HostResult::Unknown { failure },
        }
    }

    async fn resume(&self, switch: &Switch, cause: &Failure, keep: bool) -> HostResult {
        let adopted = self.ask(&Order::Resume(switch.activation())).await;
        let last = if keep { Order::Commit } else { switch.revert("interrupted") };
        let ended = match adopted {
            Ok(answer) if answer.code == DONE => self.ask(&last).await,
            other => other,
        };
        match ended {
            Ok(answer) if answer.code == DONE && keep => HostResult::Done(self.done.clone()),
            Ok(answer) => self.reverted(switch, cause, &answer).await,
            Err(_) => HostResult::Unknown { failure: cause.clone() },
        }
    }

    /// Settles what an interrupted run left, then looks again.
    pub async fn recover(&mut self, recover: &Recovery) -> Result<(), Failure> {
        match recover {
            Recovery::Write(_, record) => {
                self.step("settle", self.obey(&Order::Record(record.clone()))).await?;
            }
            Recovery::Judge(switch) => self.recover_live(switch).await?,
            Recovery::Forward(switch) => {
                self.plan.switch = Some(Switch::clone(switch));
                self.forward().await;
                if self.result.is_some() {
                    return Err(Failure::new(format!("could not finish {}", switch.id)));
                }
                (self.plan.switch, self.done) = (None, Done::default());
            }
        }
        self.look().await
    }

    async fn recover_live(&self, switch: &Switch) -> Result<(), Failure> {
        let id = switch.id;
        self.step("settle", self.obey(&Order::Resume(switch.activation()))).await?;
        let text = match self.judge(switch).await {
            Ok(_) => {
                self.step("settle", self.obey(&Order::Commit)).await?;
                format!("{id}, which an interrupted run left undecided, runs well: committed")
            }
            Err(failure) => {
                let order = switch.revert("unhealthy");
                let answer = self.or_cancelled(self.ask(&order)).await??;
                let (to, but) = (switch.back_shown(), partly(&answer).1);
                if but.is_none() {
                    self.obeyed(&order, &answer)?;
                }
                let but = but.map_or_else(String::new, |but| format!(", but {but}"));
                let what = &failure.what;
                format!(
                    "{id}, which an interrupted run left undecided, was reverted to {to}{but}: {what}"
                )
            }
        };
        self.cx.events.emit(Event::Warning { host: Some(self.name()), text });
        Ok(())
    }

    /// Prunes and sweeps, unless that was ordered with the commit; gives what failed.
    pub async fn tidy(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        if self.ahead.is_empty() {
            self.send_tidy(false, false);
        }
        for (order, reply) in std::mem::take(&mut self.ahead) {
            match reply.get().await {
                Ok(answer) if answer.code == DONE => {
                    if let Order::Prune { name, .. } = &order {
                        self.done.pruned.push(name.clone());
                    }
                    self.warn_of_trash(&order, &answer);
                }
                Ok(answer) => failures.push(order_failure(&order, &answer)),
                Err(error) => {
                    failures.push(Failure::from(error).titled(failed_to(&order)));
                    break;
                }
            }
        }
        failures
    }

    /// Says what a clean up could not delete and set aside.
    fn warn_of_trash(&self, order: &Order, answer: &Response) {
        if let Order::CleanUp { .. } = order {
            for line in answer.text.lines() {
                let (host, text) = (Some(self.name()), line.to_owned());
                self.cx.events.emit(Event::Warning { host, text });
            }
        }
    }

    /// Sends all that tidies up. `after`: skip it unless what was sent before is done.
    fn send_tidy(&mut self, after: bool, last: bool) {
        let tidy = self.plan.tidy.iter().cloned();
        let tidy = tidy.map(|order| Sent { chained: after, ..order.into() }).collect();
        self.ahead = self.send_all(tidy, last);
    }

    /// Sends orders that belong together, without waiting for their answers; where they are the
    /// `last` of the run, goodbye goes along.
    pub(super) fn send_all(&self, all: Vec<Sent>, last: bool) -> Vec<(Order, Reply)> {
        let Some(agent) = &self.agent else {
            return all.into_iter().map(|sent| (sent.order, Reply::gone())).collect();
        };
        for sent in &all {
            self.tell_sent(&sent.order);
        }
        let replies = if last { agent.send_last(&all) } else { agent.send_all(&all) };
        all.into_iter().map(|sent| sent.order).zip(replies).collect()
    }

    /// What is live was never touched.
    pub fn untouched(&self, failure: Option<Failure>) -> HostResult {
        let live = self.state.as_ref().map(|_| self.live_shown());
        HostResult::Untouched { live, failure }
    }

    /// Lets go of the lock and ends the conversation.
    pub async fn close(&mut self) {
        if let Some(agent) = self.agent.take() {
            let _ = agent.bye().await;
        }
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Stops speaking at once; the host then puts back what is undecided.
    pub fn abandon(&mut self) {
        self.agent = None;
        self.session = None;
    }
}

/// What the host said, and of a revert the last line, if that says what is not as it was.
fn partly(answer: &Response) -> (&str, Option<String>) {
    let text = answer.text.trim_end();
    if answer.code != PARTLY {
        return (text, None);
    }
    let (said, but) = text.rsplit_once('\n').unwrap_or(("", text));
    (said, Some(but.to_owned()))
}

fn not_reverted(switch: &Switch, said: &str) -> Failure {
    let id = switch.id;
    Failure::new(format!("{id} had to be reverted, but could not be")).because(once(said))
}

/// Each line of it once: a restart that fails is tried again, and says the same.
fn once(said: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

fn restart_limit(service: &Service) -> Duration {
    match service {
        Service::Unit { limit, .. } | Service::Command { limit, .. } => *limit * 2,
        Service::None => Duration::ZERO,
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let failure = Failure::from_error(&error).hint(error.hint());
        error.details().into_iter().fold(failure, Self::because)
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let details = match &error {
            AgentError::Session { source } => source.details(),
            other => other.said().map(ToOwned::to_owned).into_iter().collect(),
        };
        let failure = Failure::from_error(&error).hint(error.hint());
        details.into_iter().fold(failure, Self::because)
    }
}

fn order_failure(order: &Order, answer: &Response) -> Failure {
    Failure::new(failed_to(order)).because(&answer.text).hint(hint_for(order, answer))
}

/// What to do about an order that was not done, where its answer says so.
fn hint_for(order: &Order, answer: &Response) -> Option<String> {
    let text = answer.text.to_ascii_lowercase();
    match order {
        Order::Hook { .. } if text.contains("permission denied") || text.contains("eacces") => {
            Some(
                "files of a release are read-only: delete one before writing it again (`rm -f \
                 FILE`), or keep it in linked_dirs"
                    .to_owned(),
            )
        }
        Order::Seal { .. } if answer.code == ODD => {
            Some("have the hook remove them, or make them in a directory of linked_dirs".to_owned())
        }
        _ => None,
    }
}

/// What an order that was not done is to the user.
fn failed_to(order: &Order) -> String {
    match order {
        Order::Check { id, .. } => format!("{id} does not match what was sent"),
        Order::Link { .. } => "could not link from shared/".to_owned(),
        Order::Env { file, .. } => format!("could not write {file}"),
        Order::Hook { name, command, .. } => format!("the {name} hook `{command}` failed"),
        Order::Seal { id, .. } => format!("could not seal {id}"),
        Order::Stage { id, .. } => format!("could not record {id} as complete"),
        Order::Prune { name, .. } => format!("could not prune {name}"),
        Order::CleanUp { .. } => "could not delete what was pruned".to_owned(),
        other => format!("the {} order failed", order_name(other)),
    }
}
