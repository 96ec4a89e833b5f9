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
//! go out twice, and never not at all. Memory holds nothing that the table does not. All of it exists once for each
//! [`Lane`].

use std::time::Duration;

use metrics::counter;
use sqlx::{PgPool, Row};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    amqp::{Broker, Confirms, Lane, NotPublished, Outgoing},
    batch::Backlog,
    contract::topology,
    crash,
    db::{Kept, Writes},
};

/// Batches of a lane that wait to be published; who commits more has to wait, which is the back-pressure.
const HANDED_OVER_MAX: usize = 4;
/// How long they wait for a relay that takes nothing: a broker that confirms nothing must not keep orders from being
/// placed;
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// and at least, for a relay that was idle.
const HAND_OVER_MOMENT: Duration = Duration::from_millis(20);
/// Published batches that wait for their confirms.
const UNCONFIRMED_MAX: usize = 4;
/// How long a row belongs to the process that wrote or claimed it.
const LEASE: Duration = Duration::from_secs(10);
/// Rows that a sweep takes at a time,
const SWEEP_MAX: i64 = 250;
/// and the least time for them: what follows from them is to be seen before more of them go out.
const SWEEP_PAUSE: Duration = Duration::from_millis(50);
/// How often the sweep looks for rows whose lease is over,
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// and for a broker that is away.
const CONNECT_EVERY: Duration = Duration::from_millis(250);
/// How long confirmed rows are collected before they are deleted,
const SETTLE_EVERY: Duration = Duration::from_millis(200);
/// and how many are enough.
const DELETE_MAX: usize = 2000;
/// Deleted rows after which the table is vacuumed,
const VACUUM_AFTER: usize = 50_000;
/// and the part of the time that this may take: one of so many.
const VACUUM_SHARE: u32 = 20;

/// What transactions leave messages in, and where they are handed over after the commit. Clones share the relay.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: PgPool,
    broker: Broker,
    backlog: Backlog,
    saga: Handover,
    events: Handover,
}

/// The way to the relay of a lane.
#[derive(Clone, Debug)]
struct Handover {
    batches: mpsc::Sender<Vec<Outgoing>>,
    /// When the relay took something last, not counting what it took while nothing was confirmed.
    taken: watch::Receiver<Instant>,
}

impl Outbox {
    /// An outbox in `db` and its relay, which is to be run.
    #[must_use]
    pub fn new(db: PgPool, broker: Broker) -> (Self, Relay) {
        let table = |lane| Table {
            db: db.clone(),
            lane,
        };
        let backlog = Backlog::default();
        let (saga, saga_relay) = LaneRelay::new(table(Lane::Saga), broker.clone(), backlog.clone());
        // No event makes a reply.
        let (events, events_relay) =
            LaneRelay::new(table(Lane::Events), broker.clone(), Backlog::default());
        let outbox = Self {
            db,
            broker,
            backlog,
            saga,
            events,
        };
        let relay = Relay {
            lanes: [saga_relay, events_relay],
        };
        (outbox, relay)
    }

    /// The broker that the messages go to.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The replies that wait.
    #[must_use]
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// A connection to its database, for a worker to keep.
    #[must_use]
    pub fn connection(&self) -> Kept {
        Kept::new(self.db.clone())
    }

    /// Adds messages to what the caller writes. Only events can be in an outbox.
    pub fn enqueue(&self, writes: &mut Writes, messages: &[Outgoing]) {
        // Without a broker nobody will be handed the rows, so they are leased to nobody.
        let lease = |message: &Outgoing| {
            let connected = self.broker.is_connected(message.lane());
            if connected { LEASE } else { Duration::ZERO }
        };
        insert(writes, messages, lease);
    }

    /// Has `messages`, which are committed, published soon.
    ///
    /// Waits while the broker is slower than the callers, but not while it is away or confirms nothing: the sweep
    /// publishes them then.
    pub async fn hand_over(&self, messages: Vec<Outgoing>) {
        if messages.is_empty() {
            return;
        }
        crash::point("outbox.committed");
        let (saga, events): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.lane() == Lane::Saga);
        for (lane, messages) in [(Lane::Saga, saga), (Lane::Events, events)] {
            if messages.is_empty() || !self.broker.is_connected(lane) {
                continue;
            }
            if let Err(left_over) = self.handover(lane).send(messages).await
                && let Err(error) = release(&self.db, &left_over).await
            {
                warn!(%error, "a sweep publishes rows only when their lease is over");
            }
        }
    }

    /// Takes messages over that have no transaction of their own, and that could not be published.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn keep(&self, messages: &[Outgoing]) -> sqlx::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        // It may be there already: a command that comes twice is answered twice, with the same event.
        let mut writes = Writes::default();
        insert(&mut writes, messages, |_| Duration::ZERO);
        writes.execute(&self.db).await?;
        Ok(())
    }

    fn handover(&self, lane: Lane) -> &Handover {
        match lane {
            Lane::Saga => &self.saga,
            Lane::Events => &self.events,
        }
    }
}

fn insert(writes: &mut Writes, messages: &[Outgoing], lease: impl Fn(&Outgoing) -> Duration) {
    if messages.is_empty() {
        return;
    }
    let column = |get: fn(&Outgoing) -> &str| messages.iter().map(get).collect::<Vec<_>>();
    writes
        .add(
            "INSERT INTO outbox (id, exchange, routing_key, message, lease_until)
         SELECT id, exchange, routing_key, message::json, now() + make_interval(secs => lease)
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::float8[])
              AS m (id, exchange, routing_key, message, lease)
         ON CONFLICT (id) DO NOTHING",
        )
        .bind(messages.iter().filter_map(Outgoing::id).collect::<Vec<_>>())
        .bind(column(Outgoing::exchange))
        .bind(column(Outgoing::routing_key))
        .bind(column(|message| message.json().unwrap_or_default()))
        .bind(
            messages
                .iter()
                .map(|message| lease(message).as_secs_f64())
                .collect::<Vec<_>>(),
        );
}

/// Ends the lease of rows that nobody is going to publish, so that the next sweep does.
async fn release(db: &PgPool, messages: &[Outgoing]) -> sqlx::Result<()> {
    let ids: Vec<_> = messages.iter().filter_map(Outgoing::id).collect();
    sqlx::query("UPDATE outbox SET lease_until = now() WHERE id = ANY($1)")
        .bind(ids)
        .execute(db)
        .await?;
    Ok(())
}

impl Handover {
    /// Gives them back when the relay has stopped, or does not get on.
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), Vec<Outgoing>> {
        let idle = Instant::now() + HAND_OVER_MOMENT;
        let patience = (*self.taken.borrow() + HAND_OVER_TIMEOUT).max(idle);
        match timeout_at(patience, self.batches.reserve()).await {
            Ok(Ok(place)) => {
                place.send(messages);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(messages),
        }
    }
}

/// Publishes what is handed over, and sweeps up what was not.
#[derive(Debug)]
pub struct Relay {
    lanes: [LaneRelay; 2],
}

impl Relay {
    /// Runs until every [`Outbox`] is dropped or `shutdown` is cancelled, and what was handed over is published.
    pub async fn run(self, shutdown: CancellationToken) {
        let [saga, events] = self.lanes;
        let table = saga.table.clone();
        let (settled, results) = mpsc::channel(UNCONFIRMED_MAX);
        tokio::join!(
            saga.run(settled.clone(), &shutdown),
            events.run(settled, &shutdown),
            settle(&table, results),
        );
    }
}

/// The relay of one lane: each has its own, so that one that does not get on cannot hold up the other.
#[derive(Debug)]
struct LaneRelay {
    table: Table,
    broker: Broker,
    /// What a sweep lets pass.
    backlog: Backlog,
    batches: mpsc::Receiver<Vec<Outgoing>>,
    taken: watch::Sender<Instant>,
}

impl LaneRelay {
    fn new(table: Table, broker: Broker, backlog: Backlog) -> (Handover, Self) {
        let (sender, batches) = mpsc::channel(HANDED_OVER_MAX);
        let (taken, seen) = watch::channel(Instant::now());
        let handover = Handover {
            batches: sender,
            taken: seen,
        };
        let relay = Self {
            table,
            broker,
            backlog,
            batches,
            taken,
        };
        (handover, relay)
    }

    async fn run(self, settled: mpsc::Sender<Results>, shutdown: &CancellationToken) {
        let Self {
            table,
            broker,
            backlog,
            batches,
            taken,
        } = self;
        let (published, confirms) = mpsc::channel(UNCONFIRMED_MAX);
        tokio::join!(
            publish((table.lane, &broker), batches, &taken, published, shutdown),
            confirm(confirms, settled),
            sweep(&table, &broker, &backlog, shutdown),
        );
    }
}

/// What became of rows.
type Results = Vec<(Uuid, Result<(), NotPublished>)>;

/// Messages that are on their way to the broker.
struct Published {
    ids: Vec<Uuid>,
    confirms: Confirms,
}

impl Published {
    async fn start(broker: &Broker, messages: &[Outgoing]) -> Self {
        Self {
            confirms: broker.publish(messages).await,
            ids: messages.iter().filter_map(Outgoing::id).collect(),
        }
    }

    async fn wait(self) -> impl Iterator<Item = (Uuid, Result<(), NotPublished>)> {
        self.ids.into_iter().zip(self.confirms.wait().await)
    }
}

/// Publishes without waiting for confirms.
async fn publish(
    (lane, broker): (Lane, &Broker),
    mut handed_over: mpsc::Receiver<Vec<Outgoing>>,
    taken: &watch::Sender<Instant>,
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
        if !broker.is_stalled(lane) {
            taken.send_replace(Instant::now());
        }
        let messages: Vec<_> = batches.drain(..).flatten().collect();
        let started = Published::start(broker, &messages).await;
        if published.send(started).await.is_err() {
            return;
        }
    }
}

/// Keeps the table small: its rows live for milliseconds, and autovacuum looks once a minute. Until then, every sweep
/// would walk past all that was deleted.
struct Vacuum {
    deleted: usize,
    not_before: Instant,
    running: Option<JoinHandle<Duration>>,
}

impl Vacuum {
    /// Notes that rows were deleted.
    async fn after(&mut self, deleted: usize, table: &Table) {
        self.deleted += deleted;
        if let Some(done) = self.running.take_if(|running| running.is_finished()) {
            // Where it is slow, a long transaction keeps dead rows alive: then it must not eat up the machine.
            let took = done.await.unwrap_or_default();
            self.not_before = Instant::now() + took * VACUUM_SHARE;
        }
        if self.deleted >= VACUUM_AFTER
            && self.running.is_none()
            && Instant::now() >= self.not_before
        {
            self.deleted = 0;
            self.running = Some(tokio::spawn(vacuum(table.db.clone())));
        }
    }
}

async fn vacuum(db: PgPool) -> Duration {
    let start = Instant::now();
    let vacuum = sqlx::query("VACUUM (SKIP_LOCKED, TRUNCATE false) outbox");
    if let Err(error) = vacuum.execute(&db).await {
        warn!(%error, "cannot vacuum the outbox: autovacuum will");
    }
    start.elapsed()
}

/// Waits for confirms, in order.
async fn confirm(mut published: mpsc::Receiver<Published>, settled: mpsc::Sender<Results>) {
    while let Some(next) = published.recv().await {
        if settled.send(next.wait().await.collect()).await.is_err() {
            return;
        }
    }
}

/// Settles rows, many at a time: a row that is there a moment longer costs less than a commit.
async fn settle(table: &Table, mut settled: mpsc::Receiver<Results>) {
    let mut vacuum = Vacuum {
        deleted: 0,
        not_before: Instant::now(),
        running: None,
    };
    while let Some(mut results) = settled.recv().await {
        let deadline = Instant::now() + SETTLE_EVERY;
        while results.len() < DELETE_MAX
            && let Ok(Some(more)) = timeout_at(deadline, settled.recv()).await
        {
            results.extend(more);
        }
        crash::point("outbox.confirmed");
        let rows = results.len();
        match table.settle(results).await {
            Ok(()) => vacuum.after(rows, table).await,
            // The rows stay and go out again, which consumers expect.
            Err(error) => warn!(%error, "cannot settle outbox rows"),
        }
    }
}

/// Publishes rows that nobody does: of a process that died, or from a time without the broker.
async fn sweep(table: &Table, broker: &Broker, backlog: &Backlog, shutdown: &CancellationToken) {
    let mut turns = interval(SWEEP_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = turns.tick() => {}
        }
        // Connecting is part of it: on an idle service, nobody else would notice that the broker is back.
        if broker.check_lane(table.lane).await.is_err() {
            turns.reset_after(CONNECT_EVERY);
            continue;
        }
        let mut swept = 0;
        while !shutdown.is_cancelled() {
            let not_before = Instant::now() + SWEEP_PAUSE;
            backlog.gone().await;
            match sweep_once(table, broker).await {
                Ok(0) => break,
                Ok(rows) => {
                    swept += rows;
                    sleep_until(not_before).await;
                }
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
}

/// Claims some rows, publishes them, and returns how many were settled for good.
async fn sweep_once(table: &Table, broker: &Broker) -> sqlx::Result<usize> {
    // While nothing is confirmed, one row at a time finds out when that is over.
    let stalled = broker.is_stalled(table.lane);
    let messages = table.claim(if stalled { 1 } else { SWEEP_MAX }).await?;
    if messages.is_empty() {
        return Ok(0);
    }
    let published = Published::start(broker, &messages).await;
    let results: Vec<_> = published.wait().await.collect();
    let confirmed = results.iter().filter(|(_, result)| result.is_ok()).count();
    table.settle(results).await?;
    Ok(confirmed)
}

/// The rows of one lane.
#[derive(Clone, Debug)]
struct Table {
    db: PgPool,
    lane: Lane,
}

impl Table {
    /// Leases at most `max` of the rows whose lease is over, the oldest first.
    async fn claim(&self, max: i64) -> sqlx::Result<Vec<Outgoing>> {
        let rows = sqlx::query(
            // Materialized: as a subquery in WHERE, it may be executed for each row of the table.
            "WITH due AS MATERIALIZED (
                 SELECT id FROM outbox WHERE lease_until <= now() AND (exchange = $2) = $3
                 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
             UPDATE outbox o SET lease_until = now() + make_interval(secs => $4) FROM due WHERE o.id = due.id
             RETURNING o.id, exchange, routing_key, message::text",
        )
        .bind(max)
        .bind(topology::EVENTS)
        .bind(self.lane == Lane::Events)
        .bind(LEASE.as_secs_f64())
        .fetch_all(&self.db)
        .await?;
        let mut rows: Vec<(Uuid, Outgoing)> = rows.iter().filter_map(read).collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        Ok(rows.into_iter().map(|(_, message)| message).collect())
    }

    /// Deletes what is confirmed, and keeps the rest for a later sweep.
    async fn settle(&self, results: Results) -> sqlx::Result<()> {
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
