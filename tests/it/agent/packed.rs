//! The script comes packed, under every shell, and as it is where it cannot be unpacked.

use std::sync::atomic::Ordering;

use super::*;

use crate::support::far::{FarLink, FarSession};
use crate::support::tools::tools_without;

async fn goes_live(host: &Host, inner: LocalSession, commands: usize) {
    let link = Arc::new(FarLink::default());
    let far = Arc::new(FarSession { inner, link: Arc::clone(&link), number: 0 });
    let hello = host.hello("run000000001", "true");
    let (agent, state) = Agent::open(far, hello).await.unwrap();
    assert_eq!(state.current, Current::Release("20260821090000".parse().unwrap()));
    assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE, "{}", host.shell);
    assert_eq!(agent.ask(&commit()).await.unwrap().code, DONE, "{}", host.shell);
    agent.bye().await.unwrap();
    assert_eq!(host.live(), format!("releases/{ID}"), "{}", host.shell);
    assert_eq!(link.commands.load(Ordering::SeqCst), commands, "{}", host.shell);
}

under_every_shell! {
    async fn packed_script_runs(shell: &str) {
        let host = Host::new(shell);
        goes_live(&host, LocalSession::clone(&host.session()), 1).await;
    }
}

#[tokio::test]
async fn host_without_gzip_gets_the_plain_script() {
    let (host, tools) = (Host::new("dash"), tools_without(&["gzip"]));
    let session = LocalSession::clone(&host.session()).var("PATH", tools.path().to_str().unwrap());
    goes_live(&host, session, 2).await;
}
