//! Sagas: what happened, and the operator's verbs.

mod batches;
mod events;
mod explain;
mod graph;
mod if_match;
mod one;
mod preview;
mod stats;
mod steps;
mod verbs;
mod view;

use axum::{Json, extract::State, response::Response};
use common::{
    contract::SagaId,
    http::{
        ApiError, Created, Page, Part,
        extract::{PathId, Query},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use self::view::{SagaDetails, SagaSummary};
use super::api::Api;
use crate::{entity::saga as row, find::Filter};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .merge(stats::routes())
        .merge(batches::routes())
        .merge(events::routes())
        .merge(explain::routes())
        .merge(graph::routes())
        .routes(routes!(get_one))
        .merge(verbs::routes())
}

/// Read a saga with its steps and its log.
///
/// Of a saga that ended and is older than RETENTION_DAYS, the log is dropped.
#[utoipa::path(get, path = "/sagas/{sagaId}", operation_id = "getSaga", tag = "sagas", params(("sagaId" = SagaId, Path)),
    responses((status = 200, description = "The saga", body = SagaDetails,
               headers(("ETag" = String, description = "Its version, for If-Match"))),
              (status = 404, description = "No such saga")))]
async fn get_one(State(api): State<Api>, PathId(id): PathId<SagaId>) -> Result<Response, ApiError> {
    one::details(&api, id).await.map(SagaDetails::into_response)
}

/// List sagas, newest first.
///
/// However few of many fit, an answer comes soon: a page may have fewer items than `limit`, also none, while `nextCursor`
/// says that there is more to look through.
#[utoipa::path(get, path = "/sagas", operation_id = "listSagas", tag = "sagas", params(Filter, Created, Part),
    responses((status = 200, description = "A page of sagas", body = Page<SagaSummary>)))]
async fn list(
    State(api): State<Api>,
    Query(filter): Query<Filter>,
    Query(created): Query<Created>,
    Query(part): Query<Part>,
) -> Result<Json<Page<SagaSummary>>, ApiError> {
    let limit = part.limit()?;
    let after = part.after::<Uuid>()?;
    let mut search = filter.search()?;
    let created = created.condition(row::Column::Id, row::Column::CreatedAt)?;
    search.range = search.range.add(created);
    let page = search.page(&api.reads, after, limit).await?;
    Ok(Json(page.map(SagaSummary::from)))
}
