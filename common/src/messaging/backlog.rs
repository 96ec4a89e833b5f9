//! Replies first: what is begun is finished before more is begun.
//!
//! New sagas come faster than they end: each costs a transaction at first, and four later. So while more replies wait
//! than one batch takes, who would send more commands waits: the intake of orders, and the sweep after an outage.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use super::consumer::BATCH_MAX;

/// How long replies may hold up what is new. Perhaps no more come.
const LONGEST: Duration = Duration::from_secs(1);

/// Whether more replies wait than one batch takes. Clones share it; of a service without replies, they never do.
#[derive(Clone, Debug)]
pub struct Backlog(watch::Sender<bool>);

impl Default for Backlog {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Backlog {
    /// Notes that a batch of so many replies was taken.
    pub fn taken(&self, replies: usize) {
        self.0.send_replace(replies >= BATCH_MAX);
    }

    /// Waits until there is none.
    pub async fn gone(&self) {
        let mut waiting = self.0.subscribe();
        if timeout(LONGEST, waiting.wait_for(|waiting| !waiting))
            .await
            .is_err()
        {
            self.0.send_replace(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_holds_up_what_is_new_until_one_is_not_full() {
        let backlog = Backlog::default();
        backlog.gone().await;
        backlog.taken(BATCH_MAX);
        let waiter = tokio::spawn({
            let backlog = backlog.clone();
            async move { backlog.gone().await }
        });
        tokio::time::sleep(LONGEST / 2).await;
        assert!(!waiter.is_finished());
        backlog.taken(BATCH_MAX - 1);
        waiter.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_goes_on() {
        let backlog = Backlog::default();
        backlog.taken(BATCH_MAX);
        let start = Instant::now();
        backlog.gone().await;
        assert_eq!(start.elapsed(), LONGEST);
        backlog.gone().await;
        assert_eq!(start.elapsed(), LONGEST);
    }
}
