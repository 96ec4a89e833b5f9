//! Why a saga waits, and what becomes of it: in one sentence for people, and in data for programs.
//!
//! ```text
//! row, log, outbox, the participant's queue ──► facts ──► words
//! ```

mod facts;
mod words;

use axum::{Json, extract::State};
use common::{
    contract::SagaId,
    http::{ApiError, extract::PathId},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::facts::Facts;
use super::super::api::Api;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// Why a saga is where it is.
#[derive(Debug, Serialize, ToSchema)]
struct SagaExplanation {
    /// For people: what it waits for and since when, why, and what happens next. The words may change.
    #[schema(
        example = "Has waited for inventory for 4 min (attempt 1 of 3): its queue inventory.commands holds 212 messages and \
                   nobody consumes it: inventory does not run; inventory is asked again at 03:12:09 UTC, at most 2 times, \
                   and then inventory and payment are undone."
    )]
    explanation: String,
    #[serde(flatten)]
    facts: Facts,
}

/// Explain a saga: what it waits for, since when and why, and what happens next.
///
/// It joins the saga, its log, the outbox, its participant's queue and the dead letters beside it. What cannot be asked, because RabbitMQ is away, is
/// said to be unknown; the answer comes within two seconds all the same.
#[utoipa::path(get, path = "/sagas/{sagaId}/explain", operation_id = "explainSaga", tag = "sagas", params(("sagaId" = SagaId, Path)),
    responses((status = 200, description = "Why it is where it is", body = SagaExplanation),
              (status = 404, description = "No such saga")))]
async fn explain(
    State(api): State<Api>,
    PathId(id): PathId<SagaId>,
) -> Result<Json<SagaExplanation>, ApiError> {
    let facts = facts::gather(&api, id).await?;
    let explanation = words::explanation(&facts);
    Ok(Json(SagaExplanation { explanation, facts }))
}
