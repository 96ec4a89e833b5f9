//! The stop signal, and waiting that ends with it.

use std::time::Duration;

use rand::Rng;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A token that is cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// The signal handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping: finishing what is in flight");
        cancelled.cancel();
    });
    Ok(token)
}

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
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(self.next_delay()) => {}
        }
    }
}
