//! The pace of batches: under load, a few milliseconds more make them much larger, and everything cheaper.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::consumer::BATCH_MAX;

/// The least time between the starts of two batches, under load. Measured with 64 sagas in flight: 12 ms instead of
/// 5 ms saves a third of the CPU time of a saga, and makes it faster.
const LEAST: Duration = Duration::from_millis(10);
/// Batches of so many say that there is load. A lone event never waits, and a full batch is followed at once.
const LOAD: usize = 4;

/// Spaces the batches of one worker.
#[derive(Debug)]
pub struct Pace {
    next: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            next: Instant::now(),
        }
    }
}

impl Pace {
    /// Waits until the next batch is to be taken.
    pub async fn wait(&self) {
        if Instant::now() < self.next {
            sleep_until(self.next).await;
        }
    }

    /// Notes that a batch of `size` starts now.
    pub fn start(&mut self, size: usize) {
        self.next = Instant::now();
        if (LOAD..BATCH_MAX).contains(&size) {
            self.next += LEAST;
        }
    }
}
