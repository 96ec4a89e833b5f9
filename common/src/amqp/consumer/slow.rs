//! A message that was too slow by itself: it waits, and holds up nobody.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::broker::Hold;

/// Until it is handled again, ...
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// ... and at most: whenever it is, its neighbours wait for as long as a statement may wait for a lock.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// What is known of a message that was too slow.
#[derive(Clone)]
pub(super) struct Slow {
    pause: Duration,
    /// The service is not ready until it is done.
    _hold: Arc<Hold>,
}

impl Slow {
    pub(super) fn first(hold: Hold) -> Self {
        Self {
            pause: FIRST_PAUSE,
            _hold: Arc::new(hold),
        }
    }

    /// It was too slow once more.
    pub(super) fn again(self) -> Self {
        Self {
            pause: (self.pause * 2).min(LONGEST_PAUSE),
            ..self
        }
    }

    /// Waits, but not when the program stops.
    pub(super) fn pause(&self, shutdown: &CancellationToken) -> impl Future<Output = ()> + use<> {
        let (pause, shutdown) = (self.pause, shutdown.clone());
        async move {
            let _stopping = timeout(pause, shutdown.cancelled()).await;
        }
    }
}
