//! Times, as people say them.

use chrono::{DateTime, TimeDelta, Utc};
use common::contract::clock;

use super::text::{FAINT, Text};

/// When something was or will be, in a few letters: `4 min ago`.
pub(crate) fn relative(at: DateTime<Utc>) -> String {
    from(at, clock::now())
}

/// When something was or will be: `2026-11-22 19:50:32Z, 4 min ago`.
pub(crate) fn when(at: DateTime<Utc>) -> Text {
    Text::plain(format!("{}, {}", at.format("%F %TZ"), relative(at)))
}

/// The time of day, for what follows each other closely: `19:50:32.104`.
pub(crate) fn of_day(at: DateTime<Utc>) -> Text {
    Text::styled(FAINT, at.format("%T%.3fZ").to_string())
}

/// How long something takes: `4 min`.
pub(crate) fn length(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    match seconds {
        ..1 => format!("{} ms", time.num_milliseconds().max(0)),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn from(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let past = now - at;
    if past.num_seconds().abs() < 1 {
        return "now".to_owned();
    }
    if past > TimeDelta::zero() {
        format!("{} ago", length(past))
    } else {
        format!("in {}", length(-past))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_one_unit() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let told = |seconds| from(now - TimeDelta::seconds(seconds), now);
        assert_eq!(told(0), "now");
        assert_eq!(told(90), "90 s ago");
        assert_eq!(told(250), "4 min ago");
        assert_eq!(told(-3 * 3600), "in 3 h");
        assert_eq!(told(10 * 86_400), "10 d ago");
    }
}
