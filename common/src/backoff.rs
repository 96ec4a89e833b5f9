//! Waiting before something is tried again, which ends when the program stops.

use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::watchdog::idle;

/// Exponential backoff with jitter: 50 to 100 ms first, doubling, at most half a second.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_millis(500);

    /// Begins again: something worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait now.
    pub fn next_delay(&mut self) -> Duration {
        let longest = (Self::FIRST * 2_u32.pow(self.failures.min(10))).min(Self::LONGEST);
        self.failures += 1;
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Waits, or returns at once when stopping.
    pub async fn wait(&mut self, shutdown: &CancellationToken) {
        idle(async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(self.next_delay()) => {}
            }
        })
        .await;
    }
}
