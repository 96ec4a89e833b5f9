//! How long confirms are waited for, and what is known of a destination by when they came.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Destination, Lane};
use crate::metrics::LATE;

/// A confirm that has not come by then is taken for lost, and its channel with it.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// A confirm on a new channel is taken for lost after this, and after twice as long whenever one did not come, until
/// one comes.
const STALLED_CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// Behind what has waited for its confirm for so long, nothing more is sent.
pub(super) const UNCONFIRMED_LONGEST: Duration = Duration::from_secs(1);

/// Of [`Patience::late`]: nothing is known yet.
const SUSPECT: u32 = 1;
/// A channel that is refused something is replaced, at once the first time, then after this, doubling, ...
const REPLACE_AFTER: Duration = Duration::from_secs(1);
/// ... and in the end no more often than this.
const REPLACE_LONGEST: Duration = Duration::from_secs(30);

/// What the confirms of one destination have taught.
#[derive(Debug)]
pub(super) struct Patience {
    destination: Destination,
    /// How often in a row confirms did not come in time: 0 while they do, [`SUSPECT`] on a new channel.
    late: AtomicU32,
    /// Since when what is unconfirmed has been under way.
    unconfirmed: Mutex<Unconfirmed>,
    /// When the channel may be replaced because it was refused something, and how often in a row it was.
    replace: Mutex<(Instant, u32)>,
}

#[derive(Debug, Default)]
struct Unconfirmed {
    since: BTreeMap<u64, Instant>,
    next: u64,
}

/// Something is unconfirmed while this exists.
#[derive(Debug)]
pub(super) struct UnderWay {
    patience: Arc<Patience>,
    id: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.patience.unconfirmed).since.remove(&self.id);
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if *self.late.get_mut() > SUSPECT {
            LATE.shift(&[], -1.0);
        }
    }
}

impl Patience {
    pub(super) fn new(destination: Destination) -> Self {
        Self {
            destination,
            late: AtomicU32::new(0),
            unconfirmed: Mutex::default(),
            replace: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Whether the last confirms did not come in time, or have not come for a while.
    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) > SUSPECT || self.waits_long()
    }

    /// The same, or nothing is known of its channel yet.
    pub(super) fn is_stalled(&self) -> bool {
        self.late.load(Ordering::Relaxed) >= SUSPECT || self.waits_long()
    }

    /// The lane that it is in.
    pub(super) fn lane(&self) -> Lane {
        self.destination.lane()
    }

    /// Whether anything is unconfirmed.
    pub(super) fn is_busy(&self) -> bool {
        !lock(&self.unconfirmed).since.is_empty()
    }

    fn waits_long(&self) -> bool {
        let unconfirmed = lock(&self.unconfirmed);
        let oldest = unconfirmed.since.first_key_value();
        oldest.is_some_and(|(_, since)| since.elapsed() >= UNCONFIRMED_LONGEST)
    }

    /// Something is under way until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut unconfirmed = lock(&self.unconfirmed);
        let id = unconfirmed.next;
        unconfirmed.next += 1;
        unconfirmed.since.insert(id, Instant::now());
        UnderWay {
            patience: Arc::clone(self),
            id,
        }
    }

    /// Nothing is known yet, as of a new channel.
    pub(super) fn suspect(&self) {
        self.late.fetch_max(SUSPECT, Ordering::Relaxed);
    }

    /// Confirms did not come in time.
    pub(super) fn late(&self) {
        let later = |times: u32| Some(times.max(SUSPECT) + 1);
        let before = self
            .late
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        if before.is_ok_and(|times| times <= SUSPECT) {
            let (exchange, routing_key) =
                (self.destination.exchange(), self.destination.routing_key());
            LATE.shift(&[], 1.0);
            warn!(
                exchange,
                routing_key, "RabbitMQ does not confirm: what goes there waits in the outbox"
            );
        }
    }

    /// Confirms came in time; `well` if nothing was refused either.
    pub(super) fn answered(&self, well: bool) {
        if well {
            lock(&self.replace).1 = 0;
        }
        if self.late.swap(0, Ordering::Relaxed) > SUSPECT {
            let (exchange, routing_key) =
                (self.destination.exchange(), self.destination.routing_key());
            LATE.shift(&[], -1.0);
            info!(exchange, routing_key, "RabbitMQ confirms again");
        }
    }

    /// Whether the channel is to be replaced because it was refused something. Where that does not help, the queue is
    /// full, and each time is twice as long after the last one.
    pub(super) fn may_replace(&self) -> bool {
        let mut replace = lock(&self.replace);
        let (at, times) = *replace;
        let may = Instant::now() >= at;
        if may {
            let pause = (REPLACE_AFTER * 2_u32.pow(times.min(6))).min(REPLACE_LONGEST);
            *replace = (Instant::now() + pause, times + 1);
        }
        may
    }

    /// How long to wait for confirms.
    pub(super) fn timeout(&self) -> Duration {
        match self.late.load(Ordering::Relaxed) {
            0 => CONFIRM_TIMEOUT,
            times => {
                let doubled = times.saturating_sub(SUSPECT + 1).min(6);
                (STALLED_CONFIRM_TIMEOUT * 2_u32.pow(doubled)).min(CONFIRM_TIMEOUT)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn patience() -> Arc<Patience> {
        Arc::new(Patience::new(Destination::new("an exchange", "a key")))
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_confirmed_for_a_second_is_late_until_a_confirm_comes() {
        let patience = patience();
        let first = patience.begin();
        advance(UNCONFIRMED_LONGEST / 2).await;
        let second = patience.begin();
        assert!(!patience.is_late());
        advance(UNCONFIRMED_LONGEST / 2).await;
        assert!(patience.is_late());
        drop(first);
        assert!(!patience.is_late(), "the second one is not old");
        drop(second);
        assert!(!patience.is_busy());
    }

    #[test]
    fn a_new_channel_has_to_prove_itself_and_each_time_in_vain_takes_longer() {
        let patience = patience();
        assert_eq!(patience.timeout(), CONFIRM_TIMEOUT);
        patience.suspect();
        assert!(patience.is_stalled() && !patience.is_late());
        let mut timeouts = Vec::new();
        for _ in 0..6 {
            patience.late();
            assert!(patience.is_late());
            timeouts.push(patience.timeout().as_secs());
        }
        assert_eq!(timeouts, [1, 2, 4, 8, 10, 10]);
        patience.answered(true);
        assert!(!patience.is_stalled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_refuses_has_its_channel_replaced_less_and_less_often() {
        let patience = patience();
        assert!(patience.may_replace());
        assert!(!patience.may_replace());
        advance(REPLACE_AFTER).await;
        assert!(patience.may_replace());
        advance(REPLACE_AFTER).await;
        assert!(!patience.may_replace());
        patience.answered(true);
        advance(REPLACE_AFTER).await;
        assert!(patience.may_replace());
    }
}
