//! What the handlers share.

use common::http::ApiError;
use saga::{Engine, store};
use sea_orm::DatabaseConnection;

use crate::intake::Intake;

/// What handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(super) reads: DatabaseConnection,
    pub(super) engine: Engine,
    pub(super) intake: Intake,
}

/// What is said of a saga's error.
pub(super) fn refusal(error: saga::Error) -> ApiError {
    match error {
        saga::Error::Saga(store::Error::Database(error)) => error.into(),
        error @ (saga::Error::Illegal(_)
        | saga::Error::Excluded { .. }
        | saga::Error::Saga(store::Error::Corrupt(..))) => ApiError::Conflict(error.to_string()),
        saga::Error::NoSuchSaga(id) => ApiError::NotFound(format!("there is no saga {id}")),
        other => ApiError::Internal(other.into()),
    }
}
