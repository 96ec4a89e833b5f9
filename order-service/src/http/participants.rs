//! Participants: whether commands go out to them. An operator can hold them back, and time stands still for their sagas.

use axum::{Json, extract::State, http::HeaderMap};
use chrono::{DateTime, Utc};
use common::{
    db,
    http::{
        ApiError,
        extract::{Body, PathId},
    },
    outbox::Held,
};
use futures_util::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    actor,
    api::Api,
    why::{self, Why},
};
use crate::pauses::{self, Pause};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// Who takes part in sagas.
#[derive(Debug, Serialize, ToSchema)]
struct Participants {
    items: Vec<Participant>,
}

/// Somebody who takes part in sagas.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Participant {
    #[schema(example = "payment")]
    name: String,
    /// Why commands to it stay in the outbox of the replica that answers, if they do.
    held: Option<Held>,
    /// Who holds them back, and why, if somebody does.
    pause: Option<PauseView>,
    /// Whether RabbitMQ can be reached.
    broker_connected: bool,
    /// AMQP messages in its queue that nobody has taken; null where RabbitMQ does not tell.
    queue_messages: Option<u32>,
    /// Consumers of its queue.
    queue_consumers: Option<u32>,
    /// How long the oldest command to it has waited here, in seconds, while any stays.
    waited_seconds: f64,
}

/// That an operator holds commands back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pause)]
struct PauseView {
    actor: String,
    reason: String,
    since: DateTime<Utc>,
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        Self {
            actor: pause.actor,
            reason: pause.reason,
            since: pause.since,
        }
    }
}

/// List participants: whether commands go out to them, and how their queues are.
#[utoipa::path(get, path = "/participants", operation_id = "listParticipants", tag = "participants",
    responses((status = 200, description = "All of them, by name", body = Participants)))]
async fn list(State(api): State<Api>) -> Result<Json<Participants>, ApiError> {
    let names = api.engine.registry().participants();
    let pauses = pauses::all(api.engine.db()).await?;
    let all = names.into_iter().map(|name| view(&api, name, &pauses));
    let items = join_all(all).await;
    Ok(Json(Participants { items }))
}

async fn view(api: &Api, name: &str, pauses: &[Pause]) -> Participant {
    let outbox = api.engine.outbox();
    let route = outbox.route(name).await;
    let pause = pauses.iter().find(|pause| pause.participant == name);
    Participant {
        name: name.to_owned(),
        held: route.held,
        pause: pause.cloned().map(PauseView::from),
        broker_connected: route.is_connected,
        queue_messages: route.queue.map(|queue| queue.messages),
        queue_consumers: route.queue.map(|queue| queue.consumers),
        waited_seconds: outbox.waited(&[name]).as_secs_f64(),
    }
}

/// Hold back commands to a participant: they stay in the outbox, and time stands still for their sagas.
///
/// Each replica knows of it within a second or two. What has left is done all the same, and replies are taken. A saga's
/// `expires_after` goes on.
#[utoipa::path(post, path = "/participants/{participant}/pause", operation_id = "pauseParticipant", tag = "participants",
    request_body = Why, params(("participant" = String, Path, example = "payment"), actor::Header),
    responses((status = 200, description = "It is paused, now or before", body = Participant),
              (status = 404, description = "No such participant")))]
async fn pause(
    State(api): State<Api>,
    PathId(name): PathId<String>,
    headers: HeaderMap,
    Body(why): Body<Why>,
) -> Result<Json<Participant>, ApiError> {
    change(api, &name, Change::Pause, &headers, why).await
}

/// Have commands to a participant go out again, the oldest first.
#[utoipa::path(post, path = "/participants/{participant}/resume", operation_id = "resumeParticipant", tag = "participants",
    request_body = Why, params(("participant" = String, Path, example = "payment"), actor::Header),
    responses((status = 200, description = "It is not paused", body = Participant),
              (status = 404, description = "No such participant")))]
async fn resume(
    State(api): State<Api>,
    PathId(name): PathId<String>,
    headers: HeaderMap,
    Body(why): Body<Why>,
) -> Result<Json<Participant>, ApiError> {
    change(api, &name, Change::Resume, &headers, why).await
}

/// What an operator wants.
#[derive(Clone, Copy)]
enum Change {
    Pause,
    Resume,
}

async fn change(
    api: Api,
    name: &str,
    to: Change,
    headers: &HeaderMap,
    why: Why,
) -> Result<Json<Participant>, ApiError> {
    why::check(&why.reason)?;
    let (actor, name) = (actor::read(headers)?, known(&api, name)?);
    let worker = api.clone();
    db::in_own_task(async move {
        let db = worker.engine.db();
        match to {
            Change::Pause => pauses::pause(db, name, &actor, &why.reason).await,
            Change::Resume => pauses::resume(db, name, &actor, &why.reason).await,
        }
    })
    .await?;
    let pauses = pauses::all(api.engine.db()).await?;
    Ok(Json(view(&api, name, &pauses).await))
}

fn known(api: &Api, name: &str) -> Result<&'static str, ApiError> {
    let names = api.engine.registry().participants();
    let found = names.get(name).copied();
    found.ok_or_else(|| {
        let all: Vec<_> = names.into_iter().collect();
        let all = all.join(", ");
        ApiError::NotFound(format!("there is no participant {name:?}; there are {all}"))
    })
}
