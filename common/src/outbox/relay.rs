//! Deletes the rows of what is confirmed, sweeps up what nobody else publishes, and looks at participants' queues.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{flow::Flow, in_flight::Results, sweep::Sweep, table::Table, vacuum::Vacuum};
use crate::{
    amqp::{Broker, Lane},
    batch::AdmissionControl,
    crash,
    watchdog::{idle, watched},
};

/// How long confirmed rows are collected before they are deleted.
const SETTLE_EVERY: Duration = Duration::from_millis(200);
/// Confirmed rows that are enough to be deleted at once.
const DELETE_MAX: usize = 2000;

/// What goes on behind the [`Outbox`](super::Outbox).
#[derive(Debug)]
pub struct Relay {
    pub(super) table: Table,
    pub(super) broker: Broker,
    pub(super) flow: Flow,
    pub(super) admission: AdmissionControl,
    /// What waits for confirms.
    pub(super) in_flight: TaskTracker,
    pub(super) results: mpsc::Receiver<Results>,
}

impl Relay {
    /// Runs until every [`Outbox`](super::Outbox) is dropped or `shutdown` is cancelled, and what was handed over is
    /// settled.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let sweep = |lane| Sweep {
            lane,
            table: self.table.clone(),
            broker: self.broker.clone(),
            flow: self.flow.clone(),
            admission: self.admission.clone(),
            shutdown: shutdown.clone(),
        };
        let flow = self.flow.watch(&self.broker, &self.table, &shutdown);
        let last = async {
            shutdown.cancelled().await;
            self.in_flight.close();
            self.in_flight.wait().await;
        };
        let settle = settle(&self.table, &mut self.results, last);
        let parts = Box::pin(async {
            tokio::join!(
                watched("flow control", flow),
                watched("sweep of the outbox: saga", sweep(Lane::Saga).run()),
                watched("sweep of the outbox: events", sweep(Lane::Events).run()),
                watched("settling of the outbox", settle),
            )
        });
        idle(parts).await;
    }
}

/// Records what became of rows, many at a time: a row that is there a moment longer costs less than a commit. After
/// `last`, no more come.
async fn settle(
    table: &Table,
    settled: &mut mpsc::Receiver<Results>,
    last: impl Future<Output = ()>,
) {
    let mut vacuum = Vacuum::new();
    let mut last = std::pin::pin!(last);
    loop {
        let received = idle(async {
            tokio::select! {
                received = settled.recv() => Some(received),
                () = &mut last, if !settled.is_closed() => None,
            }
        });
        let Some(received) = received.await else {
            settled.close();
            continue;
        };
        let Some(mut results) = received else { return };
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
