//! Sagas keep the whole trace context that they come from.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000006_tracestate",
    up: include_str!("sql/tracestate.sql"),
    down: include_str!("sql/tracestate_down.sql"),
};
