//! Acts on a host as another user than the one that logs in, by sudo, doas or run0: one wrapper
//! around every command. A password goes to sudo by standard input, once sudo asks for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::timeout;

use super::quote::word;
use super::session::{ByteStream, Channel, Output, Session, SessionError};
use crate::model::clean::strip;

/// The output of the wrapper once it has become the other user.
const BEGUN: &str = "shipit-acts\n";
/// The question of sudo for a password, which no other program asks.
const PROMPT: &str = "shipit-asks";
/// The limit for becoming the other user. PAM may wait for a directory service.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that a login prints before its first command.
const MOST_NOISE: usize = 1 << 20;
/// The number of pieces of output that may wait.
const QUEUE: usize = 64;

/// Asks for a password, or has a command print it.
pub type AskPassword = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// The password of sudo, which is asked for once, when it is needed first. Clones share it.
#[derive(Clone)]
pub struct Password {
    ask: AskPassword,
    known: Arc<OnceCell<Result<Arc<str>, String>>>,
}

impl Password {
    /// Returns the password that `ask` will have.
    pub fn new(ask: AskPassword) -> Self {
        Self { ask, known: Arc::default() }
    }

    /// Writes it to sudo, which has asked for it.
    async fn send(&self, channel: &mut Channel) -> Result<(), SessionError> {
        let known = self.known.get_or_init(async || (self.ask)().await.map(Arc::from)).await;
        let password = known.as_ref().map_err(|reason| SessionError::Setting {
            setting: "the password of sudo".to_owned(),
            reason: reason.clone(),
        })?;
        let sent = async {
            channel.input.write_all(format!("{password}\n").as_bytes()).await?;
            channel.input.flush().await
        };
        sent.await.map_err(|error| SessionError::Lost { reason: error.to_string() })
    }
}

/// The rights that commands on a host get beside those of the login.
#[derive(Clone)]
pub struct Rights {
    /// The words of sudo, doas or run0; with `-S`, it takes a password from its standard input.
    pub command: Vec<String>,
    /// The user that commands run as, in place of the one that logs in.
    pub user: String,
    pub password: Option<Password>,
}

/// A session whose commands have such rights.
pub struct ActingSession {
    inner: Arc<dyn Session>,
    rights: Rights,
}

impl ActingSession {
    /// Wraps a session.
    pub fn new(inner: Arc<dyn Session>, rights: Rights) -> Self {
        Self { inner, rights }
    }

    async fn act(&self, user: &str, command: &str) -> Result<Channel, SessionError> {
        let channel = self.inner.exec(&self.wrapped(user, command)).await?;
        self.begun(user, channel).await
    }

    /// Returns `command` as `user` runs it, at home, as after a login of its own.
    fn wrapped(&self, user: &str, command: &str) -> String {
        let words = &self.rights.command;
        let inner = format!("cd 2>/dev/null || cd /; echo {}; {command}", BEGUN.trim_end());
        let prompt = if words.iter().any(|word| word == "-S") {
            format!(" -p {PROMPT}")
        } else {
            String::new()
        };
        let (words, user) = (words.join(" "), word(user));
        format!("exec {words}{prompt} -u {user} -- /bin/sh -c {}", word(&inner))
    }

    /// Waits until the other user has begun. Only then is anything sent, so no question for a
    /// password ever gets what is meant for the command.
    async fn begun(&self, user: &str, mut channel: Channel) -> Result<Channel, SessionError> {
        let (mut out, mut said) = (Vec::new(), Vec::new());
        let mut asked = false;
        loop {
            let heard = timeout(LIMIT, channel.output.recv()).await;
            let heard = heard.map_err(|_| SessionError::Timeout {
                what: format!("becoming {user}"),
                after: LIMIT,
                hint: None,
            })?;
            match heard {
                Some(Output::Stdout(bytes)) => out.extend_from_slice(&bytes),
                Some(Output::Stderr(bytes)) => said.extend_from_slice(&bytes),
                Some(Output::Exit(_)) | None => {
                    said.extend_from_slice(&out);
                    return Err(refused(user, &said));
                }
            }
            if let Some(at) = find(&out, BEGUN) {
                let rest = Bytes::copy_from_slice(&out[at + BEGUN.len()..]);
                return Ok(with_rest(channel, rest));
            }
            if let Some(at) = find(&said, PROMPT) {
                let Some(password) = &self.rights.password else {
                    return Err(refused(user, b"a password is required"));
                };
                if asked {
                    return Err(refused(user, b"the password was wrong"));
                }
                asked = true;
                said.drain(..at + PROMPT.len());
                password.send(&mut channel).await?;
            }
            if out.len().max(said.len()) > MOST_NOISE {
                return Err(refused(user, b"it printed more than a login does"));
            }
        }
    }
}

fn find(text: &[u8], what: &str) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what.as_bytes())
}

/// Returns the channel with `rest` before its further output.
fn with_rest(channel: Channel, rest: Bytes) -> Channel {
    if rest.is_empty() {
        return channel;
    }
    let Channel { input, output: mut later } = channel;
    let (sender, output) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut next = Some(Output::Stdout(rest));
        while let Some(piece) = next {
            if sender.send(piece).await.is_err() {
                break;
            }
            next = later.recv().await;
        }
    });
    Channel { input, output }
}

/// Returns the error with the first line that sudo or doas says of itself, else with the last one.
fn refused(user: &str, said: &[u8]) -> SessionError {
    let said = strip(&String::from_utf8_lossy(said));
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let own = |line: &&str| ["sudo:", "sudo-rs:", "doas:"].iter().any(|it| line.starts_with(it));
    let words = lines().find(own).or_else(|| lines().next_back());
    let words = words.unwrap_or("it ended without a word").to_owned();
    SessionError::CannotAct { user: user.to_owned(), words }
}

impl Session for ActingSession {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        Box::pin(self.act(&self.rights.user, command))
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
        self.inner.dial(host, port)
    }

    fn round_trip(&self) -> BoxFuture<'_, Option<Duration>> {
        self.inner.round_trip()
    }

    fn distance(&self) -> Duration {
        self.inner.distance()
    }

    fn another(&self) -> BoxFuture<'_, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(async {
            let (inner, rights) = (self.inner.another().await?, self.rights.clone());
            Ok(Arc::new(Self { inner, rights }) as Arc<dyn Session>)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
