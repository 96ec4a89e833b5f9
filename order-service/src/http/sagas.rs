//! Sagas: what happened, why it waits, and the operator's verbs.

mod filter;
mod view;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use common::{
    contract::SagaId,
    db,
    http::{
        ApiError, Created, Page, Part,
        extract::{Body, Checks, PathId, Query, Text},
        origin,
        problem::types,
    },
};
use saga::{Event, Origin, store};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use self::{
    filter::Filter,
    view::{SagaDetails, SagaSummary},
};
use super::api::{Api, refusal};
use crate::entity::saga as row;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get_one))
        .routes(routes!(retry))
}

/// Read a saga with its steps and its log.
///
/// Of a saga that ended and is older than RETENTION_DAYS, the log is dropped.
#[utoipa::path(get, path = "/sagas/{sagaId}", operation_id = "getSaga", tag = "sagas", params(("sagaId" = SagaId, Path)),
    responses((status = 200, description = "The saga", body = SagaDetails,
               headers(("ETag" = String, description = "Its version, for If-Match"))),
              (status = 404, description = "No such saga")))]
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

/// List sagas, newest first.
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
    let rows = row::Entity::find()
        .filter(filter.condition()?)
        .filter(created.condition(row::Column::Id, row::Column::CreatedAt)?)
        .filter(Condition::all().add_option(after.map(|id| row::Column::Id.lt(id))))
        .order_by_desc(row::Column::Id)
        .limit(limit + 1)
        .all(&api.reads)
        .await?;
    Ok(Json(
        Page::new(rows, limit, |row| row.id.to_string()).map(SagaSummary::from),
    ))
}

/// Why an operator intervenes.
#[derive(Debug, Deserialize, ToSchema)]
struct Intervention {
    /// In the operator's words; kept in the saga log.
    #[schema(value_type = Text, example = "the payment service is back")]
    reason: String,
}

/// Resume a parked saga: the command that it was parked at is sent again, with all its attempts.
#[utoipa::path(post, path = "/sagas/{sagaId}/retry", operation_id = "retrySaga", tag = "sagas", request_body = Intervention,
    params(("sagaId" = SagaId, Path),
           IfMatch),
    responses((status = 200, description = "It goes on", body = SagaDetails,
               headers(("ETag" = String, description = "Its version, for If-Match"))),
              (status = 404, description = "No such saga"),
              (status = 409, description = "It is not parked: `/problems/saga-not-parked`"),
              (status = 412, description = "It has changed since you looked: `/problems/precondition-failed`")))]
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
    let origin = origin(&headers);
    let worker = api.clone();
    db::in_own_task(async move {
        resume(
            &worker,
            id,
            expected,
            Event::RetryRequested { note },
            origin,
        )
        .await
    })
    .await?;
    details(&api, id).await.map(SagaDetails::into_response)
}

async fn resume(
    api: &Api,
    id: SagaId,
    expected: Option<Vec<i32>>,
    event: Event,
    origin: Origin,
) -> Result<(), ApiError> {
    let mut db = api.engine.db().acquire().await?;
    let mut work = api.engine.work(&mut db);
    let saga = work.lock_one(id).await.map_err(refusal)?;
    if expected.is_some_and(|versions| !versions.contains(&saga.version)) {
        let detail = format!("the saga has changed: its version is {}", saga.version);
        return Err(ApiError::Refused(&types::PRECONDITION_FAILED, detail));
    }
    work.apply(saga, &event, origin).await.map_err(refusal)?;
    work.commit().await.map_err(refusal)
}

/// How documents describe `If-Match`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described only: `if_match` reads it")]
struct IfMatch {
    /// The ETag that you saw: refused with 412 when it has changed.
    #[param(rename = "If-Match", value_type = String, required = false, pattern = r#"^(\*|"[0-9]{1,9}")$"#, example = r#""7""#)]
    version: Option<String>,
}

/// The versions in `If-Match`, one of which must be the saga's; `*` and no header mean any. A weak tag is that of none.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1>
fn if_match(headers: &HeaderMap) -> Result<Option<Vec<i32>>, ApiError> {
    let wrong = || ApiError::bad_field("If-Match", "must be the ETag of the saga, in quotes, or *");
    let mut versions = None;
    for value in headers.get_all(header::IF_MATCH) {
        let mut rest = value.to_str().map_err(|_| wrong())?.trim();
        if rest == "*" {
            return Ok(None);
        }
        let versions: &mut Vec<i32> = versions.get_or_insert_default();
        loop {
            let (is_weak, tag) = match rest.strip_prefix("W/") {
                Some(tag) => (true, tag),
                None => (false, rest),
            };
            let tag = tag.strip_prefix('"').and_then(|tag| tag.split_once('"'));
            let (tag, after) = tag.ok_or_else(wrong)?;
            if !is_weak {
                versions.extend(tag.parse::<i32>().ok());
            }
            rest = match after.trim_start().strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if after.trim().is_empty() => break,
                None => return Err(wrong()),
            };
        }
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(values: &[&str]) -> Option<Option<Vec<i32>>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        if_match(&headers).ok()
    }

    #[test]
    fn tags_are_compared_strongly() {
        assert_eq!(versions(&[]), Some(None));
        assert_eq!(versions(&["*"]), Some(None));
        assert_eq!(versions(&["\"3\""]), Some(Some(vec![3])));
        assert_eq!(
            versions(&["\"3\" ,\"4\"", "\"5\""]),
            Some(Some(vec![3, 4, 5]))
        );
        // These are tags, and not those of any version.
        assert_eq!(versions(&["W/\"3\", \"a,b\""]), Some(Some(vec![])));
        for wrong in ["", "3", "\"3", "\"3\" \"4\"", "\"3\",", "W/3"] {
            assert_eq!(versions(&[wrong]), None, "{wrong}");
        }
    }
}
