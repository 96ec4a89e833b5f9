//! What operators do about many sagas at once.
//!
//! ```text
//! POST /sagas/batch ─► a row in saga_batches ─► a worker of any replica leases it, and goes from saga to saga:
//!                                               one transaction each: the verb, the log, what follows, and how far it is
//! ```
//!
//! So a crash costs nothing: whoever takes it up goes on behind the last saga that was committed. The newest come first,
//! and what begins after the batch is not in it.

mod table;
mod worker;

use std::time::Duration;

use common::contract::Origin;
use saga::Verb;

pub(crate) use self::{
    table::{Batch, Placed, Status, cancel, find, list, place},
    worker::run,
};
use crate::{find::Criteria, idempotency::Idempotency};

/// What an operator wants.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) criteria: Criteria,
    pub(crate) per_second: u32,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) origin: Origin,
    pub(crate) idempotency: Option<Idempotency>,
}

/// The verb that a row names.
fn verb(name: &str, delay_seconds: Option<i64>) -> Option<Verb> {
    let delay = delay_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    match (name.parse().ok()?, delay) {
        (Verb::Reschedule(_), Some(seconds)) => {
            Some(Verb::Reschedule(Duration::from_secs(seconds)))
        }
        (Verb::Reschedule(_), None) | (_, Some(_)) => None,
        (verb, None) => Some(verb),
    }
}
