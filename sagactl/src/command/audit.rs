//! `audit`: whether the guarantees hold, across the databases of all services.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::saga::option;
use crate::{
    context::Context,
    failure::Failure,
    screen::{BAD, BOLD, GOOD, Table, Text},
    service::read,
};

/// Checks the guarantees across the databases of all services, now; ends with 4 if one was not kept.
#[derive(Debug, Args)]
pub(crate) struct Audit {}

/// What an audit found.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    clean: bool,
    orders: u64,
    by_status: BTreeMap<String, u64>,
    overruled: u64,
    parked: Vec<Parked>,
    violations: Vec<Value>,
    held_back: Vec<Value>,
    #[serde(default)]
    broker_is_away: Option<String>,
    #[serde(default)]
    dead_letters: Option<BTreeMap<String, Option<u64>>>,
}

/// A saga that waits for an operator.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parked {
    saga_id: String,
    order_id: String,
    step: Option<String>,
}

impl Audit {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let answer = context.audit.get(&["audit"]).json().await?;
        let report: Report = read(&answer)?;
        if context.screen.is_json() {
            context.screen.json(&answer)?;
        } else {
            show(context, &report)?;
        }
        if report.clean {
            return Ok(());
        }
        let count = report.violations.len();
        let plural = if count == 1 {
            "violation"
        } else {
            "violations"
        };
        Err(Failure::Found(format!("the audit found {count} {plural}")))
    }
}

fn show(context: &Context, report: &Report) -> Result<(), Failure> {
    let screen = &context.screen;
    let by_status = report.by_status.iter();
    let by_status: Vec<_> = by_status
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    let line = format!("{} orders: {}", report.orders, by_status.join(", "));
    screen.print(&Text::plain(line))?;
    if report.overruled > 0 {
        let line = format!(
            "{} of them were overruled by an operator, and are not compared",
            report.overruled
        );
        screen.print(&Text::plain(line))?;
    }
    if let Some(why) = &report.broker_is_away {
        screen.print(&Text::plain(format!("RabbitMQ could not be asked: {why}")))?;
    }
    let queues = report.dead_letters.iter().flatten();
    for (queue, count) in queues.filter(|(_, count)| count.is_none_or(|count| count > 0)) {
        let count = count.map_or("no such queue".to_owned(), |count| count.to_string());
        screen.print(&Text::plain(format!("dead letters in {queue}: {count}")))?;
    }
    if !report.parked.is_empty() {
        let mut table = Table::new(&["PARKED SAGA", "ORDER", "STEP"]);
        for parked in &report.parked {
            table.row([
                Text::plain(&parked.saga_id),
                Text::plain(&parked.order_id),
                option(parked.step.as_deref()),
            ]);
        }
        screen.table(table)?;
    }
    for (title, all) in [
        ("held back", &report.held_back),
        ("violated", &report.violations),
    ] {
        for one in all {
            screen.print(&Text::styled(BOLD, format!("{title}: ")).and(violation(one)))?;
        }
    }
    screen.print(&if report.clean {
        Text::styled(GOOD, "Every guarantee was kept.")
    } else {
        Text::styled(BAD, "Not every guarantee was kept.")
    })
}

/// The rule, what is wrong, and what it is about: an order, a saga, a product or a message.
fn violation(one: &Value) -> Text {
    let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let fields = one.as_object().into_iter().flatten();
    let about = fields.filter(|(name, _)| name.ends_with("Id"));
    let about: Vec<_> = about
        .map(|(name, id)| format!("{name} {}", id.as_str().unwrap_or_default()))
        .collect();
    Text::styled(BAD, text("rule")).and(Text::plain(format!(
        " {}: {}",
        about.join(", "),
        text("detail")
    )))
}
