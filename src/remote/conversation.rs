//! Our end of one conversation with the agent.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{iter, mem};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, timeout};

use super::answer::{CheckFacts, Judgement, host_state, judgements, probe};
use super::error::AgentError;
use super::frames::{Frames, HookOutput, Response};
use super::order::Order;
use super::quote::list;
use super::replies::{Replies, Reply};
use super::script::{self, OF_STREAMS, Parts};
use super::session::{Channel, Output, Session};
use super::tail::Tail;
use super::upload::{self, Chunks, UploadOptions};
use crate::model::codec::Codec;
use crate::model::enum_words::words;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::link::SharedLink;
use crate::model::mutex::lock;
use crate::model::service::{Image, Service, ServiceKind, Unit, limit_of};

/// Limit for the greeting; it includes a slow `.bashrc` and a slow disk.
const GREETING_LIMIT: Duration = Duration::from_mins(1);
/// Limit for the end of the conversation, beyond the deadline.
const BYE_LIMIT: Duration = Duration::from_secs(30);

/// The beginning of a conversation.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The run's nonce.
    pub run: String,
    /// Whether to take the run lock; otherwise the agent only looks and changes nothing.
    pub lock: bool,
    /// The paths on the host.
    pub layout: Layout,
    /// Our name in the lock's record.
    pub owner: String,
    /// The services of this host, in their order.
    pub services: Vec<Service>,
    /// The names of its slots; empty: none of its services is in a slot.
    pub slots: Vec<String>,
    /// The shell for hooks, and its flags.
    pub hook_shell: Vec<String>,
    /// The words of sudo, or of what is used in its place.
    pub sudo: String,
    /// Silence after which the agent reverts what is undecided and ends.
    pub deadline: Duration,
    /// Whether to look for processes that run from a release.
    pub scan: Scan,
    /// Rules for the values of env files: see [`crate::config::secrecy::Secrecy::lines`].
    pub veil: String,
    /// The name of the env file inside a release.
    pub env_file: String,
    /// Orders that travel with the command and are answered right after the greeting, without a
    /// round trip of their own. They change nothing and hold no secrets.
    pub first: Vec<Order>,
}

impl Hello {
    /// Begins to pack the script, if nobody has begun: called before a connection is made.
    pub fn pack_ahead(&self) {
        self.parts().pack_ahead();
    }

    /// Returns the parts of the script that the host needs.
    fn parts(&self) -> Parts {
        Parts {
            slots: !self.slots.is_empty(),
            images: self.services.iter().any(|service| service.image.is_some()),
        }
    }
}

words! {
    /// The rule for looking for processes that run from a release.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Scan {
        No = "no",
        /// If there are releases that are not live, which may be pruned.
        Others = "others",
        Yes = "yes",
    }
}

/// An order as it is sent.
#[derive(Debug)]
pub struct Sent {
    pub order: Order,
    /// Whether it is obeyed only if the order before it succeeded.
    pub chained: bool,
    /// Bytes that follow the lines of the message. They are shared, for many hosts may get them.
    pub bytes: Vec<Bytes>,
}

impl From<Order> for Sent {
    fn from(order: Order) -> Self {
        Self { order, chained: false, bytes: Vec::new() }
    }
}

/// One conversation. To drop it ends it; the host then reverts what is undecided.
pub struct Agent {
    session: Arc<dyn Session>,
    hello: Hello,
    /// The script as a word, in the form that the host accepted.
    script: &'static str,
    /// Whether the host can unpack a script.
    packed: bool,
    /// Messages to send, as pieces.
    lines: mpsc::UnboundedSender<Vec<Bytes>>,
    replies: Arc<Replies>,
    /// Orders that went with the greeting, and their replies.
    first: Mutex<Vec<(Order, Reply)>>,
    /// The reply to `bye`, once that was sent.
    goodbye: Mutex<Option<Reply>>,
    tasks: [JoinHandle<()>; 2],
}

impl Agent {
    /// Begins a conversation: takes the lock if asked to, and looks. Returns what was found; it
    /// names the holder if another run has the lock, which is no error.
    pub async fn open(
        session: Arc<dyn Session>,
        hello: Hello,
    ) -> Result<(Self, HostState), AgentError> {
        let script = hello.parts().forms();
        match Self::begin(Arc::clone(&session), hello.clone(), &script.packed, true).await {
            // The host may lack base64 or gzip, so the script is sent plain.
            Err(AgentError::NoGreeting { .. }) => {
                Self::begin(session, hello, &script.plain, false).await
            }
            begun => begun,
        }
    }

    async fn begin(
        session: Arc<dyn Session>,
        hello: Hello,
        script: &'static str,
        packed: bool,
    ) -> Result<(Self, HostState), AgentError> {
        let command = serve_command(script, &hello);
        let channel =
            session.exec(&command).await.map_err(|source| AgentError::Session { source })?;
        let (lines, outgoing) = mpsc::unbounded_channel();
        let replies = Arc::new(Replies::default());
        let limit = GREETING_LIMIT + limits(&hello, hello.first.iter());
        let greeting = replies.expect(limit, || true);
        let Channel { input, output } = channel;
        let beat = beat(hello.deadline);
        let expect = |order: &Order| (order.clone(), replies.expect(limit, || true));
        let first = hello.first.iter().map(expect).collect();
        let said = Arc::new(Mutex::default());
        let tasks = [
            tokio::spawn(write_lines(input, outgoing, beat)),
            tokio::spawn(read_frames(
                output,
                hello.run.clone(),
                Arc::clone(&replies),
                said.clone(),
            )),
        ];
        let (first, goodbye) = (Mutex::new(first), Mutex::default());
        let agent = Self { session, hello, script, packed, lines, replies, first, goodbye, tasks };
        let unheard = |error| match error {
            AgentError::Silent { after } => AgentError::Unheard { after, said: lock(&said).text() },
            other => other,
        };
        let greeting = greeting.get().await.map_err(unheard)?;
        Ok((agent, host_state(&greeting.raw())))
    }

    /// Returns the round trip that was seen while connecting.
    pub fn distance(&self) -> Duration {
        self.session.distance()
    }

    /// Sends an order and returns its reply, to be awaited.
    pub fn send(&self, order: Order) -> Reply {
        self.send_all(&[Sent::from(order)]).pop().unwrap_or_else(Reply::gone)
    }

    /// Sends orders as one message and returns their replies. The host reads all of them, obeys one
    /// after the other, and answers all when the last is done.
    pub fn send_all<'s>(&self, all: impl IntoIterator<Item = &'s Sent>) -> Vec<Reply> {
        let all: Vec<_> = all.into_iter().collect();
        let limit = limits(&self.hello, all.iter().map(|sent| &sent.order));
        let (mut lines, mut bytes) = (String::new(), Vec::new());
        let mut replies = Vec::new();
        let last = all.len().saturating_sub(1);
        for (place, sent) in all.iter().enumerate() {
            let more = if place < last { "& " } else { "" };
            let after = if sent.chained { "+ " } else { "" };
            let _ = writeln!(lines, "{more}{after}{}", sent.order.line());
            bytes.extend(sent.bytes.iter().cloned());
            let mut message = || {
                let lines = Bytes::from(mem::take(&mut lines));
                iter::once(lines).chain(bytes.drain(..)).collect()
            };
            let send = || place < last || self.lines.send(message()).is_ok();
            replies.push(self.replies.expect(limit, send));
        }
        replies
    }

    /// Sends an order and returns its answer.
    pub async fn ask(&self, order: &Order) -> Result<Response, AgentError> {
        self.ask_hearing(order, |_| ()).await
    }

    /// Sends an order and returns its answer; `tell` gets output that comes before it.
    pub async fn ask_hearing(
        &self,
        order: &Order,
        tell: impl Fn(HookOutput),
    ) -> Result<Response, AgentError> {
        let reply = self.asked_first(order).unwrap_or_else(|| self.send(order.clone()));
        reply.hear(tell).await
    }

    /// Returns the reply to an order that went with the greeting. All of these are dropped once
    /// another order is sent, which may change the host.
    fn asked_first(&self, order: &Order) -> Option<Reply> {
        let mut first = lock(&self.first);
        let place = first.iter().position(|(asked, _)| asked == order);
        if place.is_none() {
            first.clear();
        }
        place.map(|place| first.remove(place).1)
    }

    /// Looks at the host again.
    pub async fn look(&self) -> Result<HostState, AgentError> {
        Ok(host_state(&self.ask(&Order::Look).await?.raw()))
    }

    /// Returns what the units do now, to be judged.
    pub async fn judge(&self, id: ReleaseId) -> Result<Vec<Judgement>, AgentError> {
        Ok(judgements(&self.ask(&Order::Judge { id }).await?.text))
    }

    /// Returns the facts for `shipit check`.
    pub async fn probe(
        &self,
        shared: Vec<SharedLink>,
        ports: Vec<u16>,
    ) -> Result<CheckFacts, AgentError> {
        Ok(probe(&self.ask(&Order::Probe { shared, ports }).await?.text))
    }

    /// Streams a release, `chunks` and then `tail`, about `len` bytes, to the host over a channel
    /// of its own, or several. With `large`, the id of the release, its large files are read back
    /// while they arrive.
    pub async fn receive(
        &self,
        codec: Codec,
        large: Option<ReleaseId>,
        chunks: Chunks,
        tail: Bytes,
        len: u64,
        options: &UploadOptions<'_>,
    ) -> Result<(), AgentError> {
        let (run, root) = (self.hello.run.as_str(), self.hello.layout.root());
        let command = |verb: &str, more: &[(&str, &str)]| {
            script::command(self.script, verb, &[&[("run", run), ("root", root)], more].concat())
        };
        let stage = large.map(|id| Layout::staging(id, run)).unwrap_or_default();
        let receive = command("receive", &[("codec", codec.word()), ("stage", &stage)]);
        let stripe = |descriptor: &str| command("stripe", &[("descriptor", descriptor)]);
        // Its state is large, and most uploads go between the orders.
        Box::pin(upload::send(&self.session, &receive, &stripe, chunks, tail, len, options)).await
    }

    /// Sends orders and `bye` as one message: the host obeys them, then unlocks and ends. Returns
    /// the replies to the orders.
    pub fn send_last(&self, all: &[Sent]) -> Vec<Reply> {
        let mut goodbye = lock(&self.goodbye);
        if goodbye.is_some() {
            return all.iter().map(|_| Reply::gone()).collect();
        }
        let bye = [Sent::from(Order::Bye)];
        let mut replies = self.send_all(all.iter().chain(&bye));
        *goodbye = replies.pop();
        replies
    }

    /// Ends the conversation; the lock is free when this returns.
    pub async fn bye(self) -> Result<(), AgentError> {
        self.send_last(&[]);
        let limit = self.hello.deadline + BYE_LIMIT;
        let end = lock(&self.goodbye).take().unwrap_or_else(Reply::gone);
        match timeout(limit, end.get()).await.unwrap_or(Err(AgentError::Silent { after: limit })) {
            Err(AgentError::Lost { .. }) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Ends the conversation and starts a stream on the same connection: a channel that prints for
    /// a person until it ends. `services` are those that it is about.
    pub async fn into_stream(
        self,
        verb: &str,
        services: &[Service],
        arguments: &[(&str, &str)],
    ) -> Result<HostStream, AgentError> {
        let script = if self.packed { &OF_STREAMS.packed } else { &OF_STREAMS.plain };
        let (session, hello) = (Arc::clone(&self.session), self.hello.clone());
        let services: Vec<_> = services.iter().map(service_words).collect();
        let (services, seconds) = (list(&services), hello.deadline.as_secs().max(1).to_string());
        let shell = hello.hook_shell.join(" ");
        let common = [
            ("run", hello.run.as_str()),
            ("root", hello.layout.root()),
            ("services", &services),
            ("deadline", &seconds),
            ("env_name", &hello.env_file),
            ("hook_shell", &shell),
            ("veil", &hello.veil),
        ];
        let command = script::command(script, verb, &[&common, arguments].concat());
        self.bye().await?;
        let channel = session.exec(&command).await;
        let Channel { input, output } = channel.map_err(|source| AgentError::Session { source })?;
        let (lines, outgoing) = mpsc::unbounded_channel();
        let beats = tokio::spawn(write_lines(input, outgoing, beat(hello.deadline)));
        Ok(HostStream { output, beats, _lines: lines })
    }
}

/// A channel that prints for a person. To drop it ends what runs on the host.
pub struct HostStream {
    /// The output, and then its end.
    pub output: mpsc::Receiver<Output>,
    beats: JoinHandle<()>,
    _lines: mpsc::UnboundedSender<Vec<Bytes>>,
}

impl Drop for HostStream {
    fn drop(&mut self) {
        // This drops the input, so the host reads its end.
        self.beats.abort();
    }
}

/// Returns how often a line says that we are still there.
fn beat(deadline: Duration) -> Duration {
    (deadline / 4).min(Duration::from_secs(3))
}

impl Drop for Agent {
    fn drop(&mut self) {
        // This drops the channel, so the host reads the end of its input.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Returns the limit for the answers to orders that are obeyed one after the other.
fn limits<'a>(hello: &Hello, orders: impl Iterator<Item = &'a Order>) -> Duration {
    let restarts = limit_of(&hello.services) * 3;
    let limit = |order: &Order| {
        let spec = order.spec();
        spec.limit + hello.deadline + if spec.restarts { restarts } else { Duration::ZERO }
    };
    orders.map(limit).sum()
}

/// Returns the command that begins a conversation.
fn serve_command(script: &str, hello: &Hello) -> String {
    let services: Vec<_> = hello.services.iter().map(service_words).collect();
    let first = hello.first.iter().map(Order::line).collect::<Vec<_>>().join("\n");
    let arguments = [
        ("run", hello.run.as_str()),
        ("mode", if hello.lock { "lock" } else { "look" }),
        ("root", hello.layout.root()),
        ("owner", &hello.owner),
        ("deadline", &hello.deadline.as_secs().max(1).to_string()),
        ("services", &list(&services)),
        ("slots", &hello.slots.join(" ")),
        ("images", if hello.parts().images { "yes" } else { "" }),
        ("scan", hello.scan.word()),
        ("env_name", &hello.env_file),
        ("hook_shell", &hello.hook_shell.join(" ")),
        ("sudo", &hello.sudo),
        ("veil", &hello.veil),
        ("first", &first),
    ];
    script::command(script, "serve", &arguments)
}

/// Returns a service as the agent's `select_service` reads it.
fn service_words(service: &Service) -> String {
    let file = service.unit().and_then(|unit| unit.file.as_deref()).unwrap_or_default();
    let (scope, target, action, log) = match &service.what {
        ServiceKind::Unit(Unit { name, scope, action, .. }) => {
            (scope.word(), name, action.word(), "")
        }
        ServiceKind::Command { restart, stop, log } => {
            let [stop, log] = [stop, log].map(|text| text.as_deref().unwrap_or_default());
            ("command", restart, stop, log)
        }
    };
    let mut words = vec![
        format!("service={}", service.name),
        format!("scope={scope}"),
        format!("target={target}"),
        format!("action={action}"),
        format!("limit={}", service.limit.as_secs()),
        format!("log={log}"),
        format!("unit_file={file}"),
    ];
    if let Some(Image { name, engine }) = &service.image {
        words.extend([format!("image={name}"), format!("engine={}", engine.join(" "))]);
    }
    list(&words)
}

/// Writes messages as they come, and `hold` when none has come for `beat`.
async fn write_lines(
    mut input: Pin<Box<dyn AsyncWrite + Send>>,
    mut lines: mpsc::UnboundedReceiver<Vec<Bytes>>,
    beat: Duration,
) {
    let mut beats = interval_at(Instant::now() + beat, beat);
    loop {
        let message = tokio::select! {
            message = lines.recv() => match message {
                Some(message) => message,
                None => break,
            },
            _ = beats.tick() => vec![Bytes::from_static(b"hold\n")],
        };
        for bytes in message {
            if input.write_all(&bytes).await.is_err() {
                return;
            }
        }
        if input.flush().await.is_err() {
            return;
        }
        beats.reset();
    }
}

/// Hands out the answers of the host, until it ends or sends what cannot be one. `errors` collects
/// the end of standard error.
async fn read_frames(
    mut output: mpsc::Receiver<Output>,
    run: String,
    replies: Arc<Replies>,
    errors: Arc<Mutex<Tail>>,
) {
    let mut frames = Frames::new(&run);
    let mut greeted = false;
    let mut ended = None;
    while let Some(piece) = output.recv().await {
        match piece {
            Output::Stdout(bytes) => {
                let found = frames.feed(&bytes);
                greeted |= found.as_ref().is_ok_and(|found| !found.is_empty());
                let given = found.map(|found| found.into_iter().all(|frame| replies.give(frame)));
                if given != Ok(true) {
                    let reason = given.err().unwrap_or_else(|| "unexpected answer".to_owned());
                    return replies.end(AgentError::Garbled { reason });
                }
            }
            Output::Stderr(bytes) => lock(&errors).push(&bytes),
            Output::Exit(exit) => ended = Some(format!("the agent {exit}")),
        }
    }
    let said = lock(&errors).text();
    let how = ended.as_deref().unwrap_or("the connection was lost");
    replies.end(if greeted || ended.is_none() {
        AgentError::Lost { reason: format!("{how} {said}").trim().to_owned() }
    } else {
        let noise = frames.noise();
        AgentError::NoGreeting { said: format!("{how}\n{noise}\n{said}").trim().to_owned() }
    });
}
