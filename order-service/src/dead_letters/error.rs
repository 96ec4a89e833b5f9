//! Why nothing was done about dead letters.

use common::{amqp, db};

/// Why nothing was done about dead letters.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody else takes letters out of the queue.
    #[error("somebody else is looking at the dead letters of {0}: try again in a moment")]
    Busy(String),
    /// RabbitMQ is away, or does not answer.
    #[error(transparent)]
    Broker(#[from] amqp::Error),
    /// RabbitMQ did not confirm what was sent again, so the letters stay.
    #[error("the letters stay, for RabbitMQ did not take what was sent again: {0}")]
    NotPublished(amqp::NotPublished),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A saga's log cannot tell of it.
    #[error(transparent)]
    Saga(#[from] saga::Error),
    /// There is no such letter among those that were looked at.
    #[error("{0}")]
    NoSuchLetter(String),
    /// The letter is not to be treated like that.
    #[error("{0}")]
    Refused(String),
    /// The idempotency key came with another request before.
    #[error("the key was used before with another request: use a new key")]
    KeyReused,
}

impl Error {
    /// Whether the database waited too long for somebody else's turn to end.
    pub(super) fn of_turn(error: sqlx::Error, queue: &str) -> Self {
        if db::is_slow(&error) {
            Self::Busy(queue.to_owned())
        } else {
            error.into()
        }
    }
}
