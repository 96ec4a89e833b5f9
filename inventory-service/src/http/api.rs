//! What the handlers share.

use common::http::{ApiError, problem::types};
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
            Error::Exists(_) => Self::Refused(&types::PRODUCT_EXISTS, error.to_string()),
            Error::Held { .. } => Self::Refused(&types::PRODUCT_HELD, error.to_string()),
            Error::Database(cause) => cause.into(),
        }
    }
}
