//! The conversation with one host: orders, answers, the last look, and the events of a step.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::context::{OpenConversation, RunContext, hello};
use super::event::Event;
use super::order_text::{order_failure, order_name, partly};
use super::outcome::{Failure, HostResult};
use crate::config::{Config, Host};
use crate::model::hook::HookPlace;
use crate::model::host_state::{Current, HostState};
use crate::model::id::ReleaseId;
use crate::model::link::SharedKind;
use crate::model::service::Service;
use crate::remote::answer::{CheckFacts, Judgement};
use crate::remote::conversation::{Agent, HostStream, Scan, Sent};
use crate::remote::error::AgentError;
use crate::remote::frames::{HookOutput, Response};
use crate::remote::order::{DONE, Order, PARTLY};
use crate::remote::replies::Reply;
use crate::remote::session::Session;

/// One host, and the conversation with it while there is one.
pub struct Conversation<'a> {
    pub(super) cx: RunContext<'a>,
    pub host: &'a Host,
    session: Option<Arc<dyn Session>>,
    pub(super) agent: Option<Agent>,
    /// The state that the last look found; `None` before the first look.
    pub state: Option<HostState>,
    /// The slot of the release that is activated.
    pub(super) slot: Option<String>,
    /// The name of the live release in the last event about it.
    reported_live: Option<String>,
}

impl<'a> Conversation<'a> {
    /// Returns a host that nobody has connected to yet.
    pub fn new(cx: RunContext<'a>, host: &'a Host) -> Self {
        Self { cx, host, session: None, agent: None, state: None, slot: None, reported_live: None }
    }

    /// Connects, takes the lock if `lock` is set, and looks. A lock that somebody else holds is no
    /// failure: see [`Self::holder`].
    pub async fn open(&mut self, lock: bool, scan: Scan) -> Result<(), Failure> {
        self.open_asking(lock, scan, Vec::new()).await
    }

    /// Does what [`Self::open`] does, and sends `first` with the greeting, at no round trip.
    pub async fn open_asking(
        &mut self,
        lock: bool,
        scan: Scan,
        first: Vec<Order>,
    ) -> Result<(), Failure> {
        let RunContext { config, run, connect, .. } = self.cx;
        let open = if let Some(begun) = connect.greeted(self.host) {
            begun.await?
        } else {
            let hello = hello(config, self.host, run, lock, scan, first);
            hello.pack_ahead();
            OpenConversation::new(connect.connect(self.host).await?, hello).await?
        };
        self.session = Some(open.session);
        self.agent = Some(open.agent);
        self.state = Some(open.state);
        self.report_connected();
        Ok(())
    }

    /// Reports what is live when it is first seen and when it has changed: a run that waits for a
    /// lock connects many times.
    fn report_connected(&mut self) {
        let live = self.live_shown();
        if self.reported_live.replace(live.clone()).as_ref() != Some(&live) {
            self.cx.events.emit(Event::Connected { host: self.name(), live });
        }
    }

    /// Returns what is live, for people.
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

    /// Returns who holds the lock, if somebody else does.
    pub fn holder(&self) -> Option<&str> {
        self.state.as_ref()?.holder.as_deref()
    }

    /// Tries the lock again and looks again.
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
        self.state = Some(self.agent()?.look().await?);
        Ok(())
    }

    fn agent(&self) -> Result<&Agent, Failure> {
        self.agent.as_ref().ok_or_else(|| Failure::new("there is no connection"))
    }

    /// Returns the last look, or a failure if there was none.
    pub fn looked(&self) -> Result<HostState, Failure> {
        self.state.clone().ok_or_else(|| Failure::new("could not be looked at"))
    }

    /// Asks for the facts that `check` needs beyond a look, such as whether anybody listens on
    /// `ports`. Facts that a run with the lock sees by itself become a part of the state.
    pub async fn probe(&mut self, ports: Vec<u16>) -> Result<CheckFacts, Failure> {
        let optional = SharedKind::File { optional: true };
        let links = self.cx.config.links.iter().filter(|link| link.kind != optional);
        let probe = self.agent()?.probe(links.cloned().collect(), ports).await?;
        if let Some(state) = &mut self.state {
            state.facts.missing.extend(probe.missing.iter().cloned());
            state.facts.sudo = probe.sudo.clone();
        }
        Ok(probe)
    }

    pub(super) const fn config(&self) -> &'a Config {
        self.cx.config
    }

    /// Ends the conversation and starts a stream in its place: see [`Agent::into_stream`].
    pub(super) async fn stream(
        &mut self,
        verb: &str,
        services: &[Service],
        arguments: &[(&str, &str)],
    ) -> Result<HostStream, Failure> {
        let agent = self.agent.take().ok_or_else(AgentError::gone)?;
        Ok(agent.into_stream(verb, services, arguments).await?)
    }

    /// Returns the session while there is one.
    pub(super) fn session(&self) -> Option<&dyn Session> {
        self.session.as_deref()
    }

    /// Sends an order and waits for its answer.
    pub(super) async fn ask(&self, order: &Order) -> Result<Response, AgentError> {
        match &self.agent {
            Some(agent) => {
                self.report_sent(order);
                agent.ask_hearing(order, |said| self.show_said(&said)).await
            }
            None => Err(AgentError::gone()),
        }
    }

    fn report_sent(&self, order: &Order) {
        let line = order_name(order).to_owned();
        self.cx.events.emit(Event::Sent { host: self.name(), line });
    }

    /// Runs `work` between the events of a step.
    pub(super) async fn step<T, E: AsRef<Failure>>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let work = async { work.await.map(|value| (value, String::new())) };
        self.step_that_took(step, work, |_| None).await
    }

    /// Does what [`Self::step`] does, for work that returns a detail to show beside its value. That
    /// may know how long it `took` on the host.
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

    /// Sends an order. Fails unless it is done, and when the user asks to stop.
    pub(super) async fn obey(&self, order: &Order) -> Result<(), Failure> {
        let answer = self.or_cancelled(self.ask(order)).await??;
        self.obeyed(order, &answer)
    }

    /// Waits for `work`. Fails when the user asks to stop.
    pub(super) async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        self.cx.cancel.unless_asked(work).await.ok_or_else(Failure::stopped)
    }

    /// Shows what an answer says. Fails unless the order is done.
    pub(super) fn obeyed(&self, order: &Order, answer: &Response) -> Result<(), Failure> {
        if answer.code != DONE {
            return Err(order_failure(order, answer));
        }
        if let Order::Hook { name, .. } = order {
            self.show(name, &answer.text);
        }
        self.warn_of_trash(order, answer);
        Ok(())
    }

    pub(super) fn show(&self, source: &str, text: &str) {
        if !text.trim().is_empty() {
            let (source, text) = (source.to_owned(), text.to_owned());
            self.cx.events.emit(Event::Printed { host: self.name(), source, text });
        }
    }

    /// Does what [`Self::obey`] does, but only warns if a hook failed that follows the verdict.
    pub(super) async fn obey_verdict(
        &self,
        order: &Order,
        verdict: HookPlace,
    ) -> Result<(), Failure> {
        let answer = self.or_cancelled(self.ask(order)).await??;
        if answer.code == PARTLY {
            self.warn_of_hooks(verdict, &answer);
            return Ok(());
        }
        self.obeyed(order, &answer)
    }

    /// Warns of a hook that failed after the verdict, which stands.
    pub(super) fn warn_of_hooks(&self, verdict: HookPlace, answer: &Response) {
        if let (said, Some(failed)) = partly(answer) {
            self.show(verdict.word(), said);
            self.warn(failed);
        }
    }

    /// Shows what a hook has printed so far.
    pub(super) fn show_said(&self, said: &HookOutput) {
        self.show(&said.name, &said.text);
    }

    pub(super) fn warn(&self, text: String) {
        self.cx.events.emit(Event::Warning { host: Some(self.name()), text });
    }

    /// Warns of what a clean-up could not delete and set aside.
    pub(super) fn warn_of_trash(&self, order: &Order, answer: &Response) {
        if let Order::CleanUp { .. } = order {
            answer.text.lines().for_each(|line| self.warn(line.to_owned()));
        }
    }

    /// Returns the services of the host, in the slot that this run fills or else in the live one.
    pub(super) fn services(&self) -> Vec<Service> {
        self.config().services_in(self.host, self.slot())
    }

    /// Returns the slot that this run fills, or else the live one.
    pub(super) fn slot(&self) -> &str {
        let seen = self.state.as_ref().map_or("", HostState::seen_slot);
        self.slot.as_deref().unwrap_or(seen)
    }

    /// Asks what runs now.
    pub(super) async fn judgements(&self, id: ReleaseId) -> Result<Vec<Judgement>, Failure> {
        self.agent()?.judge(id).await.map_err(Failure::from)
    }

    /// Sends orders that belong together, without waiting for their answers. If they are the `last`
    /// of the run, goodbye is sent with them.
    pub(super) fn send_all(&self, all: Vec<Sent>, last: bool) -> Vec<(Order, Reply)> {
        let Some(agent) = &self.agent else {
            return all.into_iter().map(|sent| (sent.order, Reply::gone())).collect();
        };
        for sent in &all {
            self.report_sent(&sent.order);
        }
        let replies = if last { agent.send_last(&all) } else { agent.send_all(&all) };
        all.into_iter().map(|sent| sent.order).zip(replies).collect()
    }

    /// Returns the result that what is live was never touched.
    pub fn untouched(&self, failure: Option<Failure>) -> HostResult {
        let live = self.state.as_ref().map(|_| self.live_shown());
        HostResult::Untouched { live, failure }
    }

    /// Releases the lock and ends the conversation.
    pub async fn close(&mut self) {
        if let Some(agent) = self.agent.take() {
            let _ = agent.bye().await;
        }
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Ends the conversation at once; the host then reverts what is undecided.
    pub fn abandon(&mut self) {
        self.agent = None;
        self.session = None;
    }
}
