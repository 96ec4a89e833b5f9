//! Publishes rows that nobody else does.

use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{flow::Flow, in_flight::InFlight, table::Table};
use crate::{amqp::Broker, batch::AdmissionControl};

/// Rows that a sweep takes at a time.
const SWEEP_MAX: i64 = 250;
/// The least time for each [`SWEEP_MAX`] rows: what follows from them is to be seen before more of them go out.
const SWEEP_PAUSE: Duration = Duration::from_millis(50);
/// How often the sweep looks for rows whose lease is over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often it says how old the oldest row is.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the sweep looks for a broker that is away.
const CONNECT_EVERY: Duration = Duration::from_millis(250);

/// Publishes rows that nobody does: of a process that died, or from a time without the broker.
pub(super) async fn sweep(
    table: &Table,
    broker: &Broker,
    flow: &Flow,
    admission: &AdmissionControl,
    shutdown: &CancellationToken,
) {
    let mut looked_at = Instant::now();
    let mut turns = interval(SWEEP_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = turns.tick() => {}
            () = flow.has_room() => {}
        }
        // Connecting is part of it: on an idle service, nobody else would notice that the broker is back.
        if broker.check_lane(table.lane).await.is_err() {
            turns.reset_after(CONNECT_EVERY);
            continue;
        }
        let mut swept = 0;
        while !shutdown.is_cancelled() {
            let not_before = Instant::now() + SWEEP_PAUSE;
            admission.admit().await;
            match sweep_once(table, broker, flow).await {
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
        if looked_at.elapsed() >= LOOK_EVERY
            && let Ok(oldest) = table.oldest().await
        {
            looked_at = Instant::now();
            let lane = table.lane.to_string();
            gauge!("outbox_oldest_seconds", "lane" => lane).set(oldest);
        }
        if swept > 0 {
            info!(rows = swept, "published outbox rows that were left over");
            counter!("outbox_swept_total").increment(swept as u64);
        }
    }
}

/// Claims some rows, publishes them, and returns how many were confirmed.
async fn sweep_once(table: &Table, broker: &Broker, flow: &Flow) -> sqlx::Result<usize> {
    // While nothing is confirmed, one row at a time finds out when that is over.
    let stalled = broker.is_stalled(table.lane);
    let room = flow.room();
    let max = if stalled {
        1
    } else {
        room.map_or(SWEEP_MAX, |(room, _)| room.min(SWEEP_MAX))
    };
    let messages = table.claim(max, &flow.closed()).await?;
    if messages.is_empty() {
        flow.drained();
        return Ok(0);
    }
    let usual = broker.batch_max();
    let batch_max = room.map_or(usual, |(_, batch_max)| batch_max.min(usual));
    flow.published(&messages, batch_max);
    let published = InFlight::publish(broker, messages, batch_max).await;
    let results = published.wait().await;
    let confirmed = results.iter().filter(|(_, result)| result.is_ok()).count();
    table.record(results).await?;
    Ok(confirmed)
}
