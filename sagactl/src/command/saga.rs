//! Sagas, as the service tells them. What this release does not know of is left out of tables, and is in the JSON.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::screen::{BAD, FAINT, Table, Text, of_day, relative, when};

/// A saga without its log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) saga_id: Uuid,
    pub(crate) subject: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) definition_version: i64,
    pub(crate) status: String,
    pub(crate) current_step: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) version: i64,
    pub(crate) overruled: bool,
    pub(crate) correlation_id: String,
    #[serde(default)]
    pub(crate) trace_id: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) deadline_at: Option<DateTime<Utc>>,
}

/// A saga with its steps and its log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Details {
    #[serde(flatten)]
    pub(crate) saga: Summary,
    pub(crate) steps: Vec<Step>,
    pub(crate) verbs: Vec<String>,
    pub(crate) log_dropped: bool,
    pub(crate) log: Vec<Entry>,
    #[serde(default)]
    pub(crate) preview: Option<Preview>,
}

/// A step of a saga.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) attempts: Option<i64>,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    pub(crate) last_error: Option<String>,
}

/// An entry of a log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) event: String,
    pub(crate) step: Option<String>,
    #[serde(default)]
    pub(crate) details: Value,
}

/// What an operator's verb would send, and make of the order.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preview {
    pub(crate) commands: Vec<Command>,
    pub(crate) events: Vec<String>,
    pub(crate) order: Option<Order>,
}

/// A command that would be sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Command {
    pub(crate) participant: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// The order as it would be.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) status: String,
}

impl Summary {
    /// Whether nothing is left to happen.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "COMPLETED" | "COMPENSATED")
    }
}

/// A table of sagas.
pub(crate) fn table(sagas: &[Summary]) -> Table {
    let heads = [
        "SAGA",
        "TYPE",
        "STATUS",
        "STEP",
        "CREATED",
        "CHANGED",
        "LAST ERROR",
    ];
    let mut table = Table::new(&heads);
    for saga in sagas {
        table.row([
            Text::plain(saga.saga_id.to_string()),
            Text::plain(&saga.kind),
            Text::status(&saga.status),
            option(saga.current_step.as_deref()),
            Text::plain(saga.created_at.format("%F %TZ").to_string()),
            Text::plain(relative(saga.updated_at)),
            option(saga.last_error.as_deref()),
        ]);
    }
    table
}

/// A table of entries.
pub(crate) fn log(entries: &[Entry]) -> Table {
    let mut table = Table::new(&["SEQ", "AT", "EVENT", "STEP", "DETAILS"]);
    for entry in entries {
        table.row([
            Text::plain(format!("{:>3}", entry.seq)),
            of_day(entry.at),
            event(&entry.event),
            option(entry.step.as_deref()),
            Text::plain(details(&entry.details)),
        ]);
    }
    table
}

/// What happened, in the style of what it means.
pub(crate) fn event(event: &str) -> Text {
    let style = match event {
        "SAGA_PARKED" | "SAGA_QUARANTINED" => BAD,
        "STEP_REJECTED" | "ACTION_TIMED_OUT" | "COMPENSATION_TIMED_OUT" | "SAGA_EXPIRED" => {
            crate::screen::BACK
        }
        "SAGA_COMPLETED" => crate::screen::GOOD,
        _ => Text::NO_STYLE,
    };
    Text::styled(style, event)
}

/// The details of an entry, in a few words: `attempt 2`, `reason OUT_OF_STOCK, detail prod-3`. An idempotency key says
/// nothing to people.
pub(crate) fn details(details: &Value) -> String {
    let Some(fields) = details.as_object() else {
        return String::new();
    };
    let told = fields.iter().filter_map(|(name, value)| match value {
        Value::Null => None,
        _ if name == "idempotencyKey" => None,
        Value::String(text) => Some(format!("{name} {text}")),
        other => Some(format!("{name} {other}")),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The text, or a sign that there is none.
pub(crate) fn option(text: Option<&str>) -> Text {
    text.map_or_else(|| Text::styled(FAINT, "-"), Text::plain)
}

/// When it was or will be, or a sign that there is no such time.
pub(crate) fn when_if_ever(at: Option<DateTime<Utc>>) -> Text {
    at.map_or_else(|| option(None), when)
}
