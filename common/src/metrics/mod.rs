//! What a program counts, times and measures: each metric is a value of a list, with its help and its labels.
//!
//! ```text
//! a list of Metric ──► recorder: HELP, buckets, zeros ──► GET /metrics
//!        │                                                docs/METRICS.md is made from the lists, too
//!        └──► Tally: what a transaction counts when it is committed, and not when it is tried
//! ```
//!
//! Labels are bounded: their values are listed with the metric, or known when the program starts. What a client, a
//! participant or an operator can choose is never one; a reason that is not listed counts as [`OTHER`].

mod document;
mod every;
mod recorder;
mod tally;

use std::borrow::Cow;

use ::metrics::{Key, Label as KeyLabel, Level, Metadata, SharedString, with_recorder};

pub use self::{
    document::{Section, document},
    every::*,
    recorder::{describe, keep_small, render},
    tally::Tally,
};

/// What a value counts as that its label does not list.
pub const OTHER: &str = "OTHER";

static METADATA: Metadata<'static> = Metadata::new("order_saga", Level::INFO, Some(module_path!()));

/// A metric: one series for each combination of its labels' values.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// What Prometheus calls it, with its unit: `http_request_duration_seconds`.
    pub name: &'static str,
    /// What it can do.
    pub kind: Kind,
    /// What it says, in a sentence for operators.
    pub help: &'static str,
    /// What tells its series apart.
    pub labels: &'static [Label],
}

/// What a metric can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from 0 at the start of the process.
    Counter,
    /// It is what this process is like now.
    Gauge,
    /// It is what the system was like when the process looked: all replicas say the same, so take `max`, not `sum`. There is
    /// no series before the first look.
    Sampled,
    /// How often a value was in which bucket: seconds, or the size of a batch, as its name says.
    Histogram,
}

/// What tells series of a metric apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub values: Values,
}

/// What a label can be.
#[derive(Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these; anything else counts as [`OTHER`].
    OneOf(&'static [&'static str]),
    /// Something of which there are few, and which the program knows.
    Known(&'static str),
}

impl Label {
    /// A label with these values.
    #[must_use]
    pub const fn one_of(name: &'static str, values: &'static [&'static str]) -> Self {
        let values = Values::OneOf(values);
        Self { name, values }
    }

    /// A label whose values are known to the program: `values` says what they are.
    #[must_use]
    pub const fn known(name: &'static str, values: &'static str) -> Self {
        let values = Values::Known(values);
        Self { name, values }
    }

    /// The value that counts for `value`.
    fn bounded(&self, value: &str) -> SharedString {
        match self.values {
            Values::OneOf(values) => {
                let listed = values.iter().find(|listed| **listed == value);
                SharedString::const_str(listed.unwrap_or(&OTHER))
            }
            Values::Known(_) => SharedString::from_owned(value.to_owned()),
        }
    }
}

impl Metric {
    /// A metric of this kind.
    #[must_use]
    pub const fn new(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: &'static [Label],
    ) -> Self {
        Self {
            name,
            kind,
            help,
            labels,
        }
    }

    /// Adds `n` to a counter. `values` are those of its labels, in their order.
    pub fn add(&self, values: &[&str], n: u64) {
        if n > 0 {
            self.add_to(&self.key(values), n);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, values: &[&str], value: f64) {
        let key = self.key(values);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA)).set(value);
    }

    /// Moves a gauge by so much.
    pub fn shift(&self, values: &[&str], by: f64) {
        let key = self.key(values);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA)).increment(by);
    }

    /// Adds a value to a histogram.
    pub fn record(&self, values: &[&str], value: f64) {
        self.record_in(&self.key(values), value);
    }

    /// Has a series be there from now on, with nothing counted; those whose labels' values are listed are there by
    /// themselves.
    pub fn zero(&self, values: &[&str]) {
        let key = self.key(values);
        match self.kind {
            Kind::Counter => self.add_to(&key, 0),
            Kind::Gauge => self.set(values, 0.0),
            Kind::Histogram => {
                let _ = with_recorder(|recorder| recorder.register_histogram(&key, &METADATA));
            }
            // What nobody has looked at is not known to be 0.
            Kind::Sampled => {}
        }
    }

    /// What can be said of its labels: `queue`: the queue.
    #[must_use]
    pub fn labels_in_words(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        let words = |label: &Label| match label.values {
            Values::OneOf(values) => (label.name, Cow::Owned(values.join(", "))),
            Values::Known(words) => (label.name, Cow::Borrowed(words)),
        };
        self.labels.iter().map(words).collect()
    }

    fn add_to(&self, key: &Key, n: u64) {
        with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(n);
    }

    fn record_in(&self, key: &Key, value: f64) {
        with_recorder(|recorder| recorder.register_histogram(key, &METADATA)).record(value);
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        let labels = self.labels.iter().zip(values);
        let labels = labels.map(|(label, value)| KeyLabel::new(label.name, label.bounded(value)));
        Key::from_parts(self.name, labels.collect::<Vec<_>>())
    }

    /// All combinations of its labels' values, where all of them are listed.
    fn listed(&self) -> Vec<Vec<&'static str>> {
        let mut combinations = vec![Vec::new()];
        for label in self.labels {
            let Values::OneOf(values) = label.values else {
                return Vec::new();
            };
            combinations = combinations
                .into_iter()
                .flat_map(|before| {
                    values.iter().map(move |value| {
                        let mut longer = before.clone();
                        longer.push(*value);
                        longer
                    })
                })
                .collect();
        }
        combinations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static WITH_TWO: Metric = Metric::new(
        Kind::Counter,
        "test_total",
        "A test.",
        &[
            Label::one_of("reason", &["A", "B", OTHER]),
            Label::one_of("lane", &["x", "y"]),
        ],
    );

    #[test]
    fn a_value_that_is_not_listed_counts_as_other() {
        let key = WITH_TWO.key(&["chosen by a client", "x"]);
        let labels: Vec<_> = key.labels().map(|one| (one.key(), one.value())).collect();
        assert_eq!(labels, [("reason", OTHER), ("lane", "x")]);
    }

    #[test]
    fn all_that_is_listed_can_be_counted_from_the_start() {
        let listed = WITH_TWO.listed();
        assert_eq!(listed.len(), 6);
        assert!(listed.contains(&vec![OTHER, "y"]));
        let open = [Label::known("queue", "the queue")];
        assert!(
            Metric {
                labels: Box::leak(Box::new(open)),
                ..WITH_TWO
            }
            .listed()
            .is_empty()
        );
    }
}
