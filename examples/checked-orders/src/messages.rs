//! What is said between the orchestrator and fraud-check.

use common::contract::{Command, Message, Money, OrderId, Reason, Rejection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why fraud-check refuses an order.
pub const FRAUD_SUSPECTED: Reason = Reason::new("FRAUD_SUSPECTED");

/// Command: say whether an order may go on. A check leaves nothing behind, so there is nothing to undo.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckFraud {
    /// The order to check.
    pub order_id: OrderId,
    /// Who orders.
    pub customer_id: String,
    /// What the order costs.
    pub amount: Money,
    /// ISO 4217 code.
    pub currency: String,
}

/// Reply: the order may go on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FraudPassed {
    /// The order that was checked.
    pub order_id: OrderId,
}

/// Reply: the order must not go on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FraudRefused {
    /// The order that was checked.
    pub order_id: OrderId,
    /// Why.
    pub reason: Reason,
    /// What is suspicious, for people; absent where nothing was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Message for CheckFraud {
    const TYPE: &'static str = "fraud.check.v1";
}

impl Message for FraudPassed {
    const TYPE: &'static str = "fraud.passed.v1";
}

impl Message for FraudRefused {
    const TYPE: &'static str = "fraud.refused.v1";
}

impl Command for CheckFraud {
    const PARTICIPANT: &'static str = "fraud";
}

impl Rejection for FraudRefused {
    fn reason(&self) -> Reason {
        self.reason
    }

    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}
