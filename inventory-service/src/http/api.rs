//! What the handlers share.

use common::http::ApiError;
use sea_orm::DatabaseConnection;

use crate::catalogue::{self, Catalogue};

/// What every handler can reach.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) db: DatabaseConnection,
    pub(super) catalogue: Catalogue,
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
