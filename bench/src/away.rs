//! RabbitMQ or a service is stopped while orders come, and comes back.
//!
//! ```text
//! it         stopped ────────────────────────►| starting ►| ready
//! orders     so many a second, none of them ends | 50 a second, until the backlog has ended
//! reported   accepted/s, time to the answer               | backlog: ends/s    new orders: time to the end
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::fleet;
use tokio::time::sleep;

use crate::clock::{first_id, micros, now};
use crate::course::Course;
use crate::ends::{Ends, is_open_before, wait_quiet};
use crate::latency::Latency;
use crate::load::{Tickets, fire};
use crate::orders::Orders;
use crate::report::Outcome;
use crate::scenario::{Scenario, Times};
use crate::system::System;

const RATE_AFTER: u32 = 50;
const CLIENTS: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);

/// Who is away.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Away {
    RabbitMq,
    Payments,
}

impl Away {
    async fn stop(self, system: &System) -> Result<()> {
        match self {
            Self::RabbitMq => system.servers.rabbitmq.stop().await,
            Self::Payments => system.stop(&fleet::PAYMENT.program).await,
        }
    }

    /// Returns when it is ready.
    async fn start(self, system: &System) -> Result<()> {
        match self {
            Self::RabbitMq => system.servers.rabbitmq.start().await,
            Self::Payments => system.start_again(&fleet::PAYMENT.program).await,
        }
    }
}

/// Runs it, with `rate` orders a second while `who` is away.
pub(crate) async fn run(
    scenario: &Scenario,
    system: &System,
    times: Times,
    who: Away,
    rate: u32,
) -> Result<Outcome> {
    let addresses = system.order_addresses();
    who.stop(system).await?;
    let start = now();
    let tickets = Tickets::paced(rate, start + micros(times.window), Arc::default());
    let mut fired = fire(&addresses, CLIENTS, tickets, Orders::new(false)).await?;
    let away = now();

    let stop = Arc::new(AtomicBool::new(false));
    let tickets = Tickets::paced(RATE_AFTER, i64::MAX, Arc::clone(&stop));
    let drain = async {
        who.start(system).await?;
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
    let course = Course::of(
        start,
        backlog
            .iter()
            .chain(&after.accepted)
            .map(|shot| shot.answered),
        fired.refused.iter().chain(&after.refused).copied(),
        ends.times(),
    );
    let outcome = Outcome {
        scenario: scenario.name.to_owned(),
        about: scenario.about.to_owned(),
        accepted: backlog.len(),
        refused: fired.refused.len() + after.refused.len(),
        window_s: times.window.as_secs_f64(),
        accepted_per_s: backlog.len() as f64 / times.window.as_secs_f64(),
        sagas_per_s: backlog.len() as f64 / drained_in,
        overall_per_s: ends.per_second(start),
        to_answer_ms: Latency::of(to_answer),
        to_end_ms: Latency::of(to_end.collect()),
        ends: ends.ways.clone().into_iter().collect(),
        cost: None,
        course,
    };
    fired.accepted.extend(after.accepted);
    fired.refused.extend(after.refused);
    ends.check(&fired, crate::orders::OUT_OF_STOCK)?;
    Ok(outcome)
}
