//! One clock for driver and PostgreSQL, which run on the same machine: microseconds since 1970.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// Now.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    micros(since.unwrap_or_default())
}

/// As microseconds.
pub(crate) const fn micros(duration: Duration) -> i64 {
    duration.as_micros() as i64
}

/// The smallest UUID v7 of this time: ids that are made later are greater.
pub(crate) fn first_id(micros: i64) -> Uuid {
    let millis = u128::try_from(micros / 1000).unwrap_or_default();
    Uuid::from_u128(millis << 80)
}
