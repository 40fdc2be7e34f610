//! The user's wish to stop, as an input: only the command line knows of signals.

use tokio::sync::watch;

/// How often the user asked to stop: 0, 1 or 2 times.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<u8>);

impl Cancel {
    /// One that follows `asked`.
    pub fn new(asked: watch::Receiver<u8>) -> Self {
        Self(asked)
    }

    /// One that nobody will ever use.
    pub fn never() -> Self {
        Self(watch::channel(0).1)
    }

    /// Once: start nothing new, put back what is risky.
    pub fn asked(&self) -> bool {
        *self.0.borrow() >= 1
    }

    /// Twice: stop now, say what is unknown.
    pub fn insisted(&self) -> bool {
        *self.0.borrow() >= 2
    }

    /// Waits until it was asked `times` times; for ever if nobody can ask any more.
    pub async fn wait(&self, times: u8) {
        let mut asked = self.0.clone();
        if asked.wait_for(|count| *count >= times).await.is_err() {
            futures::future::pending::<()>().await;
        }
    }
}
