//! The outbox: what a transaction wants to say is a row of the same transaction, until the broker has it.
//!
//! ```text
//! enqueue(tx) ─ commit ─ hand_over ──► publish ──► confirmed ──► row deleted
//!                 │                       └──► lost, refused, unroutable: the row stays
//!                 └─ crash, broker away ──► the sweep finds the row when its lease is over
//! ```
//!
//! Who commits a row hands it over to the relay in memory, so nothing is read back while all goes well. A row is
//! leased to that process for some seconds; after that, any replica's sweep may take it. A message may therefore
//! go out twice, and never not at all. Memory holds nothing that the table does not.

use std::{sync::Arc, time::Duration};

use metrics::counter;
use sqlx::{PgPool, Postgres, Row, Transaction};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    Broker, Outgoing,
    broker::{Confirms, NotPublished},
};
use crate::crash;

/// Batches that wait to be published; who commits more has to wait, which is the back-pressure.
const HANDED_OVER_MAX: usize = 4;
/// How long they wait. A queue that confirms nothing must not keep orders from being placed.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// Published batches that wait for their confirms.
const UNCONFIRMED_MAX: usize = 4;
/// Rows that one sweep takes at a time.
const SWEEP_MAX: i64 = 500;
/// How often the sweep looks for rows whose lease is over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Rows that are deleted in one statement at most.
const DELETE_MAX: usize = 2000;

/// Writes messages into the outbox, within the caller's transaction. Only events can be in an outbox.
///
/// # Errors
/// The database's.
pub async fn enqueue(
    tx: &mut Transaction<'_, Postgres>,
    messages: &[Outgoing],
) -> sqlx::Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let column = |get: fn(&Outgoing) -> &str| messages.iter().map(get).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO outbox (id, exchange, routing_key, message)
         SELECT id, exchange, routing_key, message::json
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[]) AS m (id, exchange, routing_key, message)",
    )
    .bind(messages.iter().filter_map(Outgoing::id).collect::<Vec<_>>())
    .bind(column(Outgoing::exchange))
    .bind(column(Outgoing::routing_key))
    .bind(column(|message| message.json().unwrap_or_default()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Where committed messages are handed over. Clones share the relay.
#[derive(Clone, Debug)]
pub struct Outbox {
    broker: Broker,
    relay: mpsc::Sender<Vec<Outgoing>>,
    wake: Arc<Notify>,
}

impl Outbox {
    /// An outbox in `db` and its relay, which is to be run.
    #[must_use]
    pub fn new(db: PgPool, broker: Broker) -> (Self, Relay) {
        let (relay, handed_over) = mpsc::channel(HANDED_OVER_MAX);
        let wake = Arc::new(Notify::new());
        let outbox = Self {
            broker: broker.clone(),
            relay,
            wake: Arc::clone(&wake),
        };
        let relay = Relay {
            table: Table { db },
            broker,
            handed_over,
            wake,
        };
        (outbox, relay)
    }

    /// Has `messages`, which are committed, published soon.
    ///
    /// Waits for a moment while the broker is slower than the callers, but not while it is away: the sweep publishes
    /// them then.
    pub async fn hand_over(&self, messages: Vec<Outgoing>) {
        if messages.is_empty() {
            return;
        }
        crash::point("outbox.committed");
        if self.broker.is_connected() {
            // In vain when the relay has stopped, or does not get on: then a sweep publishes them.
            let _ = self.relay.send_timeout(messages, HAND_OVER_TIMEOUT).await;
        }
    }

    /// Has the sweep look at once, for example because the broker is back.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Publishes what is handed over, and sweeps up what was not.
#[derive(Debug)]
pub struct Relay {
    table: Table,
    broker: Broker,
    handed_over: mpsc::Receiver<Vec<Outgoing>>,
    wake: Arc<Notify>,
}

impl Relay {
    /// Runs until every [`Outbox`] is dropped or `shutdown` is cancelled, and what was handed over is published.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            table,
            broker,
            handed_over,
            wake,
        } = self;
        let (published, confirms) = mpsc::channel(UNCONFIRMED_MAX);
        tokio::join!(
            publish(&broker, handed_over, published, &shutdown),
            confirm(&table, confirms),
            sweep(&table, &broker, &wake, &shutdown),
        );
    }
}

/// Messages that are on their way to the broker.
struct Published {
    ids: Vec<Uuid>,
    confirms: Confirms,
}

impl Published {
    async fn start(broker: &Broker, messages: &[Outgoing]) -> Option<Self> {
        let confirms = broker.publish(messages).await.ok()?;
        Some(Self {
            ids: messages.iter().filter_map(Outgoing::id).collect(),
            confirms,
        })
    }

    async fn wait(self) -> impl Iterator<Item = (Uuid, Result<(), NotPublished>)> {
        self.ids.into_iter().zip(self.confirms.wait().await)
    }
}

/// Publishes without waiting for confirms. What cannot be published is forgotten here, for the table has it.
async fn publish(
    broker: &Broker,
    mut handed_over: mpsc::Receiver<Vec<Outgoing>>,
    published: mpsc::Sender<Published>,
    shutdown: &CancellationToken,
) {
    let mut batches = Vec::new();
    loop {
        let received = tokio::select! {
            n = handed_over.recv_many(&mut batches, HANDED_OVER_MAX) => n,
            () = shutdown.cancelled(), if !handed_over.is_closed() => {
                // Take no more, publish the rest.
                handed_over.close();
                continue;
            }
        };
        if received == 0 {
            return;
        }
        let messages: Vec<_> = batches.drain(..).flatten().collect();
        if let Some(started) = Published::start(broker, &messages).await
            && published.send(started).await.is_err()
        {
            return;
        }
    }
}

/// Waits for confirms, in order, and settles the rows of several batches at a time.
async fn confirm(table: &Table, mut published: mpsc::Receiver<Published>) {
    while let Some(first) = published.recv().await {
        let mut results: Vec<_> = first.wait().await.collect();
        while results.len() < DELETE_MAX
            && let Ok(next) = published.try_recv()
        {
            results.extend(next.wait().await);
        }
        if let Err(error) = table.settle(results).await {
            // The rows stay and go out again, which consumers expect.
            warn!(%error, "cannot settle outbox rows");
        }
    }
}

/// Publishes rows that nobody does: of a process that died, or from a time without the broker.
async fn sweep(table: &Table, broker: &Broker, wake: &Notify, shutdown: &CancellationToken) {
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = wake.notified() => {}
            () = sleep_until(next) => {}
        }
        // Connecting is part of it: on an idle service, nobody else would notice that the broker is back.
        if broker.check().await.is_ok() {
            let mut swept = 0;
            while !shutdown.is_cancelled() {
                match sweep_once(table, broker).await {
                    Ok(0) => break,
                    Ok(rows) => swept += rows,
                    Err(error) => {
                        warn!(%error, "cannot sweep the outbox");
                        break;
                    }
                }
            }
            if swept > 0 {
                info!(rows = swept, "published outbox rows that were left over");
                counter!("outbox_swept_total").increment(swept as u64);
            }
        }
        next = Instant::now() + SWEEP_EVERY;
    }
}

/// Claims some rows, publishes them, and returns how many were settled for good.
async fn sweep_once(table: &Table, broker: &Broker) -> sqlx::Result<usize> {
    let messages = table.claim().await?;
    let Some(published) = Published::start(broker, &messages).await else {
        return Ok(0);
    };
    let results: Vec<_> = published.wait().await.collect();
    let confirmed = results.iter().filter(|(_, result)| result.is_ok()).count();
    table.settle(results).await?;
    Ok(confirmed)
}

/// The table `outbox`.
#[derive(Debug)]
struct Table {
    db: PgPool,
}

impl Table {
    /// Leases the oldest rows whose lease is over.
    async fn claim(&self) -> sqlx::Result<Vec<Outgoing>> {
        let rows = sqlx::query(
            "UPDATE outbox SET lease_until = now() + interval '10 s'
             WHERE id IN (SELECT id FROM outbox WHERE lease_until <= now() ORDER BY id LIMIT $1
                          FOR UPDATE SKIP LOCKED)
             RETURNING id, exchange, routing_key, message::text",
        )
        .bind(SWEEP_MAX)
        .fetch_all(&self.db)
        .await?;
        let mut rows: Vec<(Uuid, Outgoing)> = rows.iter().filter_map(read).collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        Ok(rows.into_iter().map(|(_, message)| message).collect())
    }

    /// Deletes what is confirmed, and keeps the rest for a later sweep.
    async fn settle(&self, results: Vec<(Uuid, Result<(), NotPublished>)>) -> sqlx::Result<()> {
        let (confirmed, failed): (Vec<_>, Vec<_>) =
            results.into_iter().partition(|(_, result)| result.is_ok());
        if !confirmed.is_empty() {
            let ids: Vec<_> = confirmed.into_iter().map(|(id, _)| id).collect();
            sqlx::query("DELETE FROM outbox WHERE id = ANY($1)")
                .bind(ids)
                .execute(&self.db)
                .await?;
        }
        for kind in [
            NotPublished::Unroutable,
            NotPublished::Refused,
            NotPublished::Lost,
        ] {
            let ids: Vec<_> = failed
                .iter()
                .filter(|(_, r)| *r == Err(kind))
                .map(|(id, _)| *id)
                .collect();
            if !ids.is_empty() {
                self.keep(&ids, kind).await?;
            }
        }
        Ok(())
    }

    async fn keep(&self, ids: &[Uuid], why: NotPublished) -> sqlx::Result<()> {
        warn!(rows = ids.len(), reason = %why, "messages stay in the outbox");
        // After a lost connection they go out as soon as there is one. What is lost again and again is in the way of
        // others, for a queue that confirms nothing looks the same; and haste is no use for what was sent back.
        let first_pause = if why == NotPublished::Lost { 0 } else { 5 };
        sqlx::query(
            "UPDATE outbox SET attempts = attempts + 1, last_error = $2,
                 lease_until = now() + make_interval(secs => LEAST($3 + power(2, LEAST(attempts, 6)) - 1, 60))
             WHERE id = ANY($1)",
        )
        .bind(ids)
        .bind(why.to_string())
        .bind(first_pause)
        .execute(&self.db)
        .await?;
        Ok(())
    }
}

fn read(row: &sqlx::postgres::PgRow) -> Option<(Uuid, Outgoing)> {
    let id = row.get("id");
    match Outgoing::stored(
        row.get("exchange"),
        row.get("routing_key"),
        row.get("message"),
    ) {
        Ok(message) => Some((id, message)),
        Err(error) => {
            error!(message.id = %id, %error, "an outbox row is no message: it stays, and somebody must look");
            None
        }
    }
}
