//! What the pages read in the API's answers.

use serde::Deserialize;
use serde_json::Value;

use super::when::When;

/// A part of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<T> {
    pub(super) items: Vec<T>,
    #[serde(default)]
    pub(super) next_cursor: Option<String>,
}

/// A saga, without its log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Saga {
    pub(super) saga_id: String,
    pub(super) subject: String,
    pub(super) order_id: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) definition_version: i32,
    pub(super) status: String,
    pub(super) current_step: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) version: i32,
    pub(super) overruled: bool,
    pub(super) correlation_id: String,
    pub(super) trace_id: Option<String>,
    pub(super) created_at: When,
    pub(super) updated_at: When,
    pub(super) deadline_at: Option<When>,
}

impl Saga {
    /// Enough of the id to tell it from its neighbours: it begins with the time, and ends at random.
    pub(super) fn short(&self) -> &str {
        short(&self.saga_id)
    }
}

/// The end of an id.
pub(super) fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(12)..).unwrap_or(id)
}

/// A saga with its log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Details {
    #[serde(flatten)]
    pub(super) saga: Saga,
    pub(super) verbs: Vec<String>,
    pub(super) log_dropped: bool,
    pub(super) log: Vec<Entry>,
    pub(super) preview: Option<Preview>,
}

/// Why a saga is where it is.
#[derive(Debug, Deserialize)]
pub(super) struct Explained {
    pub(super) explanation: String,
}

/// A log entry.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) seq: i32,
    pub(super) at: When,
    pub(super) event: String,
    pub(super) step: Option<String>,
    pub(super) details: Value,
}

impl Entry {
    /// What there is to read behind it, if there is anything.
    pub(super) fn details(&self) -> Option<String> {
        let is_empty = self
            .details
            .as_object()
            .is_some_and(serde_json::Map::is_empty);
        (!is_empty).then(|| pretty(&self.details))
    }
}

/// What a verb would send, and make of the order.
#[derive(Debug, Deserialize)]
pub(super) struct Preview {
    pub(super) commands: Vec<Command>,
    pub(super) events: Vec<String>,
    pub(super) order: Option<Order>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Command {
    pub(super) participant: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) data: Value,
}

impl Command {
    pub(super) fn data(&self) -> String {
        pretty(&self.data)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Order {
    pub(super) status: String,
}

/// JSON for people.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
