//! The scenarios, and how one is run.
//!
//! ```text
//! |<- warm-up ->|<------- window ------->|<- until quiet ->|
//!  orders ······ orders counted ·········                     rates and latencies: of the window
//! |<----------------------- cost ------------------------->|  by all sagas, none left out
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::away::{self, Away};
use crate::clock::{first_id, micros, now};
use crate::course::Course;
use crate::ends::{Ends, wait_quiet};
use crate::latency::Latency;
use crate::listener::Listener;
use crate::load::{Fired, Tickets, fire};
use crate::meter::Meter;
use crate::orders::Orders;
use crate::report::Outcome;
use crate::stream;
use crate::system::{Configuration, System};

/// Connections of the open loops; more orders than that in flight wait, and the wait counts.
const OPEN_CLIENTS: usize = 64;

/// How orders come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// So many clients, each of which orders again when it was answered.
    Burst(usize),
    /// So many sagas in flight: an order is placed when one has ended.
    Closed(usize),
    /// So many a second.
    Open(u32),
    /// So many a second while somebody is away, see [`crate::away`].
    Away(Away, u32),
}

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    load: Load,
    /// All orders are of one product.
    is_hot: bool,
    /// Every event also goes into a stream.
    has_stream: bool,
    /// Of each service.
    replicas: usize,
    /// What the services are given beside what they have in all scenarios.
    configuration: Configuration,
}

const fn scenario(name: &'static str, load: Load, about: &'static str) -> Scenario {
    Scenario {
        name,
        about,
        load,
        is_hot: false,
        has_stream: false,
        replicas: 1,
        configuration: &[],
    }
}

/// All of them, in the order in which they run.
pub(crate) const SCENARIOS: [Scenario; 12] = [
    scenario(
        "burst-64",
        Load::Burst(64),
        "64 clients order as fast as they are answered",
    ),
    scenario(
        "burst-512",
        Load::Burst(512),
        "512 clients order as fast as they are answered",
    ),
    scenario(
        "closed-64",
        Load::Closed(64),
        "64 sagas in flight; one ends, the next is ordered",
    ),
    scenario(
        "open-50",
        Load::Open(50),
        "50 orders a second, whatever becomes of them",
    ),
    scenario(
        "open-1000",
        Load::Open(1000),
        "1000 orders a second, whatever becomes of them",
    ),
    Scenario {
        is_hot: true,
        ..scenario(
            "hot",
            Load::Burst(64),
            "burst-64, all orders of one product",
        )
    },
    Scenario {
        has_stream: true,
        ..scenario(
            "stream",
            Load::Burst(64),
            "burst-64, every event also into a stream",
        )
    },
    Scenario {
        replicas: 2,
        ..scenario(
            "replicas-2",
            Load::Burst(64),
            "burst-64, two processes of each service",
        )
    },
    Scenario {
        configuration: &[("PAYMENT_HANG_RATE", "0.01")],
        ..scenario(
            "hang",
            Load::Open(50),
            "open-50, and one of 100 calls to the gateway hangs until it is given up",
        )
    },
    Scenario {
        configuration: &[
            ("PAYMENT_LATENCY_MS", "2000"),
            ("ORDER_BACKLOG_MAX_S", "20"),
        ],
        ..scenario(
            "overload",
            Load::Open(256),
            "256 orders a second at a gateway that takes 2 s for each: 128 payments a second are possible",
        )
    },
    scenario(
        "absence",
        Load::Away(Away::Payments, 50),
        "50 a second while payment-service is stopped (accepted/s, to answer); then it is back: the backlog ends \
         (sagas/s), and 50 new ones a second (to end)",
    ),
    scenario(
        "outage",
        Load::Away(Away::RabbitMq, 500),
        "500 a second while RabbitMQ is stopped (accepted/s, to answer); then it is back: the backlog ends (sagas/s), \
         and 50 new ones a second (to end)",
    ),
];

/// How long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

impl Scenario {
    /// Runs it, and leaves the system quiet.
    ///
    /// # Errors
    /// An order did not end as it should, or the system does not work.
    pub(crate) async fn run(&self, system: &mut System, times: Times) -> Result<Outcome> {
        if let Load::Away(who, rate) = self.load {
            return away::run(self, system, times, who, rate).await;
        }
        if !self.configuration.is_empty() {
            system.configure(self.configuration).await?;
        }
        if self.replicas != 1 {
            system.scale(self.replicas).await?;
        }
        if self.has_stream {
            stream::declare(&system.servers.rabbitmq.url()).await?;
        }
        let outcome = self.measure(system, times).await?;
        if self.has_stream {
            stream::delete(&system.servers.rabbitmq.url()).await?;
        }
        if !self.configuration.is_empty() {
            system.configure(&[]).await?;
        }
        system.scale(1).await?;
        Ok(outcome)
    }

    async fn measure(&self, system: &System, times: Times) -> Result<Outcome> {
        let meter = Meter::start(system).await?;
        let start = now();
        let window = start + micros(times.warm_up)..start + micros(times.warm_up + times.window);
        let orders = Orders::new(self.is_hot);
        let out_of_stock = orders.out_of_stock();
        let addresses = system.order_addresses();
        let fired = match self.load {
            Load::Burst(clients) => {
                fire(&addresses, clients, Tickets::Saturated(window.end), orders).await?
            }
            Load::Closed(sagas) => {
                let listener = Listener::start(&system.servers.rabbitmq.url(), sagas).await?;
                let tickets = Tickets::Closed(window.end, Arc::clone(&listener.ended));
                fire(&addresses, sagas, tickets, orders).await?
            }
            Load::Open(rate) => {
                let tickets = Tickets::paced(rate, window.end, Arc::default());
                fire(&addresses, OPEN_CLIENTS, tickets, orders).await?
            }
            Load::Away(..) => Fired::default(),
        };
        wait_quiet(&system.databases).await?;
        let cost = meter.stop(system, fired.accepted.len()).await?;

        let ends = Ends::load(&system.databases.order, first_id(start)).await?;
        ends.check(&fired, out_of_stock)?;
        let seconds = times.window.as_secs_f64();
        let shots = || fired.accepted.iter();
        let accepted = shots()
            .filter(|shot| window.contains(&shot.answered))
            .count();
        let ended = ends.times().filter(|time| window.contains(time)).count();
        let due = || shots().filter(|shot| window.contains(&shot.due));
        let to_end = due().filter_map(|shot| Some(ends.of(shot.order)? - shot.due));
        let to_answer = due().map(|shot| shot.answered - shot.due);
        let rate = |count: usize| count as f64 / seconds;
        Ok(Outcome {
            scenario: self.name.to_owned(),
            about: self.about.to_owned(),
            accepted: fired.accepted.len(),
            refused: fired.refused.len(),
            window_s: seconds,
            accepted_per_s: rate(accepted),
            sagas_per_s: rate(ended),
            overall_per_s: ends.per_second(start),
            to_answer_ms: Latency::of(to_answer.collect()),
            to_end_ms: Latency::of(to_end.collect()),
            ends: ends.ways.clone().into_iter().collect(),
            cost: Some(cost),
            course: Course::of(
                start,
                shots().map(|shot| shot.answered),
                fired.refused.iter().copied(),
                ends.times(),
            ),
        })
    }
}
