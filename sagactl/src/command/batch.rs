//! `batch`: a verb for all sagas that a filter finds, carried out by the service in the background.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, builder::PossibleValuesParser};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    act::Why,
    filter::Filter,
    job::{Job, until_ended},
    page::{Page, Part, paged, without_nulls},
    saga::{Summary, table, when_if_ever},
};
use crate::{
    context::Context,
    failure::Failure,
    screen::{Table, Text, relative, when},
    service::read,
};

/// Does the same about all sagas that a filter finds.
#[derive(Debug, Subcommand)]
pub(crate) enum Batch {
    /// Does a verb about all sagas that a filter finds, after showing how many and which
    Run(Box<Run>),
    /// Lists batches, newest first
    Ls(Part),
    /// Shows how far a batch is
    Show(One),
    /// Stops a batch; what was done stays done
    Cancel(One),
}

/// A new batch.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What is done about each saga
    #[arg(value_parser = PossibleValuesParser::new(
        ["retry", "skip", "force-complete", "force-compensated", "abort", "reschedule"]))]
    verb: String,
    #[command(flatten)]
    why: Why,
    /// For reschedule: look at each again in so many seconds from then
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=2_592_000),
          required_if_eq("verb", "reschedule"))]
    delay: Option<u32>,
    /// How many are done in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    per_second: Option<u32>,
    /// How long to wait for its end; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    wait: u32,
    #[command(flatten)]
    filter: Filter,
}

/// A batch.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The batch
    #[arg(value_name = "BATCH")]
    id: Uuid,
}

/// A batch, and how far it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    batch_id: Uuid,
    status: String,
    verb: String,
    filter: BTreeMap<String, String>,
    reason: String,
    actor: String,
    per_second: u64,
    matched: u64,
    matched_all: bool,
    done: u64,
    refused: u64,
    last_refusal: Option<String>,
    cancelled_by: Option<String>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

/// What a batch would be about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    matched: u64,
    matched_all: bool,
    items: Vec<Summary>,
}

impl Batch {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let orders = &context.orders;
        match self {
            Self::Run(run) => run.run(context).await,
            Self::Ls(part) => {
                let request = orders.get(&["sagas", "batch"]).query(part.parameters());
                list(context, &request.json().await?)
            }
            Self::Show(One { id }) => {
                let request = orders.get(&["sagas", "batch", &id.to_string()]);
                show(context, &request.json().await?)
            }
            Self::Cancel(One { id }) => {
                let path = ["sagas", "batch", &id.to_string(), "cancel"];
                let request = orders.post(&path, &json!({})).by_actor()?;
                show(context, &request.json().await?)
            }
        }
    }
}

impl Run {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let filter = self.filter.parameters();
        if filter.is_empty() {
            let why = "say which sagas, by at least one filter: a batch is never about all of them";
            return Err(Failure::Usage(why.to_owned()));
        }
        let body = json!({
            "filter": filter,
            "verb": self.verb,
            "reason": self.why.reason,
            "delaySeconds": self.delay,
            "perSecond": self.per_second,
        });
        let body = without_nulls(body);
        let request = || context.orders.post(&["sagas", "batch"], &body).by_actor();
        let would = request()?.dry_run(true).json();
        let shown = |aside, would: &Preview| preview(context, aside, &self.verb, would);
        let question = |would: &Preview| {
            let about = counted(would.matched, would.matched_all);
            format!("{} {about}?", self.verb)
        };
        if !self.why.agreed(context, would, shown, question).await? {
            return Ok(());
        }
        let placed = request()?.once(Uuid::new_v4())?.json().await?;
        let view: View = read(&placed)?;
        let id = view.batch_id.to_string();
        let path = ["sagas", "batch", id.as_str()];
        show(
            context,
            &until_ended::<View>(context, &path, placed, self.wait).await?,
        )
    }
}

fn counted(count: u64, is_all: bool) -> String {
    let more = if is_all { "" } else { "more than " };
    let plural = if count == 1 { "" } else { "s" };
    format!("{more}{count} saga{plural}")
}

fn preview(context: &Context, aside: bool, verb: &str, would: &Preview) -> Result<(), Failure> {
    let about = counted(would.matched, would.matched_all);
    let title = format!("{verb} would be done about {about}, the newest first:");
    context.screen.line(aside, &Text::plain(title))?;
    let table = table(&would.items);
    if aside {
        context.screen.tell_table(table);
        return Ok(());
    }
    context.screen.table(table)
}

fn list(context: &Context, answer: &Value) -> Result<(), Failure> {
    if context.screen.is_json() {
        return context.screen.json(answer);
    }
    let page: Page = read(answer)?;
    let heads = [
        "BATCH", "STATUS", "VERB", "DONE", "REFUSED", "OF", "BY", "CREATED", "REASON",
    ];
    let mut table = Table::new(&heads);
    for item in &page.items {
        let batch: View = read(item)?;
        table.row([
            Text::plain(batch.batch_id.to_string()),
            Text::status(&batch.status),
            Text::plain(&batch.verb),
            Text::plain(batch.done.to_string()),
            Text::plain(batch.refused.to_string()),
            Text::plain(batch.matched.to_string()),
            Text::plain(&batch.actor),
            Text::plain(relative(batch.created_at)),
            Text::plain(&batch.reason),
        ]);
    }
    paged(context, table, page.next_cursor)
}

fn show(context: &Context, answer: &Value) -> Result<(), Failure> {
    if context.screen.is_json() {
        return context.screen.json(answer);
    }
    let batch: View = read(answer)?;
    let filter = batch
        .filter
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let mut facts = vec![
        ("batch", Text::plain(batch.batch_id.to_string())),
        ("status", Text::status(&batch.status)),
        ("verb", Text::plain(&batch.verb)),
        ("sagas", Text::plain(filter.collect::<Vec<_>>().join(" "))),
        (
            "found",
            Text::plain(counted(batch.matched, batch.matched_all)),
        ),
        ("done", Text::plain(batch.done.to_string())),
        ("refused", Text::plain(batch.refused.to_string())),
        (
            "rate",
            Text::plain(format!("{} a second", batch.per_second)),
        ),
        ("by", Text::plain(&batch.actor)),
        ("reason", Text::plain(&batch.reason)),
        ("created", when(batch.created_at)),
        ("finished", when_if_ever(batch.finished_at)),
    ];
    let more = [
        ("last refusal", &batch.last_refusal),
        ("cancelled by", &batch.cancelled_by),
    ];
    facts.extend(
        more.into_iter()
            .filter_map(|(name, text)| Some((name, Text::plain(text.as_ref()?)))),
    );
    context.screen.facts(facts)
}

impl Job for View {
    fn has_ended(&self) -> bool {
        self.status != "RUNNING"
    }

    fn progress(&self) -> Text {
        let (done, refused, matched) = (self.done, self.refused, self.matched);
        Text::plain(format!("{done} done, {refused} refused, of {matched}"))
    }
}
