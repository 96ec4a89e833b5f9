//! `dlq`: messages that nobody could handle.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    mend::{Edit, Letter, Remove},
    page::{Page, paged},
    redrive::Redrive,
    saga::{option, when_if_ever},
};
use crate::{
    context::Context,
    failure::Failure,
    screen::{BOLD, FAINT, Table, Text, relative},
    service::read,
};

/// Shows dead letters, and deals with them.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Lists the dead-letter queues with their groups, or the letters of one
    Ls(List),
    /// Shows one letter in full
    Show(Letter),
    /// Sends letters to the queue that they come from again: those that are named, a group, those of a saga, or all
    Redrive(Box<Redrive>),
    /// Sends another message instead of a letter; the original is kept
    Edit(Edit),
    /// Takes a letter out of its queue for good; it is kept in the database
    Rm(Remove),
}

/// Which letters to list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only the letters of this queue; without it, all queues with the groups of their letters
    #[arg(value_name = "QUEUE")]
    queue: Option<String>,
    /// Only letters of this saga
    #[arg(long, value_name = "SAGA", requires = "queue")]
    saga: Option<Uuid>,
    /// Only letters of this group
    #[arg(long, value_name = "GROUP", requires = "queue")]
    group: Option<String>,
    /// Only messages of this type
    #[arg(long = "type", value_name = "TYPE", requires = "queue")]
    kind: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=200))]
    limit: u8,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR", requires = "queue")]
    cursor: Option<String>,
}

/// A dead-letter queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueView {
    queue: String,
    service: String,
    messages: u64,
    oldest_at: Option<DateTime<Utc>>,
    groups: Vec<Group>,
    more_groups: u64,
    complete: bool,
}

/// Letters with the same error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    group: String,
    count: u64,
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Reason,
    newest_at: Option<DateTime<Utc>>,
}

/// Why a letter is dead.
#[derive(Debug, Deserialize)]
struct Reason {
    kind: String,
    error: String,
    attempts: Option<i64>,
}

/// A letter.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LetterView {
    message_id: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Reason,
    failed_at: Option<DateTime<Utc>>,
    saga_id: Option<Uuid>,
    step: Option<String>,
    correlation_id: Option<String>,
    group: String,
    redriven: u64,
    body: Option<Value>,
    body_base64: Option<String>,
    body_bytes: u64,
    headers: Value,
}

impl DeadLetters {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Ls(list) => list.run(context).await,
            Self::Show(letter) => {
                let path = ["dead-letters", &letter.queue, &letter.message];
                let answer = context.orders.get(&path).json().await?;
                if context.screen.is_json() {
                    return context.screen.json(&answer);
                }
                show(context, &read(&answer)?)
            }
            Self::Redrive(redrive) => redrive.run(context).await,
            Self::Edit(edit) => edit.run(context).await,
            Self::Rm(remove) => remove.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Some(queue) = &self.queue else {
            let answer = context.orders.get(&["dead-letters"]).json().await?;
            if context.screen.is_json() {
                return context.screen.json(&answer);
            }
            return queues(context, &read(&answer)?);
        };
        let parameters = [
            ("sagaId", self.saga.map(|saga| saga.to_string())),
            ("group", self.group),
            ("type", self.kind),
            ("cursor", self.cursor),
            ("limit", Some(self.limit.to_string())),
        ];
        let parameters = parameters.into_iter();
        let parameters = parameters.filter_map(|(name, value)| Some((name, value?)));
        let request = context
            .orders
            .get(&["dead-letters", queue])
            .query(parameters);
        let answer = request.json().await?;
        if context.screen.is_json() {
            return context.screen.json(&answer);
        }
        letters(context, &read(&answer)?)
    }
}

fn queues(context: &Context, page: &Page) -> Result<(), Failure> {
    let mut table = Table::new(&["QUEUE", "LETTERS", "SERVICE", "OLDEST"]);
    let views: Vec<QueueView> = page.items.iter().map(read).collect::<Result<_, _>>()?;
    for view in &views {
        let more = if view.complete {
            ""
        } else {
            " (the oldest are grouped)"
        };
        table.row([
            Text::plain(&view.queue),
            Text::plain(format!("{}{more}", view.messages)),
            Text::plain(&view.service),
            option(view.oldest_at.map(relative).as_deref()),
        ]);
    }
    context.screen.table(table)?;
    for view in views.iter().filter(|view| !view.groups.is_empty()) {
        context.screen.print(&Text::default())?;
        context.screen.print(&Text::styled(BOLD, &view.queue))?;
        let heads = ["GROUP", "COUNT", "TYPE", "KIND", "NEWEST", "ERROR"];
        let mut table = Table::new(&heads);
        for group in &view.groups {
            table.row([
                Text::plain(&group.group),
                Text::plain(group.count.to_string()),
                option(group.kind.as_deref()),
                Text::plain(&group.reason.kind),
                option(group.newest_at.map(relative).as_deref()),
                Text::plain(&group.reason.error),
            ]);
        }
        context.screen.table(table)?;
        if view.more_groups > 0 {
            let more = format!("and {} more groups", view.more_groups);
            context.screen.print(&Text::styled(FAINT, more))?;
        }
    }
    Ok(())
}

fn letters(context: &Context, page: &Page) -> Result<(), Failure> {
    let mut table = Table::new(&["MESSAGE", "TYPE", "DIED", "SAGA", "GROUP", "ERROR"]);
    for item in &page.items {
        let letter: LetterView = read(item)?;
        let saga = letter.saga_id.map(|saga| saga.to_string());
        table.row([
            Text::plain(&letter.message_id),
            option(letter.kind.as_deref()),
            option(letter.failed_at.map(relative).as_deref()),
            option(saga.as_deref()),
            Text::plain(&letter.group),
            Text::plain(format!("{}: {}", letter.reason.kind, letter.reason.error)),
        ]);
    }
    paged(context, table, page.next_cursor.clone())
}

fn show(context: &Context, letter: &LetterView) -> Result<(), Failure> {
    let screen = &context.screen;
    let saga = letter.saga_id.map(|saga| saga.to_string());
    let attempts = letter.reason.attempts.map(|count| count.to_string());
    let facts = [
        ("message", Text::plain(&letter.message_id)),
        ("type", option(letter.kind.as_deref())),
        ("why", Text::plain(&letter.reason.kind)),
        ("error", Text::plain(&letter.reason.error)),
        ("attempts", option(attempts.as_deref())),
        ("died", when_if_ever(letter.failed_at)),
        ("saga", option(saga.as_deref())),
        ("step", option(letter.step.as_deref())),
        ("correlation", option(letter.correlation_id.as_deref())),
        ("group", Text::plain(&letter.group)),
        (
            "sent again",
            Text::plain(format!("{} times", letter.redriven)),
        ),
        ("bytes", Text::plain(letter.body_bytes.to_string())),
    ];
    screen.facts(facts)?;
    screen.print(&Text::styled(BOLD, "headers"))?;
    screen.json(&letter.headers)?;
    screen.print(&Text::styled(BOLD, "body"))?;
    match (&letter.body, &letter.body_base64) {
        (Some(json), _) => screen.json(json),
        (None, Some(base64)) => screen.json(&Value::String(base64.clone())),
        (None, None) => screen.print(&Text::plain("too large to be shown")),
    }
}
