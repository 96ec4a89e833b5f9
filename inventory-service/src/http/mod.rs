//! The HTTP API: products, and who holds how many of them.
//!
//! Reads are sea-orm queries on the service's pool. Writes are the [`Catalogue`]'s, each in a task of its own,
//! because a client that hangs up must not cancel a transaction.

mod item_changes;
mod items;
mod path;
mod reservations;

use common::{
    http::{ApiError, Cursor},
    outbox::Outbox,
};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::catalogue::{self, Catalogue};

/// What every handler can reach.
#[derive(Clone, Debug)]
struct Api {
    db: DatabaseConnection,
    catalogue: Catalogue,
}

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

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Part {
    /// Items at most, 1 to 200.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `nextCursor` of the part before.
    cursor: Option<String>,
}

impl Part {
    fn limit(&self) -> Result<u64, ApiError> {
        common::http::limit(self.limit.as_deref())
    }

    /// The key behind which the list goes on.
    fn after<K: std::str::FromStr>(&self) -> Result<Option<K>, ApiError> {
        self.cursor.as_deref().map(Cursor::decode).transpose()
    }
}

impl From<catalogue::Error> for ApiError {
    fn from(error: catalogue::Error) -> Self {
        use catalogue::Error;
        match error {
            Error::Unknown(_) => Self::NotFound(error.to_string()),
            Error::Exists(_) | Error::Held { .. } => Self::Conflict(error.to_string()),
            Error::Database(cause) => cause.into(),
        }
    }
}
