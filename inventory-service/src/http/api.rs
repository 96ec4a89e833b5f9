//! What the handlers share.

use common::http::{ApiError, Cursor};
use sea_orm::DatabaseConnection;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::catalogue::{self, Catalogue};

/// What every handler can reach.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) db: DatabaseConnection,
    pub(super) catalogue: Catalogue,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// Items at most, 1 to 200.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `nextCursor` of the part before.
    cursor: Option<String>,
}

impl Part {
    pub(super) fn limit(&self) -> Result<u64, ApiError> {
        common::http::limit(self.limit.as_deref())
    }

    /// The key behind which the list goes on.
    pub(super) fn after<K: std::str::FromStr>(&self) -> Result<Option<K>, ApiError> {
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
