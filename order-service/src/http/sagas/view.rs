//! Sagas, as the API shows them.

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::contract::{OrderId, SagaId};
use saga::{
    Intervention, Registry, Rehearsal, State, Status, Table, Verb, What,
    store::{self, Written},
};
use sea_orm::{FromQueryResult, QueryResult};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{entity::saga as row, http::orders::OrderView, orders};

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

/// What an operator's verb would send, and make of the order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preview {
    commands: Vec<CommandView>,
    /// The types of the public events.
    #[schema(example = json!(["order.cancelled.v1"]))]
    events: Vec<String>,
    /// The order as it would be, if the saga is about one.
    order: Option<OrderView>,
}

/// A command that would be sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Command)]
struct CommandView {
    #[schema(example = "payment")]
    participant: String,
    #[serde(rename = "type")]
    #[schema(example = "payment.refund.v1")]
    kind: String,
    #[schema(value_type = Object)]
    data: Value,
}

/// A step of a saga.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepView {
    /// The step's name.
    #[schema(example = "payment")]
    pub(super) name: &'static str,
    pub(super) status: StepStatus,
    /// How often its command, or its compensation, was sent.
    pub(super) attempts: u32,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    /// What went wrong last.
    #[schema(example = "OUT_OF_STOCK: prod-1")]
    pub(super) last_error: Option<String>,
    /// When it is tried again if no reply comes.
    next_wake_up_at: Option<DateTime<Utc>>,
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum StepStatus {
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
            last_error: row.last_error,
            version: row.version,
            overruled: row.overruled,
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
        let verbs = verbs(registry, &row);
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
            verbs,
            log_dropped,
            log: log.collect(),
            saga,
            preview: None,
        }
    }

    pub(super) fn into_response(self) -> Response {
        let tag = format!("\"{}\"", self.saga.version);
        ([(header::ETAG, tag)], Json(self)).into_response()
    }
}

/// What a saga would be, as the transaction sees it that is never committed.
pub(super) async fn rehearsed(
    registry: &Registry,
    id: SagaId,
    rehearsal: &mut Rehearsal<'_>,
) -> sqlx::Result<SagaDetails> {
    let tx = &mut *rehearsal.transaction;
    let row = sqlx::query("SELECT * FROM sagas WHERE id = $1").bind(id.0);
    let row = QueryResult::from(row.fetch_one(&mut *tx).await?);
    let row = row::Model::from_query_result(&row, "");
    let row = row.map_err(|error| sqlx::Error::Decode(error.into()))?;
    let order = match order(&row.subject) {
        Some(id) => orders::find(&mut *tx, id).await?,
        None => None,
    };
    let log = store::load(&mut *tx, id).await?;
    let (mut commands, mut events) = (Vec::new(), Vec::new());
    for message in &rehearsal.messages {
        let mut event: Value = serde_json::from_str(message.json()).unwrap_or_default();
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        match message.destination().participant() {
            Some(participant) => commands.push(CommandView {
                participant: participant.to_owned(),
                kind,
                data: event["data"].take(),
            }),
            None => events.push(kind),
        }
    }
    Ok(SagaDetails {
        preview: Some(Preview {
            commands,
            events,
            order: order.map(OrderView::from),
        }),
        ..SagaDetails::new(registry, row, log)
    })
}

/// The answer to a request that came before.
pub(super) fn replayed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}

/// What an operator can do about a saga: nothing that this program cannot read.
fn verbs(registry: &Registry, row: &row::Model) -> Vec<String> {
    let state = || {
        let definition = registry.find(&row.kind, row.definition_version)?;
        let reason = row.reason.as_deref().map(str::parse).transpose().ok()?;
        let attempt = u32::try_from(row.attempt).ok()?;
        let (status, step) = (row.status.parse().ok()?, row.current_step.as_deref());
        let state = State::from_columns(definition, status, step, attempt, reason)?;
        Some(saga::verbs(definition, state))
    };
    let verbs = state().unwrap_or_default();
    verbs.iter().map(Verb::to_string).collect()
}

/// The steps of a saga, as its log tells them. Empty where this program does not have its definition.
pub(super) fn steps(registry: &Registry, saga: &SagaSummary, log: &[Written]) -> Vec<StepView> {
    let Some(definition) = registry.find(&saga.kind, saga.definition_version) else {
        return Vec::new();
    };
    let table: &dyn Table = definition;
    let entries: Vec<_> = log
        .iter()
        .filter_map(|written| Some((written.at, written.entry(table).ok()?)))
        .collect();
    // Of a step that the log says nothing of.
    let status = match (saga.status.parse(), log.first()) {
        (Ok(Status::Completed), _) if !saga.overruled => StepStatus::Succeeded,
        // It is not known which ones were done, but nothing of any is left.
        (Ok(Status::Compensated), None) if !saga.overruled => StepStatus::Undone,
        _ if saga.reason.is_some() => StepStatus::Skipped,
        _ => StepStatus::Pending,
    };
    let view = |name: &'static str| StepView {
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
    let mut steps: Vec<_> = table.plans().map(|step| view(step.name)).collect();
    for (at, entry) in &entries {
        match (&entry.what, entry.step) {
            (What::CompletionForced { by } | What::CompensationForced { by }, _) => {
                steps.iter_mut().for_each(|step| step.forced(by, *at));
            }
            (what, Some(name)) => {
                let about = steps.iter_mut().filter(|step| step.name == name);
                about.for_each(|step| step.follow(what, *at));
            }
            _ => {}
        }
    }
    steps
}

impl StepView {
    fn follow(&mut self, what: &What, at: DateTime<Utc>) {
        self.last_error = what.error().or(self.last_error.take());
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
            What::StepRejected { .. } => self.finish(StepStatus::Rejected, at),
            What::SkipRequested { by } => self.skip(by, at),
            _ => {}
        }
    }

    /// Somebody forced the end: nobody waits any more for what was never done.
    fn forced(&mut self, by: &Intervention, at: DateTime<Utc>) {
        if matches!(
            self.status,
            StepStatus::Pending | StepStatus::Sent | StepStatus::Undoing
        ) {
            self.skip(by, at);
        }
    }

    fn skip(&mut self, by: &Intervention, at: DateTime<Utc>) {
        let actor = by.actor.as_deref().unwrap_or("an operator");
        let note = by.note.as_deref().unwrap_or_default();
        self.last_error = Some(format!("skipped by {actor}: {note}"));
        self.finish(StepStatus::Skipped, at);
    }

    fn finish(&mut self, status: StepStatus, at: DateTime<Utc>) {
        self.status = status;
        self.finished_at = Some(at);
    }
}
