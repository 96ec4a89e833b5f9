//! How many dead letters of each queue everybody has been told of.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000014_letter_notices",
    up: include_str!("sql/letter_notices.sql"),
    down: "DROP TABLE letter_notices;",
};
