//! Payment: `payment.process.v1`, `payment.refund.v1` and `payment.refund_part.v1`, and what comes of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Money, OrderId, PaymentId, Reason, Rejection, ReturnId, commands, messages};

/// The payment gateway declined the charge.
pub const PAYMENT_DECLINED: Reason = Reason::new("PAYMENT_DECLINED");

/// Command: take the money for an order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessPayment {
    /// The order to pay for.
    pub order_id: OrderId,
    /// Who pays.
    pub customer_id: String,
    /// How much.
    pub amount: Money,
    /// ISO 4217 code.
    pub currency: String,
    /// The gateway's name of the payment method, for example `pm_card_visa`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
}

/// Command: give the money of an order back, whether or not it was taken.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefundPayment {
    /// The order whose payment is undone.
    pub order_id: OrderId,
    /// Why.
    pub reason: Reason,
}

/// Command: give exactly this part of an order's payment back. It goes forward only: there is no rejection, and nothing
/// undoes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefundPart {
    /// The order that was paid for.
    pub order_id: OrderId,
    /// The return that the money is for.
    pub return_id: ReturnId,
    /// How much. All parts together are never more than was taken.
    pub amount: Money,
    /// ISO 4217 code, the same as that of the payment.
    pub currency: String,
    /// Why.
    pub reason: Reason,
}

/// Outcome: the money was taken.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentProcessed {
    /// The order that is paid.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// What was taken.
    pub amount: Money,
    /// ISO 4217 code.
    pub currency: String,
}

/// Outcome: no money was taken.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentFailed {
    /// The order that is not paid.
    pub order_id: OrderId,
    /// The declined payment; absent where none was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// What was asked for; absent where the refund came first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// ISO 4217 code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Why.
    pub reason: Reason,
    /// The gateway's decline code, for example `insufficient_funds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Outcome: no money of the order is kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRefunded {
    /// The order.
    pub order_id: OrderId,
    /// The refunded payment; absent where none had been taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// What was given back; absent where nothing had been taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// ISO 4217 code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// Outcome: this part of the payment was given back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartRefunded {
    /// The order that was paid for.
    pub order_id: OrderId,
    /// The payment that it is a part of.
    pub payment_id: PaymentId,
    /// The return that the money is for.
    pub return_id: ReturnId,
    /// What was given back.
    pub amount: Money,
    /// ISO 4217 code.
    pub currency: String,
    /// Why.
    pub reason: Reason,
}

messages! {
    ProcessPayment => "payment.process.v1",
    RefundPayment => "payment.refund.v1",
    RefundPart => "payment.refund_part.v1",
    PaymentProcessed => "payment.processed.v1",
    PaymentFailed => "payment.failed.v1",
    PaymentRefunded => "payment.refunded.v1",
    PartRefunded => "payment.part_refunded.v1",
}

commands! { "payment" => ProcessPayment, RefundPayment, RefundPart }

impl Rejection for PaymentFailed {
    fn reason(&self) -> Reason {
        self.reason
    }

    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}
