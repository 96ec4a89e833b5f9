//! What services say of themselves at `/metrics` is what the lists promise, and counts what happened.

#[path = "../../examples/metrics-docs/sections.rs"]
mod sections;

use std::{collections::BTreeMap, fs, path::Path};

use common::metrics::{self, Kind, Metric, document};
use test_support::eventually;

use crate::harness::{Api, System};
use sections::SECTIONS;

/// What is served: the kind and the help of each metric, and the value of each series.
struct Scrape {
    kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(api: &Api) -> Self {
        let text = api.get("/metrics").await.text().await.unwrap();
        let about = |keyword: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(keyword));
            lines
                .filter_map(|line| line.split_once(' '))
                .map(|(name, what)| (name.to_owned(), what.to_owned()))
                .collect()
        };
        let series = text.lines().filter(|line| !line.starts_with('#'));
        let series = series.filter_map(|line| line.rsplit_once(' '));
        Self {
            kinds: about("# TYPE "),
            helps: about("# HELP "),
            values: series
                .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
                .collect(),
        }
    }

    fn value(&self, series: &str) -> f64 {
        let value = self.values.get(series);
        *value.unwrap_or_else(|| panic!("there is no {series}"))
    }
}

/// The services of a test are in one process, and so serve the metrics of all.
fn listed() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.list).copied()
}

#[test]
fn the_committed_page_fits_the_lists() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let committed = fs::read_to_string(page).unwrap_or_default();
    assert!(
        committed == document(SECTIONS),
        "docs/METRICS.md no longer fits the lists: run `cargo run -p order-service --example metrics-docs`"
    );
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let mut names = std::collections::BTreeSet::new();
    for Metric {
        name, kind, help, ..
    } in listed()
    {
        assert!(names.insert(name), "{name} is there twice");
        assert_eq!(
            name.ends_with("_total"),
            *kind == Kind::Counter,
            "{name} is a counter or is not"
        );
        if *kind == Kind::Histogram {
            let has_buckets = name.ends_with("_seconds") || name.ends_with("_messages");
            assert!(has_buckets, "{name} has no buckets");
        }
        assert!(help.ends_with('.') && !help.contains('|'), "{name}: {help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_what_is_listed() {
    let system = System::whole().await;
    metrics::describe(audit::metrics::LIST);
    let api = &system.orders;
    let order = system.place("prod-1", 1).await;
    system.until(&order, "COMPLETED").await;
    let missing = |scrape: &Scrape| -> Vec<_> {
        let names = listed().map(|metric| metric.name);
        names
            .filter(|name| !scrape.kinds.contains_key(*name))
            .collect()
    };
    // What is sampled is there after the first look.
    eventually(
        "all are there",
        || async { missing(&Scrape::of(api).await) },
        Vec::is_empty,
    )
    .await;
    let scrape = Scrape::of(api).await;
    for metric in listed() {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Sampled => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(scrape.kinds[metric.name], kind, "{}", metric.name);
        assert_eq!(scrape.helps[metric.name], metric.help);
    }
    for name in scrape.kinds.keys() {
        let is_listed = listed().any(|metric| metric.name == name);
        assert!(is_listed, "{name} is served and in no list");
    }
    // Also what no order has come to.
    for series in [
        "sagas_ended_total{type=\"return_order\",status=\"COMPENSATED\"}",
        "orders_cancelled_total{reason=\"OUT_OF_STOCK\"}",
        "inventory_failures_total{reason=\"OTHER\"}",
        "sagas_parked{type=\"ship_order\",step=\"inventory\"}",
    ] {
        assert!(scrape.value(series) >= 0.0, "{series}");
    }
    system.stop().await;
}
