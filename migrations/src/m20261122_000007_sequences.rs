//! The sequence of a product outlives it.

use crate::plain::Plain;

pub(crate) const INVENTORY: Plain = Plain {
    name: "m20261122_000007_sequences",
    up: include_str!("sql/removed_items.sql"),
    down: "DROP TABLE removed_items",
};
