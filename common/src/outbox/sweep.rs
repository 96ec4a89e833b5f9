//! Publishes rows that nobody else does.

use std::{collections::HashSet, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    flow::Flow,
    in_flight::InFlight,
    table::{DESTINATIONS_MAX, Table},
};
use crate::{
    amqp::{Broker, Destination, Lane},
    batch::AdmissionControl,
    metrics::SWEPT,
    watchdog::{idle, watched},
};

/// Rows that a sweep takes at a time.
const SWEEP_MAX: i64 = 250;
/// The least time for each [`SWEEP_MAX`] rows: what follows from them is to be seen before more of them go out.
const SWEEP_PAUSE: Duration = Duration::from_millis(50);
/// How often the sweep looks for rows.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often the sweep looks for a broker that is away.
const CONNECT_EVERY: Duration = Duration::from_millis(250);

/// Publishes what waits in one lane: rows of a process that died, from a time without the broker, or for somebody who
/// did not take them.
#[derive(Clone)]
pub(super) struct Sweep {
    pub(super) lane: Lane,
    pub(super) table: Table,
    pub(super) broker: Broker,
    pub(super) flow: Flow,
    pub(super) admission: AdmissionControl,
    pub(super) shutdown: CancellationToken,
}

impl Sweep {
    pub(super) async fn run(self) {
        let mut turns = interval(SWEEP_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeping = Sweeping::default();
        let mut after = None;
        let mut hold = None;
        loop {
            let turn = idle(async {
                tokio::select! {
                    () = self.shutdown.cancelled() => Turn::Last,
                    Some(ended) = sweeping.tasks.join_next() => Turn::Ended(ended),
                    () = self.flow.has_room(), if self.lane == Lane::Saga => Turn::Sweep,
                    _ = turns.tick() => Turn::Sweep,
                }
            });
            match turn.await {
                Turn::Last => break,
                Turn::Ended(ended) => {
                    sweeping.ended(ended);
                    continue;
                }
                Turn::Sweep => {}
            }
            // Connecting is part of it: on an idle service, nobody else would notice that the broker is back.
            if self.broker.check_lane(self.lane).await.is_err() {
                turns.reset_after(CONNECT_EVERY);
                continue;
            }
            match self.begin(&mut sweeping, after.as_ref()).await {
                Ok(last) => {
                    after = last;
                    hold = None;
                }
                Err(error) => {
                    if hold.is_none() {
                        warn!(%error, "cannot sweep the outbox: what waits there stays");
                    }
                    hold.get_or_insert_with(|| self.broker.hold());
                }
            }
        }
        while idle(sweeping.tasks.join_next()).await.is_some() {}
    }

    /// Begins to sweep destinations that come after one, and returns after which the next turn goes on.
    async fn begin(
        &self,
        sweeping: &mut Sweeping,
        after: Option<&Destination>,
    ) -> sqlx::Result<Option<Destination>> {
        self.table.move_orphans().await?;
        let waiting = self.table.destinations(after).await?;
        for destination in &waiting {
            if destination.lane() == self.lane {
                sweeping.begin(self, destination);
            }
        }
        let more = waiting.len() as i64 == DESTINATIONS_MAX;
        let last = waiting.into_iter().next_back();
        Ok(last.filter(|_| more))
    }

    /// Publishes what waits for `destination`, until nothing does, or it is not taken.
    async fn drain(self, destination: Destination) -> Destination {
        let mut swept = 0;
        while !self.shutdown.is_cancelled() {
            let not_before = Instant::now() + SWEEP_PAUSE;
            if destination.participant().is_some() {
                idle(self.admission.admit()).await;
            }
            match self.publish_some(&destination).await {
                Ok(0) => break,
                Ok(rows) => {
                    swept += rows;
                    idle(sleep_until(not_before)).await;
                }
                Err(error) => {
                    warn!(%error, "cannot sweep the outbox");
                    break;
                }
            }
        }
        if swept > 0 {
            let (exchange, routing_key) = (destination.exchange(), destination.routing_key());
            info!(
                exchange,
                routing_key,
                rows = swept,
                "published outbox rows that were left over"
            );
            SWEPT.add(&[], swept as u64);
        }
        destination
    }

    /// Claims some rows, publishes them, and returns how many were confirmed.
    async fn publish_some(&self, destination: &Destination) -> sqlx::Result<usize> {
        let (room, batch_max) = self.flow.room(destination);
        if room == 0 {
            return Ok(0);
        }
        // While nothing is confirmed, one row at a time finds out when that is over.
        let is_stalled = self.broker.is_stalled(destination);
        let max = if is_stalled { 1 } else { room.min(SWEEP_MAX) };
        let messages = self.table.claim(destination, max).await?;
        if messages.is_empty() {
            self.flow.drained(destination);
            return Ok(0);
        }
        let usual = self.broker.batch_max();
        let batch_max = batch_max.map_or(usual, |batch_max| batch_max.min(usual));
        self.flow.published(&messages, batch_max);
        let published = InFlight::publish(&self.broker, messages, batch_max).await;
        let results = published.wait().await;
        let confirmed = results.iter().filter(|(_, result)| result.is_ok()).count();
        self.table.record(results).await?;
        Ok(confirmed)
    }
}

/// What a sweep does next.
enum Turn {
    Sweep,
    /// A destination has been swept.
    Ended(Result<Destination, JoinError>),
    Last,
}

/// The destinations that are being swept, each by a task of its own: none waits for another.
#[derive(Default)]
struct Sweeping {
    tasks: JoinSet<Destination>,
    destinations: HashSet<Destination>,
}

impl Sweeping {
    fn begin(&mut self, sweep: &Sweep, destination: &Destination) {
        if self.destinations.insert(destination.clone()) {
            let drain = sweep.clone().drain(destination.clone());
            self.tasks.spawn(watched("sweep of a destination", drain));
        }
    }

    fn ended(&mut self, ended: Result<Destination, JoinError>) {
        match ended {
            Ok(destination) => {
                self.destinations.remove(&destination);
            }
            // Whose it was is not known, so all are looked at again.
            Err(error) => {
                warn!(%error, "a sweep of the outbox panicked");
                self.destinations.clear();
            }
        }
    }
}
