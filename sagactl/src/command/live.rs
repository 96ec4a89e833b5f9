//! `watch` and `events tail`: what is decided about sagas, as it is decided.

use std::collections::{HashSet, VecDeque};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::saga::{Details, Entry, Summary, details, event, option};
use crate::{
    context::Context,
    failure::Failure,
    live::{Event, Live},
    screen::{BOLD, FAINT, Text, of_day},
    service::read,
};

/// Entries that are remembered, for they may come twice.
const REMEMBERED: usize = 10_000;

/// Follows a saga until it ends: its log so far, then each decision as it is made.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The saga
    #[arg(value_name = "SAGA")]
    id: Uuid,
}

/// What happens to all sagas.
#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// Shows each new entry of all logs, or of one, as it is written
    Tail(Tail),
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Only of sagas of this type
    #[arg(long = "type", value_name = "NAME")]
    kind: Option<String>,
    /// Only of this saga
    #[arg(long, value_name = "SAGA", conflicts_with_all = ["kind", "subject", "event"])]
    saga: Option<Uuid>,
    /// Only of sagas about this: a kind, a slash and an id
    #[arg(long, value_name = "KIND/ID")]
    subject: Option<String>,
    /// Only such entries, such as SAGA_PARKED
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// End after so many
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// An entry of any saga.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Any {
    saga_id: Option<Uuid>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(flatten)]
    entry: Entry,
}

impl Watch {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.id.to_string();
        let (saga, log) = look(context, &id).await?;
        if saga.has_ended() {
            for entry in &log {
                show(context, entry)?;
            }
            return end(context, &saga);
        }
        let path = ["sagas", id.as_str(), "events"];
        let mut live = Live::new(&context.orders, &context.screen, &path, vec![], None);
        let mut shown = 0;
        let mut status = saga.status;
        loop {
            let Event { name, data, .. } = live.next().await?;
            let data = value(&data)?;
            let saga: Summary = match name.as_str() {
                "entry" => {
                    let entry: Entry = read(&data)?;
                    // Sent again behind an interruption.
                    if entry.seq <= shown {
                        continue;
                    }
                    shown = entry.seq;
                    show(context, &data)?;
                    if !matches!(entry.event.as_str(), "SAGA_COMPLETED" | "SAGA_COMPENSATED") {
                        continue;
                    }
                    // A completed saga may have been undone since then.
                    look(context, &id).await?.0
                }
                "saga" => read(&data)?,
                _ => continue,
            };
            if saga.has_ended() && saga.version <= shown {
                return end(context, &saga);
            }
            if saga.status != status && !context.screen.is_json() {
                let line = Text::styled(BOLD, "      the saga is ");
                context
                    .screen
                    .print(&line.and(Text::status(&saga.status)))?;
            }
            status.clone_from(&saga.status);
        }
    }
}

/// The saga, and its log as it came.
async fn look(context: &Context, id: &str) -> Result<(Summary, Vec<Value>), Failure> {
    let mut answer = context.orders.get(&["sagas", id]).json().await?;
    let details: Details = read(&answer)?;
    let log = match answer["log"].take() {
        Value::Array(log) => log,
        _ => Vec::new(),
    };
    Ok((details.saga, log))
}

fn show(context: &Context, data: &Value) -> Result<(), Failure> {
    if context.screen.is_json() {
        return context.screen.json_line(&json!({ "entry": data }));
    }
    let entry: Entry = read(data)?;
    let line = Text::plain(format!("{:>4}  ", entry.seq));
    context.screen.print(&line.and(told(&entry)))
}

fn told(entry: &Entry) -> Text {
    let step = option(entry.step.as_deref()).padded(12);
    let line = of_day(entry.at)
        .padded(15)
        .and(event(&entry.event).padded(24));
    line.and(step).and(Text::plain(details(&entry.details)))
}

fn end(context: &Context, saga: &Summary) -> Result<(), Failure> {
    let ended = json!({ "sagaId": saga.saga_id, "status": saga.status, "version": saga.version });
    if context.screen.is_json() {
        return context.screen.json_line(&json!({ "ended": ended }));
    }
    let line = Text::styled(BOLD, "      it has ended: ");
    context.screen.print(&line.and(Text::status(&saga.status)))
}

fn value(data: &str) -> Result<Value, Failure> {
    serde_json::from_str(data)
        .map_err(|error| Failure::Away(format!("an event is not what the API says: {error}")))
}

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self::Tail(tail) = self;
        let Some(saga) = tail.saga else {
            let query = [
                ("type", &tail.kind),
                ("subject", &tail.subject),
                ("event", &tail.event),
            ];
            let query = query.into_iter();
            let query = query.filter_map(|(name, value)| Some((name, value.clone()?)));
            let path = ["sagas", "events"];
            let live = Live::new(
                &context.orders,
                &context.screen,
                &path,
                query.collect(),
                None,
            );
            return follow(context, live, None, tail.count).await;
        };
        let id = saga.to_string();
        // What is in its log already is no news.
        let (summary, _) = look(context, &id).await?;
        let (path, last) = (
            ["sagas", id.as_str(), "events"],
            summary.version.to_string(),
        );
        let live = Live::new(&context.orders, &context.screen, &path, vec![], Some(last));
        follow(context, live, Some(saga), tail.count).await
    }
}

async fn follow(
    context: &Context,
    mut live: Live<'_>,
    saga: Option<Uuid>,
    count: Option<u64>,
) -> Result<(), Failure> {
    let mut before = Remembered::default();
    let mut shown = 0;
    while count.is_none_or(|count| shown < count) {
        let Event { name, data, .. } = live.next().await?;
        let mut data = value(&data)?;
        match name.as_str() {
            "entry" => {}
            "skipped" => {
                let entries = data["entries"].as_u64();
                let entries =
                    entries.map_or("entries".to_owned(), |count| format!("{count} entries"));
                let line = format!("{entries} are not shown: more came than is sent");
                context.screen.tell(&Text::styled(FAINT, line));
                continue;
            }
            _ => continue,
        }
        let any: Any = read(&data)?;
        let saga = any.saga_id.or(saga);
        if !before.is_new((saga, any.entry.seq)) {
            continue;
        }
        shown += 1;
        if context.screen.is_json() {
            if let Some(saga) = saga {
                data["sagaId"] = json!(saga);
            }
            context.screen.json_line(&data)?;
            continue;
        }
        let saga = saga.map(|saga| saga.to_string()).unwrap_or_default();
        let kind = any.kind.unwrap_or_default();
        let line =
            Text::plain(saga).and(Text::plain(format!("  {kind:<14}  {:>3}  ", any.entry.seq)));
        context.screen.print(&line.and(told(&any.entry)))?;
    }
    Ok(())
}

/// The entries of late.
#[derive(Debug, Default)]
struct Remembered {
    order: VecDeque<(Option<Uuid>, i64)>,
    entries: HashSet<(Option<Uuid>, i64)>,
}

impl Remembered {
    fn is_new(&mut self, entry: (Option<Uuid>, i64)) -> bool {
        if !self.entries.insert(entry) {
            return false;
        }
        self.order.push_back(entry);
        if self.order.len() > REMEMBERED {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.entries.remove(&oldest));
        }
        true
    }
}
