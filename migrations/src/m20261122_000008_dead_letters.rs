//! Dead letters that are sent again, and those that are kept when they are edited or deleted.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000008_dead_letters",
    up: include_str!("sql/dead_letters.sql"),
    down: "DROP TABLE kept_letters; DROP TABLE redrives",
};
