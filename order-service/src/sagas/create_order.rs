//! Create an order: take the money, then hold the stock.
//!
//! To add a step, add a row here, and a participant that answers its commands. To change what a step means, add a
//! new version of the definition and keep the old one until its sagas have ended.

use common::contract::{
    Envelope, Message, Reason,
    inventory::{
        ReleaseStock, ReserveStock, StockItem, StockReleased, StockReservationFailed, StockReserved,
    },
    payment::{PaymentFailed, PaymentProcessed, PaymentRefunded, ProcessPayment, RefundPayment},
};

use super::definition::{Action, Compensation, Definition, Step};
use crate::orders::{Order, SOURCE};

/// Create an order: take the money, then hold the stock.
pub const CREATE_ORDER: Definition = Definition {
    name: "create_order",
    version: 1,
    steps: &[
        Step {
            name: "payment",
            participant: "payment",
            action: Action::new(process_payment, PaymentProcessed::TYPE, PaymentFailed::TYPE),
            compensation: Compensation::new(refund_payment, PaymentRefunded::TYPE),
        },
        Step {
            name: "inventory",
            participant: "inventory",
            action: Action::new(
                reserve_stock,
                StockReserved::TYPE,
                StockReservationFailed::TYPE,
            ),
            compensation: Compensation::new(release_stock, StockReleased::TYPE),
        },
    ],
};

fn process_payment(order: &Order) -> Envelope {
    command(
        order,
        &ProcessPayment {
            order_id: order.id,
            customer_id: order.customer_id.clone(),
            amount: order.total,
            currency: order.currency.clone(),
            payment_method: order.payment_method.clone(),
        },
    )
}

fn refund_payment(order: &Order, reason: Reason) -> Envelope {
    let order_id = order.id;
    command(order, &RefundPayment { order_id, reason })
}

fn reserve_stock(order: &Order) -> Envelope {
    let items = order.items.iter().map(|item| StockItem {
        product_id: item.product_id.clone(),
        quantity: item.quantity,
    });
    command(
        order,
        &ReserveStock {
            order_id: order.id,
            items: items.collect(),
        },
    )
}

fn release_stock(order: &Order, reason: Reason) -> Envelope {
    let order_id = order.id;
    command(order, &ReleaseStock { order_id, reason })
}

fn command<M: Message>(order: &Order, data: &M) -> Envelope {
    Envelope::new(SOURCE, &order.id.to_string(), data)
}
