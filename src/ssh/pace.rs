//! How far a host has come with what it was sent.
//!
//! sshd moves all that it holds of a channel whenever more comes: with its whole window of 2 MiB
//! full, a core does nothing else, and passes on 90 MB/s (measured). So a host that is near is sent
//! no more than half of it before it has passed on what came before.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The most that may be on its way to the host's command. sshd speaks after 96 KiB.
const AHEAD: u64 = 1 << 20;
/// Who has passed nothing on for so long says so seldom, or has something to wait for: then its
/// window alone decides.
const PATIENCE: Duration = Duration::from_millis(50);

/// Of one channel.
#[derive(Default)]
pub(crate) struct SendWindow {
    sent: AtomicU64,
    /// What has been passed on since it was first heard of.
    passed: AtomicU64,
    /// The window and what had been sent, when it was first heard of.
    first: OnceLock<u64>,
    moved: Notify,
}

impl SendWindow {
    /// The host has passed something on: so large is the window now.
    pub(crate) fn adjusted(&self, window: u32) {
        let seen = u64::from(window) + self.sent.load(Ordering::SeqCst);
        let passed = seen.saturating_sub(*self.first.get_or_init(|| seen));
        self.passed.store(passed, Ordering::SeqCst);
        self.moved.notify_one();
    }

    /// Waits until so many bytes more may be sent. False if that takes too long.
    pub(crate) async fn may_send(&self, bytes: u64) -> bool {
        let ahead = || {
            let sent = self.sent.load(Ordering::SeqCst) + bytes;
            sent.saturating_sub(self.passed.load(Ordering::SeqCst))
        };
        while ahead() > AHEAD {
            if timeout(PATIENCE, self.moved.notified()).await.is_err() {
                return false;
            }
        }
        self.sent.fetch_add(bytes, Ordering::SeqCst);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u32 = 1 << 10;
    const ALL: u32 = 1024 * KIB;

    /// What is left of the window of a host that has been sent and has passed on so much.
    const fn window(sent: u32, passed: u32) -> u32 {
        2048 * KIB + passed - sent
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_passed_on_makes_room() {
        let pace = SendWindow::default();
        assert!(pace.may_send(AHEAD).await);
        assert!(!pace.may_send(1).await, "nothing was passed on");
        pace.adjusted(window(ALL, 96 * KIB));
        assert!(!pace.may_send(1).await, "how much there was before is not known");
        pace.adjusted(window(ALL, 352 * KIB));
        assert!(pace.may_send(256 << 10).await);
        assert!(!pace.may_send(1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_as_soon_as_there_is_room() {
        let pace = SendWindow::default();
        assert!(pace.may_send(AHEAD).await);
        pace.adjusted(window(ALL, 0));
        let began = tokio::time::Instant::now();
        let (may, ()) = tokio::join!(pace.may_send(256 << 10), async {
            tokio::time::sleep(PATIENCE / 2).await;
            pace.adjusted(window(ALL, 256 * KIB));
        });
        assert!(may);
        assert_eq!(began.elapsed(), PATIENCE / 2);
    }
}
