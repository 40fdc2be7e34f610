//! Keeps all uploads of a run together below a number of bytes a second.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// A rate that all uploads share.
#[derive(Debug)]
pub struct Throttle {
    rate: u64,
    free: Mutex<Instant>,
}

impl Throttle {
    /// Allows at most `rate` bytes a second; 0 counts as 1.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), free: Mutex::new(Instant::now()) }
    }

    /// Returns the bytes a second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Waits until `bytes` may be sent. Callers are served in the order in which they ask, so that
    /// hosts share evenly.
    pub async fn take(&self, bytes: usize) {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free = self.free.lock().await;
        let begin = (*free).max(Instant::now());
        *free = begin + takes;
        drop(free);
        sleep_until(begin + takes).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn takers_together_stay_below_the_rate() {
        let throttle = Throttle::new(1000);
        let began = Instant::now();
        let one = async {
            for _ in 0..10 {
                throttle.take(100).await;
            }
        };
        let other = async {
            for _ in 0..10 {
                throttle.take(100).await;
            }
        };
        tokio::join!(one, other);
        assert_eq!(began.elapsed().as_millis() / 10, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn unused_rate_is_not_saved() {
        let throttle = Throttle::new(1000);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let began = Instant::now();
        throttle.take(1000).await;
        assert_eq!(began.elapsed().as_millis() / 10, 100);
    }
}
