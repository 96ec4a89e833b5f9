//! Sagas, as the API shows them.

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::contract::{OrderId, SagaId, Trace};
use saga::{Registry, Status, Verb, store::Written};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    preview::Preview,
    steps::{StepView, steps},
};
use crate::entity::saga as row;

/// A saga, without its log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SagaSummary {
    saga_id: SagaId,
    /// What it is about: a kind, a slash and an id.
    #[schema(example = "order/01976a3d-0000-7000-8000-000000000001")]
    subject: String,
    /// The order, if it is about one.
    order_id: Option<OrderId>,
    /// The definition's name.
    #[serde(rename = "type")]
    #[schema(example = "create_order")]
    kind: String,
    /// The definition's version.
    definition_version: i32,
    #[schema(value_type = Status)]
    status: String,
    /// The step that is executed or undone.
    #[schema(example = "payment")]
    current_step: Option<String>,
    /// Why it is undone.
    reason: Option<String>,
    /// What went wrong last, if anything did: the step and what there is to say of it.
    #[schema(example = "inventory: OUT_OF_STOCK: prod-1")]
    last_error: Option<String>,
    /// Number of log entries; the ETag.
    version: i32,
    /// Whether an operator has skipped a step or forced the end: then it need not say what its participants did.
    overruled: bool,
    correlation_id: String,
    /// The trace that it is in. Its spans are collected where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
    #[schema(example = "0af7651916cd43dd8448eb211c80319c")]
    trace_id: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// When it is looked at again if no reply comes.
    deadline_at: Option<DateTime<Utc>>,
}

/// A saga with its steps and its log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SagaDetails {
    #[serde(flatten)]
    saga: SagaSummary,
    steps: Vec<StepView>,
    /// What an operator can do about it now.
    #[schema(value_type = Vec<String>, example = json!(["skip", "force-complete", "abort", "reschedule"]))]
    verbs: Vec<String>,
    /// Whether the log's beginning was dropped, for it is older than RETENTION_DAYS. The steps then tell less, too.
    #[serde(rename = "logDropped")]
    log_dropped: bool,
    log: Vec<LogEntry>,
    /// What would be sent, where this is only what would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<Preview>,
}

/// A decision that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogEntry {
    /// From 1, without a gap.
    seq: i32,
    at: DateTime<Utc>,
    #[schema(example = "STEP_SUCCEEDED")]
    event: String,
    #[schema(example = "payment")]
    step: Option<String>,
    /// What else there is to say, by event.
    #[schema(value_type = Object)]
    details: Value,
}

impl From<Written> for LogEntry {
    fn from(entry: Written) -> Self {
        Self {
            seq: entry.seq,
            at: entry.at,
            event: entry.event,
            step: entry.step,
            details: entry.details,
        }
    }
}

impl From<row::Model> for SagaSummary {
    fn from(row: row::Model) -> Self {
        Self {
            saga_id: SagaId(row.id),
            order_id: order(&row.subject),
            subject: row.subject,
            kind: row.kind,
            definition_version: row.definition_version,
            status: row.status,
            current_step: row.current_step,
            reason: row.reason,
            last_error: row.last_error,
            version: row.version,
            overruled: row.overruled,
            correlation_id: row.correlation_id,
            trace_id: Trace::stored(row.traceparent.as_deref(), None).map(|trace| trace.name()),
            created_at: row.created_at,
            updated_at: row.updated_at,
            deadline_at: row.deadline_at,
        }
    }
}

/// The order that a saga is about.
pub(super) fn order(subject: &str) -> Option<OrderId> {
    subject.strip_prefix("order/")?.parse().ok()
}

impl SagaDetails {
    pub(super) fn new(registry: &Registry, row: row::Model, log: Vec<Written>) -> Self {
        let definition = registry.find(&row.kind, row.definition_version);
        // Nothing can be done about what this program cannot read.
        let verbs = definition
            .and_then(|definition| Some(saga::verbs(definition, row.state(definition)?)))
            .unwrap_or_default();
        let steps = steps(registry, &row, &log);
        let saga = SagaSummary::from(row);
        let log_dropped = log.first().is_none_or(|entry| entry.seq > 1);
        Self {
            steps,
            verbs: verbs.iter().map(Verb::to_string).collect(),
            log_dropped,
            log: log.into_iter().map(LogEntry::from).collect(),
            saga,
            preview: None,
        }
    }

    /// The same, with what a verb would do that has led to it.
    pub(super) fn with(self, preview: Preview) -> Self {
        Self {
            preview: Some(preview),
            ..self
        }
    }

    pub(super) fn into_response(self) -> Response {
        let tag = format!("\"{}\"", self.saga.version);
        ([(header::ETAG, tag)], Json(self)).into_response()
    }
}
