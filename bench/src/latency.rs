//! Percentiles.

use serde::{Deserialize, Serialize};

/// How long something took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Latency {
    /// How often it was measured.
    pub(crate) count: usize,
    /// Half of them took no longer.
    pub(crate) p50: f64,
    /// 95 of 100 took no longer.
    pub(crate) p95: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99: f64,
    /// 999 of 1000 took no longer.
    pub(crate) p999: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Latency {
    /// Of microseconds, in any order. All zero when there are none.
    pub(crate) fn of(mut micros: Vec<i64>) -> Self {
        micros.sort_unstable();
        let at = |share| percentile(&micros, share) as f64 / 1000.0;
        Self {
            count: micros.len(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

/// The smallest value that at least `share` of all are not greater than (nearest rank); 0 of nothing.
fn percentile(sorted: &[i64], share: f64) -> i64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let latency = Latency::of((1..=1000).rev().map(|n| n * 1000).collect());
        assert_eq!(latency.count, 1000);
        assert_eq!(
            [
                latency.p50,
                latency.p95,
                latency.p99,
                latency.p999,
                latency.max
            ],
            [500.0, 950.0, 990.0, 999.0, 1000.0]
        );
    }

    #[test]
    fn few_and_none() {
        assert_eq!(percentile(&[7], 0.5), 7);
        assert_eq!(percentile(&[1, 9], 0.99), 9);
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
