//! The API of orders and sagas.

mod new_order;
mod orders;
mod returns;
mod sagas;

use std::sync::Arc;

use axum::{Json, http::HeaderMap, routing::get};
use common::{
    asyncapi,
    http::{ApiError, CORRELATION_ID},
};
use saga::{Engine, Origin, store};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::intake::Intake;

/// What handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    reads: DatabaseConnection,
    engine: Engine,
    intake: Intake,
}

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
}

/// Where a saga comes from that this request begins.
fn origin(headers: &HeaderMap) -> Origin {
    Origin {
        correlation_id: correlation_id(headers),
        traceparent: Some(traceparent(headers)),
    }
}

/// The request's correlation id, which the server made where the caller gave none.
fn correlation_id(headers: &HeaderMap) -> String {
    let given = headers.get(CORRELATION_ID).and_then(|id| id.to_str().ok());
    match given.filter(|id| (1..=128).contains(&id.len())) {
        Some(id) => id.to_owned(),
        None => Uuid::now_v7().to_string(),
    }
}

/// The caller's trace, or a new one.
///
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
fn traceparent(headers: &HeaderMap) -> String {
    let given = headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    match given.filter(|value| is_traceparent(value)) {
        Some(value) => value.to_owned(),
        None => {
            let (trace, parent) = (Uuid::new_v4().simple(), Uuid::new_v4().as_u64_pair().0 | 1);
            format!("00-{trace}-{parent:016x}-01")
        }
    }
}

fn is_traceparent(value: &str) -> bool {
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<_> = value.split('-').collect();
    matches!(&parts[..], [version, trace, parent, flags]
        if is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2))
}

/// What is said of a saga's error.
fn refusal(error: saga::Error) -> ApiError {
    match error {
        saga::Error::Saga(store::Error::Database(error)) => error.into(),
        error @ (saga::Error::Illegal(_)
        | saga::Error::Excluded { .. }
        | saga::Error::Saga(store::Error::Corrupt(..))) => ApiError::Conflict(error.to_string()),
        saga::Error::NoSuchSaga(id) => ApiError::NotFound(format!("there is no saga {id}")),
        other => ApiError::Internal(other.into()),
    }
}
