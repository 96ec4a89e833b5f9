//! Redrives: how far they are, and cancelling them.

use axum::{Json, extract::State, http::HeaderMap};
use chrono::{DateTime, Utc};
use common::{
    db,
    http::{
        ApiError, Page, Part,
        extract::{PathId, Query},
        problem::types,
    },
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{actor, api::Api};
use crate::dead_letters::{self, Redrive, Refusal, Selection, Status};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get_one))
        .routes(routes!(cancel))
}

/// A request to send letters again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Redrive)]
pub(super) struct RedriveView {
    redrive_id: Uuid,
    /// The dead-letter queue.
    #[schema(example = "payment.commands.dlq")]
    queue: String,
    status: Status,
    /// Which letters are meant.
    selection: Selection,
    /// Also those whose saga has ended.
    force: bool,
    /// Letters that were in the queue when it was asked for.
    messages: i32,
    /// No more than so many are sent again.
    max: i32,
    rate_per_second: Option<i32>,
    /// Letters that were sent again.
    redriven: i32,
    /// Letters that stay, of those that were looked at last.
    refused: i32,
    /// The first 100 of them, and why.
    refusals: Vec<Refusal>,
    /// Why it does not get on at the moment, or did not come to the end of its queue.
    last_error: Option<String>,
    /// Whether somebody has cancelled it.
    cancel_requested: bool,
    actor: String,
    reason: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Redrive> for RedriveView {
    fn from(one: Redrive) -> Self {
        Self {
            redrive_id: one.id,
            queue: one.queue,
            status: one.status,
            selection: one.selection,
            force: one.force,
            messages: one.letters,
            max: one.letters_max,
            rate_per_second: one.per_second,
            redriven: one.redriven,
            refused: one.refused,
            refusals: one.refusals,
            last_error: one.last_error,
            cancel_requested: one.cancel_requested,
            actor: one.actor,
            reason: one.reason,
            created_at: one.created_at,
            updated_at: one.updated_at,
            finished_at: one.finished_at,
        }
    }
}

/// List redrives, newest first.
#[utoipa::path(get, path = "/redrives", operation_id = "listRedrives", tag = "dead letters", params(Part),
    responses((status = 200, description = "A page of redrives", body = Page<RedriveView>)))]
async fn list(
    State(api): State<Api>,
    Query(part): Query<Part>,
) -> Result<Json<Page<RedriveView>>, ApiError> {
    let (limit, after) = (part.limit()?, part.after::<Uuid>()?);
    let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = dead_letters::list(api.engine.db(), after, one_more).await?;
    let page = Page::new(rows, limit, |redrive| redrive.id.to_string());
    Ok(Json(page.map(RedriveView::from)))
}

/// Read a redrive: how many letters were sent again, and which stay.
#[utoipa::path(get, path = "/redrives/{redriveId}", operation_id = "getRedrive", tag = "dead letters",
    params(("redriveId" = Uuid, Path)),
    responses((status = 200, description = "The redrive", body = RedriveView),
              (status = 404, description = "No such redrive")))]
async fn get_one(
    State(api): State<Api>,
    PathId(id): PathId<Uuid>,
) -> Result<Json<RedriveView>, ApiError> {
    let found = dead_letters::find(api.engine.db(), id).await?;
    found
        .map(RedriveView::from)
        .map(Json)
        .ok_or_else(|| no_such_redrive(id))
}

/// Cancel a redrive: the letters that are on their way go out, and no more. Cancelling twice is cancelling once.
#[utoipa::path(post, path = "/redrives/{redriveId}/cancel", operation_id = "cancelRedrive", tag = "dead letters",
    params(("redriveId" = Uuid, Path), actor::Header),
    responses((status = 200, description = "It is cancelled, or will be when `status` says so", body = RedriveView),
              (status = 404, description = "No such redrive"),
              (status = 409, description = "It is done: `/problems/redrive-done`")))]
async fn cancel(
    State(api): State<Api>,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
) -> Result<Json<RedriveView>, ApiError> {
    let actor = actor::read(&headers)?;
    let cancelled = async move {
        let db = api.engine.db();
        if let Some(cancelled) = dead_letters::cancel(db, id, &actor).await? {
            return Ok(cancelled);
        }
        match dead_letters::find(db, id).await? {
            Some(one) if one.status == Status::Cancelled => Ok(one),
            Some(_) => {
                let detail =
                    "nothing is left to be cancelled: all letters have gone out or stay".to_owned();
                Err(ApiError::Refused(&types::REDRIVE_DONE, detail))
            }
            None => Err(no_such_redrive(id)),
        }
    };
    db::in_own_task(cancelled)
        .await
        .map(RedriveView::from)
        .map(Json)
}

fn no_such_redrive(id: Uuid) -> ApiError {
    ApiError::NotFound(format!("there is no redrive {id}"))
}
