//! Our end of one conversation with the agent.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{iter, mem};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, timeout};

pub use super::answer::{Access, CheckFacts, Compared, Judgement, LedgerTail};
use super::answer::{host_state, judgement, probe};
use super::frames::{Frame, Frames};
use super::order::Order;
use super::quote::{word, words};
use super::replies::{Replies, Reply};
use super::script::SCRIPT;
use super::session::{Channel, Output, Session, SessionError};
use super::upload::{self, Chunks, UploadOptions};
use crate::model::codec::Codec;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::link::SharedLink;
use crate::model::service::{Scope, Service};

/// How long the greeting may take: a slow `.bashrc` and a slow disk included.
const GREETING_LIMIT: Duration = Duration::from_mins(1);
/// The most we keep of what a host says on standard error.
const ERROR_TAIL: usize = 4 * 1024;
/// What tools say of a full disk.
const FULL: [&str; 2] = ["No space left", "quota exceeded"];
/// How long the host may take to end, beyond the deadline.
const BYE_LIMIT: Duration = Duration::from_secs(30);

/// What a conversation begins with.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The run's nonce.
    pub run: String,
    /// Take the lock; otherwise only look, and change nothing.
    pub lock: bool,
    /// Where it goes on the host.
    pub layout: Layout,
    /// What the lock's record says of us.
    pub owner: String,
    /// What is restarted.
    pub service: Service,
    /// The shell of hooks, and its flags.
    pub hook_shell: Vec<String>,
    /// How long the host waits for a line before it puts things back.
    pub deadline: Duration,
    /// Look for processes that run from a release.
    pub scan: Scan,
    /// What may be shown of env files: see [`crate::config::secrecy::Secrecy::lines`].
    pub veil: String,
    /// The name of the env file inside a release.
    pub env_file: String,
    /// Orders that come with the greeting and are answered right after it: no round trip is spent
    /// on them. They change nothing and hold no secrets.
    pub first: Vec<Order>,
}

/// When to look for processes that run from a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Never.
    No,
    /// Where there is more than what is live, so that something may be pruned.
    Others,
    /// Always.
    Yes,
}

impl Scan {
    /// As the agent knows it.
    const fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Others => "others",
            Self::Yes => "yes",
        }
    }
}

/// The answer to one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// See [`super::order`].
    pub code: u32,
    /// What it printed, free of control sequences.
    pub text: String,
    /// What it printed.
    pub bytes: Vec<u8>,
    /// How long it took the host, if it says so.
    pub took: Option<Duration>,
}

impl Response {
    /// Returns what it printed with its control characters.
    pub fn raw(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// An order as it is sent.
#[derive(Debug)]
pub struct Sent {
    /// What is to be done.
    pub order: Order,
    /// Only if the order before it was done.
    pub chained: bool,
    /// What it is about; follows the lines. Shared, not copied: many hosts may be sent the same.
    pub bytes: Vec<Bytes>,
}

impl From<Order> for Sent {
    fn from(order: Order) -> Self {
        Self { order, chained: false, bytes: Vec::new() }
    }
}

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The session failed.
    #[error("the conversation with the host could not begin")]
    Session {
        /// How.
        #[source]
        source: SessionError,
    },
    /// The host never greeted.
    #[error("the host did not run our script")]
    NoGreeting {
        /// What it said instead.
        said: String,
    },
    /// The conversation ended before the answer came; the order may or may not have run.
    #[error("the connection was lost")]
    Lost {
        /// What is known of the reason.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer within {}s", after.as_secs())]
    Silent {
        /// How long.
        after: Duration,
    },
    /// There was no greeting in time, though something may have been said.
    #[error("the host did not start our script within {}s", after.as_secs())]
    Unheard {
        /// How long.
        after: Duration,
        /// What it said meanwhile.
        said: String,
    },
    /// The host says things that are no answers.
    #[error("the host answers what cannot be understood: {reason}")]
    Garbled {
        /// What is wrong with it.
        reason: String,
    },
    /// The upload did not arrive.
    #[error("the host could not unpack what was sent: {how}")]
    Upload {
        /// How tar ended.
        how: String,
        /// Its last lines.
        said: String,
    },
    /// The packed file could not be read back.
    #[error("the packed release could not be read")]
    Spool {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl AgentError {
    /// What is said when there is no conversation any more.
    pub fn gone() -> Self {
        Self::Lost { reason: "the conversation is over".to_owned() }
    }

    /// One thing to type next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Session { source } => source.hint(),
            Self::NoGreeting { .. } => Some(
                "the login shell must be a POSIX shell, zsh or fish, and /bin/sh must be there: \
                 `chsh -s /bin/sh` on the host; no startup file (.bashrc) or ForceCommand may end it"
                    .to_owned(),
            ),
            Self::Unheard { .. } => Some(
                "what a login runs first (startup files, ForceCommand) must neither read its input \
                 nor replace the shell"
                    .to_owned(),
            ),
            Self::Upload { .. } if self.is_full() => {
                Some("`shipit prune` deletes old releases".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the host's disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Upload { said, .. } if FULL.iter().any(|full| said.contains(full)))
    }

    /// What the host itself said, if that explains the error.
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::NoGreeting { said } | Self::Unheard { said, .. } | Self::Upload { said, .. } => {
                Some(said)
            }
            Self::Lost { reason } => Some(reason),
            _ => None,
        }
    }
}

/// One conversation. Dropping it ends it; the host then puts back what is undecided.
pub struct Agent {
    session: Arc<dyn Session>,
    hello: Hello,
    /// The form in which the host took it.
    script: &'static str,
    /// Each with the bytes that belong to it.
    lines: mpsc::UnboundedSender<Vec<Bytes>>,
    replies: Arc<Replies>,
    /// What was asked with the greeting.
    first: Mutex<Vec<(Order, Reply)>>,
    /// The end, once goodbye was said.
    goodbye: Mutex<Option<Reply>>,
    tasks: [JoinHandle<()>; 2],
}

impl Agent {
    /// Begins: takes the lock if wanted, and looks. A lock that somebody else holds is not an
    /// error: the state names the holder.
    pub async fn open(
        session: Arc<dyn Session>,
        hello: Hello,
    ) -> Result<(Self, HostState), AgentError> {
        match Self::begin(Arc::clone(&session), hello.clone(), &PACKED_WORD).await {
            // The host may have nothing to unpack the script with.
            Err(AgentError::NoGreeting { .. }) => Self::begin(session, hello, &SCRIPT_WORD).await,
            begun => begun,
        }
    }

    async fn begin(
        session: Arc<dyn Session>,
        hello: Hello,
        script: &'static str,
    ) -> Result<(Self, HostState), AgentError> {
        let command = serve_command(script, &hello);
        let channel =
            session.exec(&command).await.map_err(|source| AgentError::Session { source })?;
        let (lines, outgoing) = mpsc::unbounded_channel();
        let replies = Arc::new(Replies::default());
        let limit = GREETING_LIMIT + limits(&hello, hello.first.iter());
        let greeting = replies.expect(limit, || true);
        let Channel { input, output } = channel;
        let beat = (hello.deadline / 4).min(Duration::from_secs(3));
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
        let agent = Self { session, hello, script, lines, replies, first, goodbye, tasks };
        let unheard = |error| match error {
            AgentError::Silent { after } => AgentError::Unheard { after, said: tail(&lock(&said)) },
            other => other,
        };
        let greeting = greeting.get().await.map_err(unheard)?;
        Ok((agent, host_state(&greeting.raw())))
    }

    /// How long a word took to the host and back when the connection was made.
    pub fn distance(&self) -> Duration {
        self.session.distance()
    }

    /// Sends an order without waiting.
    pub fn send(&self, order: Order) -> Reply {
        self.send_all(&[Sent::from(order)]).pop().unwrap_or_else(Reply::gone)
    }

    /// Sends orders that belong together, without waiting: the host reads all of them, obeys one
    /// after the other, and gives all answers when it is done with the last.
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

    /// Sends an order and waits for its answer.
    pub async fn ask(&self, order: &Order) -> Result<Response, AgentError> {
        self.ask_hearing(order, |_| ()).await
    }

    /// The same; `tell` gets what is said before the answer, as it comes.
    pub async fn ask_hearing(
        &self,
        order: &Order,
        tell: impl Fn(String),
    ) -> Result<Response, AgentError> {
        let reply = self.asked_first(order).unwrap_or_else(|| self.send(order.clone()));
        reply.hear(tell).await
    }

    /// The answer to an order that was given with the greeting. It holds until another order is
    /// given, which may change what is so.
    fn asked_first(&self, order: &Order) -> Option<Reply> {
        let mut first = lock(&self.first);
        let place = first.iter().position(|(asked, _)| asked == order);
        if place.is_none() {
            first.clear();
        }
        place.map(|place| first.remove(place).1)
    }

    /// Looks again.
    pub async fn look(&self) -> Result<HostState, AgentError> {
        Ok(host_state(&self.ask(&Order::Look).await?.raw()))
    }

    /// What the unit does now.
    pub async fn judge(&self, id: ReleaseId) -> Result<Judgement, AgentError> {
        Ok(judgement(&self.ask(&Order::Judge { id }).await?.text))
    }

    /// What `check` wants to know.
    pub async fn probe(
        &self,
        runner: String,
        shared: Vec<SharedLink>,
        ports: Vec<u16>,
    ) -> Result<CheckFacts, AgentError> {
        Ok(probe(&self.ask(&Order::Probe { runner, shared, ports }).await?.text))
    }

    /// Streams a release, about `len` bytes, to the host over a channel of its own, or several. With
    /// `large`, the id of the release, its large files are read back while they arrive.
    pub async fn receive(
        &self,
        codec: Codec,
        large: Option<ReleaseId>,
        chunks: Chunks,
        len: u64,
        options: &UploadOptions<'_>,
    ) -> Result<(), AgentError> {
        let root = self.hello.layout.root();
        let command = |words: &[&str]| {
            let (verb, rest) = (&words[..1], &words[1..]);
            let arguments = [verb, &[self.hello.run.as_str(), root], rest].concat();
            script_command(self.script, &arguments)
        };
        let stage = large.map(|id| Layout::staging(id, &self.hello.run)).unwrap_or_default();
        let words = ["receive", codec.word(), &stage];
        upload::send(&self.session, &command, &words, chunks, len, options).await
    }

    /// The same as `send_all`, and goodbye with them: they are obeyed, then the lock is let go.
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
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both ends of the channel go, so the host sees the end of its input.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the answers to orders may take that are obeyed one after the other.
fn limits<'a>(hello: &Hello, orders: impl Iterator<Item = &'a Order>) -> Duration {
    orders.map(|order| limit(hello, order)).sum()
}

/// How long the answer to an order may take.
fn limit(hello: &Hello, order: &Order) -> Duration {
    let restart = match &hello.service {
        Service::Unit { limit, .. } | Service::Command { limit, .. } => *limit,
        Service::None => Duration::ZERO,
    };
    let restarts = if order.restarts() { restart * 3 } else { Duration::ZERO };
    order.limit() + hello.deadline + restarts
}

/// The script as it is sent: comments and indentation cost bytes on every connection.
static MINIFIED: LazyLock<String> = LazyLock::new(|| {
    let kept = SCRIPT.lines().map(str::trim_start);
    let kept = kept.filter(|line| !line.is_empty() && !line.starts_with('#'));
    kept.collect::<Vec<_>>().join("\n")
});

/// The same, quoted.
static SCRIPT_WORD: LazyLock<String> = LazyLock::new(|| word(&MINIFIED));

/// A script that becomes the real one, in less than half of its bytes: it goes along in the first
/// flight of a TCP connection. Standard input would not do, for sshd opens no window for it before
/// the command has begun.
static PACKED_WORD: LazyLock<String> = LazyLock::new(|| {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let written = packed.write_all(MINIFIED.as_bytes());
    let packed = written.and_then(|()| packed.finish()).unwrap_or_default();
    let unpack = format!("printf %s {} | base64 -d | gzip -dc", STANDARD.encode(packed));
    word(&format!("script=$({unpack}) && eval \"$script\""))
});

fn script_command(script: &str, arguments: &[&str]) -> String {
    format!("exec /bin/sh -c {script} shipit {}", words(arguments.iter().copied()))
}

fn serve_command(script: &str, hello: &Hello) -> String {
    let (scope, target, action, limit) = match &hello.service {
        Service::Unit { name, scope, action, limit } => {
            let scope = if *scope == Scope::User { "user" } else { "system" };
            (scope, name.as_str(), action.verb(), limit.as_secs())
        }
        Service::Command { restart, stop, limit, .. } => {
            ("command", restart.as_str(), stop.as_deref().unwrap_or_default(), limit.as_secs())
        }
        Service::None => ("none", "", "", 0),
    };
    let log = match &hello.service {
        Service::Command { log: Some(log), .. } => log,
        _ => "",
    };
    let (deadline, limit) = (hello.deadline.as_secs().max(1).to_string(), limit.to_string());
    let mode = if hello.lock { "lock" } else { "look" };
    let first = hello.first.iter().map(Order::line).collect::<Vec<_>>().join("\n");
    let mut arguments = vec![
        "serve",
        &hello.run,
        mode,
        hello.layout.root(),
        &deadline,
        &hello.owner,
        scope,
        target,
        action,
        &limit,
        hello.scan.word(),
        log,
        &hello.veil,
        &hello.env_file,
        &first,
    ];
    arguments.extend(hello.hook_shell.iter().map(String::as_str));
    script_command(script, &arguments)
}

type ChannelInput = std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>;

/// Writes lines as they come, and `hold` when none has come for a while.
async fn write_lines(
    mut input: ChannelInput,
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

/// Turns what the host says into answers, until it ends or says what cannot be one.
/// `errors` is the end of what comes on standard error, to be read by others too.
async fn read_frames(
    mut output: mpsc::Receiver<Output>,
    run: String,
    replies: Arc<Replies>,
    errors: Arc<Mutex<Vec<u8>>>,
) {
    let mut frames = Frames::new(&run);
    let mut greeted = false;
    let mut ended = None;
    while let Some(piece) = output.recv().await {
        match piece {
            Output::Stdout(bytes) => {
                let found = frames.feed(&bytes);
                greeted |= found.as_ref().is_ok_and(|found| !found.is_empty());
                if let Err(reason) = found.and_then(|found| hand_out(found, &replies)) {
                    return replies.end(AgentError::Garbled { reason });
                }
            }
            Output::Stderr(bytes) => keep_tail(&mut lock(&errors), &bytes),
            Output::Exit(exit) => ended = Some(format!("the agent {exit}")),
        }
    }
    let said = tail(&lock(&errors));
    let how = ended.as_deref().unwrap_or("the connection was lost");
    replies.end(if greeted || ended.is_none() {
        AgentError::Lost { reason: format!("{how} {said}").trim().to_owned() }
    } else {
        let noise = frames.noise();
        AgentError::NoGreeting { said: format!("{how}\n{noise}\n{said}").trim().to_owned() }
    });
}

/// To each who waits theirs, in the order in which they asked.
fn hand_out(found: Vec<Frame>, replies: &Replies) -> Result<(), String> {
    for frame in found {
        let asked = match frame {
            Frame::Said(text) => replies.say(text),
            Frame::Response(answer) => replies.answer(answer),
        };
        if !asked {
            return Err("an answer to what nobody asked".to_owned());
        }
    }
    Ok(())
}

/// The whole lines of a kept end, as text.
pub(super) fn tail(kept: &[u8]) -> String {
    let text = crate::model::clean::strip(&String::from_utf8_lossy(kept));
    match text.split_once('\n') {
        Some((_, rest)) if kept.len() >= ERROR_TAIL => rest.to_owned(),
        _ => text,
    }
}

pub(super) fn keep_tail(kept: &mut Vec<u8>, more: &[u8]) {
    kept.extend_from_slice(more);
    if kept.len() > ERROR_TAIL {
        kept.drain(..kept.len() - ERROR_TAIL);
    }
}
