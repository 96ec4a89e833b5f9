//! The books of returns: what was given back of a payment, and what came back to the shelf.

use crate::plain::Plain;

const NAME: &str = "m20261122_000003_returns";

pub(crate) const PAYMENT: Plain = Plain {
    name: NAME,
    up: include_str!("sql/payment_returns.sql"),
    down: "DROP TABLE refunds; ALTER TABLE payments DROP COLUMN refunded_minor",
};
pub(crate) const INVENTORY: Plain = Plain {
    name: NAME,
    up: include_str!("sql/inventory_returns.sql"),
    down: "DROP TABLE restocks",
};
