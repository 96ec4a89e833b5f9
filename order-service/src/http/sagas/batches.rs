//! Batches: an operator's verb for all sagas that a filter finds, carried out in the background.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::{
    db,
    http::{
        ApiError, Page, Part,
        extract::{Body, Checks, PathId, Query, Text, whole},
        origin,
        problem::types,
    },
};
use saga::Verb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{verbs::DELAY_MAX, view::SagaSummary};
use crate::{
    batches::{self, Batch, Placed, Request, Status},
    find::{Criteria, Search},
    http::{actor, api::Api, dry_run::DryRun, idempotency_key},
};

/// Sagas that a batch does in a second, where nobody says.
const PER_SECOND: u32 = 50;
const PER_SECOND_MAX: u32 = 500;
/// Sagas that are counted, ...
const COUNT_MAX: usize = 10_000;
/// ... and for how long.
const COUNT_TIME: Duration = Duration::from_secs(2);
/// Sagas that a preview shows.
const SHOWN: usize = 20;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(place, list))
        .routes(routes!(get_one))
        .routes(routes!(cancel))
}

/// A verb for many sagas.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({ "filter": { "status": "PARKED", "step": "payment" }, "verb": "retry", "reason": "the gateway is back" }))]
struct NewSagaBatch {
    /// Which sagas: filters of `GET /sagas`, with their values as text. All of them must hold, and there must be one.
    filter: BTreeMap<String, String>,
    /// What is done about each of them.
    #[schema(value_type = BatchVerb)]
    verb: String,
    /// In the operator's words; kept in the log of each saga.
    #[schema(value_type = Text, example = "the gateway is back")]
    reason: String,
    /// When to look at each again, for the verb `reschedule`: in so many seconds from then.
    #[serde(default, deserialize_with = "optional")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 2_592_000)]
    delay_seconds: Option<u32>,
    /// How many are done in a second.
    #[serde(default, deserialize_with = "optional")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    per_second: Option<u32>,
}

fn optional<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    whole(from).map(Some)
}

/// What can be done about many sagas.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = SagaVerb)]
#[expect(dead_code, reason = "it is described only")]
enum BatchVerb {
    Retry,
    Skip,
    ForceComplete,
    ForceCompensated,
    Abort,
    Reschedule,
}

/// A verb for many sagas, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SagaBatch {
    batch_id: Uuid,
    status: Status,
    #[schema(value_type = BatchVerb)]
    verb: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<u64>,
    filter: BTreeMap<String, String>,
    reason: String,
    /// Who asked for it.
    actor: String,
    per_second: u32,
    /// How many sagas fitted when it was asked for.
    matched: i32,
    /// Whether these were all; else so many were counted.
    matched_all: bool,
    /// Sagas for which it was done.
    done: i32,
    /// Sagas for which it made no sense any more.
    refused: i32,
    /// Why it was refused last.
    last_refusal: Option<String>,
    /// Who stopped it.
    cancelled_by: Option<String>,
    correlation_id: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

/// What a batch would be about.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SagaBatchPreview {
    /// How many sagas fit.
    matched: usize,
    /// Whether these are all; else so many were counted.
    matched_all: bool,
    /// The newest of them.
    items: Vec<SagaSummary>,
}

impl From<Batch> for SagaBatch {
    fn from(batch: Batch) -> Self {
        let delay_seconds = match batch.verb {
            Verb::Reschedule(delay) => Some(delay.as_secs()),
            _ => None,
        };
        Self {
            batch_id: batch.id,
            status: batch.status,
            verb: batch.verb.to_string(),
            delay_seconds,
            filter: batch.criteria.parameters().clone(),
            reason: batch.reason,
            actor: batch.actor,
            per_second: batch.per_second,
            matched: batch.matched.0,
            matched_all: batch.matched.1,
            done: batch.done,
            refused: batch.refused,
            last_refusal: batch.last_refusal,
            cancelled_by: batch.cancelled_by,
            correlation_id: batch.origin.correlation_id,
            created_at: batch.created_at,
            updated_at: batch.updated_at,
            finished_at: batch.finished_at,
        }
    }
}

/// Do the same about all sagas that a filter finds, in the background, the newest first.
///
/// It goes on after a crash, and nothing is done twice. Sagas that begin later are not in it. With `dryRun=true`, it only
/// says how many fit, and which.
#[utoipa::path(post, path = "/sagas/batch", operation_id = "createSagaBatch", tag = "sagas", request_body = NewSagaBatch,
    params(DryRun, actor::Header, idempotency_key::Header),
    responses((status = 200, description = "What it would be about, where it is only asked", body = SagaBatchPreview),
              (status = 202, description = "It is carried out, now or before with the same key", body = SagaBatch,
               headers(("Location" = String, description = "Where to see how far it is"),
                       ("idempotency-replayed" = String, description = "`true` where the key came before")))))]
async fn place(
    State(api): State<Api>,
    Query(dry_run): Query<DryRun>,
    headers: HeaderMap,
    Body(new): Body<NewSagaBatch>,
) -> Result<Response, ApiError> {
    let idempotency = idempotency_key::read(&headers, &new)?;
    let actor = actor::read(&headers)?;
    let is_dry_run = dry_run.is_asked_for()?;
    let (verb, per_second, criteria) = new.check()?;
    let search = criteria.search(None)?;
    let (matched, items) = count(&api, search).await?;
    if is_dry_run {
        let (matched, matched_all) = matched;
        let preview = SagaBatchPreview {
            matched,
            matched_all,
            items,
        };
        return Ok(Json(preview).into_response());
    }
    let request = Request {
        verb,
        criteria,
        per_second,
        actor,
        reason: new.reason,
        origin: origin(&headers),
        idempotency,
    };
    let db = api.engine.db().clone();
    let matched = (u32::try_from(matched.0).unwrap_or(u32::MAX), matched.1);
    let placed =
        db::in_own_task(async move { batches::place(&db, request, matched).await }).await?;
    match placed {
        Placed::New(batch) => Ok(accepted(batch, false)),
        Placed::Before(batch) => Ok(accepted(batch, true)),
        Placed::KeyReused => Err(idempotency_key::reused()),
    }
}

fn accepted(batch: Batch, is_replayed: bool) -> Response {
    let location = [(LOCATION, format!("/sagas/batch/{}", batch.id))];
    let mut response =
        (StatusCode::ACCEPTED, location, Json(SagaBatch::from(batch))).into_response();
    if is_replayed {
        idempotency_key::mark_replayed(&mut response);
    }
    response
}

/// How many sagas fit, whether these are all, and the first of them.
async fn count(api: &Api, search: Search) -> Result<((usize, bool), Vec<SagaSummary>), ApiError> {
    let (began, mut after, mut count) = (Instant::now(), None, 0);
    let mut first = Vec::new();
    loop {
        let page = search.clone().page(&api.reads, after, 200).await?;
        after = page.end::<Uuid>();
        count += page.items.len();
        let more = page
            .items
            .into_iter()
            .take(SHOWN.saturating_sub(first.len()));
        first.extend(more.map(SagaSummary::from));
        if after.is_none() {
            return Ok(((count, true), first));
        }
        if count >= COUNT_MAX || began.elapsed() >= COUNT_TIME {
            return Ok(((count, false), first));
        }
    }
}

impl NewSagaBatch {
    fn check(&self) -> Result<(Verb, u32, Criteria), ApiError> {
        let mut checks = Checks::default();
        checks.text("reason", &self.reason);
        let verb = self.verb.parse::<Verb>().ok();
        let names = Verb::ALL.map(|verb| verb.to_string()).join(", ");
        checks.require(verb.is_some(), "verb", format!("must be one of {names}"));
        let verb = match (verb, self.delay_seconds) {
            (Some(Verb::Reschedule(_)), Some(delay)) => {
                let fits = delay <= DELAY_MAX;
                checks.require(fits, "delaySeconds", "must be from 0 to 2592000");
                Some(Verb::Reschedule(Duration::from_secs(delay.into())))
            }
            (Some(Verb::Reschedule(_)), None) => {
                checks.require(false, "delaySeconds", "must say when to look again");
                None
            }
            (verb, delay) => {
                checks.require(delay.is_none(), "delaySeconds", "is only for reschedule");
                verb
            }
        };
        let per_second = self.per_second.unwrap_or(PER_SECOND);
        let fits = (1..=PER_SECOND_MAX).contains(&per_second);
        checks.require(fits, "perSecond", "must be from 1 to 500");
        checks.finish()?;
        let verb = verb.ok_or_else(|| ApiError::invalid("verb", "must be one of these"))?;
        Ok((verb, per_second, Criteria::read(self.filter.clone())?))
    }
}

/// List batches, newest first.
#[utoipa::path(get, path = "/sagas/batch", operation_id = "listSagaBatches", tag = "sagas", params(Part),
    responses((status = 200, description = "A page of batches", body = Page<SagaBatch>)))]
async fn list(
    State(api): State<Api>,
    Query(part): Query<Part>,
) -> Result<Json<Page<SagaBatch>>, ApiError> {
    let limit = part.limit()?;
    let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let batches = batches::list(api.engine.db(), part.after()?, more).await?;
    let page = Page::new(batches, limit, |batch| batch.id.to_string());
    Ok(Json(page.map(SagaBatch::from)))
}

/// Read a batch: how far it is.
#[utoipa::path(get, path = "/sagas/batch/{batchId}", operation_id = "getSagaBatch", tag = "sagas", params(("batchId" = Uuid, Path)),
    responses((status = 200, description = "The batch", body = SagaBatch),
              (status = 404, description = "No such batch")))]
async fn get_one(
    State(api): State<Api>,
    PathId(id): PathId<Uuid>,
) -> Result<Json<SagaBatch>, ApiError> {
    read(&api, id).await.map(Json)
}

async fn read(api: &Api, id: Uuid) -> Result<SagaBatch, ApiError> {
    let batch = batches::find(api.engine.db(), id).await?;
    let batch = batch.ok_or_else(|| ApiError::NotFound(format!("there is no batch {id}")))?;
    Ok(batch.into())
}

/// Stop a batch. What was done stays done.
#[utoipa::path(post, path = "/sagas/batch/{batchId}/cancel", operation_id = "cancelSagaBatch", tag = "sagas",
    params(("batchId" = Uuid, Path), actor::Header),
    responses((status = 200, description = "Nothing more is done of it", body = SagaBatch),
              (status = 404, description = "No such batch"),
              (status = 409, description = "It is done: `/problems/batch-done`")))]
async fn cancel(
    State(api): State<Api>,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
) -> Result<Json<SagaBatch>, ApiError> {
    let actor = actor::read(&headers)?;
    let db = api.engine.db().clone();
    db::in_own_task(async move { batches::cancel(&db, id, &actor).await }).await?;
    let batch = read(&api, id).await?;
    match batch.status {
        Status::Done => {
            let detail = "the batch is done: there is nothing left to stop".to_owned();
            Err(ApiError::Refused(&types::BATCH_DONE, detail))
        }
        Status::Running | Status::Cancelled => Ok(Json(batch)),
    }
}
