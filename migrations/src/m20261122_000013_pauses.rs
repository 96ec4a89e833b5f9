//! Participants to whom commands are held back, because an operator says so.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000013_pauses",
    up: include_str!("sql/participant_pauses.sql"),
    down: "DROP TABLE participant_pauses;",
};
