//! Why nothing was done.

use common::{amqp::consumer, contract::SagaId, db};

use crate::{IllegalEvent, reply::Meaningless, store};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The saga cannot be read, or the database failed.
    #[error(transparent)]
    Saga(#[from] store::Error),
    /// The event makes no sense in the saga's state.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// There is no such saga.
    #[error("there is no saga {0}")]
    NoSuchSaga(SagaId),
    /// Another saga about the same subject is open.
    #[error(
        "the saga {name} {id} about the same subject is open: only one of them can be at a time"
    )]
    Excluded {
        /// What the other one is called.
        name: String,
        /// Its id.
        id: SagaId,
    },
    /// The saga's definition has no such step, or the step no such reply.
    #[error(transparent)]
    Meaningless(#[from] Meaningless),
    /// What the program has to say to a saga's progress.
    #[error("following the saga")]
    Follow(#[source] anyhow::Error),
}

impl Error {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.database().is_some_and(db::is_transient)
    }

    /// The database's error, if that is what it is.
    #[must_use]
    pub const fn database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Saga(store::Error::Database(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Saga(error.into())
    }
}

impl From<Error> for consumer::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Saga(store::Error::Database(error)) => error.into(),
            other => Self::Failed(other.into()),
        }
    }
}
