//! The user's wish to stop, as an input: only the command line knows of signals.

use tokio::sync::watch;

/// The number of times that the user asked to stop: 0, 1 or 2.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<u8>);

impl Cancel {
    /// Returns a wish that follows `asked`.
    pub fn new(asked: watch::Receiver<u8>) -> Self {
        Self(asked)
    }

    /// Returns a wish that nobody can have.
    pub fn never() -> Self {
        Self(watch::channel(0).1)
    }

    /// Returns whether the user asked at least once: start nothing new, revert what is undecided.
    pub fn asked(&self) -> bool {
        *self.0.borrow() >= 1
    }

    /// Returns whether the user asked twice: stop now, report what is unknown.
    pub fn insisted(&self) -> bool {
        *self.0.borrow() >= 2
    }

    /// Returns what `work` ends with; `None` if the user asked to stop before that.
    pub async fn unless_asked<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        // Boxed, for the future of this function would hold it twice.
        tokio::select! {
            done = Box::pin(work) => Some(done),
            () = self.wait(1) => None,
        }
    }

    /// Waits until the user asked `times` times; for ever if nobody can ask any more.
    pub async fn wait(&self, times: u8) {
        let mut asked = self.0.clone();
        if asked.wait_for(|count| *count >= times).await.is_err() {
            futures::future::pending::<()>().await;
        }
    }
}
