//! Dead letters: what operators have to know of them, for everybody who listens.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::messages;

/// Event: a queue has more dead letters than everybody was told of. It comes at most once a minute for each queue.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLettersGrowing {
    /// The dead-letter queue: `payment.commands.dlq`.
    pub queue: String,
    /// The queue that its letters come from.
    pub working_queue: String,
    /// Letters that are in it.
    pub letters: u64,
    /// Letters that were told of before, of those that are still there; 0 for the first ones.
    pub told_before: u64,
    /// When they were seen.
    pub seen_at: DateTime<Utc>,
}

messages! { DeadLettersGrowing => "dead_letters.growing.v1" }
