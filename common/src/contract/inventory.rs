//! Inventory: `inventory.reserve.v1`, `inventory.release.v1`, `inventory.commit.v1` and `inventory.restock.v1`, what comes
//! of them, and events about stock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OrderId, Reason, Rejection, ReturnId, commands, messages};

/// At least one product has less available than the order asks for.
pub const OUT_OF_STOCK: Reason = Reason::new("OUT_OF_STOCK");
/// At least one product does not exist.
pub const UNKNOWN_PRODUCT: Reason = Reason::new("UNKNOWN_PRODUCT");

/// So many of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockItem {
    /// The product.
    pub product_id: String,
    /// How many, at least 1.
    pub quantity: u32,
}

/// Command: hold all items of an order, or none.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReserveStock {
    /// The order that needs them.
    pub order_id: OrderId,
    /// What it needs.
    pub items: Vec<StockItem>,
}

/// Command: let go of what an order holds, whether or not it holds anything.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStock {
    /// The order.
    pub order_id: OrderId,
    /// Why.
    pub reason: Reason,
}

/// Command: the goods of an order leave the warehouse, which makes its reservation final. It goes forward only: there is
/// no rejection, and nothing undoes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitStock {
    /// The order that is shipped.
    pub order_id: OrderId,
}

/// Command: put goods that came back on the shelf again. It goes forward only: there is no rejection, and nothing undoes
/// it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restock {
    /// The order that they had been shipped for.
    pub order_id: OrderId,
    /// The return that they came back with.
    pub return_id: ReturnId,
    /// What came back. All returns of an order together are never more than was shipped.
    pub items: Vec<StockItem>,
}

/// Request, answered to the AMQP `reply_to`: would these items be available now? Holds nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidateStock {
    /// What would be needed.
    pub items: Vec<StockItem>,
}

/// Answer to [`ValidateStock`].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockValidated {
    /// Whether all items were available.
    pub available: bool,
    /// Each product that was asked for.
    pub items: Vec<StockAvailability>,
}

/// What is there of one product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockAvailability {
    /// The product.
    pub product_id: String,
    /// How many were asked for.
    pub requested: u64,
    /// How many are there; absent for an unknown product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
}

/// Outcome: all items are held.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockReserved {
    /// The order that holds them.
    pub order_id: OrderId,
    /// What is held.
    pub items: Vec<StockItem>,
}

/// Outcome: nothing is held.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockReservationFailed {
    /// The order that holds nothing.
    pub order_id: OrderId,
    /// What it asked for; empty where the release came first.
    pub items: Vec<StockItem>,
    /// Why.
    pub reason: Reason,
    /// The product that is missing or short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Outcome: the order holds nothing any more.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockReleased {
    /// The order.
    pub order_id: OrderId,
    /// What it had held; empty where it held nothing.
    pub items: Vec<StockItem>,
    /// Why.
    pub reason: Reason,
}

/// Outcome: the goods have left, and the order holds nothing any more.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockCommitted {
    /// The order.
    pub order_id: OrderId,
    /// What left, each product once, by product.
    pub items: Vec<StockItem>,
}

/// Outcome: the goods are on the shelf again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restocked {
    /// The order that they had been shipped for.
    pub order_id: OrderId,
    /// The return that they came back with.
    pub return_id: ReturnId,
    /// What came back, each product once, by product.
    pub items: Vec<StockItem>,
}

/// What is there of a product, after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockLevel {
    /// The product.
    pub product_id: String,
    /// How many are in the warehouse.
    pub quantity: u64,
    /// How many of them orders hold.
    pub reserved_quantity: u64,
    /// How many can still be ordered.
    pub available_quantity: u64,
}

/// Event: somebody changed a product or its stock, or goods left the warehouse or came back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InventoryUpdated(pub StockLevel);

/// Event: fewer are available than the threshold, and before it was not so.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LowStock(pub StockLevel);

/// Event: some are available, and before there were none.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BackInStock(pub StockLevel);

messages! {
    ReserveStock => "inventory.reserve.v1",
    ReleaseStock => "inventory.release.v1",
    CommitStock => "inventory.commit.v1",
    Restock => "inventory.restock.v1",
    ValidateStock => "inventory.validate.v1",
    StockValidated => "inventory.validated.v1",
    StockReserved => "inventory.reserved.v1",
    StockReservationFailed => "inventory.reservation_failed.v1",
    StockReleased => "inventory.released.v1",
    StockCommitted => "inventory.committed.v1",
    Restocked => "inventory.restocked.v1",
    InventoryUpdated => "inventory.updated.v1",
    LowStock => "inventory.low_stock.v1",
    BackInStock => "inventory.back_in_stock.v1",
}

commands! { "inventory" => ReserveStock, ReleaseStock, CommitStock, Restock }

impl Rejection for StockReservationFailed {
    fn reason(&self) -> Reason {
        self.reason
    }

    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}
