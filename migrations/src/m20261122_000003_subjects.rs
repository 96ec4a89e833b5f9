//! Sagas are about subjects, and orders can be returned.

use crate::plain::Plain;

pub(crate) const ORDER: Plain = Plain {
    name: "m20261122_000003_subjects",
    up: include_str!("sql/order_subjects.sql"),
    down: include_str!("sql/order_subjects_down.sql"),
};
