//! The API of orders and sagas.

mod api;
mod idempotency_key;
mod new_order;
mod orders;
mod origin;
mod returns;
mod sagas;

use std::sync::LazyLock;

use axum::Json;
use common::{
    asyncapi, fleet,
    http::{describe, document},
};
use saga::Engine;
use sea_orm::SqlxPostgresConnector;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::api::Api;
use crate::intake::Intake;

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
            "messages",
            "What the services tell each other and everybody",
        ),
    ];
    OpenApiRouter::with_openapi(describe(&fleet::ORDER.program, description, &tags))
        .merge(orders::routes())
        .merge(returns::routes())
        .merge(sagas::routes())
        .routes(routes!(messages))
}

/// The routes, documented.
pub(crate) fn routes(engine: Engine, intake: Intake) -> OpenApiRouter {
    let reads = SqlxPostgresConnector::from_sqlx_postgres_pool(engine.db().clone());
    documented().with_state(Api {
        reads,
        engine,
        intake,
    })
}

/// Every message, as an AsyncAPI document.
#[utoipa::path(get, path = "/api/docs/asyncapi.json", operation_id = "getAsyncApi", tag = "messages",
    responses((status = 200, description = "The document", body = Object)))]
async fn messages() -> Json<&'static Value> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(asyncapi::document);
    Json(&DOCUMENT)
}
