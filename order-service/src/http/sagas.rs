//! Sagas: what happened, why it waits, and the operator's verbs.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::{
    contract::{OrderId, SagaId},
    db,
    http::{
        ApiError, Cursor, Page, Problem,
        extract::{Body, Checks, PathId, Query},
        limit,
    },
};
use saga::{
    Event, Registry, Table, What,
    store::{self, Written},
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::api::{Api, refusal};
use crate::{entity::saga as row, orders};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get_one))
        .routes(routes!(retry))
}

/// A saga, without its log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SagaSummary {
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
    /// RUNNING, COMPENSATING, COMPLETED, COMPENSATED or PARKED.
    #[schema(example = "RUNNING")]
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
struct SagaDetails {
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
    fn new(registry: &Registry, row: row::Model, log: Vec<Written>) -> Self {
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

    fn into_response(self) -> Response {
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
    let status = match (saga.status.as_str(), log.first()) {
        ("COMPLETED", _) => StepStatus::Succeeded,
        // It is not known which ones were done, but nothing of any is left.
        ("COMPENSATED", None) => StepStatus::Undone,
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

/// Read a saga with its steps and its log.
///
/// Of a saga that ended and is older than RETENTION_DAYS, the log is dropped.
#[utoipa::path(get, path = "/sagas/{sagaId}", tag = "sagas", params(("sagaId" = Uuid, Path)),
    responses((status = 200, description = "The saga", body = SagaDetails,
               headers(("ETag" = String, description = "Its version, for If-Match"))),
              (status = 400, description = "Malformed id", body = Problem, content_type = "application/problem+json"),
              (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json")))]
async fn get_one(State(api): State<Api>, PathId(id): PathId<SagaId>) -> Result<Response, ApiError> {
    details(&api, id).await.map(SagaDetails::into_response)
}

async fn details(api: &Api, id: SagaId) -> Result<SagaDetails, ApiError> {
    let row = row::Entity::find_by_id(id.0)
        .one(&api.reads)
        .await?
        .ok_or_else(|| no_such_saga(id))?;
    let mut log = store::load(api.engine.db(), id).await?;
    // The row was read first: what has been decided since then is left out, so that the answer is one moment's.
    log.retain(|entry| entry.seq <= row.version);
    Ok(SagaDetails::new(api.engine.registry(), row, log))
}

fn no_such_saga(id: SagaId) -> ApiError {
    ApiError::NotFound(format!("there is no saga {id}"))
}

/// Which sagas to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only sagas in this status.
    status: Option<SagaStatus>,
    /// Only sagas that are at this step.
    step: Option<String>,
    /// Only the sagas of this order.
    order_id: Option<String>,
    /// Only sagas that were started longer ago than this: `90s`, `15m`, `2h`, `1d`.
    older_than: Option<String>,
    /// Only sagas that need somebody: parked, or a minute past their deadline. `true` or `false`.
    stuck: Option<String>,
    /// 1 to 200 items, 50 if absent.
    limit: Option<String>,
    /// `nextCursor` of the answer before.
    cursor: Option<String>,
}

/// The statuses of a saga.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum SagaStatus {
    Running,
    Compensating,
    Completed,
    Compensated,
    Parked,
}

impl SagaStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Compensating => "COMPENSATING",
            Self::Completed => "COMPLETED",
            Self::Compensated => "COMPENSATED",
            Self::Parked => "PARKED",
        }
    }
}

/// List sagas, newest first.
#[utoipa::path(get, path = "/sagas", tag = "sagas", params(Filter),
    responses((status = 200, description = "A page of sagas", body = Page<SagaSummary>),
              (status = 400, description = "Invalid parameter", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<SagaSummary>>, ApiError> {
    let limit = limit(filter.limit.as_deref())?;
    let cursor = filter
        .cursor
        .as_deref()
        .map(Cursor::decode::<Uuid>)
        .transpose()?;
    let rows = row::Entity::find()
        .filter(condition(&filter)?)
        .filter(Condition::all().add_option(cursor.map(|id| row::Column::Id.lt(id))))
        .order_by_desc(row::Column::Id)
        .limit(limit + 1)
        .all(&api.reads)
        .await?;
    Ok(Json(
        Page::new(rows, limit, |row| row.id.to_string()).map(SagaSummary::from),
    ))
}

fn condition(filter: &Filter) -> Result<Condition, ApiError> {
    let order_id = filter.order_id.as_deref().map(|id| {
        id.parse::<OrderId>()
            .map_err(|_| ApiError::bad_field("orderId", "must be a UUID"))
    });
    let seconds = filter.older_than.as_deref().map(|age| {
        seconds(age).ok_or_else(|| {
            ApiError::bad_field("olderThan", "must be an age such as 90s, 15m, 2h or 1d")
        })
    });
    let stuck = match filter.stuck.as_deref() {
        None | Some("false") => None,
        Some("true") => {
            let overdue = Expr::cust("deadline_at < now() - interval '1 minute'");
            Some(
                Condition::any()
                    .add(row::Column::Status.eq("PARKED"))
                    .add(overdue),
            )
        }
        Some(_) => return Err(ApiError::bad_field("stuck", "must be true or false")),
    };
    let older = |seconds: u32| {
        Expr::cust_with_values(
            "created_at < now() - make_interval(secs => $1)",
            [f64::from(seconds)],
        )
    };
    Ok(Condition::all()
        .add_option(
            filter
                .status
                .map(|status| row::Column::Status.eq(status.as_str())),
        )
        .add_option(
            filter
                .step
                .as_deref()
                .map(|step| row::Column::CurrentStep.eq(step)),
        )
        .add_option(
            order_id
                .transpose()?
                .map(|id| row::Column::Subject.eq(orders::subject(id).as_str())),
        )
        .add_option(seconds.transpose()?.map(older))
        .add_option(stuck))
}

fn seconds(age: &str) -> Option<u32> {
    let unit = match age.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return None,
    };
    age[..age.len() - 1].parse::<u32>().ok()?.checked_mul(unit)
}

/// Why an operator intervenes.
#[derive(Debug, Deserialize, ToSchema)]
struct Intervention {
    /// In the operator's words; kept in the saga log.
    #[schema(max_length = 255, example = "the payment service is back")]
    reason: String,
}

/// Resume a parked saga: the command that it was parked at is sent again, with all its attempts.
#[utoipa::path(post, path = "/sagas/{sagaId}/retry", tag = "sagas", request_body = Intervention,
    params(("sagaId" = Uuid, Path),
           ("If-Match" = Option<String>, Header, description = "The ETag that you saw: refused with 412 when it has changed")),
    responses((status = 200, description = "It goes on", body = SagaDetails),
              (status = 400, description = "Malformed id or body", body = Problem, content_type = "application/problem+json"),
              (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
              (status = 409, description = "It is not parked", body = Problem, content_type = "application/problem+json"),
              (status = 412, description = "It has changed since you looked", body = Problem, content_type = "application/problem+json"),
              (status = 422, description = "Invalid field", body = Problem, content_type = "application/problem+json")))]
async fn retry(
    State(api): State<Api>,
    PathId(id): PathId<SagaId>,
    headers: HeaderMap,
    Body(body): Body<Intervention>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    checks.text("reason", &body.reason);
    checks.finish()?;
    let expected = if_match(&headers)?;
    let note = Some(body.reason);
    let worker = api.clone();
    db::in_own_task(
        async move { resume(&worker, id, expected, Event::RetryRequested { note }).await },
    )
    .await?;
    details(&api, id).await.map(SagaDetails::into_response)
}

async fn resume(
    api: &Api,
    id: SagaId,
    expected: Option<i32>,
    event: Event,
) -> Result<(), ApiError> {
    let mut db = api.engine.db().acquire().await?;
    let mut work = api.engine.work(&mut db);
    let saga = work.lock_one(id).await.map_err(refusal)?;
    if expected.is_some_and(|version| version != saga.version) {
        let detail = format!("the saga has changed: its version is {}", saga.version);
        return Err(ApiError::Refused(StatusCode::PRECONDITION_FAILED, detail));
    }
    work.apply(saga, &event).map_err(refusal)?;
    work.commit().await.map_err(refusal)
}

/// The version in `If-Match`; `*` and no header mean any.
fn if_match(headers: &HeaderMap) -> Result<Option<i32>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default().trim();
    if value == "*" {
        return Ok(None);
    }
    let version = value.trim_start_matches("W/").trim_matches('"').parse();
    version
        .map(Some)
        .map_err(|_| ApiError::bad_field("If-Match", "must be the ETag of the saga"))
}
