//! Ship an order: the goods leave the warehouse, which nothing takes back.

use common::contract::{
    OrderId,
    inventory::{CommitStock, StockCommitted},
};
use saga::{Decision, Definition, ForwardAction, Step, What};
use serde::{Deserialize, Serialize};

use crate::orders::Change;

/// Ship an order: make its reservation final.
pub const SHIP_ORDER: Definition<ShippedOrder> = Definition::new(
    "ship_order",
    1,
    &[Step::forward_only(
        "inventory",
        ForwardAction::of::<CommitStock, StockCommitted>(&commit_stock),
    )],
)
// What is being cancelled cannot leave, and what is leaving cannot be cancelled.
.excludes(&["create_order"]);

/// What leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShippedOrder {
    /// The order.
    pub order_id: OrderId,
}

/// What an entry of the log changes about the order: it is on its way as soon as it is decided.
///
/// # Errors
/// Never: it needs no data.
pub fn follow(entry: &What, _: &Decision) -> anyhow::Result<Option<Change>> {
    Ok(match entry {
        What::SagaStarted {} => Some(Change::Shipped),
        _ => None,
    })
}

fn commit_stock(order: &ShippedOrder) -> CommitStock {
    CommitStock {
        order_id: order.order_id,
    }
}
