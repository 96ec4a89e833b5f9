//! What the service counts.

use common::metrics::{Kind::Counter, Label, Metric, OTHER};

/// Reservations that were decided.
pub(crate) static RESERVATIONS: Metric = Metric::new(
    Counter,
    "inventory_reservations_total",
    "Reservations that were asked for and decided, also those that failed.",
    &[],
);
/// Reservations that were not made.
pub(crate) static FAILURES: Metric = Metric::new(
    Counter,
    "inventory_failures_total",
    "Reservations that were refused, by the reason in the reply.",
    &[Label::one_of(
        "reason",
        &["OUT_OF_STOCK", "UNKNOWN_PRODUCT", OTHER],
    )],
);
/// Reservations that were let go of.
pub(crate) static RELEASES: Metric = Metric::new(
    Counter,
    "inventory_releases_total",
    "Reservations that were let go of, because their sagas were undone.",
    &[],
);
/// Orders whose goods left.
pub(crate) static COMMITS: Metric = Metric::new(
    Counter,
    "inventory_commits_total",
    "Reservations that became final because the goods left.",
    &[],
);
/// Goods that came back.
pub(crate) static RESTOCKS: Metric = Metric::new(
    Counter,
    "inventory_restocks_total",
    "Returns whose goods are on the shelf again.",
    &[],
);

/// The service's own metrics.
pub const LIST: &[&Metric] = &[&RESERVATIONS, &FAILURES, &RELEASES, &COMMITS, &RESTOCKS];
