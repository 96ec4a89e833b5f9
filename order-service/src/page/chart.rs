//! Small charts, drawn as bars.

/// A bar of two parts, one on the other, in a chart that is 100 high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bar {
    /// From the left, where one bar is one wide.
    pub(super) x: usize,
    /// The upper edge and the height of the upper part, ...
    pub(super) upper: (f64, f64),
    /// ... and of the lower one.
    pub(super) lower: (f64, f64),
}

/// Bars for pairs of numbers, the highest of which fills the chart.
pub(super) fn bars(values: &[(i64, i64)]) -> Vec<Bar> {
    let highest = values
        .iter()
        .map(|(lower, upper)| lower + upper)
        .max()
        .unwrap_or(0);
    let scale = 100.0 / highest.max(1) as f64;
    let bar = |(x, (lower, upper)): (usize, &(i64, i64))| {
        let (lower, upper) = (*lower as f64 * scale, *upper as f64 * scale);
        Bar {
            x,
            upper: (100.0 - lower - upper, upper),
            lower: (100.0 - lower, lower),
        }
    };
    values.iter().enumerate().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_fills_the_chart() {
        let bars = bars(&[(1, 1), (3, 1), (0, 0)]);
        assert_eq!(bars[0].upper, (50.0, 25.0));
        assert_eq!(bars[1].lower, (25.0, 75.0));
        assert_eq!(bars[2].lower, (100.0, 0.0));
    }
}
