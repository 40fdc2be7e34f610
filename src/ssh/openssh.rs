//! A session over a master of OpenSSH, and the choice between it and the built-in client.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::config::{Host, SshTransport};
use crate::remote::session::{ByteStream, Channel, HUNG_UP, Session, SessionError};
use crate::ssh::connect::{Connector, Weight, jitter};
use crate::ssh::connection::Hop;
use crate::ssh::master::{Master, MasterPlan};
use crate::ssh::mux::{MuxCommand, NoMuxChannel};
use crate::ssh::session::{
    LONGEST_FOR_DROPBEAR, OPEN_LIMIT, PAUSES_MS, SshSession, by_input, check_length, late,
};
use crate::ssh::ssh_config::SshAnswers;
use crate::ssh::{mux_exec, text};

/// The number of tries for a server that hangs up before the login.
const TRIES: u32 = 3;

impl Connector {
    /// Returns a session with `host`: over SSH after a login, or on this machine.
    pub async fn connect(&self, host: &Host) -> Result<Arc<dyn Session>, SessionError> {
        let Some(wanted) = self.hop(host) else { return Ok(Arc::new(self.local())) };
        let answers = Box::pin(self.answers(&wanted)).await?;
        let (Some(answers), true) = (&answers, self.ours().transport != SshTransport::Builtin)
        else {
            return self.built_in(wanted, answers.as_ref()).await;
        };
        if let Some(session) = self.ride(&wanted, answers).await {
            return Ok(session);
        }
        if self.ours().transport == SshTransport::OpenSsh {
            return self.over_openssh(wanted, answers).await;
        }
        let error = match self.ask_of_openssh(answers) {
            Some(setting) => SessionError::Unsupported { setting, reason: String::new() },
            None => match self.built_in(wanted.clone(), Some(answers)).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            },
        };
        let Some(setting) = error.unsupported() else { return Err(error) };
        if self.masters().is_first() {
            let text = format!(
                "OpenSSH connects, because ssh_config has {setting} (`transport = \"openssh\"` in \
                 [ssh] chooses it without this notice)"
            );
            self.notice(&wanted, Weight::Warning, &text);
        }
        self.over_openssh(wanted, answers).await
    }

    async fn built_in(
        &self,
        wanted: Hop,
        answers: Option<&SshAnswers>,
    ) -> Result<Arc<dyn Session>, SessionError> {
        if self.ours().transport == SshTransport::OpenSsh {
            let setting = "transport \"openssh\"".to_owned();
            let reason = "there is no program `ssh` here".to_owned();
            return Err(SessionError::Setting { setting, reason });
        }
        let first = Box::pin(self.open_knowing(&wanted, answers)).await?;
        Ok(Arc::new(SshSession::new(self.clone(), wanted, first)))
    }

    /// Returns what lets OpenSSH in and not the built-in client: a Kerberos ticket. Distributions
    /// turn GSSAPI on for everybody, so the option alone says nothing.
    fn ask_of_openssh(&self, answers: &SshAnswers) -> Option<String> {
        let around = self.around();
        let ticket = || {
            let named = around.env.get("KRB5CCNAME").is_some_and(|name| !name.is_empty());
            let uid = rustix::process::getuid().as_raw();
            named || Path::new(&format!("/tmp/krb5cc_{uid}")).exists()
        };
        let key_is_named = self.ours().identity_file.is_some() || around.given.key.is_some();
        let asked = !key_is_named && answers.set("gssapiauthentication").is_some();
        let wanted = asked && ticket();
        wanted.then(|| "GSSAPIAuthentication, and there is a Kerberos ticket".to_owned())
    }

    /// Returns a session over the user's own master, if one lives and nothing in deploy.toml says
    /// how to connect.
    async fn ride(&self, wanted: &Hop, answers: &SshAnswers) -> Option<Arc<dyn Session>> {
        let ours = self.ours();
        let says = ours.identity_file.is_some()
            || ours.known_hosts.is_some()
            || ours.host_keys.is_some()
            || wanted.pin.is_some()
            || self.around().given.key.is_some()
            || self.around().given.known_hosts.is_some();
        let path = answers.control_path().filter(|_| !says)?;
        let master = Master::of_user(&path).await?;
        let text = format!("it goes over the ssh that listens at {}", path.display());
        self.notice(wanted, Weight::Detail, &text);
        Some(Arc::new(OpenSshSession::new(self.clone(), wanted.clone(), master)))
    }

    async fn over_openssh(
        &self,
        wanted: Hop,
        answers: &SshAnswers,
    ) -> Result<Arc<dyn Session>, SessionError> {
        let master = Box::pin(self.own_master(&wanted, answers)).await?;
        Ok(Arc::new(OpenSshSession::new(self.clone(), wanted, master)))
    }

    /// Starts a master, and tells the user what it wrote down. A server with too many new
    /// connections hangs up without a word; it is tried again.
    async fn own_master(&self, wanted: &Hop, answers: &SshAnswers) -> Result<Master, SessionError> {
        let (ours, around) = (self.ours(), self.around());
        let host = answers.for_openssh(&wanted.target, ours, around)?;
        self.notice_policy(wanted, &host);
        self.check_known_hosts(&host, wanted)?;
        let pin = wanted.pin.as_deref();
        let (target, host) = (&wanted.target, &host);
        let plan = MasterPlan { target, pin, host, answers, settings: ours, around };
        let mut tries = 1;
        let master = loop {
            match Master::start(&plan, self.masters()).await {
                Err(SessionError::Handshake { reason, .. })
                    if reason == HUNG_UP && tries < TRIES =>
                {
                    tries += 1;
                    sleep(jitter()).await;
                }
                made => break made?,
            }
        };
        if let Some(log) = master.log().filter(|log| log.wrote_key() && wanted.pin.is_none()) {
            let file = host.new_keys.as_deref().unwrap_or(Path::new("known_hosts"));
            let (_, print) = log.shown_key();
            let text = format!("new host key {print}, written to {}", file.display());
            self.notice(wanted, Weight::Warning, &text);
        }
        Ok(master)
    }
}

/// The time of opening a channel before there was one.
const UNKNOWN: Duration = Duration::from_micros(u64::MAX);

/// A host that is reached over a master of OpenSSH.
pub(crate) struct OpenSshSession {
    connector: Connector,
    wanted: Hop,
    first: Master,
    /// Made when the server allows no second channel on the first.
    second: Mutex<Option<Arc<Master>>>,
    /// The first connection has refused a channel for good.
    crowded: AtomicBool,
    /// The shortest time that opening a channel took, in microseconds: about one round trip.
    opened: AtomicU64,
}

impl OpenSshSession {
    fn new(connector: Connector, wanted: Hop, first: Master) -> Self {
        let (second, crowded) = (Mutex::default(), AtomicBool::new(false));
        Self { connector, wanted, first, second, crowded, opened: AtomicU64::new(u64::MAX) }
    }

    async fn start(&self, command: &str) -> Result<Channel, SessionError> {
        check_length(command)?;
        let is_dropbear = || self.first.log().is_some_and(|log| log.is_dropbear());
        if command.len() > LONGEST_FOR_DROPBEAR && is_dropbear() {
            let mut channel = self.run(&by_input(command)).await?;
            let sent = timeout(OPEN_LIMIT, channel.input.write_all(command.as_bytes())).await;
            sent.map_err(|_| late("sending a command"))?.map_err(|_| self.first.lost())?;
            return Ok(channel);
        }
        self.run(command).await
    }

    /// Starts `command` over the first connection, or over a second one if the first refuses.
    async fn run(&self, command: &str) -> Result<Channel, SessionError> {
        let crowded = self.crowded.load(Ordering::Relaxed);
        let pauses = if crowded { &PAUSES_MS[..1] } else { &PAUSES_MS[..] };
        match self.channel(&self.first, command, pauses).await {
            Err(SessionError::ChannelRefused { .. })
                if self.first.is_own() && !self.wanted.further =>
            {
                self.crowded.store(true, Ordering::Relaxed);
            }
            other => return other,
        }
        let second = self.second().await?;
        self.channel(&second, command, &PAUSES_MS).await
    }

    /// Returns a channel. Asks again after `pauses`, since a server may still count old ones.
    async fn channel(
        &self,
        master: &Master,
        command: &str,
        pauses: &[u64],
    ) -> Result<Channel, SessionError> {
        let mut reason = String::new();
        for pause in pauses {
            sleep(Duration::from_millis(*pause)).await;
            match self.timed(master, command).await? {
                Ok(started) => return Ok(mux_exec::start(started, master.socket.clone())),
                Err(NoMuxChannel::Refused(said)) => reason = said,
                Err(NoMuxChannel::Gone) => return Err(master.lost()),
            }
        }
        Err(SessionError::ChannelRefused { reason })
    }

    async fn timed(
        &self,
        master: &Master,
        command: &str,
    ) -> Result<Result<MuxCommand, NoMuxChannel>, SessionError> {
        let began = Instant::now();
        let opened = timeout(OPEN_LIMIT, master.socket.run(command)).await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.opened.fetch_min(took, Ordering::Relaxed);
        opened.map_err(|_| late("opening a channel"))
    }

    async fn second(&self) -> Result<Arc<Master>, SessionError> {
        let mut second = self.second.lock().await;
        if let Some(master) = second.as_ref()
            && master.socket.is_alive().await
        {
            return Ok(master.clone());
        }
        let notice = "the server allows no second channel, so a second connection is made";
        self.connector.notice(&self.wanted, Weight::Detail, notice);
        Ok(second.insert(Arc::new(self.further().await?)).clone())
    }

    async fn further(&self) -> Result<Master, SessionError> {
        let wanted = self.wanted.again();
        let gone = || SessionError::ChannelRefused { reason: "there is no `ssh` here".to_owned() };
        let answers = self.connector.answers(&wanted).await?.ok_or_else(gone)?;
        Box::pin(self.connector.own_master(&wanted, &answers)).await
    }

    async fn tunnel(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, SessionError> {
        match timeout(OPEN_LIMIT, self.first.socket.tunnel(host, port)).await {
            Ok(Ok(tunnel)) => Ok(Box::new(tunnel)),
            Ok(Err(NoMuxChannel::Refused(said))) => {
                let log = self.first.log();
                let known = log.as_ref().and_then(|log| log.refusal()).unwrap_or(&said);
                // A master of the user does not tell why; the host itself finds out then.
                let forbidden = !known.contains("connect failed");
                let (address, reason) = (text::address(host, port), text::plain(known));
                Err(SessionError::DialRefused { address, reason, forbidden })
            }
            Ok(Err(NoMuxChannel::Gone)) => Err(self.first.lost()),
            Err(_) => Err(late(&format!("connecting to {}", text::address(host, port)))),
        }
    }

    async fn connect_again(&self) -> Result<Arc<dyn Session>, SessionError> {
        if !self.first.is_own() {
            // The login may take a person, whom the user's master was made to spare.
            let reason = "the master of the user is the only way".to_owned();
            return Err(SessionError::ChannelRefused { reason });
        }
        let master = self.further().await?;
        Ok(Arc::new(Self::new(self.connector.clone(), self.wanted.again(), master)))
    }

    async fn end(&self) {
        if let Some(second) = self.second.lock().await.take() {
            second.end().await;
        }
        self.first.end().await;
    }
}

impl Session for OpenSshSession {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        Box::pin(self.start(command))
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
        Box::pin(self.tunnel(host, port))
    }

    fn round_trip(&self) -> BoxFuture<'_, Option<Duration>> {
        let opened = self.distance();
        Box::pin(async move { (opened < UNKNOWN).then_some(opened) })
    }

    fn distance(&self) -> Duration {
        Duration::from_micros(self.opened.load(Ordering::Relaxed))
    }

    fn another(&self) -> BoxFuture<'_, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(self.connect_again())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}
