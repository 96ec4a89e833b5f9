//! RabbitMQ is stopped while orders come, and comes back.
//!
//! ```text
//! RabbitMQ   stopped ────────────────────────►| starting ►| ready
//! orders     500 a second, none of them ends  | 50 a second, until the backlog has ended
//! reported   accepted/s, time to the answer               | backlog: ends/s    new orders: time to the end
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use crate::clock::{first_id, micros, now};
use crate::ends::{Ends, is_open_before, wait_quiet};
use crate::latency::Latency;
use crate::load::{Tickets, fire};
use crate::orders::Orders;
use crate::report::Outcome;
use crate::scenario::{Scenario, Times};
use crate::system::System;

const RATE: u32 = 500;
const RATE_AFTER: u32 = 50;
const CLIENTS: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);

/// Runs it.
pub(crate) async fn run(scenario: &Scenario, system: &System, times: Times) -> Result<Outcome> {
    let addresses = system.order_addresses();
    system.servers.rabbitmq.stop().await?;
    let start = now();
    let tickets = Tickets::paced(RATE, start + micros(times.window), Arc::default());
    let mut fired = fire(&addresses, CLIENTS, tickets, Orders::new(false)).await?;
    let away = now();

    let stop = Arc::new(AtomicBool::new(false));
    let tickets = Tickets::paced(RATE_AFTER, i64::MAX, Arc::clone(&stop));
    let drain = async {
        system.servers.rabbitmq.start().await?;
        let ready = now();
        while is_open_before(&system.databases.order, first_id(away)).await? {
            sleep(PAUSE).await;
        }
        stop.store(true, Ordering::Relaxed);
        Ok(ready)
    };
    let (ready, after) = tokio::try_join!(
        drain,
        fire(&addresses, CLIENTS, tickets, Orders::new(false))
    )?;
    wait_quiet(&system.databases).await?;

    let ends = Ends::load(&system.databases.order, first_id(start)).await?;
    let backlog = &fired.accepted;
    let last = backlog.iter().filter_map(|shot| ends.of(shot.order)).max();
    let drained_in = (last.context("no order was accepted")? - ready) as f64 / 1e6;
    let to_answer = backlog
        .iter()
        .map(|shot| shot.answered - shot.due)
        .collect();
    // Those that came while it was still starting had to wait for that.
    let new = after.accepted.iter().filter(|shot| shot.due >= ready);
    let to_end = new.filter_map(|shot| Some(ends.of(shot.order)? - shot.due));
    let outcome = Outcome {
        scenario: scenario.name.to_owned(),
        about: scenario.about.to_owned(),
        accepted: backlog.len(),
        refused: fired.refused + after.refused,
        window_s: times.window.as_secs_f64(),
        accepted_per_s: backlog.len() as f64 / times.window.as_secs_f64(),
        sagas_per_s: backlog.len() as f64 / drained_in,
        overall_per_s: ends.per_second(start),
        to_answer_ms: Latency::of(to_answer),
        to_end_ms: Latency::of(to_end.collect()),
        ends: ends.ways.clone().into_iter().collect(),
        cost: None,
    };
    fired.accepted.extend(after.accepted);
    ends.check(&fired, crate::orders::OUT_OF_STOCK)?;
    Ok(outcome)
}
