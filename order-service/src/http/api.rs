//! What the handlers share.

use common::{
    amqp::Broker,
    http::{ApiError, problem::types},
};
use saga::{Engine, IllegalEvent, Verb, store};
use sea_orm::DatabaseConnection;

use crate::{
    dead_letters::{Desk, Worker},
    intake::Intake,
    live::Live,
};

/// What handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(super) reads: DatabaseConnection,
    pub(super) engine: Engine,
    pub(super) intake: Intake,
    pub(super) desk: Desk,
    pub(super) redrives: Worker,
    pub(super) live: Live,
    pub(super) broker: Broker,
}

/// What is said of a saga's error.
pub(super) fn refusal(error: saga::Error) -> ApiError {
    let detail = error.to_string();
    let refused = |kind| ApiError::Refused(kind, detail);
    match error {
        saga::Error::Saga(store::Error::Database(error)) => error.into(),
        saga::Error::Illegal(IllegalEvent::Senseless { verb, .. }) => refused(match verb {
            Verb::Retry => &types::SAGA_NOT_PARKED,
            _ => &types::SAGA_VERB,
        }),
        saga::Error::Illegal(IllegalEvent::NoWayBack(_)) => refused(&types::SAGA_NO_WAY_BACK),
        saga::Error::Excluded { .. } => refused(&types::SAGA_AT_WORK),
        saga::Error::Saga(store::Error::Corrupt(..)) => refused(&types::SAGA_UNREADABLE),
        saga::Error::NoSuchSaga(id) => ApiError::NotFound(format!("there is no saga {id}")),
        other => ApiError::Internal(other.into()),
    }
}
