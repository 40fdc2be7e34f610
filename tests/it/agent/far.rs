//! Far away the script comes packed, under every shell, and as it is where it cannot be unpacked.

use futures::future::BoxFuture;
use shipit::remote::session::{Channel, Session, SessionError, Stream};

use super::*;
use crate::features::health::tools_without;

/// The local session, which says that the host is far away, and counts conversations.
struct Far(LocalSession, std::sync::atomic::AtomicUsize);

impl Session for Far {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.0.exec(command)
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn Stream>, SessionError>> {
        self.0.dial(host, port)
    }

    fn is_far(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}

async fn goes_live(host: &Host, session: LocalSession, conversations: usize) {
    let far = Arc::new(Far(session, std::sync::atomic::AtomicUsize::new(0)));
    let hello = host.hello("run000000001", "true");
    let (agent, state) = Agent::open(Arc::clone(&far) as Arc<dyn Session>, hello).await.unwrap();
    assert_eq!(state.current, Current::Release("20260821090000".parse().unwrap()));
    assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE, "{}", host.shell);
    assert_eq!(agent.ask(&Order::Commit).await.unwrap().code, DONE, "{}", host.shell);
    agent.bye().await.unwrap();
    assert_eq!(host.live(), format!("releases/{ID}"), "{}", host.shell);
    assert_eq!(far.1.load(std::sync::atomic::Ordering::SeqCst), conversations, "{}", host.shell);
}

#[tokio::test]
async fn every_shell_becomes_the_packed_script() {
    for shell in shells() {
        let host = Host::new(shell);
        goes_live(&host, LocalSession::clone(&host.session()), 1).await;
    }
}

#[tokio::test]
async fn a_host_without_gzip_gets_it_as_it_is() {
    let (host, tools) = (Host::new("dash"), tools_without(&["gzip"]));
    let session = LocalSession::clone(&host.session()).var("PATH", tools.path().to_str().unwrap());
    goes_live(&host, session, 2).await;
}
