//! Views that operators may build on.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000011_views",
    up: include_str!("sql/order_views.sql"),
    // What others have made of these views is not ours to drop.
    down: "DROP VIEW saga_v1.stuck, saga_v1.steps, saga_v1.timeline, saga_v1.sagas; DROP SCHEMA saga_v1",
};
