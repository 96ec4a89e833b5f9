//! After the faults: waiting until nothing is left to be done.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, bail};
use common::contract::topology::QUEUES;
use common::fleet::SERVICES;
use sqlx::{PgPool, Row as _};
use test_support::Amqp;
use test_support::system::Databases;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::operator::Operator;
use super::stranger::{QUEUE, Stranger};
use super::system::System;

/// Compensations that were given up for a while are sent again within 15 s; the rest is generosity.
const PATIENCE: Duration = Duration::from_secs(240);
/// How often an operator retries a saga that parks again.
const RETRIES: u32 = 5;
/// How often in a row nothing must be left.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// What is left to be done.
#[derive(Debug)]
struct Left {
    open: i64,
    parked: Vec<Uuid>,
    outboxes: [i64; SERVICES.len()],
    /// Charges of which nobody knows whether they were made.
    intents: i64,
    queued: u32,
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.open == 0
            && self.parked.is_empty()
            && self.outboxes.iter().all(|n| *n == 0)
            && self.intents == 0
            && self.queued == 0
    }
}

/// Waits until no saga is open, no message waits, and parked sagas, which the operator retries, have ended, too: how
/// long that took.
///
/// # Errors
/// That does not happen in time: with what is left.
pub(super) async fn wait(
    system: &System,
    databases: &Databases,
    stranger: &Stranger,
    operator: &Operator,
) -> Result<Duration> {
    let start = Instant::now();
    let amqp = Amqp::connect(&system.servers.rabbitmq.url()).await;
    let mut retries: HashMap<Uuid, u32> = HashMap::new();
    let (mut looks, mut heard) = (0, 0);
    loop {
        let left = look(&amqp, databases).await?;
        // What is in the stranger's queue, or on its way to it.
        let heard_before = std::mem::replace(&mut heard, stranger.count());
        let is_quiet = left.is_nothing() && heard == heard_before;
        looks = if is_quiet { looks + 1 } else { 0 };
        if looks == LOOKS {
            return Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE {
            bail!(
                "after {PATIENCE:?} it is not quiet: {} open sagas, {} parked, {:?} messages in the outboxes, {} intents, {} in queues",
                left.open,
                left.parked.len(),
                left.outboxes,
                left.intents,
                left.queued
            );
        }
        for saga in left.parked {
            let retries = retries.entry(saga).or_default();
            *retries += 1;
            if *retries > RETRIES {
                bail!("saga {saga} is parked, also after an operator retried it {RETRIES} times");
            }
            operator.mend(saga).await?;
        }
        sleep(PAUSE).await;
    }
}

async fn look(amqp: &Amqp, databases: &Databases) -> Result<Left> {
    let order = &databases.order;
    let open = "SELECT count(*) FROM sagas WHERE status IN ('RUNNING', 'COMPENSATING')";
    let parked = sqlx::query("SELECT id FROM sagas WHERE status = 'PARKED'");
    let mut outboxes = [0; SERVICES.len()];
    for (waiting, database) in outboxes.iter_mut().zip(databases.all()) {
        *waiting = count(database, "SELECT count(*) FROM outbox").await?;
    }
    let mut queued = 0;
    for queue in QUEUES.iter().map(|queue| queue.name).chain([QUEUE]) {
        queued += amqp.ready(queue).await;
    }
    Ok(Left {
        open: count(order, open).await?,
        parked: parked
            .fetch_all(order)
            .await?
            .iter()
            .map(|row| row.get(0))
            .collect(),
        outboxes,
        intents: count(&databases.payment, "SELECT count(*) FROM intents").await?,
        queued,
    })
}

async fn count(database: &PgPool, query: &'static str) -> Result<i64> {
    Ok(sqlx::query(query).fetch_one(database).await?.try_get(0)?)
}
