//! Return goods of an order: put them back on the shelf, then give exactly their price back.

use common::contract::{
    Money, OrderId, Reason, ReturnId,
    inventory::{Restock, Restocked, StockItem},
    payment::{PartRefunded, RefundPart},
};
use saga::{Decision, Definition, ForwardAction, Step, What};
use serde::{Deserialize, Serialize};

use crate::orders::Change;

/// Return goods of an order. What was accepted is done: neither of its steps is refused or undone.
pub const RETURN_ORDER: Definition<ReturnedGoods> = Definition::new(
    "return_order",
    1,
    &[
        Step::forward_only("restock", ForwardAction::of::<Restock, Restocked>(&restock)),
        Step::forward_only(
            "refund",
            ForwardAction::of::<RefundPart, PartRefunded>(&refund_part),
        ),
    ],
)
// Goods come back only after they have left, and meanwhile the order cannot be cancelled.
.excludes(&["create_order", "ship_order"]);

/// What comes back, and what is given back for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReturnedGoods {
    /// The return.
    pub return_id: ReturnId,
    /// The order.
    pub order_id: OrderId,
    /// What comes back, each product once.
    pub items: Vec<StockItem>,
    /// What is given back.
    pub amount: Money,
    /// ISO 4217 code.
    pub currency: String,
}

/// What an entry of the log changes about the order.
///
/// # Errors
/// The saga's data is not that of a return.
pub fn follow(entry: &What, decision: &Decision) -> anyhow::Result<Option<Change>> {
    Ok(match entry {
        What::SagaCompleted {} => {
            let goods: ReturnedGoods = decision.data()?;
            Some(Change::Returned {
                id: goods.return_id,
                items: goods.items,
                amount: goods.amount,
            })
        }
        _ => None,
    })
}

fn restock(goods: &ReturnedGoods) -> Restock {
    Restock {
        order_id: goods.order_id,
        return_id: goods.return_id,
        items: goods.items.clone(),
    }
}

fn refund_part(goods: &ReturnedGoods) -> RefundPart {
    RefundPart {
        order_id: goods.order_id,
        return_id: goods.return_id,
        amount: goods.amount,
        currency: goods.currency.clone(),
        reason: Reason::CUSTOMER_REQUEST,
    }
}
