//! What happened when, in a scenario that changes as it goes on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::micros;

/// Parts that a scenario is divided into, at most.
const PARTS_MAX: i64 = 150;
const SECOND: i64 = micros(Duration::from_secs(1));

/// A scenario in parts of equal length, from its first order to the last end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Course {
    /// How long a part is: whole seconds.
    pub(crate) part_s: f64,
    /// Orders that were answered 201 in each part, by its length.
    pub(crate) accepted_per_s: Vec<f64>,
    /// Orders that were answered 503.
    pub(crate) refused_per_s: Vec<f64>,
    /// Sagas whose end was committed.
    pub(crate) ended_per_s: Vec<f64>,
    /// Accepted orders whose sagas have not ended at the end of each part.
    pub(crate) open: Vec<i64>,
}

impl Course {
    /// Of events at these times, in any order, since `start`.
    pub(crate) fn of(
        start: i64,
        accepted: impl Iterator<Item = i64>,
        refused: impl Iterator<Item = i64>,
        ended: impl Iterator<Item = i64>,
    ) -> Self {
        let [accepted, refused, ended] = [
            accepted.collect::<Vec<_>>(),
            refused.collect(),
            ended.collect(),
        ];
        let all = accepted.iter().chain(&refused).chain(&ended);
        let length = (all.max().unwrap_or(&start) - start).max(1);
        let part = (length / PARTS_MAX / SECOND + 1) * SECOND;
        let parts = usize::try_from(length / part + 1).unwrap_or_default();
        let counted = |times: &[i64]| {
            let mut counts = vec![0_i64; parts];
            for time in times {
                // A clock that is set back is the only way to be early.
                let part = usize::try_from((time - start) / part).unwrap_or_default();
                counts[part] += 1;
            }
            counts
        };
        let [accepted, refused, ended] = [accepted, refused, ended].map(|times| counted(&times));
        let part_s = part as f64 / SECOND as f64;
        let rates = |counts: &[i64]| counts.iter().map(|count| *count as f64 / part_s).collect();
        let open = accepted.iter().zip(&ended).scan(0, |open, (more, less)| {
            *open += more - less;
            Some(*open)
        });
        Self {
            part_s,
            accepted_per_s: rates(&accepted),
            refused_per_s: rates(&refused),
            ended_per_s: rates(&ended),
            open: open.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_rate_and_what_is_open_at_its_end() {
        let at = |tenths: &[i64]| {
            let times: Vec<_> = tenths.iter().map(|n| 7 + n * SECOND / 10).collect();
            times.into_iter()
        };
        let course = Course::of(7, at(&[0, 5, 9, 10]), at(&[15]), at(&[11, 20, 21, 22]));
        let expected = Course {
            part_s: 1.0,
            accepted_per_s: vec![3.0, 1.0, 0.0],
            refused_per_s: vec![0.0, 1.0, 0.0],
            ended_per_s: vec![0.0, 1.0, 3.0],
            open: vec![3, 3, 0],
        };
        assert_eq!(course, expected);
    }

    #[test]
    fn what_takes_long_has_longer_parts_and_nothing_is_nothing() {
        let hour = Course::of(
            0,
            [0].into_iter(),
            [].into_iter(),
            [3600 * SECOND].into_iter(),
        );
        assert_eq!(hour.part_s, 25.0);
        assert_eq!(hour.open.len(), 145);
        let none = Course::of(0, [].into_iter(), [].into_iter(), [].into_iter());
        assert_eq!(none.open, [0]);
    }
}
