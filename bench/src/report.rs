//! What is reported: the types are the shape of `.dev/bench/results.json`. Units are in the names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::course::Course;
use crate::latency::Latency;
use crate::meter::Cost;

/// A run.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// Processors that all share, driver and servers included.
    pub(crate) cores: usize,
    /// Versions, and settings of PostgreSQL, that decide what the numbers mean.
    pub(crate) settings: BTreeMap<String, String>,
    /// In the order in which they ran.
    pub(crate) scenarios: Vec<Outcome>,
    /// What the rows and messages cost without the system.
    pub(crate) floor: Option<Floor>,
    /// How cost changes with what is stored.
    pub(crate) growth: Option<Growth>,
    /// The audit at the end.
    pub(crate) audit: Option<Audited>,
}

/// What came out of a scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// Its name.
    pub(crate) scenario: String,
    /// What was done, in words.
    pub(crate) about: String,
    /// Orders that were answered 201, from the first to the last.
    pub(crate) accepted: usize,
    /// Requests that were answered 503 with `Retry-After`.
    pub(crate) refused: usize,
    /// How orders ended: `COMPLETED`, or the reason of the cancellation.
    pub(crate) ends: BTreeMap<String, usize>,
    /// How long the window was that rates and latencies are of; it begins after the warm-up.
    pub(crate) window_s: f64,
    /// Orders answered 201 within the window, by its length.
    pub(crate) accepted_per_s: f64,
    /// Sagas whose end was committed within the window, by its length.
    pub(crate) sagas_per_s: f64,
    /// All sagas, warm-up included, by the time from the first order to the last end. Less than what was accepted means
    /// that a backlog grew, or that there was one.
    pub(crate) overall_per_s: f64,
    /// From when an order was due to the answer, of orders due in the window.
    pub(crate) to_answer_ms: Latency,
    /// From when an order was due to the commit of its saga's end.
    pub(crate) to_end_ms: Latency,
    /// Of all orders, warm-up and aftermath included. Not where something is stopped, for its counters end with it.
    pub(crate) cost: Option<Cost>,
    /// What happened when.
    pub(crate) course: Course,
}

/// The floor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Floor {
    /// PostgreSQL alone.
    pub(crate) postgresql: Part,
    /// RabbitMQ alone, each command, reply and event a message.
    pub(crate) rabbitmq_single: Part,
    /// RabbitMQ alone, commands and replies in batches of 64, as the system has them when it is busy.
    pub(crate) rabbitmq_batched: Part,
    /// Sagas a second of which the cores could write rows and single messages, if they did nothing else.
    pub(crate) single_per_s: f64,
    /// Sagas a second of which the cores could write rows and messages in batches, if they did nothing else.
    pub(crate) batched_per_s: f64,
    /// The share of `single_per_s` that `burst-64` reached, from 0 to 1.
    pub(crate) burst_of_single: Option<f64>,
    /// The share of `batched_per_s` that `burst-64` reached, from 0 to 1.
    pub(crate) burst_of_batched: Option<f64>,
}

/// A server on its own.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    /// Sagas whose rows or messages it took in a second.
    pub(crate) sagas_per_s: f64,
    /// CPU seconds of the server for 1000 of them.
    pub(crate) server_cpu_per_1000: f64,
    /// CPU seconds of the client for 1000 of them.
    pub(crate) client_cpu_per_1000: f64,
}

impl Part {
    pub(crate) fn cpu_per_1000(&self) -> f64 {
        self.server_cpu_per_1000 + self.client_cpu_per_1000
    }
}

/// `burst-64` before and after the databases were filled.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Growth {
    /// Finished sagas that were put in.
    pub(crate) filled: u64,
    /// How long that took.
    pub(crate) fill_s: f64,
    /// Size of the three databases then.
    pub(crate) databases_mib: f64,
    /// With what the scenarios before have left.
    pub(crate) before: Outcome,
    /// With them.
    pub(crate) after: Outcome,
}

/// The audit of all that is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Audited {
    /// Orders that it judged.
    pub(crate) orders: u64,
    /// How long it took.
    pub(crate) took_s: f64,
    /// Peak of its memory.
    pub(crate) memory_mib: f64,
    /// Guarantees that were broken.
    pub(crate) violations: usize,
}
