//! The watchdog: which workers have not moved for too long.
//!
//! Every wait of a worker has a limit, so one that is neither idle nor gets on hangs for a reason that nobody thought of.
//! Then `/health/live` fails, so that whoever runs the process starts another one.
//!
//! ```text
//! watched(name, worker) ── idle(a wait for work, or before the next try) ── busy: at most STUCK_AFTER ── idle ── …
//! ```
//!
//! It needs no handle: a worker's task knows by whom it is watched, and outside of one nothing is.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    task_local,
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// How long a worker may be busy with one thing. No unit of work takes longer than [`LONGEST`](crate::db::LONGEST).
pub const STUCK_AFTER: Duration = Duration::from_secs(120);

task_local! {
    static WATCHED: Watched;
}

/// Knows the workers of a service. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Watchdog(Arc<Mutex<Vec<Weak<Worker>>>>);

#[derive(Debug)]
struct Worker {
    name: String,
    /// Since when it does one thing; `None` while it is idle.
    busy: Mutex<Option<Instant>>,
}

impl Worker {
    fn is(&self, busy: Option<Instant>) {
        *lock(&self.busy) = busy;
    }

    fn is_stuck(&self) -> bool {
        lock(&self.busy).is_some_and(|since| since.elapsed() >= STUCK_AFTER)
    }
}

/// Who watches a task, and as what.
struct Watched {
    by: Watchdog,
    worker: Arc<Worker>,
}

impl Watchdog {
    /// Runs `worker`, and watches what becomes of it.
    pub async fn watch<T>(&self, name: impl fmt::Display, worker: impl Future<Output = T>) -> T {
        WATCHED.scope(self.register(name.to_string()), worker).await
    }

    fn register(&self, name: String) -> Watched {
        let worker = Arc::new(Worker {
            name,
            busy: Mutex::new(Some(Instant::now())),
        });
        let mut workers = lock(&self.0);
        workers.retain(|one| one.strong_count() > 0);
        workers.push(Arc::downgrade(&worker));
        Watched {
            by: self.clone(),
            worker,
        }
    }

    /// The workers that have not moved for too long.
    #[must_use]
    pub fn stuck(&self) -> Vec<String> {
        let workers = lock(&self.0);
        let stuck = workers.iter().filter_map(Weak::upgrade);
        stuck
            .filter(|one| one.is_stuck())
            .map(|one| one.name.clone())
            .collect()
    }
}

/// A part of a worker, or a task that it begins, which is watched by itself.
pub(crate) fn watched<T>(
    name: impl fmt::Display,
    part: impl Future<Output = T>,
) -> impl Future<Output = T> {
    let watchdog = WATCHED.try_with(|watched| watched.by.clone()).ok();
    async move {
        match watchdog {
            Some(watchdog) => watchdog.watch(name, part).await,
            None => part.await,
        }
    }
}

/// Waits for work, or before something is tried again, for however long that takes.
pub async fn idle<T>(wait: impl Future<Output = T>) -> T {
    /// However the wait ends, the worker is busy then.
    struct Busy;
    impl Drop for Busy {
        fn drop(&mut self) {
            is(Some(Instant::now()));
        }
    }
    is(None);
    let _busy = Busy;
    wait.await
}

/// The turns of a worker that does something again and again: the first at once, the next when a period has passed.
#[derive(Debug)]
pub struct Turns {
    period: Interval,
    stop: CancellationToken,
}

impl Turns {
    /// A turn every `period`, until `stop`.
    #[must_use]
    pub fn new(period: Duration, stop: CancellationToken) -> Self {
        let mut period = interval(period);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { period, stop }
    }

    /// Waits for the next one. False: there is none any more.
    pub async fn next(&mut self) -> bool {
        idle(async {
            tokio::select! {
                () = self.stop.cancelled() => false,
                _ = self.period.tick() => true,
            }
        })
        .await
    }
}

/// Says that the worker gets on.
pub(crate) fn beat() {
    is(Some(Instant::now()));
}

fn is(busy: Option<Instant>) {
    // Outside of a worker, nobody is watched.
    let _ = WATCHED.try_with(|watched| watched.worker.is(busy));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{advance, sleep};

    use super::*;

    async fn after_a_while(watchdog: &Watchdog) -> Vec<String> {
        tokio::task::yield_now().await;
        advance(STUCK_AFTER).await;
        tokio::task::yield_now().await;
        watchdog.stuck()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_busy_with_one_thing_for_too_long_is_stuck() {
        let watchdog = Watchdog::default();
        tokio::spawn({
            let watchdog = watchdog.clone();
            async move { watchdog.watch("hangs", pending::<()>()).await }
        });
        tokio::task::yield_now().await;
        assert!(watchdog.stuck().is_empty());
        assert_eq!(after_a_while(&watchdog).await, ["hangs"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_work_is_not_stuck_and_neither_is_who_has_ended() {
        let watchdog = Watchdog::default();
        watchdog.watch("has ended", async {}).await;
        tokio::spawn({
            let watchdog = watchdog.clone();
            let waits = async { idle(pending::<()>()).await };
            async move { watchdog.watch("waits", waits).await }
        });
        assert!(after_a_while(&watchdog).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_after_a_wait_that_was_dropped_is_stuck() {
        let watchdog = Watchdog::default();
        tokio::spawn({
            let watchdog = watchdog.clone();
            let worker = async {
                tokio::select! {
                    () = idle(pending()) => {}
                    () = sleep(Duration::from_secs(1)) => {}
                }
                pending::<()>().await;
            };
            async move { watchdog.watch("hangs later", worker).await }
        });
        tokio::task::yield_now().await;
        advance(Duration::from_secs(1)).await;
        assert!(after_a_while(&watchdog).await == ["hangs later"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_watched_by_itself() {
        let watchdog = Watchdog::default();
        tokio::spawn({
            let watchdog = watchdog.clone();
            let worker = async {
                let part = tokio::spawn(watched("a part", pending::<()>()));
                idle(part).await.unwrap();
            };
            async move { watchdog.watch("the whole", worker).await }
        });
        assert_eq!(after_a_while(&watchdog).await, ["a part"]);
    }
}
