//! What time it is, and new ids, which begin with the time.
//!
//! Both go by the database's clock, which all replicas of a service share: [`set`] says what it shows, and time passes from
//! there. So a process whose own clock is wrong makes ids and times like all others. Only before it has ever heard of the
//! database's clock does it go by its own.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::{ContextV7, Timestamp, Uuid};

/// How far the time may be set back without ids being set back: so long, they rather go on from the latest one.
const JITTER: TimeDelta = TimeDelta::seconds(10);

static CLOCK: Mutex<Clock> = Mutex::new(Clock::new());

struct Clock {
    /// What time it was at some moment, when that is known.
    known: Option<(DateTime<Utc>, Instant)>,
    ids: ContextV7,
}

/// The time now.
#[must_use]
pub fn now() -> DateTime<Utc> {
    clock().now()
}

/// A new UUID of version 7, greater than all that this process has made before.
#[must_use]
pub fn new_id() -> Uuid {
    clock().new_id()
}

/// Whether the database has ever said what time it is.
#[must_use]
pub fn is_known() -> bool {
    clock().known.is_some()
}

/// Takes over the time of the database, which has just said it.
pub fn set(time: DateTime<Utc>) {
    clock().set(time);
}

fn clock() -> MutexGuard<'static, Clock> {
    CLOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clock {
    const fn new() -> Self {
        Self {
            known: None,
            ids: ContextV7::new(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        match self.known {
            Some((time, at)) => time + at.elapsed(),
            None => Utc::now(),
        }
    }

    fn new_id(&self) -> Uuid {
        let now = self.now();
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let at = Timestamp::from_unix(&self.ids, seconds, now.timestamp_subsec_nanos());
        Uuid::new_v7(at)
    }

    fn set(&mut self, time: DateTime<Utc>) {
        if time + JITTER < self.now() {
            self.ids = ContextV7::new();
        }
        self.known = Some((time, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH: TimeDelta = TimeDelta::days(31);

    fn age(id: Uuid) -> TimeDelta {
        let (seconds, _) = id.get_timestamp().unwrap().to_unix();
        TimeDelta::seconds(Utc::now().timestamp() - i64::try_from(seconds).unwrap())
    }

    #[test]
    fn times_and_ids_go_by_the_clock_that_was_set() {
        for off in [TimeDelta::zero(), MONTH, -MONTH] {
            let mut clock = Clock::new();
            let before = clock.new_id();
            assert!(age(before).abs() < JITTER);
            clock.set(Utc::now() - off);
            assert!((Utc::now() - off - clock.now()).abs() < JITTER);
            assert!((age(clock.new_id()) - off).abs() < JITTER);
        }
    }

    #[test]
    fn ids_are_in_order_also_when_the_clock_jitters() {
        let mut clock = Clock::new();
        let mut last = Uuid::nil();
        for n in 0..1000 {
            clock.set(Utc::now() - TimeDelta::milliseconds(n % 7));
            let id = clock.new_id();
            assert!(id > last);
            last = id;
        }
    }
}
