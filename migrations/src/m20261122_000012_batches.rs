//! What operators do about many sagas at once.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000012_batches",
    up: include_str!("sql/saga_batches.sql"),
    down: "DROP TABLE saga_batches;",
};
