//! The choice between the built-in client and OpenSSH, and a master as what carries a session.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::config::{Host, SshTransport};
use crate::remote::local::LocalSession;
use crate::remote::session::{ByteStream, Channel, HUNG_UP, Session, SessionError};
use crate::ssh::connect::{Connector, Weight, jitter};
use crate::ssh::connection::Hop;
use crate::ssh::host_key::written_down;
use crate::ssh::master::{Master, MasterPlan};
use crate::ssh::mux::NoMuxChannel;
use crate::ssh::options::SshAnswers;
use crate::ssh::session::{Carrier, OPEN_LIMIT, SshSession, late};
use crate::ssh::target::unusable;
use crate::ssh::{mux_exec, ssh_config, text};

/// The number of tries for a server that hangs up before the login.
const TRIES: u32 = 3;

impl Connector {
    /// Returns a session with `host`: over SSH after a login, or on this machine.
    pub async fn connect(self: &Arc<Self>, host: &Host) -> Result<Arc<dyn Session>, SessionError> {
        let Some(wanted) = self.hop(host) else {
            return Ok(Arc::new(LocalSession::login(&self.around.env)));
        };
        let answers = Box::pin(self.answers(&wanted)).await?;
        let (Some(answers), true) = (&answers, self.settings.transport != SshTransport::Builtin)
        else {
            return self.built_in(wanted, answers.as_ref()).await;
        };
        if let Some(session) = self.ride(&wanted, answers).await {
            return Ok(session);
        }
        if self.settings.transport == SshTransport::OpenSsh {
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
        if self.masters.is_first() {
            let text = format!(
                "OpenSSH connects, because ssh_config has {setting} (`transport = \"openssh\"` in \
                 [ssh] chooses it without this notice)"
            );
            self.notice(&wanted, Weight::Warning, &text);
        }
        self.over_openssh(wanted, answers).await
    }

    async fn built_in(
        self: &Arc<Self>,
        wanted: Hop,
        answers: Option<&SshAnswers>,
    ) -> Result<Arc<dyn Session>, SessionError> {
        if self.settings.transport == SshTransport::OpenSsh {
            return Err(unusable("transport \"openssh\"", "there is no program `ssh` here"));
        }
        let first = Box::pin(self.open_knowing(&wanted, answers)).await?;
        Ok(Arc::new(SshSession::new(self.clone(), wanted, first)))
    }

    /// Returns what lets OpenSSH in and not the built-in client: a Kerberos ticket. Distributions
    /// turn GSSAPI on for everybody, so the option alone says nothing.
    fn ask_of_openssh(&self, answers: &SshAnswers) -> Option<String> {
        let around = &self.around;
        let ticket = || {
            let named = around.env.get("KRB5CCNAME").is_some_and(|name| !name.is_empty());
            let uid = rustix::process::getuid().as_raw();
            named || Path::new(&format!("/tmp/krb5cc_{uid}")).exists()
        };
        let key_is_named = self.settings.identity_file.is_some() || around.given.key.is_some();
        let asked = !key_is_named && answers.set("gssapiauthentication").is_some();
        let wanted = asked && ticket();
        wanted.then(|| "GSSAPIAuthentication, and there is a Kerberos ticket".to_owned())
    }

    /// Returns a session over the user's own master, if one lives and nothing in deploy.toml says
    /// how to connect.
    async fn ride(
        self: &Arc<Self>,
        wanted: &Hop,
        answers: &SshAnswers,
    ) -> Option<Arc<dyn Session>> {
        let ours = &self.settings;
        let says = ours.identity_file.is_some()
            || ours.known_hosts.is_some()
            || ours.host_keys.is_some()
            || wanted.pin.is_some()
            || self.around.given.key.is_some()
            || self.around.given.known_hosts.is_some();
        let path = Path::new(answers.about.one("controlpath").filter(|_| !says)?);
        let master = Master::of_user(path).await?;
        let text = format!("it goes over the ssh that listens at {}", path.display());
        self.notice(wanted, Weight::Detail, &text);
        Some(Arc::new(SshSession::new(self.clone(), wanted.clone(), master)))
    }

    async fn over_openssh(
        self: &Arc<Self>,
        wanted: Hop,
        answers: &SshAnswers,
    ) -> Result<Arc<dyn Session>, SessionError> {
        let master = Box::pin(self.own_master(&wanted, answers)).await?;
        Ok(Arc::new(SshSession::new(self.clone(), wanted, master)))
    }

    /// Starts a master, and tells the user what it wrote down. A server with too many new
    /// connections hangs up without a word; it is tried again.
    async fn own_master(&self, wanted: &Hop, answers: &SshAnswers) -> Result<Master, SessionError> {
        let Self { settings, around, .. } = self;
        let host = ssh_config::for_openssh(answers, &wanted.target, settings, around)?;
        self.notice_policy(wanted, &host);
        self.check_known_hosts(&host, wanted)?;
        let pin = wanted.pin.as_deref();
        let (target, host) = (&wanted.target, &host);
        let plan = MasterPlan { target, pin, host, answers, settings, around };
        let mut tries = 1;
        let master = loop {
            match Master::start(&plan, &self.masters).await {
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
            let text = written_down(&log.shown_key().1, file);
            self.notice(wanted, Weight::Warning, &text);
        }
        Ok(master)
    }
}

/// The time of opening a channel before there was one.
const UNKNOWN: Duration = Duration::from_micros(u64::MAX);

impl Carrier for Master {
    /// Makes a further master without notices.
    async fn further(connector: &Connector, wanted: &Hop) -> Result<Self, SessionError> {
        let wanted = wanted.again();
        let gone = || SessionError::ChannelRefused { reason: "there is no `ssh` here".to_owned() };
        let answers = connector.answers(&wanted).await?.ok_or_else(gone)?;
        Box::pin(connector.own_master(&wanted, &answers)).await
    }

    async fn run(&self, command: &str) -> Result<Channel, SessionError> {
        let began = Instant::now();
        let opened = timeout(OPEN_LIMIT, self.socket.run(command)).await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.opened.fetch_min(took, Ordering::Relaxed);
        match opened.map_err(|_| late("opening a channel"))? {
            Ok(started) => Ok(mux_exec::start(started, self.socket.clone())),
            Err(NoMuxChannel::Refused(reason)) => Err(SessionError::ChannelRefused { reason }),
            Err(NoMuxChannel::Gone) => Err(self.lost()),
        }
    }

    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, SessionError> {
        let address = text::address(host, port);
        let opened = timeout(OPEN_LIMIT, self.socket.tunnel(host, port)).await;
        match opened.map_err(|_| late(&format!("connecting to {address}")))? {
            Ok(tunnel) => Ok(Box::new(tunnel)),
            Err(NoMuxChannel::Refused(said)) => {
                let log = self.log();
                let known = log.as_ref().and_then(|log| log.refusal()).unwrap_or(&said);
                // A master of the user does not tell why; the host itself finds out then.
                let forbidden = !known.contains("connect failed");
                let reason = text::plain(known);
                Err(SessionError::DialRefused { address, reason, forbidden })
            }
            Err(NoMuxChannel::Gone) => Err(self.lost()),
        }
    }

    async fn round_trip(&self) -> Option<Duration> {
        Some(self.distance()).filter(|opened| *opened < UNKNOWN)
    }

    fn distance(&self) -> Duration {
        Duration::from_micros(self.opened.load(Ordering::Relaxed))
    }

    async fn is_alive(&self) -> bool {
        self.socket.is_alive().await
    }

    fn is_own(&self) -> bool {
        self.own.is_some()
    }

    fn is_dropbear(&self) -> bool {
        self.log().is_some_and(|log| log.is_dropbear())
    }

    fn lost(&self) -> SessionError {
        let gone = || format!("the master of {} is gone", self.socket.0.display());
        SessionError::Lost { reason: self.log().map_or_else(gone, |log| log.goodbye()) }
    }

    /// Ends a master of this run, and leaves one of the user's alone.
    async fn end(&self) {
        if self.is_own() {
            self.socket.terminate().await;
        }
    }
}
