//! Publishes what is handed over, and deletes the rows of what is confirmed.
//!
//! ```text
//! each lane:  handed over ─► publish ─► confirm ─┐
//!             sweep                              ├─► settle: delete what is confirmed, vacuum
//! ```

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    flow::Flow,
    handover::{BATCHES_MAX, Handover, Receiver, handover},
    in_flight::{InFlight, Results},
    sweep::sweep,
    table::Table,
    vacuum::Vacuum,
};
use crate::{
    amqp::{Broker, Lane, Lanes},
    batch::AdmissionControl,
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
    pub(super) relays: Lanes<LaneRelay>,
    pub(super) settled: mpsc::Sender<Results>,
    pub(super) results: mpsc::Receiver<Results>,
}

impl Relay {
    /// Runs until every [`Outbox`](super::Outbox) is dropped or `shutdown` is cancelled, and what was handed over is
    /// published.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            relays: Lanes { saga, events },
            settled,
            results,
        } = self;
        let (table, flow, broker) = (saga.table.clone(), saga.flow.clone(), saga.broker.clone());
        tokio::join!(
            flow.watch(&broker, &table, &shutdown),
            saga.run(settled.clone(), &shutdown),
            events.run(settled, &shutdown),
            settle(&table, results),
        );
    }
}

/// The relay of one lane: each has its own, so that one that is stuck cannot hold up the other.
#[derive(Debug)]
pub(super) struct LaneRelay {
    table: Table,
    broker: Broker,
    flow: Flow,
    admission: AdmissionControl,
    handed_over: Receiver,
}

impl LaneRelay {
    pub(super) fn new(
        table: Table,
        broker: Broker,
        flow: Flow,
        admission: AdmissionControl,
    ) -> (Handover, Self) {
        let (handover, handed_over) = handover();
        let relay = Self {
            table,
            broker,
            flow,
            admission,
            handed_over,
        };
        (handover, relay)
    }

    async fn run(self, settled: mpsc::Sender<Results>, shutdown: &CancellationToken) {
        let Self {
            table,
            broker,
            flow,
            admission,
            handed_over,
        } = self;
        let (in_flight, confirms) = mpsc::channel(UNCONFIRMED_MAX);
        tokio::join!(
            publish(
                (table.lane, &broker, &flow),
                handed_over,
                in_flight,
                shutdown
            ),
            confirm(confirms, settled),
            sweep(&table, &broker, &flow, &admission, shutdown),
        );
    }
}

/// Publishes without waiting for confirms.
async fn publish(
    (lane, broker, flow): (Lane, &Broker, &Flow),
    handed_over: Receiver,
    in_flight: mpsc::Sender<InFlight>,
    shutdown: &CancellationToken,
) {
    let Receiver {
        batches: mut handed_over,
        taken,
    } = handed_over;
    let mut batches = Vec::new();
    loop {
        let received = tokio::select! {
            n = handed_over.recv_many(&mut batches, BATCHES_MAX) => n,
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
        flow.published(&messages, broker.batch_max());
        let published = InFlight::publish(broker, messages, broker.batch_max()).await;
        if in_flight.send(published).await.is_err() {
            return;
        }
    }
}

/// Waits for confirms, in order.
async fn confirm(mut in_flight: mpsc::Receiver<InFlight>, settled: mpsc::Sender<Results>) {
    while let Some(next) = in_flight.recv().await {
        if settled.send(next.wait().await).await.is_err() {
            return;
        }
    }
}

/// Records what became of rows, many at a time: a row that is there a moment longer costs less than a commit.
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
        match table.record(results).await {
            Ok(()) => vacuum.after(rows, &table.db).await,
            // The rows stay and go out again, which consumers expect.
            Err(error) => warn!(%error, "cannot settle outbox rows"),
        }
    }
}
