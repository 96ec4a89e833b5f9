//! Times, as people read them.

use std::fmt;

use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use common::contract::clock;
use serde::Deserialize;

/// A time, shown as how long ago it is or how soon, with the time itself behind that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub(super) struct When(pub(super) DateTime<Utc>);

impl When {
    /// The time of day, for a place where the day is known.
    pub(super) fn time(self) -> String {
        self.0.format("%H:%M:%S%.3f").to_string()
    }

    /// The day and the time.
    pub(super) fn full(self) -> String {
        self.0.format("%Y-%m-%d %H:%M:%S UTC").to_string()
    }
}

/// It holds nothing that came from anybody.
impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.0.to_rfc3339_opts(SecondsFormat::Millis, true);
        let away = clock::now() - self.0;
        let words = match away {
            away if away.num_seconds().abs() < 1 => "now".to_owned(),
            away if away < TimeDelta::zero() => format!("in {}", lasting(-away)),
            away => format!("{} ago", lasting(away)),
        };
        let full = self.full();
        write!(
            f,
            r#"<time datetime="{machine}" title="{full}">{words}</time>"#
        )
    }
}

/// A time span in one unit, or in two where one says too little.
pub(super) fn lasting(span: TimeDelta) -> String {
    // Clocks of replicas may differ a little.
    let ms = span.num_milliseconds().max(0);
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..10 => format!("{:.1} s", ms as f64 / 1000.0),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        for (ms, words) in [
            (-5_000, "0 ms"),
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (119_000, "119 s"),
            (240_000, "4 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(lasting(TimeDelta::milliseconds(ms)), words);
        }
    }
}
