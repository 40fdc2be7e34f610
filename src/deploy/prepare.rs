//! Makes the release on one host: sends what it lacks, checks it, and adds links, env file and
//! hooks. Nothing live changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::event::Event;
use super::host::HostRun;
use super::order_text::{detail, step_name};
use super::outcome::Failure;
use super::payload::{Payload, UploadStream};
use super::plan::MakeRelease;
use crate::artifact::{ArtifactError, PreparedDelta};
use crate::model::id::ReleaseId;
use crate::model::words::size;
use crate::remote::conversation::{Agent, Sent};
use crate::remote::error::AgentError;
use crate::remote::frames::Response;
use crate::remote::order::{DONE, Order};
use crate::remote::upload::UploadOptions;

/// The reason why the release was not made.
struct PrepareError {
    why: Why,
    failure: Failure,
    /// The step that failed, if the host itself reported it.
    said_at: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The upload could not be unpacked though there is room, or differs from what was sent.
    Unfit,
    /// The host has no room.
    Full,
    Other,
}

impl HostRun<'_> {
    /// Makes the release. If it cannot share files after all, everything is sent.
    pub async fn prepare(&mut self, payload: &Payload) -> Result<(), Failure> {
        let Some(make) = self.plan.make.clone() else { return Ok(()) };
        if let Some(order) = &make.clean_up {
            self.talk.step("sweep", self.talk.obey(order)).await?;
        }
        self.count(&make);
        let mut ended = self.make(payload, &make).await;
        if let (Err(PrepareError { why: Why::Unfit, failure, .. }), true) =
            (&ended, make.prepared.delta.shares())
        {
            self.warn_of_whole(failure);
            self.talk.obey(&make.discard()).await?;
            let whole = make.whole();
            self.count(&whole);
            ended = self.make(payload, &whole).await;
        }
        if let Err(PrepareError { why: Why::Full, .. }) = ended {
            // The running app needs the room at once.
            let _ = self.talk.ask(&make.discard()).await;
        }
        if let Err(PrepareError { said_at: Some(step), .. }) = ended {
            // If the ledger cannot be written, the first error counts.
            let _ = self.talk.ask(&make.failed_at(step)).await;
        }
        ended.map_err(|error| error.failure)?;
        self.talk.cx.events.emit(Event::Ready { host: self.talk.name() });
        Ok(())
    }

    /// Notes the size of the release and how much of it need not be sent.
    fn count(&mut self, make: &MakeRelease) {
        let delta = &make.prepared.delta;
        (self.done.files, self.done.size) = (make.files, make.size);
        (self.done.linked, self.done.linked_size) = (delta.links.len(), delta.linked);
        (self.done.rebuilt, self.done.spared) = (delta.patched.len(), delta.spared());
    }

    fn warn_of_whole(&self, failure: &Failure) {
        let why = failure.one_line();
        let text = format!("cannot reuse files already on the host; sending everything: {why}");
        self.talk.warn(text);
    }

    /// Sends the upload and all orders of `make`, as far as possible without waiting for answers.
    /// After a hook it waits, so that a run that is stopped begins no other hook.
    async fn make(&mut self, payload: &Payload, make: &MakeRelease) -> Result<(), PrepareError> {
        let mut chain = self.send_stream(payload, make.id, &make.prepared).await?;
        chain.push(make.check().into());
        for order in &make.then {
            chain.push(order.clone().into());
            if matches!(order, Order::Hook { .. }) {
                self.chain(payload, std::mem::take(&mut chain)).await?;
            }
        }
        self.chain(payload, chain).await
    }

    /// Sends the upload if it is large. Otherwise returns the order that brings it.
    async fn send_stream(
        &mut self,
        payload: &Payload,
        id: ReleaseId,
        prepared: &Arc<PreparedDelta>,
    ) -> Result<Vec<Sent>, PrepareError> {
        let facts = self.talk.state.as_ref().map(|state| state.facts.clone()).unwrap_or_default();
        let distance = self.talk.agent.as_ref().map(Agent::distance).unwrap_or_default();
        let artifact = self.talk.or_cancelled(payload.artifact(prepared)).await??;
        let env: Vec<_> = self.talk.cx.config.env_on(self.talk.host).collect();
        let upload = payload.upload(&artifact, &facts, distance, prepared, &env).await;
        let upload = upload.map_err(|error| unpacked(id, &error))?;
        let codec = upload.codec;
        let Some(bytes) = upload.inline() else {
            return self.stream(payload, id, upload).await.map(|()| Vec::new());
        };
        let size = bytes.iter().map(Bytes::len).sum();
        if let Some(throttle) = &payload.throttle {
            self.talk.or_cancelled(throttle.take(size)).await?;
        }
        let order = Order::Unpack { id, codec, size };
        Ok(vec![Sent { bytes, ..order.into() }])
    }

    /// Sends an upload over channels of its own.
    async fn stream(
        &mut self,
        payload: &Payload,
        id: ReleaseId,
        upload: UploadStream,
    ) -> Result<(), PrepareError> {
        let (events, left) = (self.talk.cx.events, AtomicU64::new(0));
        let host = self.talk.name();
        let progress = |sent| {
            left.store(sent, Ordering::Relaxed);
            let total = upload.likely().max(sent);
            events.emit(Event::Progress { host: host.clone(), sent, total });
        };
        let notice = |text| self.talk.warn(text);
        let sending = async {
            let _turn = payload.turns.acquire().await;
            let Some(agent) = &self.talk.agent else { return Err(AgentError::gone()) };
            let options = UploadOptions {
                limit: payload.throttle.as_ref(),
                progress: &progress,
                notice: &notice,
                permits: &payload.permits,
            };
            let large = upload.large.then_some(id);
            let (chunks, likely) = (upload.chunks(), upload.likely());
            let tail = upload.tail.clone();
            agent.receive(upload.codec, large, chunks, tail, likely, &options).await
        };
        let work = async {
            let sent = self.talk.or_cancelled(sending).await?;
            sent.map_err(|error| match upload.failure() {
                Some(failure) => unpacked(id, &failure).into(),
                None => PrepareError::unsent(id, error),
            })?;
            Ok::<_, PrepareError>(((), size(upload.likely())))
        };
        let ended = self.talk.step_that_took("upload", work, |()| None).await;
        self.done.sent += left.load(Ordering::Relaxed);
        ended
    }

    /// Sends orders together. The host skips each one if the one before it failed.
    async fn chain(&mut self, payload: &Payload, mut chain: Vec<Sent>) -> Result<(), PrepareError> {
        self.done.sent +=
            chain.iter().flat_map(|sent| &sent.bytes).map(|part| part.len() as u64).sum::<u64>();
        chain.iter_mut().skip(1).for_each(|sent| sent.chained = true);
        for (order, reply) in self.talk.send_all(chain, false) {
            let work = async {
                let heard = reply.hear(|said| self.talk.show_said(&said));
                let answer = self.talk.or_cancelled(heard).await?;
                let answer = answer.map_err(|error| PrepareError::lost(&order, error))?;
                self.made(&order, &answer).map_err(|unmade| PrepareError {
                    said_at: Some(step_name(&order)),
                    ..unmade
                })?;
                let detail = detail(&order, &answer);
                Ok::<_, PrepareError>((answer, detail))
            };
            let took = |answer: &Response| answer.took;
            let answer = self.talk.step_that_took(step_name(&order), work, took).await?;
            match order {
                Order::Seal { .. } => payload.learn(&answer.text, self.talk.cx.cache),
                Order::Units { .. } => self.warn_of_unit_files(&answer.text),
                _ => {}
            }
        }
        Ok(())
    }

    /// Warns of what systemd passes over in unit files.
    fn warn_of_unit_files(&self, said: &str) {
        for line in said.lines() {
            self.talk.warn(format!("systemd says of a unit file: {line}"));
        }
    }

    /// Returns whether the host did what `order` says.
    fn made(&self, order: &Order, answer: &Response) -> Result<(), PrepareError> {
        match order {
            Order::Unpack { id, .. } if answer.code != DONE => {
                let how = format!("it exited with code {}", answer.code);
                let said = answer.text.clone();
                Err(PrepareError::unsent(*id, AgentError::Upload { how, said }))
            }
            Order::Unpack { size, .. } => {
                let (host, size) = (self.talk.name(), *size as u64);
                self.talk.cx.events.emit(Event::Progress { host, sent: size, total: size });
                Ok(())
            }
            Order::Check { .. } => self
                .talk
                .obeyed(order, answer)
                .map_err(|failure| PrepareError { why: Why::Unfit, failure, said_at: None }),
            _ => Ok(self.talk.obeyed(order, answer)?),
        }
    }
}

impl PrepareError {
    fn lost(order: &Order, error: AgentError) -> Self {
        match order {
            Order::Unpack { id, .. } => Self::unsent(*id, error),
            _ => Failure::from(error).into(),
        }
    }

    fn unsent(id: ReleaseId, error: AgentError) -> Self {
        let why = match &error {
            AgentError::Upload { .. } if error.is_full() => Why::Full,
            AgentError::Upload { .. } => Why::Unfit,
            _ => Why::Other,
        };
        let said_at = matches!(error, AgentError::Upload { .. }).then_some("upload");
        let failure = Failure::from(error).titled(format!("could not upload {id}"));
        Self { why, failure, said_at }
    }
}

impl From<Failure> for PrepareError {
    fn from(failure: Failure) -> Self {
        Self { why: Why::Other, failure, said_at: None }
    }
}

impl AsRef<Failure> for PrepareError {
    fn as_ref(&self) -> &Failure {
        &self.failure
    }
}

fn unpacked(id: ReleaseId, error: &ArtifactError) -> Failure {
    Failure::of(format!("could not pack {id}"), error)
}
