//! Participants: whether commands go out to them. An operator can hold them back, and time stands still for their sagas.

use axum::{Json, extract::State, http::HeaderMap};
use chrono::{DateTime, Utc};
use common::{
    db,
    http::{
        ApiError,
        extract::{Body, Checks, PathId, Text},
    },
    outbox::{self, Pause},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{actor, api::Api};

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

/// Why commands stay in the outbox.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = ParticipantHeld)]
enum Held {
    /// Nobody has consumed its queue for a while.
    Absent,
    /// Its queue is full.
    Full,
    /// It takes commands again, and older ones go out first.
    Behind,
    /// An operator has paused it.
    Paused,
}

/// That an operator holds commands back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pause)]
struct PauseView {
    actor: String,
    reason: String,
    since: DateTime<Utc>,
}

/// Why an operator holds commands back, or no longer does.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PauseReason)]
struct Why {
    /// In the operator's words.
    #[schema(value_type = Text, example = "its database is being moved")]
    reason: String,
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
    let pauses = api.engine.outbox().pauses().await?;
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
        held: route.held.map(|held| match held {
            outbox::Held::Absent => Held::Absent,
            outbox::Held::Full => Held::Full,
            outbox::Held::Behind => Held::Behind,
            outbox::Held::Paused => Held::Paused,
        }),
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
    let (actor, worker, who) = (why.check(&headers)?, api.clone(), known(&api, &name)?);
    db::in_own_task(async move {
        let outbox = worker.engine.outbox();
        outbox.pause(who, &actor, &why.reason).await
    })
    .await?;
    now(&api, who).await
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
    let (actor, worker, who) = (why.check(&headers)?, api.clone(), known(&api, &name)?);
    db::in_own_task(async move {
        let outbox = worker.engine.outbox();
        outbox.resume(who, &actor, &why.reason).await
    })
    .await?;
    now(&api, who).await
}

async fn now(api: &Api, name: &str) -> Result<Json<Participant>, ApiError> {
    let pauses = api.engine.outbox().pauses().await?;
    Ok(Json(view(api, name, &pauses).await))
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

impl Why {
    /// Who says so.
    fn check(&self, headers: &HeaderMap) -> Result<String, ApiError> {
        let mut checks = Checks::default();
        checks.text("reason", &self.reason);
        checks.finish()?;
        actor::read(headers)
    }
}
