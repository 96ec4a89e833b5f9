//! The HTTP API: products, and who holds how many of them.
//!
//! Reads are sea-orm queries on the service's pool. Writes are the [`Catalogue`]'s, each in a task of its own,
//! because a client that hangs up must not cancel a transaction.

mod api;
mod item_changes;
mod items;
mod reservations;

use common::{
    fleet,
    http::{describe, document},
    outbox::Outbox,
};
use sea_orm::SqlxPostgresConnector;
use sqlx::PgPool;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::api::Api;
use crate::catalogue::Catalogue;

/// The document of this API.
#[must_use]
pub fn openapi() -> OpenApi {
    document(documented())
}

fn documented() -> OpenApiRouter<Api> {
    let description = "Products, how many there are, and which orders hold them. \
                       Every error is an RFC 9457 problem. Money is a decimal number with two places.";
    let tags = [
        ("inventory", "Products, and how many there are"),
        ("reservations", "What orders hold"),
    ];
    OpenApiRouter::with_openapi(describe(&fleet::INVENTORY.program, description, &tags))
        .routes(routes!(items::list, item_changes::add))
        .routes(routes!(
            items::show,
            item_changes::change,
            item_changes::remove
        ))
        .routes(routes!(reservations::list))
}

/// The API's routes with their documentation.
pub(crate) fn routes(db: PgPool, outbox: Outbox) -> OpenApiRouter {
    documented().with_state(Api {
        db: SqlxPostgresConnector::from_sqlx_postgres_pool(db.clone()),
        catalogue: Catalogue::new(db, outbox),
    })
}
