//! Sagas, as the API shows them.

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::contract::{OrderId, SagaId};
use saga::{Registry, Status, Table, What, store::Written};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

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
    /// Number of log entries; the ETag.
    version: i32,
    correlation_id: String,
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
    /// Whether the log's beginning was dropped, for it is older than RETENTION_DAYS. The steps then tell less, too.
    #[serde(rename = "logDropped")]
    log_dropped: bool,
    log: Vec<LogEntry>,
}

/// A step of a saga.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StepView {
    /// The step's name.
    #[schema(example = "payment")]
    name: &'static str,
    status: StepStatus,
    /// How often its command, or its compensation, was sent.
    attempts: u32,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    /// What went wrong last.
    #[schema(example = "OUT_OF_STOCK: prod-1")]
    last_error: Option<String>,
    /// When it is tried again if no reply comes.
    next_wake_up_at: Option<DateTime<Utc>>,
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum StepStatus {
    /// Its turn has not come.
    Pending,
    /// Its command is with the participant.
    Sent,
    /// It is done.
    Succeeded,
    /// It was refused, and left nothing behind.
    Rejected,
    /// Its compensation is with the participant.
    Undoing,
    /// Nothing of it is left.
    Undone,
    /// Its turn will never come.
    Skipped,
}

/// A decision that was made.
#[derive(Debug, Serialize, ToSchema)]
struct LogEntry {
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
            version: row.version,
            correlation_id: row.correlation_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
            deadline_at: row.deadline_at,
        }
    }
}

/// The order that a saga is about.
fn order(subject: &str) -> Option<OrderId> {
    subject.strip_prefix("order/")?.parse().ok()
}

impl SagaDetails {
    pub(super) fn new(registry: &Registry, row: row::Model, log: Vec<Written>) -> Self {
        let saga = SagaSummary::from(row);
        let steps = steps(registry, &saga, &log);
        let log_dropped = log.first().is_none_or(|entry| entry.seq > 1);
        let log = log.into_iter().map(|entry| LogEntry {
            seq: entry.seq,
            at: entry.at,
            event: entry.event,
            step: entry.step,
            details: entry.details,
        });
        Self {
            steps,
            log_dropped,
            log: log.collect(),
            saga,
        }
    }

    pub(super) fn into_response(self) -> Response {
        let tag = format!("\"{}\"", self.saga.version);
        ([(header::ETAG, tag)], Json(self)).into_response()
    }
}

/// The steps of a saga, as its log tells them. Empty where this program does not have its definition.
fn steps(registry: &Registry, saga: &SagaSummary, log: &[Written]) -> Vec<StepView> {
    let Some(definition) = registry.find(&saga.kind, saga.definition_version) else {
        return Vec::new();
    };
    let table: &dyn Table = definition;
    // Of a step that the log says nothing of.
    let status = match (saga.status.parse(), log.first()) {
        (Ok(Status::Completed), _) => StepStatus::Succeeded,
        // It is not known which ones were done, but nothing of any is left.
        (Ok(Status::Compensated), None) => StepStatus::Undone,
        _ if saga.reason.is_some() => StepStatus::Skipped,
        _ => StepStatus::Pending,
    };
    let view = |name: &'static str| {
        let mut step = StepView {
            name,
            status,
            attempts: 0,
            started_at: None,
            finished_at: None,
            last_error: None,
            next_wake_up_at: saga
                .deadline_at
                .filter(|_| saga.current_step.as_deref() == Some(name)),
        };
        for written in log
            .iter()
            .filter(|written| written.step.as_deref() == Some(name))
        {
            if let Ok(entry) = written.entry(table) {
                step.follow(&entry.what, written.at);
            }
        }
        step
    };
    table.plans().map(|step| view(step.name)).collect()
}

impl StepView {
    fn follow(&mut self, what: &What, at: DateTime<Utc>) {
        match what {
            What::ActionSent { attempt } => {
                self.status = StepStatus::Sent;
                self.attempts = *attempt;
                self.started_at.get_or_insert(at);
            }
            What::CompensationSent { attempt } => {
                self.status = StepStatus::Undoing;
                self.attempts = *attempt;
                self.finished_at = None;
            }
            What::StepSucceeded {} => self.finish(StepStatus::Succeeded, at),
            What::StepUndone {} => self.finish(StepStatus::Undone, at),
            What::StepRejected { reason, detail } => {
                let detail = detail
                    .as_deref()
                    .map(|detail| format!(": {detail}"))
                    .unwrap_or_default();
                self.last_error = Some(format!("{reason}{detail}"));
                self.finish(StepStatus::Rejected, at);
            }
            What::ActionTimedOut { attempt } => {
                self.last_error = Some(format!("no reply to attempt {attempt}"))
            }
            What::CompensationTimedOut { attempt } => {
                self.last_error =
                    Some(format!("no reply to attempt {attempt} of the compensation"));
            }
            _ => {}
        }
    }

    fn finish(&mut self, status: StepStatus, at: DateTime<Utc>) {
        self.status = status;
        self.finished_at = Some(at);
    }
}
