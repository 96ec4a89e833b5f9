//! Waiting for a condition, never for a time.

use std::{fmt::Debug, future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// How long a test waits for what must happen. Generous, for slow machines; a test that passes does not wait.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not hold within `patience`.
pub async fn wait_until<F: Future<Output = bool>>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let deadline = Instant::now() + patience;
    while !condition().await {
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain until {what}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `get` gives what `accept` accepts, and returns it.
///
/// # Panics
/// When that does not happen within [`PATIENCE`], with what `get` gave last.
pub async fn eventually<T: Debug, F: Future<Output = T>>(
    what: &str,
    mut get: impl FnMut() -> F,
    accept: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = get().await;
        if accept(&value) {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain until {what}; last seen: {value:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}
