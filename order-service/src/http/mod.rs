//! The API of orders and sagas.

mod api;
mod idempotency_key;
mod new_order;
mod orders;
mod returns;
mod sagas;

use std::{collections::HashMap, sync::Arc};

use axum::{Json, extract::Path, routing::get};
use common::{asyncapi, http::ApiError};
use saga::Engine;
use sea_orm::SqlxPostgresConnector;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::api::Api;
use crate::intake::Intake;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "order-service",
        description = "Orders, and the sagas that execute them. Every error is an RFC 9457 problem. \
                       Money is a decimal number with two places. Messages: /api/docs/asyncapi.json"
    ),
    tags(
        (name = "orders", description = "Place, read, cancel, ship and return orders"),
        (name = "sagas", description = "What happens to an order, why it waits, and what operators can do"),
        (name = "health", description = "Probes")
    )
)]
struct Documentation;

/// The routes, documented.
pub(crate) fn routes(engine: Engine, intake: Intake) -> OpenApiRouter {
    let reads = SqlxPostgresConnector::from_sqlx_postgres_pool(engine.db().clone());
    let asyncapi = Arc::new(asyncapi::document());
    let schemas = asyncapi::schemas().into_iter();
    let schemas = schemas.map(|(kind, schema)| (format!("{kind}.json"), schema));
    let schemas: Arc<HashMap<_, _>> = Arc::new(schemas.collect());
    let schema = async move |Path(file): Path<String>| {
        let schema = schemas.get(&file).cloned().map(Json);
        schema.ok_or_else(|| ApiError::NotFound(format!("there is no schema {file:?}")))
    };
    OpenApiRouter::with_openapi(Documentation::openapi())
        .merge(orders::routes())
        .merge(returns::routes())
        .merge(sagas::routes())
        .with_state(Api {
            reads,
            engine,
            intake,
        })
        .route(
            "/api/docs/asyncapi.json",
            get(move || async move { Json(asyncapi) }),
        )
        .route("/api/docs/schemas/{file}", get(schema))
}
