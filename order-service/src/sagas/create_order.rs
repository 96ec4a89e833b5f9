//! Create an order: take the money, then hold the stock.
//!
//! To add a step, add a row to the table, with the function that makes its command. To change what a step means, write
//! a new version of the definition beside this one, and keep this one until its sagas have ended.

use common::contract::{
    Money, OrderId, Reason,
    inventory::{
        ReleaseStock, ReserveStock, StockItem, StockReleased, StockReservationFailed, StockReserved,
    },
    order::OrderItem,
    payment::{PaymentFailed, PaymentProcessed, PaymentRefunded, ProcessPayment, RefundPayment},
};
use saga::{Action, Compensation, Decision, Definition, Step, What};
use serde::{Deserialize, Serialize};

use crate::orders::{Change, Order};

/// Create an order: take the money, then hold the stock.
pub const CREATE_ORDER: Definition<PlacedOrder> = Definition::new(
    "create_order",
    1,
    &[
        Step::new(
            "payment",
            Action::of::<ProcessPayment, PaymentProcessed, PaymentFailed>(&process_payment),
        )
        .undone_by(Compensation::of::<RefundPayment, PaymentRefunded>(
            &refund_payment,
        )),
        Step::new(
            "inventory",
            Action::of::<ReserveStock, StockReserved, StockReservationFailed>(&reserve_stock),
        )
        .undone_by(Compensation::of::<ReleaseStock, StockReleased>(
            &release_stock,
        )),
    ],
);

/// What is to be paid and held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacedOrder {
    /// The order.
    pub order_id: OrderId,
    /// Who pays.
    pub customer_id: String,
    /// What is to be held.
    pub items: Vec<OrderItem>,
    /// ISO 4217 code.
    pub currency: String,
    /// What is to be paid.
    pub total: Money,
    /// The gateway's name of the payment method.
    #[serde(default)]
    pub payment_method: Option<String>,
}

impl From<&Order> for PlacedOrder {
    fn from(order: &Order) -> Self {
        Self {
            order_id: order.id,
            customer_id: order.customer_id.clone(),
            items: order.items.clone(),
            currency: order.currency.clone(),
            total: order.total,
            payment_method: order.payment_method.clone(),
        }
    }
}

/// What an entry of the log changes about the order.
///
/// # Errors
/// Never: it needs no data.
pub fn follow(entry: &What, _: &Decision) -> anyhow::Result<Option<Change>> {
    Ok(match entry {
        What::SagaCompleted {} => Some(Change::Completed),
        What::CompensationStarted { reason } => Some(Change::Undoing(*reason)),
        What::SagaCompensated {} => Some(Change::Cancelled),
        _ => None,
    })
}

/// The command of the step `payment`.
pub fn process_payment(order: &PlacedOrder) -> ProcessPayment {
    ProcessPayment {
        order_id: order.order_id,
        customer_id: order.customer_id.clone(),
        amount: order.total,
        currency: order.currency.clone(),
        payment_method: order.payment_method.clone(),
    }
}

/// What undoes the step `payment`.
pub fn refund_payment(order: &PlacedOrder, reason: Reason) -> RefundPayment {
    let order_id = order.order_id;
    RefundPayment { order_id, reason }
}

/// The command of the step `inventory`.
pub fn reserve_stock(order: &PlacedOrder) -> ReserveStock {
    let items = order.items.iter().map(|item| StockItem {
        product_id: item.product_id.clone(),
        quantity: item.quantity,
    });
    ReserveStock {
        order_id: order.order_id,
        items: items.collect(),
    }
}

/// What undoes the step `inventory`.
pub fn release_stock(order: &PlacedOrder, reason: Reason) -> ReleaseStock {
    let order_id = order.order_id;
    ReleaseStock { order_id, reason }
}
