//! What the service counts.

use common::metrics::{
    Kind::{Counter, Gauge, Histogram},
    Label, Metric, OTHER,
};

/// Payments that were decided.
pub(crate) static PROCESSED: Metric = Metric::new(
    Counter,
    "payments_processed_total",
    "Payments that were asked for and decided: those that succeeded and those that failed.",
    &[],
);
/// Payments that were made.
pub(crate) static SUCCEEDED: Metric = Metric::new(
    Counter,
    "payments_success_total",
    "Payments that were captured.",
    &[],
);
/// Payments that were not made.
pub(crate) static FAILED: Metric = Metric::new(
    Counter,
    "payments_failed_total",
    "Payments that were refused, by the reason in the reply.",
    &[Label::one_of("reason", &["PAYMENT_DECLINED", OTHER])],
);
/// Money that was given back.
pub(crate) static REFUNDED: Metric = Metric::new(
    Counter,
    "payments_refunded_total",
    "Payments that were given back, whole by a compensation or in part for a return.",
    &[Label::one_of("part", &["whole", "part"])],
);
/// Calls to the gateway.
pub(crate) static CALLS: Metric = Metric::new(
    Counter,
    "payment_gateway_calls_total",
    "Calls to the gateway, by what came of them.",
    &[CALL, Label::one_of("outcome", &["ok", "away", "refused"])],
);
/// How long calls took.
pub(crate) static CALL_SECONDS: Metric = Metric::new(
    Histogram,
    "payment_gateway_call_seconds",
    "How long calls to the gateway took.",
    &[CALL],
);
/// Whether the gateway is left alone.
pub(crate) static CIRCUIT_OPEN: Metric = Metric::new(
    Gauge,
    "payment_gateway_circuit_open",
    "Whether the gateway is left alone because it does not work: 1 or 0.",
    &[],
);

const CALL: Label = Label::one_of("call", &["charge", "refund", "refund_part"]);

/// The service's own metrics.
pub const LIST: &[&Metric] = &[
    &PROCESSED,
    &SUCCEEDED,
    &FAILED,
    &REFUNDED,
    &CALLS,
    &CALL_SECONDS,
    &CIRCUIT_OPEN,
];
