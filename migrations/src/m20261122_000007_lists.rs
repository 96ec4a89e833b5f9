//! Lists by status, and sequences of products that outlive them.

use crate::stepwise::Stepwise;

const NAME: &str = "m20261122_000007_lists";

pub(crate) const ORDER: Stepwise = Stepwise {
    name: NAME,
    up: &[
        "DROP INDEX IF EXISTS orders_status",
        "CREATE INDEX CONCURRENTLY orders_status ON orders (status, id DESC)",
    ],
    down: &["DROP INDEX IF EXISTS orders_status"],
};

pub(crate) const PAYMENT: Stepwise = Stepwise {
    name: NAME,
    up: &[
        "DROP INDEX IF EXISTS payments_status",
        "CREATE INDEX CONCURRENTLY payments_status ON payments (status, id DESC)",
    ],
    down: &["DROP INDEX IF EXISTS payments_status"],
};

pub(crate) const INVENTORY: Stepwise = Stepwise {
    name: NAME,
    up: &[
        "DROP INDEX IF EXISTS reservations_status",
        "CREATE INDEX CONCURRENTLY reservations_status ON reservations (status, id DESC)",
        include_str!("sql/removed_items.sql"),
    ],
    down: &[
        "DROP TABLE IF EXISTS removed_items",
        "DROP INDEX IF EXISTS reservations_status",
    ],
};
