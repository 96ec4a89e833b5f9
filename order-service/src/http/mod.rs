//! The API of orders and sagas.

mod actor;
mod api;
mod dead_letters;
mod dry_run;
mod idempotency_key;
mod new_order;
mod orders;
mod participants;
mod queues;
mod redrives;
mod returns;
mod sagas;
mod why;

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{Json, extract::Path};
use common::{
    amqp::Broker,
    asyncapi, fleet,
    http::{ApiError, describe, document},
};
use saga::Engine;
use sea_orm::SqlxPostgresConnector;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::api::Api;
use crate::{
    dead_letters::{Desk, Worker},
    intake::Intake,
    live::Live,
};

/// The document of this API.
#[must_use]
pub fn openapi() -> OpenApi {
    document(documented())
}

fn documented() -> OpenApiRouter<Api> {
    let description = "Orders, and the sagas that execute them. Every error is an RFC 9457 problem. \
                       Money is a decimal number with two places. Messages: /api/docs/asyncapi.json";
    let tags = [
        ("orders", "Place, read, cancel, ship and return orders"),
        (
            "sagas",
            "What happens to an order, why it waits, and what operators can do",
        ),
        (
            "participants",
            "Who takes part in sagas, and whether commands go out to them",
        ),
        (
            "dead letters",
            "Messages that nobody could handle: why, and sending them again",
        ),
        (
            "messages",
            "What the services tell each other and everybody",
        ),
    ];
    OpenApiRouter::with_openapi(describe(&fleet::ORDER.program, description, &tags))
        .merge(orders::routes())
        .merge(returns::routes())
        .merge(sagas::routes())
        .merge(participants::routes())
        .merge(queues::routes())
        .merge(dead_letters::routes())
        .merge(redrives::routes())
        .routes(routes!(messages))
        .routes(routes!(schema))
}

/// The routes, documented.
pub(crate) fn routes(
    engine: Engine,
    intake: Intake,
    desk: Desk,
    redrives: Worker,
    live: Live,
    broker: Broker,
) -> OpenApiRouter {
    let reads = SqlxPostgresConnector::from_sqlx_postgres_pool(engine.db().clone());
    documented().with_state(Api {
        reads,
        engine,
        intake,
        desk,
        redrives,
        live,
        broker,
    })
}

/// Every message, as an AsyncAPI document.
#[utoipa::path(get, path = "/api/docs/asyncapi.json", operation_id = "getAsyncApi", tag = "messages",
    responses((status = 200, description = "The document", body = Object)))]
async fn messages() -> Json<&'static Value> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(asyncapi::document);
    Json(&DOCUMENT)
}

/// What the data of one type of message is, as a JSON Schema.
#[utoipa::path(get, path = "/api/docs/schemas/{file}", operation_id = "getMessageSchema", tag = "messages",
    params(("file" = String, Path, description = "The type, with `.json` behind it", example = "order.completed.v1.json")),
    responses((status = 200, description = "The schema", body = Object), (status = 404, description = "There is no such type")))]
async fn schema(Path(file): Path<String>) -> Result<Json<&'static Value>, ApiError> {
    static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
        let schemas = asyncapi::schemas().into_iter();
        schemas
            .map(|(kind, schema)| (format!("{kind}.json"), schema))
            .collect()
    });
    let schema = SCHEMAS.get(&file).map(Json);
    schema.ok_or_else(|| ApiError::NotFound(format!("there is no schema {file:?}")))
}
