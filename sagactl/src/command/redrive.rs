//! `redrives`: dead letters that are sent again in the background, and asking for it.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    act::Why,
    job::{Job, until_ended},
    page::{Page, Part, paged, without_nulls},
    saga::{option, when_if_ever},
};
use crate::{
    context::Context,
    failure::Failure,
    screen::{Table, Text, relative, when},
    service::read,
};

/// Lists requests to send dead letters again.
#[derive(Debug, Subcommand)]
pub(crate) enum Redrives {
    /// Lists redrives, newest first
    Ls(Part),
    /// Shows how far a redrive is, and which letters stay
    Show(One),
    /// Cancels a redrive: what is on its way goes out, and no more
    Cancel(One),
}

/// A redrive.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The redrive
    #[arg(value_name = "REDRIVE")]
    id: Uuid,
}

/// Which letters are to be sent again.
#[derive(Debug, Args)]
pub(crate) struct Redrive {
    /// The dead-letter queue
    #[arg(value_name = "QUEUE")]
    queue: String,
    /// Only these messages; without any, and without --group and --saga, all
    #[arg(value_name = "MESSAGE")]
    messages: Vec<String>,
    /// Only letters of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only letters of this saga
    #[arg(long, value_name = "SAGA")]
    saga: Option<Uuid>,
    /// No more letters than this
    #[arg(long, value_name = "N")]
    max: Option<u32>,
    /// No more letters a second than this
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Also letters whose saga has ended
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    why: Why,
    /// How long to wait for its end; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    wait: u32,
}

/// A redrive, and how far it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    redrive_id: Uuid,
    queue: String,
    status: String,
    messages: u64,
    max: u64,
    redriven: u64,
    refused: u64,
    refusals: Vec<Refusal>,
    last_error: Option<String>,
    actor: String,
    reason: String,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

/// A letter that stays.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    message_id: String,
    why: String,
}

/// What would be done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    messages: u64,
    looked_at: u64,
    would_redrive: u64,
    would_refuse: u64,
    refusals: Vec<Refusal>,
}

impl Redrives {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let orders = &context.orders;
        match self {
            Self::Ls(part) => {
                let request = orders.get(&["redrives"]).query(part.parameters());
                list(context, &request.json().await?)
            }
            Self::Show(One { id }) => {
                let request = orders.get(&["redrives", &id.to_string()]);
                show(context, &request.json().await?)
            }
            Self::Cancel(One { id }) => {
                let path = ["redrives", &id.to_string(), "cancel"];
                let request = orders.post(&path, &json!({})).by_actor()?;
                show(context, &request.json().await?)
            }
        }
    }
}

impl Redrive {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let ids = Some(&self.messages).filter(|ids| !ids.is_empty());
        let body = without_nulls(json!({
            "reason": self.why.reason,
            "messageIds": ids,
            "group": self.group,
            "sagaId": self.saga,
            "max": self.max,
            "ratePerSecond": self.rate,
            "force": self.force,
        }));
        let path = ["dead-letters", &self.queue, "redrive"];
        let request = || context.orders.post(&path, &body).by_actor();
        let would = request()?.dry_run(true).json();
        let shown = |aside, would: &Preview| preview(context, aside, &self.queue, would);
        let question = |would: &Preview| format!("send {} again?", letters(would.would_redrive));
        if !self.why.agreed(context, would, shown, question).await? {
            return Ok(());
        }
        let accepted = request()?.once(Uuid::new_v4())?.json().await?;
        let view: View = read(&accepted)?;
        let id = view.redrive_id.to_string();
        let path = ["redrives", id.as_str()];
        show(
            context,
            &until_ended::<View>(context, &path, accepted, self.wait).await?,
        )
    }
}

fn letters(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} letter{plural}")
}

fn preview(context: &Context, aside: bool, queue: &str, would: &Preview) -> Result<(), Failure> {
    let say = |line: String| context.screen.line(aside, &Text::plain(line));
    let (all, seen) = (letters(would.messages), would.looked_at);
    say(format!(
        "{queue} has {all}, of which the oldest {seen} were looked at."
    ))?;
    let (go, stay) = (letters(would.would_redrive), would.would_refuse);
    say(format!("{go} would be sent again, {stay} would stay."))?;
    for refusal in &would.refusals {
        say(format!("  {} stays: {}", refusal.message_id, refusal.why))?;
    }
    Ok(())
}

fn list(context: &Context, answer: &Value) -> Result<(), Failure> {
    if context.screen.is_json() {
        return context.screen.json(answer);
    }
    let page: Page = read(answer)?;
    let heads = [
        "REDRIVE", "QUEUE", "STATUS", "SENT", "STAY", "BY", "CREATED", "REASON",
    ];
    let mut table = Table::new(&heads);
    for item in &page.items {
        let redrive: View = read(item)?;
        table.row([
            Text::plain(redrive.redrive_id.to_string()),
            Text::plain(&redrive.queue),
            Text::status(&redrive.status),
            Text::plain(redrive.redriven.to_string()),
            Text::plain(redrive.refused.to_string()),
            Text::plain(&redrive.actor),
            Text::plain(relative(redrive.created_at)),
            Text::plain(&redrive.reason),
        ]);
    }
    paged(context, table, page.next_cursor)
}

fn show(context: &Context, answer: &Value) -> Result<(), Failure> {
    if context.screen.is_json() {
        return context.screen.json(answer);
    }
    let redrive: View = read(answer)?;
    let facts = [
        ("redrive", Text::plain(redrive.redrive_id.to_string())),
        ("queue", Text::plain(&redrive.queue)),
        ("status", Text::status(&redrive.status)),
        ("in the queue", Text::plain(redrive.messages.to_string())),
        ("at most", Text::plain(redrive.max.to_string())),
        ("sent again", Text::plain(redrive.redriven.to_string())),
        ("stay", Text::plain(redrive.refused.to_string())),
        ("last error", option(redrive.last_error.as_deref())),
        ("by", Text::plain(&redrive.actor)),
        ("reason", Text::plain(&redrive.reason)),
        ("created", when(redrive.created_at)),
        ("finished", when_if_ever(redrive.finished_at)),
    ];
    context.screen.facts(facts)?;
    for refusal in &redrive.refusals {
        let line = format!("  {} stays: {}", refusal.message_id, refusal.why);
        context.screen.print(&Text::plain(line))?;
    }
    Ok(())
}

impl Job for View {
    fn has_ended(&self) -> bool {
        !matches!(self.status.as_str(), "PENDING" | "RUNNING")
    }

    fn progress(&self) -> Text {
        let (sent, stay, max) = (self.redriven, self.refused, self.max);
        let progress = format!("{sent} sent again, {stay} stay, of at most {max}");
        match &self.last_error {
            Some(error) => Text::plain(format!("{progress}; {error}")),
            None => Text::plain(progress),
        }
    }
}
