//! The floor: what the rows and messages of sagas cost when nothing but them is written.
//!
//! Each server is measured alone. Both share the cores with the system, so what adds up is the CPU: the floor's rate is
//! the cores, divided by the CPU that a saga's rows and messages need.

mod postgres;
mod rabbitmq;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use test_support::servers::Process;

use crate::cpu;
use crate::report::{Floor, Outcome, Part};
use crate::system::System;

/// Measures it at the servers of `system`, whose services should not run.
///
/// # Errors
/// A server does not answer.
pub(crate) async fn measure(
    system: &System,
    window: Duration,
    cores: usize,
    burst: Option<&Outcome>,
) -> Result<Floor> {
    let postgresql = postgres::measure(system, window).await?;
    let rabbitmq_single = rabbitmq::measure(system, window, 1).await?;
    let rabbitmq_batched = rabbitmq::measure(system, window, rabbitmq::BATCH).await?;
    let rate = |messages: Part| {
        cores as f64 * 1000.0 / (postgresql.cpu_per_1000() + messages.cpu_per_1000())
    };
    let (single_per_s, batched_per_s) = (rate(rabbitmq_single), rate(rabbitmq_batched));
    let reached = |floor: f64| burst.map(|burst| burst.sagas_per_s / floor);
    Ok(Floor {
        postgresql,
        rabbitmq_single,
        rabbitmq_batched,
        single_per_s,
        batched_per_s,
        burst_of_single: reached(single_per_s),
        burst_of_batched: reached(batched_per_s),
    })
}

/// What a server on its own does, between two looks.
struct Watch {
    server: u32,
    start: Instant,
    server_cpu: f64,
    client_cpu: f64,
}

impl Watch {
    fn start(server: Option<Process>) -> Result<Self> {
        let server = server.context("the server does not run")?.number();
        Ok(Self {
            server,
            start: Instant::now(),
            server_cpu: cpu::seconds(server),
            client_cpu: cpu::own_seconds(),
        })
    }

    fn stop(self, sagas: usize) -> Part {
        let sagas = sagas.max(1) as f64;
        let each = |seconds: f64| seconds * 1000.0 / sagas;
        Part {
            sagas_per_s: sagas / self.start.elapsed().as_secs_f64(),
            server_cpu_per_1000: each(cpu::seconds(self.server) - self.server_cpu),
            client_cpu_per_1000: each(cpu::own_seconds() - self.client_cpu),
        }
    }
}
