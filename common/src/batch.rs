//! When a batch begins, what may be in it, and whose turn it is.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

/// Messages that a batch is filled with. A batch that is full says that more are waiting.
pub const BATCH_MAX: usize = 256;
/// The least time between the starts of two batches, under load. See docs/PERFORMANCE.md for what it saves.
const LEAST: Duration = Duration::from_millis(10);
/// A batch of so many says that there is load. A lone message never waits, and a full batch is followed at once.
const LOAD: usize = 4;

/// Spaces the batches of one worker: under load, a few milliseconds more make them much larger, and everything cheaper.
#[derive(Debug)]
pub struct BatchingWindow {
    next: Instant,
}

impl Default for BatchingWindow {
    fn default() -> Self {
        Self {
            next: Instant::now(),
        }
    }
}

impl BatchingWindow {
    /// Waits until the next batch may be taken.
    pub async fn wait(&self) {
        if Instant::now() < self.next {
            sleep_until(self.next).await;
        }
    }

    /// Says that a batch of `size` starts now.
    pub fn start(&mut self, size: usize) {
        self.next = Instant::now();
        if (LOAD..BATCH_MAX).contains(&size) {
            self.next += LEAST;
        }
    }
}

/// The longest that replies may hold up what is new: perhaps no more of them come.
const LONGEST: Duration = Duration::from_secs(1);

/// Admission control: what is begun is finished before more is begun.
///
/// New sagas come faster than they end, for each costs one transaction to begin with and four later. So while more
/// replies wait than one batch takes, everything that would send more commands waits: new sagas, and the sweep of
/// commands after an outage. Clones share the state. In a service that takes no replies, nothing ever waits.
#[derive(Clone, Debug)]
pub struct AdmissionControl {
    /// Whether more replies wait than one batch takes.
    busy: watch::Sender<bool>,
}

impl Default for AdmissionControl {
    fn default() -> Self {
        Self {
            busy: watch::Sender::new(false),
        }
    }
}

impl AdmissionControl {
    /// Says that a batch of so many replies was taken.
    pub fn took(&self, replies: usize) {
        self.busy.send_replace(replies >= BATCH_MAX);
    }

    /// Waits until something new may begin.
    pub async fn admit(&self) {
        let mut busy = self.busy.subscribe();
        if timeout(LONGEST, busy.wait_for(|busy| !busy)).await.is_err() {
            self.busy.send_replace(false);
        }
    }
}

/// Splits `items` into batches that have at most one of each saga, and keeps each saga's order.
pub fn one_per_saga<T: Clone, K: Hash + Eq>(items: &[T], saga: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut before: HashMap<K, usize> = HashMap::with_capacity(items.len());
    for item in items {
        let number = before.entry(saga(item)).or_insert(0);
        if *number == batches.len() {
            batches.push(Vec::new());
        }
        batches[*number].push(item.clone());
        *number += 1;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_holds_up_what_is_new_until_one_is_not_full() {
        let admission = AdmissionControl::default();
        admission.admit().await;
        admission.took(BATCH_MAX);
        let waiter = tokio::spawn({
            let admission = admission.clone();
            async move { admission.admit().await }
        });
        tokio::time::sleep(LONGEST / 2).await;
        assert!(!waiter.is_finished());
        admission.took(BATCH_MAX - 1);
        waiter.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_replies_for_long() {
        let admission = AdmissionControl::default();
        admission.took(BATCH_MAX);
        let start = Instant::now();
        admission.admit().await;
        assert_eq!(start.elapsed(), LONGEST);
        admission.admit().await;
        assert_eq!(start.elapsed(), LONGEST);
    }

    #[test]
    fn a_saga_comes_once_in_a_batch_and_in_order() {
        let batch = [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)];
        let expected = [
            vec![("a", 1), ("b", 1)],
            vec![("a", 2), ("b", 2)],
            vec![("a", 3)],
        ];
        assert_eq!(one_per_saga(&batch, |(saga, _)| *saga), expected);
    }
}
