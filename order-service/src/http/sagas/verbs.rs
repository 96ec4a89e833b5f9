//! The operator's verbs: what a person does about a saga that does not get on by itself.

use std::time::Duration;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
    response::Response,
};
use common::{
    contract::SagaId,
    db,
    http::{
        ApiError,
        extract::{Body, Checks, PathId, Query, Text, whole},
        origin,
        problem::types,
    },
};
use saga::{Intervention, Verb, store};
use sea_orm::{FromQueryResult, QueryResult};
use serde::Deserialize;
use utoipa::{IntoParams, IntoResponses, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    if_match, one,
    preview::Preview,
    view::{SagaDetails, order},
};
use crate::{
    entity::saga as row,
    http::{
        actor,
        api::{Api, refusal},
        dry_run::DryRun,
        idempotency_key,
        why::{self, Why},
    },
    interventions::{Done, Refusal, Request, intervene, rehearse},
    orders,
};

/// The longest time after which a saga can be looked at again: 30 days.
pub(super) const DELAY_MAX: u32 = 30 * 24 * 3600;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(retry))
        .routes(routes!(skip))
        .routes(routes!(force_complete))
        .routes(routes!(force_compensated))
        .routes(routes!(abort))
        .routes(routes!(reschedule))
}

/// When a saga is to be looked at again, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Reschedule {
    /// In the operator's words; kept in the saga log.
    #[schema(value_type = Text, example = "inventory is back at six")]
    reason: String,
    /// In so many seconds from now; 0 is at once.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 2_592_000, example = 600)]
    delay_seconds: u32,
}

/// What is asked for about a saga, but for why.
struct Asked {
    api: Api,
    saga: SagaId,
    dry_run: DryRun,
    headers: HeaderMap,
}

impl FromRequestParts<Api> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let PathId(saga) = PathId::from_request_parts(parts, api).await?;
        let Query(dry_run) = Query::from_request_parts(parts, api).await?;
        Ok(Self {
            api: api.clone(),
            saga,
            dry_run,
            headers: parts.headers.clone(),
        })
    }
}

/// How documents describe `Idempotency-Key` here.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described only")]
struct Key {
    /// With the same key, the same request about a saga is carried out once, however often it is sent. It is kept in the
    /// saga's log for as long as that.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255,
            pattern = r#"^([!#-~]([ -~]*[!-~])?|"([ !#-\[\]-~]|\\["\\])+")$"#, example = "\"3f2a7c1e-retry-1\"")]
    key: Option<String>,
}

/// What a verb is answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it is described only")]
enum Answer {
    /// The saga as it is now, or would be
    #[response(status = 200, headers(("ETag" = String, description = "Its version, for If-Match"),
                                     ("idempotency-replayed" = String, description = "`true` where the key came before")))]
    Saga(Box<SagaDetails>),
    /// No such saga
    #[response(status = 404)]
    NoSuchSaga,
    /// It makes no sense now: `/problems/saga-verb`, `/problems/saga-not-parked`, `/problems/saga-no-way-back`, `/problems/order-shipped` or `/problems/saga-at-work`
    #[response(status = 409)]
    Senseless,
    /// It has changed since you looked: `/problems/precondition-failed`
    #[response(status = 412)]
    Changed,
    /// There is no `If-Match`: `/problems/precondition-required`
    #[response(status = 428)]
    Unseen,
}

/// Resume a parked saga: the command that it was parked at is sent again, with all its attempts.
#[utoipa::path(post, path = "/sagas/{sagaId}/retry", operation_id = "retrySaga", tag = "sagas", request_body = Why,
    params(("sagaId" = SagaId, Path), DryRun, if_match::Header, actor::Header, Key), responses(Answer))]
async fn retry(asked: Asked, Body(why): Body<Why>) -> Result<Response, ApiError> {
    asked.answer(Verb::Retry, why.reason).await
}

/// Go on behind a step: it is taken for done, or on the way back for undone.
///
/// Its command may still be done: its reply is late then, and changes nothing. If the saga is undone later, a step that was
/// skipped on the way forward is undone like any other.
#[utoipa::path(post, path = "/sagas/{sagaId}/skip", operation_id = "skipSagaStep", tag = "sagas", request_body = Why,
    params(("sagaId" = SagaId, Path), DryRun, if_match::Header, actor::Header, Key), responses(Answer))]
async fn skip(asked: Asked, Body(why): Body<Why>) -> Result<Response, ApiError> {
    asked.answer(Verb::Skip, why.reason).await
}

/// Take a saga on its way forward for completed, whatever was done of it.
///
/// Nothing more is asked of anybody. What is late changes nothing.
#[utoipa::path(post, path = "/sagas/{sagaId}/force-complete", operation_id = "forceCompleteSaga", tag = "sagas", request_body = Why,
    params(("sagaId" = SagaId, Path), DryRun, if_match::Header, actor::Header, Key), responses(Answer))]
async fn force_complete(asked: Asked, Body(why): Body<Why>) -> Result<Response, ApiError> {
    asked.answer(Verb::ForceComplete, why.reason).await
}

/// Take a saga on its way back for compensated, whatever is left of it.
///
/// A saga on its way forward is aborted first: what was done is undone, and what cannot be undone is skipped or forced.
#[utoipa::path(post, path = "/sagas/{sagaId}/force-compensated", operation_id = "forceCompensateSaga", tag = "sagas", request_body = Why,
    params(("sagaId" = SagaId, Path), DryRun, if_match::Header, actor::Header, Key), responses(Answer))]
async fn force_compensated(asked: Asked, Body(why): Body<Why>) -> Result<Response, ApiError> {
    asked.answer(Verb::ForceCompensated, why.reason).await
}

/// Undo what was done, beginning now, as after a cancellation; also of a saga that has completed.
#[utoipa::path(post, path = "/sagas/{sagaId}/abort", operation_id = "abortSaga", tag = "sagas", request_body = Why,
    params(("sagaId" = SagaId, Path), DryRun, if_match::Header, actor::Header, Key), responses(Answer))]
async fn abort(asked: Asked, Body(why): Body<Why>) -> Result<Response, ApiError> {
    asked.answer(Verb::Abort, why.reason).await
}

/// Look at a saga sooner or later than its deadline: if no reply has come by then, its command is sent again, or given up.
#[utoipa::path(post, path = "/sagas/{sagaId}/reschedule", operation_id = "rescheduleSaga", tag = "sagas", request_body = Reschedule,
    params(("sagaId" = SagaId, Path), DryRun, if_match::Header, actor::Header, Key), responses(Answer))]
async fn reschedule(asked: Asked, Body(when): Body<Reschedule>) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    let rule = "must be from 0 to 2592000";
    checks.require(when.delay_seconds <= DELAY_MAX, "delaySeconds", rule);
    checks.finish()?;
    let verb = Verb::Reschedule(Duration::from_secs(when.delay_seconds.into()));
    asked.answer(verb, when.reason).await
}

impl Asked {
    async fn answer(self, verb: Verb, reason: String) -> Result<Response, ApiError> {
        why::check(&reason)?;
        let key = idempotency_key::read(&self.headers, &())?;
        let by = Intervention {
            actor: Some(actor::read(&self.headers)?),
            note: Some(reason),
            idempotency_key: key.map(|key| key.plain().to_owned()),
        };
        let is_dry_run = self.dry_run.is_asked_for()?;
        let seen = match if_match::read(&self.headers)? {
            None if !is_dry_run => {
                let detail = "send the ETag of the saga that you saw as If-Match".to_owned();
                return Err(ApiError::Refused(&types::PRECONDITION_REQUIRED, detail));
            }
            seen => seen.flatten(),
        };
        let request = Request {
            saga: self.saga,
            verb,
            by,
            seen,
            origin: origin(&self.headers),
        };
        let worker = self.api.clone();
        if is_dry_run {
            let would = db::in_own_task(async move { preview(&worker, request).await }).await?;
            return Ok(would.into_response());
        }
        let done = db::in_own_task(async move {
            let done = intervene(&worker.engine, request).await;
            done.map_err(refused)
        });
        let done = done.await?;
        let mut response = one::details(&self.api, self.saga).await?.into_response();
        if done == Done::Before {
            idempotency_key::mark_replayed(&mut response);
        }
        Ok(response)
    }
}

/// The saga as it would be, as the transaction sees it that is never committed.
async fn preview(api: &Api, request: Request) -> Result<SagaDetails, ApiError> {
    let (id, registry) = (request.saga, api.engine.registry());
    let would = rehearse(&api.engine, request, async |rehearsal| {
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
        let preview = Preview::of(&rehearsal.messages, order);
        Ok(SagaDetails::new(registry, row, log).with(preview))
    });
    would.await.map_err(refused)
}

fn refused(why: Refusal) -> ApiError {
    let detail = why.to_string();
    let refused = |kind| ApiError::Refused(kind, detail);
    match why {
        Refusal::Changed(_) => refused(&types::PRECONDITION_FAILED),
        Refusal::KeyReused => refused(&types::IDEMPOTENCY_KEY_REUSED),
        Refusal::Shipped(_) => refused(&types::ORDER_SHIPPED),
        Refusal::Engine(error) => refusal(error),
    }
}
