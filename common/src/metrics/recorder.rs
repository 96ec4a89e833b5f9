//! The process's recorder: what `GET /metrics` says.

use std::{convert::Infallible, sync::OnceLock, time::Duration};

use ::metrics::{SharedString, with_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::time::interval;
use tracing::warn;

use super::{Kind, Metric};

/// Upper bounds of the buckets of durations, in seconds: from a look at a table to a saga that waits for its last attempt.
pub(super) const SECONDS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 900.0, 3600.0,
];
/// Upper bounds of the buckets of batches, in messages.
pub(super) const MESSAGES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How often values of histograms are put into their buckets: until then, each of them is kept.
const UPKEEP: Duration = Duration::from_secs(5);

/// Has the metrics of `list` be there, with their help, and with zeros where that is the truth. May be called again.
pub fn describe(list: &[&'static Metric]) {
    if recorder().is_none() {
        return;
    }
    for metric in list {
        let (name, help) = (metric.name.into(), SharedString::const_str(metric.help));
        with_recorder(|recorder| match metric.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge | Kind::Sampled => recorder.describe_gauge(name, None, help),
            Kind::Histogram => recorder.describe_histogram(name, None, help),
        });
        for values in metric.listed() {
            // Another service of the same process may have set it already: that happens in tests only, which ask for gauges
            // of their own.
            metric.zero(&values);
        }
    }
}

/// All metrics, in Prometheus' text format.
#[must_use]
pub fn render() -> String {
    let Some(recorder) = recorder() else {
        return String::new();
    };
    Collector::default().collect();
    recorder.render()
}

/// Keeps histograms small, for ever.
pub async fn keep_small() -> Infallible {
    let mut turns = interval(UPKEEP);
    loop {
        turns.tick().await;
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}

/// The process's recorder; several services in one process, as in tests, share it.
fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let install = || {
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_messages".to_owned()), &MESSAGES)?
            .install_recorder()
    };
    let warned = |error: &_| warn!(%error, "no metrics");
    RECORDER
        .get_or_init(|| install().inspect_err(warned).ok())
        .as_ref()
}
