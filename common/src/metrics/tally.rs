//! What a transaction counts when it is committed.

use ::metrics::Key;

use super::Metric;

/// What is to be counted if and when something is committed: what is tried again is dropped with its transaction, and so
/// is counted once. Where the answer to a commit is lost, nothing is counted.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Vec<(&'static Metric, Key, u64)>,
    values: Vec<(&'static Metric, Key, f64)>,
}

impl Tally {
    /// Adds `n` to a counter. `values` are those of its labels, in their order.
    pub fn add(&mut self, metric: &'static Metric, values: &[&str], n: u64) {
        if n == 0 {
            return;
        }
        let key = metric.key(values);
        // A batch has few different ones.
        match self.counts.iter_mut().find(|(_, same, _)| *same == key) {
            Some((.., count)) => *count += n,
            None => self.counts.push((metric, key, n)),
        }
    }

    /// Adds a value to a histogram.
    pub fn record(&mut self, metric: &'static Metric, values: &[&str], value: f64) {
        self.values.push((metric, metric.key(values), value));
    }

    /// Adds what another one has.
    pub fn extend(&mut self, more: Self) {
        self.counts.extend(more.counts);
        self.values.extend(more.values);
    }

    /// Counts all of it.
    pub fn count(self) {
        for (metric, key, n) in self.counts {
            metric.add_to(&key, n);
        }
        for (metric, key, value) in self.values {
            metric.record_in(&key, value);
        }
    }
}
