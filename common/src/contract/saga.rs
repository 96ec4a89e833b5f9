//! Saga: what operators have to know of sagas, for everybody who listens.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Reason, SagaId, messages};

/// Event: a saga cannot go on by itself, and waits for an operator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaParked {
    /// The saga.
    pub saga_id: SagaId,
    /// What its definition is called: `create_order`.
    #[serde(rename = "type")]
    pub definition: String,
    /// What it is about, as kind and id: `order/01976a3d-…`.
    pub subject: String,
    /// The step that could not be done or undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it was being undone; absent on the way forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was parked.
    pub parked_at: DateTime<Utc>,
}

messages! { SagaParked => "saga.parked.v1" }
