//! Publishes what is handed over, and deletes the rows of what is confirmed.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    handover::{HANDED_OVER_MAX, Handover},
    in_flight::{Published, Results},
    sweep::sweep,
    table::Table,
    vacuum::Vacuum,
};
use crate::{
    amqp::{Broker, Lane, Outgoing},
    batch::Backlog,
    crash,
};

/// Published batches that wait for their confirms.
const UNCONFIRMED_MAX: usize = 4;
/// How long confirmed rows are collected before they are deleted.
const SETTLE_EVERY: Duration = Duration::from_millis(200);
/// Confirmed rows that are enough to be deleted at once.
const DELETE_MAX: usize = 2000;

/// Publishes what is handed over, and sweeps up what was not.
#[derive(Debug)]
pub struct Relay {
    pub(super) lanes: [LaneRelay; 2],
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
pub(super) struct LaneRelay {
    table: Table,
    broker: Broker,
    /// What a sweep lets pass.
    backlog: Backlog,
    batches: mpsc::Receiver<Vec<Outgoing>>,
    taken: watch::Sender<Instant>,
}

impl LaneRelay {
    pub(super) fn new(table: Table, broker: Broker, backlog: Backlog) -> (Handover, Self) {
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
    let mut vacuum = Vacuum::new();
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
            Ok(()) => vacuum.after(rows, &table.db).await,
            // The rows stay and go out again, which consumers expect.
            Err(error) => warn!(%error, "cannot settle outbox rows"),
        }
    }
}
