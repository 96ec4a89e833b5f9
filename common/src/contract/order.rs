//! Order: what became of it, for everybody who listens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Money, OrderId, Reason, ReturnId, inventory::StockItem, messages};

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// The product.
    pub product_id: String,
    /// How many, at least 1.
    pub quantity: u32,
    /// The price of one.
    pub unit_price: Money,
}

/// The order as it is after the event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderSnapshot {
    /// The order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: String,
    /// PENDING, COMPLETED, SHIPPED, DELIVERED, RETURNED or CANCELLED.
    pub status: String,
    /// What was ordered.
    pub items: Vec<OrderItem>,
    /// ISO 4217 code.
    pub currency: String,
    /// The sum over all items.
    pub total_amount: Money,
    /// Where to tell the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Declares the events of an order that carry its snapshot and nothing else.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident => $kind:literal),+ $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
            #[serde(transparent)]
            pub struct $name(pub OrderSnapshot);
        )+
        messages! { $($name => $kind),+ }
    };
}

events! {
    /// Event: the order was accepted, and its saga has begun.
    OrderCreated => "order.created.v1",
    /// Event: every step succeeded.
    OrderCompleted => "order.completed.v1",
    /// Event: a step failed; what was done is being undone.
    OrderFailed => "order.failed.v1",
    /// Event: everything is undone.
    OrderCancelled => "order.cancelled.v1",
    /// Event: the goods are on their way, and the reservation is final.
    OrderShipped => "order.shipped.v1",
    /// Event: the goods arrived.
    OrderDelivered => "order.delivered.v1",
}

/// Event: the customer sent goods back, which are on the shelf again and whose price was given back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderReturned {
    /// The order as it is after the return.
    #[serde(flatten)]
    pub order: OrderSnapshot,
    /// The return.
    pub return_id: ReturnId,
    /// What came back with this return.
    pub returned_items: Vec<StockItem>,
    /// What was given back for it, in the order's currency.
    pub refund_amount: Money,
}

messages! { OrderReturned => "order.returned.v1" }
