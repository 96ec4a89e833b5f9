//! `stats`: how many sagas there are where, and how long they take.

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    context::Context,
    failure::Failure,
    screen::{FAINT, Table, Text, length, relative, when},
    service::read,
};

/// Counts sagas: those that wait, and those that ended of late.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Over so many minutes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=60))]
    minutes: Option<u8>,
}

/// How the sagas are.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    waiting: Vec<Waiting>,
    waiting_complete: bool,
    ended: Ended,
}

/// Sagas of one type that are at one step.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    step: String,
    count: u64,
    oldest: Uuid,
    oldest_at: DateTime<Utc>,
}

/// Sagas that ended of late.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    since: DateTime<Utc>,
    by_type: Vec<EndedOfType>,
    per_minute: Vec<Minute>,
}

/// Sagas of one type that ended in one way.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndedOfType {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    count: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

/// What ended in a minute.
#[derive(Debug, Deserialize)]
struct Minute {
    completed: u64,
    compensated: u64,
}

impl Stats {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let minutes = self.minutes.map(|minutes| ("minutes", minutes.to_string()));
        let request = context.orders.get(&["sagas", "stats"]).query(minutes);
        let answer = request.json().await?;
        if context.screen.is_json() {
            return context.screen.json(&answer);
        }
        show(context, &read(&answer)?)
    }
}

fn show(context: &Context, counts: &Counts) -> Result<(), Failure> {
    let screen = &context.screen;
    if counts.waiting.is_empty() {
        screen.print(&Text::plain("No saga waits."))?;
    } else {
        screen.table(waiting(&counts.waiting))?;
    }
    if !counts.waiting_complete {
        let why = "There are more than are counted.";
        screen.print(&Text::styled(FAINT, why))?;
    }
    screen.print(&Text::default())?;
    let since = Text::plain("Ended since ").and(when(counts.ended.since));
    screen.print(&since.and(Text::plain(":")))?;
    screen.table(ended(&counts.ended.by_type))?;
    let minutes = counts.ended.per_minute.iter();
    let minutes: Vec<_> = minutes.map(|one| one.completed + one.compensated).collect();
    if let Some(most) = minutes.iter().max().filter(|most| **most > 0) {
        let line = format!("per minute  {}  at most {most}", bars(&minutes, *most));
        screen.print(&Text::plain(line))?;
    }
    Ok(())
}

fn waiting(groups: &[Waiting]) -> Table {
    let mut table = Table::new(&["TYPE", "STATUS", "STEP", "COUNT", "OLDEST", "ITS ID"]);
    for group in groups {
        table.row([
            Text::plain(&group.kind),
            Text::status(&group.status),
            Text::plain(&group.step),
            Text::plain(format!("{:>5}", group.count)),
            Text::plain(relative(group.oldest_at)),
            Text::plain(group.oldest.to_string()),
        ]);
    }
    table
}

fn ended(groups: &[EndedOfType]) -> Table {
    let mut table = Table::new(&["TYPE", "STATUS", "COUNT", "P50", "P95", "P99"]);
    for group in groups {
        table.row([
            Text::plain(&group.kind),
            Text::status(&group.status),
            Text::plain(format!("{:>5}", group.count)),
            Text::plain(millis(group.p50_ms)),
            Text::plain(millis(group.p95_ms)),
            Text::plain(millis(group.p99_ms)),
        ]);
    }
    table
}

fn millis(millis: f64) -> String {
    // What is no number of milliseconds that a saga can take is shown as the longest one.
    #[expect(clippy::cast_possible_truncation, reason = "it is bounded before")]
    let whole = millis.clamp(0.0, 1e15) as i64;
    length(TimeDelta::milliseconds(whole))
}

/// A bar for each number, the highest for `most`.
fn bars(numbers: &[u64], most: u64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |number: &u64| {
        let height = number.saturating_mul(7).div_ceil(most.max(1));
        BARS[usize::try_from(height).unwrap_or(7).min(7)]
    };
    numbers.iter().take(120).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::bars;

    #[test]
    fn the_highest_bar_is_that_of_the_most() {
        assert_eq!(bars(&[0, 1, 50, 100], 100), "▁▂▅█");
        assert_eq!(bars(&[u64::MAX], u64::MAX), "▂");
    }
}
