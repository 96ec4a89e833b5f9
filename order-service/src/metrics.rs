//! What the service counts of orders. The engine counts sagas.

use common::metrics::{Kind::Counter, Label, Metric, OTHER};

/// Orders that were placed.
pub(crate) static CREATED: Metric = Metric::new(
    Counter,
    "orders_created_total",
    "Orders that were placed. A request that is repeated under its key places none.",
    &[],
);
/// Orders that are paid and held.
pub(crate) static CONFIRMED: Metric = Metric::new(
    Counter,
    "orders_confirmed_total",
    "Orders that became COMPLETED: paid, and their stock held.",
    &[],
);
/// Orders that were cancelled.
pub(crate) static CANCELLED: Metric = Metric::new(
    Counter,
    "orders_cancelled_total",
    "Orders that became CANCELLED, by the reason.",
    &[Label::one_of(
        "reason",
        &[
            "PAYMENT_DECLINED",
            "OUT_OF_STOCK",
            "UNKNOWN_PRODUCT",
            "TIMEOUT",
            "CUSTOMER_REQUEST",
            "OPERATOR",
            OTHER,
        ],
    )],
);
/// Orders that are on their way.
pub(crate) static SHIPPED: Metric = Metric::new(
    Counter,
    "orders_shipped_total",
    "Orders that became SHIPPED.",
    &[],
);
/// Returns that are through.
pub(crate) static RETURNED: Metric = Metric::new(
    Counter,
    "order_returns_completed_total",
    "Returns that became COMPLETED: the goods are back, and so is the money.",
    &[],
);

/// The service's own metrics.
pub const LIST: &[&Metric] = &[&CREATED, &CONFIRMED, &CANCELLED, &SHIPPED, &RETURNED];
