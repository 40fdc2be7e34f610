//! Connecting to a host of the config: settings, jump hosts, handshake, login.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use crate::config::{Address, Host, SshSettings, SshTransport};
use crate::model::mutex::lock;
use crate::remote::session::{BY_SETTING, ByteStream, HUNG_UP, SessionError};
use crate::ssh::auth::{
    AskPassphrase, AskQuestion, Asked, Attempt, Candidate, Candidates, KeyRing, attempt, candidates,
};
use crate::ssh::client::{ConnectError, Heard, handshake, library_text};
use crate::ssh::connection::{Connection, Hop, Transport};
use crate::ssh::expand::LocalEnv;
use crate::ssh::host_key::HostKeyCheck;
use crate::ssh::jump;
use crate::ssh::master::{MasterDir, PERSON_LIMIT};
use crate::ssh::options::{Options, SshAnswers};
use crate::ssh::proxy_command::Program;
use crate::ssh::socket;
use crate::ssh::ssh_config::{self, HostSettings, KeyPolicy, Plain};
use crate::ssh::target::{SshTarget, unusable};

/// sshd counts every offered key and hangs up after six.
const KEYS_PER_CONNECTION: usize = 5;
/// More keys than this are a mistake, and some servers punish it.
const KEYS_AT_ALL: usize = 20;
/// The number of further tries for a server that hangs up before it says anything.
const BUSY_TRIES: u32 = 3;
/// The words about a server that does not answer any more after it refused keys.
const SHUT_OUT: &str = "the server lets this address in no more, as sshd does for a while after \
                        refused keys (PerSourcePenalties): wait a minute, and name the right key by \
                        `identity_file` in [ssh]";
/// The pause between them, about.
const BUSY_PAUSE: Duration = Duration::from_millis(300);

/// The weight of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The user should know, without asking.
    Warning,
    /// The user may want to know, with `--verbose`.
    Detail,
}

/// Shows the user a notice about a host.
pub type Notice = Arc<dyn Fn(&str, Weight, &str) + Send + Sync>;

/// Callbacks to the user while connecting.
#[derive(Clone)]
pub struct Callbacks {
    pub passphrase: AskPassphrase,
    /// Answers a question of the server, such as that for a code.
    pub question: AskQuestion,
    /// Called with the host's name, the weight of the notice, and one line.
    pub notice: Notice,
}

/// Connects to hosts, and keeps the keys that were unlocked.
pub struct Connector {
    /// The settings of deploy.toml.
    pub(crate) settings: SshSettings,
    pub(crate) around: LocalEnv,
    callbacks: Callbacks,
    keys: KeyRing,
    /// Held while a server's questions are answered: one host asks at a time.
    questions: tokio::sync::Mutex<()>,
    plain: Plain,
    /// The key that logged in, by user and address: it is offered first from then on. Servers count
    /// each refused key, and some shut out whole addresses for it.
    worked: Mutex<HashMap<String, String>>,
    pub(crate) masters: MasterDir,
    /// Seconds since 1970, for certificates.
    now: u64,
}

impl Connector {
    /// Returns a connector. `now` is the time in seconds since 1970.
    pub fn new(
        settings: &SshSettings,
        around: LocalEnv,
        callbacks: Callbacks,
        now: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings: settings.clone().at_home(&around.home),
            around,
            callbacks,
            keys: KeyRing::default(),
            questions: tokio::sync::Mutex::default(),
            plain: Plain::default(),
            worked: Mutex::default(),
            masters: MasterDir::default(),
            now,
        })
    }

    /// Returns what `ssh -G` says about a hop; `None` if there is no `ssh` program.
    pub(crate) async fn answers(&self, wanted: &Hop) -> Result<Option<SshAnswers>, SessionError> {
        ssh_config::answers(&wanted.target, &self.settings, &self.around, &self.plain).await
    }

    /// Returns the hop to a host of the config; `None` if it is this machine.
    pub(crate) fn hop(&self, host: &Host) -> Option<Hop> {
        let Address::Ssh { host: alias, user, port, fingerprint } = &host.address else {
            return None;
        };
        let user = user.clone().or_else(|| self.settings.user.clone());
        Some(Hop {
            name: host.name.clone(),
            target: SshTarget { host: alias.clone(), user, port: *port },
            pin: fingerprint.clone(),
            via: None,
            depth: 0,
            further: false,
        })
    }

    /// Returns what comes after `ssh` to reach a host by hand; `None` if it is this machine.
    pub(crate) fn words(&self, host: &Host) -> Option<Vec<String>> {
        Some(ssh_config::words(&self.hop(host)?.target, &self.settings))
    }

    pub(crate) fn notice(&self, wanted: &Hop, weight: Weight, text: &str) {
        if !wanted.further {
            (self.callbacks.notice)(&wanted.name, weight, text);
        }
    }

    /// Returns a connection that is logged in, through as many hops as it takes.
    pub(crate) fn open<'a>(
        &'a self,
        wanted: &'a Hop,
    ) -> BoxFuture<'a, Result<Connection, SessionError>> {
        Box::pin(async move {
            let answers = self.answers(wanted).await?;
            self.open_knowing(wanted, answers.as_ref()).await
        })
    }

    /// Does what [`Self::open`] does, with what `ssh -G` says.
    pub(crate) async fn open_knowing(
        &self,
        wanted: &Hop,
        answers: Option<&SshAnswers>,
    ) -> Result<Connection, SessionError> {
        let settings = Arc::new(self.settings(wanted, answers)?);
        let check = self.check(&settings, wanted)?;
        let keys = self.keys(&settings, wanted).await;
        let hops = jump::hops(&settings, wanted);
        let connecting = Connecting { connector: self, wanted, settings, check, hops };
        connecting.log_in(keys).await
    }

    /// Returns the keys to try. A key given as text is the only one for hosts of the config, and
    /// the first for jump hosts.
    async fn keys(&self, settings: &HostSettings, wanted: &Hop) -> Candidates {
        let given = self.around.given.key.as_ref();
        let alone = given.is_some() && wanted.depth == 0;
        let found = if alone {
            Candidates::default()
        } else {
            candidates(settings, &self.around.home, &self.keys).await
        };
        match given {
            Some(key) => found.first(key, settings),
            None => found,
        }
    }

    fn settings(
        &self,
        wanted: &Hop,
        answers: Option<&SshAnswers>,
    ) -> Result<HostSettings, SessionError> {
        let Self { settings, around, .. } = self;
        let mut host = ssh_config::resolve(answers, &wanted.target, settings, around)?;
        if answers.is_none() {
            let unread = around.home.join(".ssh/config").exists();
            let weight = if unread { Weight::Warning } else { Weight::Detail };
            let text = "there is no `ssh` here to ask, so ssh_config is not read";
            self.notice(wanted, weight, text);
        }
        if settings.transport == SshTransport::Auto
            && let Some(missed) = host.options.openssh_could()
        {
            let reason = "it is not supported".to_owned();
            return Err(SessionError::Unsupported { setting: missed.to_owned(), reason });
        }
        self.notice_policy(wanted, &host);
        let Options { missed, ignored, .. } = &host.options;
        if !missed.is_empty() {
            let text = format!("ssh_config's {} is not followed", missed.join(", "));
            self.notice(wanted, Weight::Warning, &text);
        }
        if !ignored.is_empty() {
            let text = format!("not followed of ssh_config: {}", ignored.join(", "));
            self.notice(wanted, Weight::Detail, &text);
        }
        self.check_known_hosts(&host, wanted)?;
        if let Some(file) = settings.identity_file.clone().filter(|_| around.given.key.is_none()) {
            // The only key for hosts of the config, and the first for jump hosts.
            if wanted.depth == 0 {
                host.identity_files.clear();
                host.identities_only = true;
            }
            host.identity_files.insert(0, file);
        }
        Ok(host)
    }

    pub(crate) fn notice_policy(&self, wanted: &Hop, host: &HostSettings) {
        if host.policy == KeyPolicy::NoAsStrict {
            let text = "StrictHostKeyChecking no is not followed: unknown keys are refused";
            self.notice(wanted, Weight::Warning, text);
        }
    }

    fn check(
        &self,
        settings: &Arc<HostSettings>,
        wanted: &Hop,
    ) -> Result<HostKeyCheck, SessionError> {
        let given = self.around.given.known_hosts.as_deref();
        let check = HostKeyCheck::load(settings, wanted.pin.as_deref(), given, self.now)?;
        for place in check.damaged() {
            let at = format!("{} line {}", place.file.display(), place.line);
            let text = format!("{at} holds no key that can be read");
            self.notice(wanted, Weight::Warning, &text);
        }
        Ok(check)
    }

    /// Fails if a known_hosts file of deploy.toml does not exist, unless it is to be made for a new
    /// key.
    pub(crate) fn check_known_hosts(
        &self,
        host: &HostSettings,
        wanted: &Hop,
    ) -> Result<(), SessionError> {
        let Self { settings, around, .. } = self;
        let read = around.given.known_hosts.is_none();
        let named = settings.known_hosts.as_ref().filter(|file| read && !file.exists());
        match named {
            Some(file) if host.policy != KeyPolicy::AcceptNew && wanted.pin.is_none() => {
                let setting = format!("known_hosts {}", file.display());
                Err(unusable(&setting, "there is no such file"))
            }
            _ => Ok(()),
        }
    }
}

/// The state of connecting to one host.
struct Connecting<'a> {
    connector: &'a Connector,
    wanted: &'a Hop,
    settings: Arc<HostSettings>,
    check: HostKeyCheck,
    hops: Vec<SshTarget>,
}

impl Connecting<'_> {
    async fn log_in(&self, keys: Candidates) -> Result<Connection, SessionError> {
        let Candidates { mut list, notes: mut tried } = keys;
        let worked = self.worked().get(&self.login()).cloned();
        list.sort_by_key(|one| worked.as_ref() != Some(&one.label));
        let mut rest: &[Candidate] = &list[..list.len().min(KEYS_AT_ALL)];
        loop {
            let mut connection = match self.shake_hands().await {
                Err(SessionError::Handshake { reason, .. })
                    if reason == HUNG_UP && rest.len() < list.len() =>
                {
                    tried.insert(0, SHUT_OUT.to_owned());
                    return Err(self.refused(tried, None, list.len()));
                }
                connected => connected?,
            };
            if self.try_keys(&mut connection, &mut rest, &mut tried).await? {
                let label = rest.first().map(|one| one.label.clone()).unwrap_or_default();
                self.worked().insert(self.login(), label);
                let new_key = connection.heard.get().new_key.take();
                if let Some(notice) = new_key {
                    self.connector.notice(self.wanted, Weight::Warning, &notice);
                }
                return Ok(connection);
            }
            connection.goodbye().await;
            if rest.is_empty() {
                let said = connection.heard.get().banner.take();
                return Err(self.refused(tried, said.as_deref(), list.len()));
            }
        }
    }

    fn worked(&self) -> MutexGuard<'_, HashMap<String, String>> {
        lock(&self.connector.worked)
    }

    fn login(&self) -> String {
        format!("{}@{}", self.settings.user, self.settings.address())
    }

    fn refused(&self, mut tried: Vec<String>, said: Option<&str>, found: usize) -> SessionError {
        if found == 0 {
            tried.push("there is no key to try".to_owned());
        } else if found > KEYS_AT_ALL {
            tried.push(format!("{} more were not tried", found - KEYS_AT_ALL));
        }
        if let Some(line) = said.map(str::trim).filter(|said| !said.is_empty()) {
            tried.push(format!("the server says: {}", line.lines().next().unwrap_or_default()));
        }
        let (user, address) = (self.settings.user.clone(), self.settings.address());
        SessionError::Auth { user, address, tried, by_hand: self.settings.by_hand.clone() }
    }

    /// Tries keys on one connection. Returns whether the first of the `rest` logged in. If not, a
    /// new connection may try what is left of the `rest`.
    async fn try_keys(
        &self,
        connection: &mut Connection,
        rest: &mut &[Candidate],
        tried: &mut Vec<String>,
    ) -> Result<bool, SessionError> {
        for _ in 0..KEYS_PER_CONNECTION {
            let Some((candidate, others)) = rest.split_first() else { break };
            let label = &candidate.label;
            match self.try_key(connection, candidate).await? {
                Attempt::Accepted => return Ok(true),
                Attempt::Rejected(reason) => {
                    tried.push(format!("{label}: {reason}"));
                    *rest = others;
                }
                Attempt::Pointless(reason) => {
                    tried.push(format!("{label}: {reason}"));
                    *rest = &[];
                }
                Attempt::Gone => {
                    let reason = connection.heard.goodbye();
                    if !reason.contains("Too many authentication failures") {
                        return Err(SessionError::Lost { reason });
                    }
                    tried.push(format!("{label}: not accepted, too many keys"));
                    *rest = others;
                    break;
                }
            }
        }
        Ok(false)
    }

    async fn try_key(
        &self,
        connection: &mut Connection,
        candidate: &Candidate,
    ) -> Result<Attempt, SessionError> {
        let Connector { callbacks, keys, questions, .. } = self.connector;
        let asked = Asked {
            passphrase: &callbacks.passphrase,
            question: (!self.wanted.further).then_some(&callbacks.question),
            host: &self.wanted.name,
            questions,
        };
        let trying = attempt(&mut connection.handle, &self.settings, candidate, keys, &asked);
        let result = timeout(PERSON_LIMIT, trying).await;
        result.map_err(|_| SessionError::Timeout {
            what: format!("logging in with {}", candidate.label),
            after: PERSON_LIMIT,
            hint: Some("`ssh-add` beforehand asks for passphrases"),
        })
    }

    /// Returns a connection after the handshake. A server with too many new connections hangs up
    /// without a word; it is tried again if it is reached directly.
    async fn shake_hands(&self) -> Result<Connection, SessionError> {
        let (mut tries, mut check, mut not_pinned) = (1, self.check.clone(), None);
        loop {
            let began = Instant::now();
            let (heard, (stream, way)) = (Heard::default(), self.stream().await?);
            let took = began.elapsed();
            let busy = matches!(way, Transport::Direct) && tries < BUSY_TRIES;
            match handshake(stream, &self.settings, check.clone(), &heard).await {
                Ok(handle) => {
                    // A ProxyCommand runs before the host is connected.
                    let is_command = matches!(way, Transport::Command(_));
                    let took = if is_command { began.elapsed() } else { took };
                    return Ok(Connection { handle, heard, way, took });
                }
                Err(ConnectError::Library(error)) if busy && library_text(&error) == HUNG_UP => {
                    tries += 1;
                    sleep(jitter()).await;
                }
                // The pinned key may be another key of the host.
                Err(ConnectError::Refused(error)) => {
                    let more = match &error {
                        SessionError::HostKeyNotPinned { kind, .. } => check.pass_over(kind),
                        _ => false,
                    };
                    let first = not_pinned.take().unwrap_or(error);
                    if !more {
                        return Err(first);
                    }
                    not_pinned = Some(first);
                }
                Err(ConnectError::Library(error)) => {
                    // The host has no key of the kinds that are left.
                    if let Some(error) = not_pinned {
                        return Err(error);
                    }
                    let address = self.settings.address();
                    let mut reason = library_text(&error);
                    if let Transport::Command(program) = way {
                        reason = program.explain(reason).await;
                    }
                    if let russh::Error::NoCommonAlgo { kind, .. } = &error
                        && let Some(option) = self.settings.options.allowed.restricting(kind)
                    {
                        reason = format!("{reason}; ssh_config allows only `{option}`");
                    }
                    return Err(SessionError::Handshake { address, reason });
                }
            }
        }
    }

    async fn stream(&self) -> Result<(Box<dyn ByteStream>, Transport), SessionError> {
        if let Some(hop) = jump::last_hop(&self.hops, self.wanted, &self.settings)? {
            let failed = |source| {
                let (hop, source) = (hop.target.host.clone(), Box::new(source));
                SessionError::Jump { hop, source }
            };
            let connection = self.connector.open(&hop).await.map_err(failed)?;
            let HostSettings { hostname, port, connect_timeout, .. } = &*self.settings;
            let dialing = connection.forward(hostname, *port, *connect_timeout, Some(BY_SETTING));
            // The connection reads at all times, so the stream needs no buffer of its own.
            let stream = dialing.await.map_err(failed)?.into_stream();
            return Ok((Box::new(stream), Transport::Jump(Box::new(connection))));
        }
        if let Some(command) = &self.settings.proxy_command {
            let (stream, program) = Program::start(command, &self.connector.around)?;
            return Ok((stream, Transport::Command(program)));
        }
        let stream = socket::connect(&self.settings).await?;
        Ok((stream, Transport::Direct))
    }
}

/// Returns between half and one and a half of the pause, so that many tries do not come at once.
pub(crate) fn jitter() -> Duration {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    BUSY_PAUSE / 2 + BUSY_PAUSE * u32::from(byte[0]) / 255
}
