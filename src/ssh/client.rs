//! Our side of one SSH connection: the handshake, and messages of the server outside of channels.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Handle, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, Names};
use tokio::time::timeout;

use crate::model::mutex::lock;
use crate::remote::session::{ByteStream, HUNG_UP, SessionError};
use crate::ssh::host_key::HostKeyCheck;
use crate::ssh::ssh_config::HostSettings;
use crate::ssh::target::too_slow;
use crate::ssh::text;

/// Messages of the server outside of channels.
#[derive(Debug, Default)]
pub(crate) struct ServerMessages {
    /// The reason why it, or the library, ended the connection.
    pub(crate) goodbye: Option<String>,
    pub(crate) banner: Option<String>,
    /// The name and version of its program.
    pub(crate) program: String,
    /// The notice about a new host key, for the user.
    pub(crate) new_key: Option<String>,
}

/// [`ServerMessages`], shared with the library's task.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard(Arc<Mutex<ServerMessages>>);

impl Heard {
    pub(crate) fn get(&self) -> MutexGuard<'_, ServerMessages> {
        lock(&self.0)
    }

    /// Returns the reason why the connection is gone.
    pub(crate) fn goodbye(&self) -> String {
        self.get().goodbye.clone().unwrap_or_else(|| HUNG_UP.to_owned())
    }
}

/// A failure of a connection inside the library's task.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Library(russh::Error),
    Refused(SessionError),
}

impl From<russh::Error> for ConnectError {
    fn from(error: russh::Error) -> Self {
        Self::Library(error)
    }
}

/// Answers the library's questions.
pub(crate) struct Client {
    check: HostKeyCheck,
    heard: Heard,
}

/// Speaks SSH over `stream` up to the point where the host has proved who it is.
pub(crate) async fn handshake(
    stream: Box<dyn ByteStream>,
    settings: &HostSettings,
    check: HostKeyCheck,
    heard: &Heard,
) -> Result<Handle<Client>, ConnectError> {
    let (config, after) = (Arc::new(library_config(settings, &check)), settings.connect_timeout);
    let client = Client { check, heard: heard.clone() };
    let connecting = timeout(after, client::connect_stream(config, stream, client));
    connecting.await.unwrap_or_else(|_| {
        let what = format!("the SSH handshake with {}", settings.address());
        Err(ConnectError::Refused(too_slow(what, after)))
    })
}

fn library_config(settings: &HostSettings, check: &HostKeyCheck) -> client::Config {
    let allowed = &settings.options.allowed;
    client::Config {
        preferred: allowed.preferred(check.key_types(), check.certificate_types()),
        keepalive_interval: Some(settings.alive_interval),
        keepalive_max: settings.alive_count,
        inactivity_timeout: Some(silence(settings)),
        nodelay: true,
        ..client::Config::default()
    }
}

/// Returns the time without a word from the server after which the connection is given up: 30 s by
/// default. Half as long again as keepalives take, since a write to a full socket blocks them.
fn silence(settings: &HostSettings) -> Duration {
    let count = u32::try_from(settings.alive_count).unwrap_or(u32::MAX).saturating_add(1);
    let by_keepalive = settings.alive_interval.saturating_mul(count);
    by_keepalive.saturating_add(by_keepalive / 2)
}

/// Defines handlers that refuse the channels which a server opens towards us, where the library
/// would accept them. A handle that is dropped refuses.
macro_rules! no_channels {
    ($($handler:ident($($argument:ty),*);)*) => {$(
        async fn $handler(
            &mut self,
            $(_: $argument,)*
            _: ChannelOpenHandle,
            _: &mut Session,
        ) -> Result<(), ConnectError> {
            Ok(())
        }
    )*};
}

impl client::Handler for Client {
    type Error = ConnectError;

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), ConnectError> {
        self.heard.get().banner = Some(text::plain(banner));
        Ok(())
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        _: &Names,
        session: &mut Session,
    ) -> Result<(), ConnectError> {
        let program = text::plain(&String::from_utf8_lossy(session.remote_sshid()));
        self.heard.get().program = program;
        Ok(())
    }

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, ConnectError> {
        let new_key = self.check.judge(shown).map_err(ConnectError::Refused)?;
        if new_key.is_some() {
            self.heard.get().new_key = new_key;
        }
        Ok(true)
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<ConnectError>,
    ) -> Result<(), ConnectError> {
        let text = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => text::plain(&info.message),
            DisconnectReason::Error(ConnectError::Library(error)) => library_text(error),
            DisconnectReason::Error(ConnectError::Refused(error)) => error.to_string(),
        };
        self.heard.get().goodbye = Some(text);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }

    no_channels! {
        server_channel_open_forwarded_tcpip(Channel<Msg>, &str, u32, &str, u32);
        server_channel_open_forwarded_streamlocal(Channel<Msg>, &str);
        server_channel_open_agent_forward(Channel<Msg>);
        server_channel_open_session(Channel<Msg>);
        server_channel_open_direct_tcpip(Channel<Msg>, &str, u32, &str, u32);
        server_channel_open_direct_streamlocal(Channel<Msg>, &str);
        server_channel_open_x11(Channel<Msg>, &str, u32);
    }
}

/// Returns the library's error in plain words where its own are for programmers.
pub(crate) fn library_text(error: &russh::Error) -> String {
    match error {
        russh::Error::HUP | russh::Error::Disconnect => HUNG_UP.to_owned(),
        russh::Error::IO(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            HUNG_UP.to_owned()
        }
        russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => {
            "the host did not answer any more".to_owned()
        }
        russh::Error::Version => "what answers there does not speak SSH 2".to_owned(),
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            format!("no common {kind:?} algorithm, it offers {}", text::plain(&theirs.join(",")))
        }
        error => text::plain(&error.to_string()),
    }
}
