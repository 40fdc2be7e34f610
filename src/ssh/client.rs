//! Our side of one SSH connection: what is offered, what the server may do, what it said.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Handle, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, Names, Preferred, cipher, compression, kex, mac};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::model::mutex::lock;
use crate::remote::session::{BY_SETTING, HUNG_UP, SessionError};
use crate::ssh::host_key::{Accepted, HostKeyCheck, all_types};
use crate::ssh::options::{Allowed, List, name_of};
use crate::ssh::ssh_config::HostSettings;
use crate::ssh::text;

/// AES in hardware is the fastest; CTR modes cost more than twice as much, so they come last.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
/// These prove the integrity of what they carry, and need no MAC.
const WITHOUT_MAC: [cipher::Name; 3] =
    [cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];
const MACS: &[mac::Name] =
    &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA512, mac::HMAC_SHA256];
/// The NIST curves are all that some appliances and FIPS hosts have.
const EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G18_SHA512,
    kex::DH_G17_SHA512,
    kex::DH_G16_SHA512,
    kex::DH_G15_SHA512,
    kex::DH_G14_SHA256,
];
/// No methods: they say what else we understand.
const EXTENSIONS: [kex::Name; 2] =
    [kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

/// Messages of the server outside of channels.
#[derive(Debug, Default, Clone)]
pub(crate) struct ServerMessages {
    /// The reason why it, or the library, ended the connection.
    pub(crate) goodbye: Option<String>,
    /// Its banner.
    pub(crate) banner: Option<String>,
    /// The name and version of its program.
    pub(crate) program: String,
    /// A host key that was new, with the notice for the user.
    pub(crate) new_key: Option<String>,
}

/// [`ServerMessages`], shared with the library's task.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard(Arc<Mutex<ServerMessages>>);

impl Heard {
    pub(crate) fn get(&self) -> ServerMessages {
        lock(&self.0).clone()
    }

    fn note(&self, change: impl FnOnce(&mut ServerMessages)) {
        change(&mut lock(&self.0));
    }

    /// The reason to give for a connection that is gone.
    pub(crate) fn goodbye(&self) -> String {
        self.get().goodbye.unwrap_or_else(|| HUNG_UP.to_owned())
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
pub(crate) async fn handshake<S>(
    stream: S,
    settings: &HostSettings,
    check: HostKeyCheck,
    heard: &Heard,
) -> Result<Handle<Client>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = Arc::new(library_config(settings, &check));
    let client = Client { check, heard: heard.clone() };
    match tokio::time::timeout(
        settings.connect_timeout,
        client::connect_stream(config, stream, client),
    )
    .await
    {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Refused(SessionError::Timeout {
            what: format!("the SSH handshake with {}", settings.address()),
            after: settings.connect_timeout,
            hint: Some(BY_SETTING),
        })),
    }
}

/// Refuses lists of which nothing is left: `ssh_config` allows only what is not here.
pub(crate) fn check_lists(allowed: &Allowed) -> Result<(), SessionError> {
    let keys: Vec<_> = all_types().iter().map(|one| name_of(one, false)).collect();
    let certified: Vec<_> = all_types().iter().map(|one| name_of(one, true)).collect();
    some(&allowed.exchanges, EXCHANGES)?;
    some(&allowed.host_keys, &[keys, certified].concat())?;
    let ciphers = some(&allowed.ciphers, CIPHERS)?;
    if !ciphers.iter().any(|cipher| WITHOUT_MAC.contains(cipher)) {
        some(&allowed.macs, MACS)?;
    }
    Ok(())
}

fn some<T: Clone + AsRef<str>>(list: &List, ours: &[T]) -> Result<Vec<T>, SessionError> {
    let left = list.of(ours);
    if !left.is_empty() {
        return Ok(left);
    }
    let ours: Vec<&str> = ours.iter().map(AsRef::as_ref).collect();
    Err(SessionError::Setting {
        setting: list.shown().unwrap_or_default(),
        reason: format!("none of them is supported, only {}", ours.join(", ")),
    })
}

fn preferred(allowed: &Allowed, check: &HostKeyCheck) -> Preferred {
    let mut ciphers = allowed.ciphers.of(CIPHERS);
    let mut macs = allowed.macs.of(MACS);
    if macs.is_empty() {
        ciphers.retain(|cipher| WITHOUT_MAC.contains(cipher));
        macs = MACS.to_vec();
    }
    Preferred {
        kex: Cow::Owned([allowed.exchanges.of(EXCHANGES), EXTENSIONS.to_vec()].concat()),
        cipher: Cow::Owned(ciphers),
        mac: Cow::Owned(macs),
        key: Cow::Owned(check.key_types()),
        host_key_certificates: Cow::Owned(check.certificate_types()),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

fn library_config(settings: &HostSettings, check: &HostKeyCheck) -> client::Config {
    client::Config {
        preferred: preferred(&settings.options.allowed, check),
        keepalive_interval: Some(settings.alive_interval),
        keepalive_max: settings.alive_count,
        inactivity_timeout: Some(silence(settings)),
        nodelay: true,
        ..client::Config::default()
    }
}

/// After so long without a word we give up even where keepalives cannot tell, because a write to
/// the full socket blocks them: half as long again as they would take. 30 s where nobody says.
fn silence(settings: &HostSettings) -> Duration {
    let count = u32::try_from(settings.alive_count).unwrap_or(u32::MAX).saturating_add(1);
    let by_keepalive = settings.alive_interval.saturating_mul(count);
    by_keepalive.saturating_add(by_keepalive / 2)
}

impl client::Handler for Client {
    type Error = ConnectError;

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), ConnectError> {
        self.heard.note(|said| said.banner = Some(text::plain(banner)));
        Ok(())
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        _: &Names,
        session: &mut Session,
    ) -> Result<(), ConnectError> {
        let program = text::plain(&String::from_utf8_lossy(session.remote_sshid()));
        self.heard.note(|said| said.program = program);
        Ok(())
    }

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, ConnectError> {
        match self.check.judge(shown) {
            Ok(Accepted::Known) => {}
            Ok(Accepted::WrittenDown { fingerprint, file }) => {
                let notice = format!("new host key {fingerprint}, written to {}", file.display());
                self.heard.note(|said| said.new_key = Some(notice));
            }
            Err(refusal) => return Err(ConnectError::Refused(refusal)),
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
        self.heard.note(|said| said.goodbye = Some(text));
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }

    // The library accepts what a server opens towards us. We never ask for any of it, and a handle
    // that is dropped refuses.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ConnectError> {
        Ok(())
    }
}

/// Returns the library's error in plain words where its own are for programmers.
pub(crate) fn library_text(error: &russh::Error) -> String {
    match error {
        russh::Error::HUP | russh::Error::Disconnect => HUNG_UP.to_owned(),
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
