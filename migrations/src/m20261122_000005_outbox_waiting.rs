//! Rows of the outbox that wait have a table of their own, by destination.

use crate::plain::Plain;

pub(crate) const ALL: Plain = Plain {
    name: "m20261122_000005_outbox_waiting",
    up: include_str!("sql/outbox_waiting.sql"),
    down: include_str!("sql/outbox_waiting_down.sql"),
};
