//! One letter, edited or deleted.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::{
    contract::{Envelope, clock},
    db,
    http::{
        ApiError,
        extract::{Body, Text},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::shared::{At, refusal};
use crate::{
    dead_letters::{Kept, Mending},
    http::{
        actor,
        api::Api,
        idempotency_key,
        why::{self, Why},
    },
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(edit))
        .routes(routes!(delete))
}

/// What goes out instead of a letter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
struct Edit {
    /// Why; kept with the original and in the log of the saga.
    #[schema(value_type = Text, example = "the amount had a comma")]
    reason: String,
    /// The whole message, as a CloudEvent in JSON. It gets an id of its own, and names the letter's as its `causationid`.
    body: Map<String, Value>,
    /// Also where its saga has ended.
    #[serde(default)]
    force: bool,
}

/// A letter that is out of its queue, and kept in the database.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeptLetter)]
struct KeptView {
    /// Of its row in the table `kept_letters`.
    kept_id: Uuid,
    queue: String,
    /// The id of the letter.
    message_id: String,
    /// The id of the message that goes out instead, where it was edited.
    edited_as: Option<Uuid>,
    actor: String,
    reason: String,
    at: DateTime<Utc>,
}

impl From<Kept> for KeptView {
    fn from(kept: Kept) -> Self {
        Self {
            kept_id: kept.id,
            queue: kept.queue,
            message_id: kept.message_id,
            edited_as: kept.edited_id,
            actor: kept.actor,
            reason: kept.reason,
            at: kept.created_at,
        }
    }
}

/// Send another message instead of a letter, to the queue that it comes from. The original is kept in the database.
#[utoipa::path(post, path = "/dead-letters/{queue}/{messageId}/redrive", operation_id = "editDeadLetter",
    tag = "dead letters", request_body = Edit,
    params(("queue" = String, Path, description = "A dead-letter queue", example = "payment.commands.dlq"),
           ("messageId" = String, Path, description = "As the list shows it"),
           actor::Header, idempotency_key::Header),
    responses((status = 200, description = "It goes out, now or before with the same key", body = KeptView,
               headers(("Idempotency-Replayed" = String, description = "`true` where it was done before, with the same key"))),
              (status = 404, description = "No such queue, or no such letter in it"),
              (status = 409, description = "It stays: `/problems/dead-letter-refused`"),
              (status = 422, description = "Invalid fields: `/problems/invalid-fields`; or the key came with another request \
               before: `/problems/idempotency-key-reused`")))]
async fn edit(
    State(api): State<Api>,
    at: At,
    headers: HeaderMap,
    Body(edit): Body<Edit>,
) -> Result<Response, ApiError> {
    let actor = actor::read(&headers)?;
    why::check(&edit.reason)?;
    let request = (&at.queue.name, &at.message_id, &actor, &edit);
    let idempotency = idempotency_key::read(&headers, &request)?;
    let edited = message(edit.body)?;
    let mending = Mending {
        queue: at.queue,
        message_id: at.message_id,
        edited: Some(edited),
        force: edit.force,
        actor,
        reason: edit.reason,
        idempotency,
    };
    mend(api, mending).await
}

/// Take a letter out of its queue for good. It is kept in the database.
#[utoipa::path(delete, path = "/dead-letters/{queue}/{messageId}", operation_id = "deleteDeadLetter",
    tag = "dead letters", request_body = Why,
    params(("queue" = String, Path, description = "A dead-letter queue", example = "payment.commands.dlq"),
           ("messageId" = String, Path, description = "As the list shows it"),
           actor::Header, idempotency_key::Header),
    responses((status = 200, description = "It is out of the queue, now or before with the same key", body = KeptView,
               headers(("Idempotency-Replayed" = String, description = "`true` where it was done before, with the same key"))),
              (status = 404, description = "No such queue, or no such letter in it"),
              (status = 422, description = "Invalid fields: `/problems/invalid-fields`; or the key came with another request \
               before: `/problems/idempotency-key-reused`")))]
async fn delete(
    State(api): State<Api>,
    at: At,
    headers: HeaderMap,
    Body(why): Body<Why>,
) -> Result<Response, ApiError> {
    let actor = actor::read(&headers)?;
    why::check(&why.reason)?;
    let request = (&at.queue.name, &at.message_id, &actor, &why);
    let idempotency = idempotency_key::read(&headers, &request)?;
    let mending = Mending {
        queue: at.queue,
        message_id: at.message_id,
        edited: None,
        force: false,
        actor,
        reason: why.reason,
        idempotency,
    };
    mend(api, mending).await
}

async fn mend(api: Api, mending: Mending) -> Result<Response, ApiError> {
    let mend = async move { api.desk.mend(&mending).await.map_err(refusal) };
    let (kept, replayed) = db::in_own_task(mend).await?;
    let mut response = Json(KeptView::from(kept)).into_response();
    if replayed {
        idempotency_key::mark_replayed(&mut response);
    }
    Ok(response)
}

/// The message that goes out, whatever its id was.
fn message(mut event: Map<String, Value>) -> Result<Envelope, ApiError> {
    event.insert("id".to_owned(), clock::new_id().to_string().into());
    let json = serde_json::to_vec(&event).map_err(|error| ApiError::Internal(error.into()))?;
    Envelope::parse(&json).map_err(|error| ApiError::invalid("body", error.to_string()))
}
