//! Sagas of which an operator said more than their participants did.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000008_overruled",
    up: include_str!("sql/overruled.sql"),
    down: include_str!("sql/overruled_down.sql"),
};
