//! Lists by status, and sequences of products that outlive them.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000007_lists",
    up: "CREATE INDEX orders_status ON orders (status, id DESC)",
    down: "DROP INDEX orders_status",
};

pub(crate) const PAYMENT: Plain = Plain {
    name: "m20261122_000007_lists",
    up: "CREATE INDEX payments_status ON payments (status, id DESC)",
    down: "DROP INDEX payments_status",
};

pub(crate) const INVENTORY: Plain = Plain {
    name: "m20261122_000007_lists",
    up: include_str!("sql/removed_items.sql"),
    down: include_str!("sql/removed_items_down.sql"),
};
