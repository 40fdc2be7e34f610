//! One connection to a host, and the hop that it leads to.

use std::time::Duration;

use futures::future::BoxFuture;
use russh::client::{Handle, Msg};
use russh::{Channel, Disconnect};
use tokio::time::{sleep, timeout};

use crate::remote::session::SessionError;
use crate::ssh::client::{Client, Heard};
use crate::ssh::proxy_command::Program;
use crate::ssh::target::SshTarget;
use crate::ssh::{text, tunnel};

/// The limit for saying goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// The interval at which we look whether it was sent; the library does not tell.
const CLOSE_POLL: Duration = Duration::from_millis(2);

/// A host to connect to: the one of the config, or one on the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    /// The name of the host of the config, for reports.
    pub(crate) name: String,
    pub(crate) target: SshTarget,
    pub(crate) pin: Option<String>,
    /// The hops to go through, instead of the target's own ProxyJump.
    pub(crate) via: Option<Vec<SshTarget>>,
    /// The number of hops before this one.
    pub(crate) depth: usize,
    /// There is a connection already, and the user has seen its notices.
    pub(crate) further: bool,
}

impl Hop {
    /// Returns the same hop for a further connection, without notices.
    pub(crate) fn again(&self) -> Self {
        Self { further: true, ..self.clone() }
    }
}

/// One connection that is logged in.
pub(crate) struct Connection {
    pub(crate) handle: Handle<Client>,
    pub(crate) heard: Heard,
    pub(crate) way: Transport,
    /// The time that connecting took: one round trip over TCP, several otherwise.
    pub(crate) took: Duration,
}

/// The carrier of a connection; it lives as long as the connection does.
pub(crate) enum Transport {
    Direct,
    Jump(Box<Connection>),
    Command(Program),
}

impl Connection {
    /// Returns a channel to `host:port` as seen from the host of this connection.
    pub(crate) async fn forward(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
        hint: Option<&'static str>,
    ) -> Result<Channel<Msg>, SessionError> {
        let opening = self.handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
        match timeout(limit, opening).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => {
                Err(tunnel::refusal(&failure, host, port))
            }
            Ok(Err(_)) => Err(SessionError::Lost { reason: self.heard.goodbye() }),
            Err(_) => {
                let what = format!("connecting to {}", text::address(host, port));
                Err(SessionError::Timeout { what, after: limit, hint })
            }
        }
    }

    /// Says goodbye and waits until it has been sent. Then ends what carried this connection.
    pub(crate) fn goodbye(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let leaving = async {
                let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
                while !self.handle.is_closed() {
                    sleep(CLOSE_POLL).await;
                }
            };
            let _ = timeout(CLOSE_LIMIT, leaving).await;
            if let Transport::Jump(outer) = &self.way {
                outer.goodbye().await;
            }
        })
    }
}
