//! The HTTP API: products, and who holds how many of them.
//!
//! Reads are sea-orm queries on the service's pool. Writes are the [`Catalogue`]'s, each in a task of its own,
//! because a client that hangs up must not cancel a transaction.

mod api;
mod item_changes;
mod items;
mod path;
mod reservations;

use common::outbox::Outbox;
use sea_orm::SqlxPostgresConnector;
use sqlx::PgPool;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::api::Api;
use crate::catalogue::Catalogue;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Inventory service",
        description = "Products, how many there are, and which orders hold them. Errors are RFC 9457 problems."
    ),
    tags(
        (name = "inventory", description = "Products, and how many there are"),
        (name = "reservations", description = "What orders hold")
    )
)]
struct Document;

/// The API's routes with their documentation.
pub(crate) fn routes(db: PgPool, outbox: Outbox) -> OpenApiRouter {
    let api = Api {
        db: SqlxPostgresConnector::from_sqlx_postgres_pool(db.clone()),
        catalogue: Catalogue::new(db, outbox),
    };
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(items::list, item_changes::add))
        .routes(routes!(
            items::show,
            item_changes::change,
            item_changes::remove
        ))
        .routes(routes!(reservations::list))
        .with_state(api)
}
