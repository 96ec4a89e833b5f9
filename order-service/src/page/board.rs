//! The board: how everything is, at a glance.

use askama::Template;
use axum::{extract::State, response::Response};
use serde::Deserialize;
use tokio::join;

use super::{
    chart::{Bar, bars},
    fault::{Fault, show as page},
    state::Page,
    view::{Part, short},
    when::{When, lasting},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    waiting: Vec<Waiting>,
    waiting_complete: bool,
    ended: Ended,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    step: String,
    count: i64,
    oldest: String,
    oldest_at: When,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    by_type: Vec<EndedOfType>,
    per_minute: Vec<Minute>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndedOfType {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    count: i64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Minute {
    completed: i64,
    compensated: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    queue: String,
    service: String,
    messages: Option<u32>,
    consumers: Option<u32>,
    dead_letters: Option<u32>,
}

impl Queue {
    /// What to say of it in a word, and whether that is good.
    fn health(&self) -> (&'static str, &'static str) {
        match (self.messages, self.consumers) {
            (None, _) => ("unknown", "wait"),
            (_, Some(0)) => ("nobody consumes it", "bad"),
            _ => ("consumed", "good"),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Participant {
    name: String,
    held: Option<String>,
    pause: Option<Pause>,
    waited_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Pause {
    actor: String,
    reason: String,
    since: When,
}

impl Participant {
    fn words(&self) -> &'static str {
        match self.held.as_deref() {
            None => "Commands go out.",
            Some("ABSENT") => "Commands stay here: nobody consumes its queue.",
            Some("FULL") => "Commands stay here: its queue is full.",
            Some("BEHIND") => "Older commands go out first.",
            Some("PAUSED") => "Commands stay here.",
            Some(_) => "Commands stay here.",
        }
    }
}

#[derive(Template)]
#[template(path = "board.html")]
struct BoardPage {
    nav: &'static str,
    live: Option<String>,
    stats: Stats,
    bars: Vec<Bar>,
    queues: Vec<Queue>,
    participants: Vec<Participant>,
}

impl BoardPage {
    fn open(&self) -> i64 {
        self.count(|one| one.status != "PARKED")
    }

    fn parked(&self) -> i64 {
        self.count(|one| one.status == "PARKED")
    }

    fn count(&self, is_meant: impl Fn(&Waiting) -> bool) -> i64 {
        let meant = self.stats.waiting.iter().filter(|one| is_meant(one));
        meant.map(|one| one.count).sum()
    }

    fn oldest(&self) -> Option<&Waiting> {
        let open = self
            .stats
            .waiting
            .iter()
            .filter(|one| one.status != "PARKED");
        open.min_by_key(|one| one.oldest_at)
    }

    /// None where it could not be asked.
    fn dead(&self) -> Option<u32> {
        self.queues.iter().map(|one| one.dead_letters).sum()
    }

    /// What ended in the last whole minute.
    fn last_minute(&self) -> i64 {
        let minutes = &self.stats.ended.per_minute;
        let last = minutes.iter().rev().nth(1);
        last.map_or(0, |minute| minute.completed + minute.compensated)
    }

    /// Completed and compensated in the time that the chart shows.
    fn ended(&self) -> (i64, i64) {
        let minutes = self.stats.ended.per_minute.iter();
        minutes.fold((0, 0), |(completed, compensated), minute| {
            (
                completed + minute.completed,
                compensated + minute.compensated,
            )
        })
    }
}

fn ms(ms: f64) -> String {
    lasting(chrono::TimeDelta::milliseconds(ms as i64))
}

pub(super) async fn show(State(Page { backend, .. }): State<Page>) -> Result<Response, Fault> {
    let (stats, queues, participants) = join!(
        backend.stats::<Stats>(),
        backend.get::<Part<Queue>>("/queues"),
        backend.get::<Part<Participant>>("/participants"),
    );
    let stats = stats?;
    let minutes = stats.ended.per_minute.iter();
    let values: Vec<_> = minutes
        .map(|one| (one.completed, one.compensated))
        .collect();
    Ok(page(&BoardPage {
        nav: "board",
        live: Some("/sagas/events".to_owned()),
        bars: bars(&values),
        stats,
        queues: queues?.items,
        participants: participants?.items,
    }))
}
