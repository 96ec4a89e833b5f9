//! The queues of all services: how many messages wait in each, how many are dead, and whether anybody is there.

use axum::{Json, extract::State};
use common::{
    contract::topology,
    fleet,
    http::{ApiError, Page},
};
use futures_util::future::{join, join_all};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::api::Api;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A queue, as RabbitMQ answers. What is null could not be asked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Queue)]
struct QueueView {
    /// Its name.
    #[schema(example = "payment.commands")]
    queue: &'static str,
    /// Who consumes it.
    #[schema(example = "payment-service")]
    service: &'static str,
    /// Messages that nobody has taken yet.
    messages: Option<u32>,
    /// Who takes them.
    consumers: Option<u32>,
    /// Messages in its dead-letter queue.
    dead_letters: Option<u32>,
}

/// List the queues of all services. Asking costs no message anything.
#[utoipa::path(get, path = "/queues", operation_id = "listQueues", tag = "participants",
    responses((status = 200, description = "All of them, in the order of the flow", body = Page<QueueView>)))]
async fn list(State(api): State<Api>) -> Result<Json<Page<QueueView>>, ApiError> {
    let of = |service: &'static fleet::Service| {
        let queues = service.queues.iter();
        queues.map(|queue| look(&api, service.program.name, queue.name))
    };
    let items = join_all(fleet::SERVICES.into_iter().flat_map(of)).await;
    Ok(Json(Page {
        items,
        next_cursor: None,
    }))
}

async fn look(api: &Api, service: &'static str, queue: &'static str) -> QueueView {
    let dead = topology::dead_letter_queue(queue);
    let (state, dead) = join(api.broker.look(queue), api.broker.look(&dead)).await;
    QueueView {
        queue,
        service,
        messages: state.map(|state| state.messages),
        consumers: state.map(|state| state.consumers),
        dead_letters: dead.map(|dead| dead.messages),
    }
}
