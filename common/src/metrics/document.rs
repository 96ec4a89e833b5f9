//! `docs/METRICS.md`: the lists, as operators read them.

use super::{
    Kind, Metric,
    recorder::{MESSAGES, SECONDS},
};

const INTRODUCTION: &str = "# Metrics

Made from the lists in the code by `cargo run -p order-service --example metrics-docs`; a test compares them with this page
and with what running services serve. What to do when one of them looks wrong is in [RUNBOOK.md](RUNBOOK.md); rules
and dashboards are in `deploy/prometheus` and `deploy/grafana`.

Every program serves its metrics at `GET /metrics` in Prometheus' text format.

- **Counted once.** What a transaction does is counted when it is committed, and not when it is tried. Where the answer to a
  commit is lost, it is not counted: counters may miss a batch after a crash, and never have one twice.
- **There from the start.** Counters and histograms whose labels are known begin at 0 with the process. A series of
  `http_*` begins with the first request for its route.
- **Bounded.** No label's value can be chosen by a client, a participant or an operator. What is not listed counts as `OTHER`.
- **Sampled** gauges say what the whole system is like, seen by one process: every replica says the same, so take `max`, not `sum`.
  A worker looks every 5 s, whatever the number of scrapes. Where it cannot look, they keep their last value, and the gauge
  `…_sampled_timestamp_seconds` beside them stands still.
- **Histograms** can be added up over replicas: `histogram_quantile(0.99, sum by (le) (rate(…_bucket[5m])))`.
";

/// A list with its title.
#[derive(Debug)]
pub struct Section {
    /// What it is about, and which program has it.
    pub title: &'static str,
    /// The metrics.
    pub list: &'static [&'static Metric],
}

/// The page.
#[must_use]
pub fn document(sections: &[Section]) -> String {
    let bounds = |bounds: &[f64]| {
        let bounds: Vec<_> = bounds.iter().map(ToString::to_string).collect();
        bounds.join(", ")
    };
    let mut page = format!(
        "{INTRODUCTION}  Buckets of durations end at {} seconds, those of batches at {} messages.\n",
        bounds(&SECONDS),
        bounds(&MESSAGES)
    );
    for section in sections {
        page += &format!(
            "\n## {}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n",
            section.title
        );
        for metric in section.list {
            page += &row(metric);
        }
    }
    page
}

fn row(metric: &Metric) -> String {
    let labels = metric.labels_in_words().into_iter();
    let labels: Vec<_> = labels
        .map(|(name, values)| format!("`{name}`: {values}"))
        .collect();
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Sampled => "gauge, sampled",
        Kind::Histogram => "histogram",
    };
    format!(
        "| `{}` | {kind} | {} | {} |\n",
        metric.name,
        labels.join("; "),
        metric.help
    )
}
