//! Charges that are written down before the gateway is asked for them.

use crate::plain::Plain;

pub(crate) const PAYMENT: Plain = Plain {
    name: "m20261122_000004_intents",
    up: include_str!("sql/payment_intents.sql"),
    down: "DROP TABLE intents",
};
