//! What the last audit found.

use common::{
    gauges::looked,
    metrics::{
        Kind::{Counter, Gauge},
        Metric,
    },
};

use crate::Report;

static VIOLATIONS: Metric = Metric::new(
    Gauge,
    "audit_violations",
    "Violations of guarantees that the last audit found.",
    &[],
);
static RUNS: Metric = Metric::new(
    Counter,
    "audit_runs_total",
    "Audits that were carried out.",
    &[],
);
static LAST: Metric = Metric::new(
    Gauge,
    "audit_last_run_timestamp_seconds",
    "When the last audit ended, in seconds since 1970; 0 before the first one.",
    &[],
);

/// The audit's own metrics.
pub const LIST: &[&Metric] = &[&VIOLATIONS, &RUNS, &LAST];

/// Tells what an audit found.
pub(crate) fn tell(report: &Report) {
    VIOLATIONS.set(&[], report.violations.len() as f64);
    RUNS.add(&[], 1);
    looked(&LAST);
}
